"""What plugins give to `bench` and receive from it: one module per kind of component.

Everything here is importable from `bench`. Nothing here imports torch, numpy or another part of the core.
"""

from bench.interfaces import cells as cells  # `bench.cells`
