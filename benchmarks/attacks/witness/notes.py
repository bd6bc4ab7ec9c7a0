"""Where `witness` writes down what it is asked to do."""

from __future__ import annotations

import os
import time


def announce(what: str) -> None:
    """Write down what is begun, and take the time that the attack has asked for."""
    with open(os.environ["WITNESS"], "a", encoding="utf-8") as file:
        file.write(f"{os.environ.get('WITNESS_BY', '-')} {os.getpid()} {what}\n")
    time.sleep(float(os.environ.get("WITNESS_PACE", "0")))
