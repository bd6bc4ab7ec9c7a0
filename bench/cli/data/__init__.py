"""`bench data`: what concerns images before anything is trained. One file a command."""

from __future__ import annotations

import typer

from bench.cli.data.audit import audit
from bench.cli.data.fetch import fetch
from bench.cli.data.list import list_datasets
from bench.cli.data.preview import preview
from bench.cli.data.split import split
from bench.cli.data.verify import verify
from bench.cli.options import with_verbose

app = typer.Typer(no_args_is_help=True, help="Fetch, verify, audit, preview and split data sets.")
app.command("list")(with_verbose(list_datasets))
app.command("fetch")(with_verbose(fetch))
app.command("verify")(with_verbose(verify))
app.command("audit")(with_verbose(audit))
app.command("preview")(with_verbose(preview))
app.command("split")(with_verbose(split))
