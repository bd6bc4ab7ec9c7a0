"""Steps by deterministic kernels alone, where PyTorch has them.

`configure` makes PyTorch only warn of an operator without a deterministic kernel. With that, attention keeps
a backward pass that adds in any order although a deterministic one exists: it is chosen only where PyTorch
may not go on without. So steps on a GPU run in the strict mode, and a training in which an operator has no
deterministic kernel goes on as `configure` has set it, with the operator's name in its record.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from bench.engine.device import strict
from bench.engine.gpu.state import Saved, StepState

log = logging.getLogger("bench")


class Determinism:
    """Does the steps of one training, which change `state()`. `operator` has no deterministic kernel; empty
    while all have one."""

    def __init__(self, state: Callable[[], StepState]) -> None:
        self.state = state
        self.operator = ""
        self.seen: set[object] = set()

    def do(self, step: Callable[[], None], shapes: object) -> None:
        """Do one step on a batch of these shapes; again from its beginning if it turns out that an operator
        has no deterministic kernel.

        That shows in the first step of a shape, before the optimiser has changed anything; the state that a
        forward pass changes is put back. In later steps (of modules with branches) it is not.
        """
        if self.operator:
            step()
            return
        saved = None if shapes in self.seen else Saved.of(self.state())
        self.seen.add(shapes)
        try:
            with strict():
                step()
        except RuntimeError as error:
            self.operator = operator_of(error)
            if not self.operator:
                raise
        else:
            return
        log.warning(
            "%s has no deterministic kernel on this device, so this training does not repeat to the last bit",
            self.operator,
        )
        if saved is not None:
            saved.put_back(self.state())
        step()

    @property
    def choice(self) -> str:
        """For the record."""
        return f"no: {self.operator} has no deterministic kernel" if self.operator else "yes"


def operator_of(error: RuntimeError) -> str:
    """The operator that has no deterministic kernel, if that is what PyTorch says; else empty."""
    text = str(error)
    if found := re.search(r"(\S+) does not have a deterministic implementation", text):
        return found[1]
    # Of matrix products under another CUBLAS_WORKSPACE_CONFIG than the one that `configure` sets.
    return "cuBLAS" if "it uses CuBLAS" in text else ""
