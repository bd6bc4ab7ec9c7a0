"""`bench data`: what concerns images before anything is trained. One file a command."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Fetch, verify, audit and split data sets.")
