"""What a plugin offers and what it is handed: one module for each kind of component.

Everything here is importable from `bench`. Nothing here imports torch, numpy or another part of the core.
"""

from bench.interfaces import cells as cells  # `bench.cells`
