"""Loads what children need, in the process off which they are forked (`bench.child.load_for_children`).

Quietly, because it has no way to show a line without breaking progress bars; and whatever cannot be loaded is
left to the child that needs it, which can say so.
"""

import gc
import importlib
import os
import warnings
from contextlib import suppress

from bench.child import PRELOAD

gc.disable()  # modules are not garbage, and looking for it takes a quarter of the time that torch needs
with warnings.catch_warnings(action="ignore"):
    for _name in os.environ.get(PRELOAD, "").split(","):
        with suppress(Exception):
            importlib.import_module(_name)
gc.freeze()  # nor are they looked through in children, which would copy the memory that they share
gc.enable()
