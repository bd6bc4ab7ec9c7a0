"""The image sizes that the networks written here can be built for.

Importing this module loads neither torch nor timm, because a plan checks sizes without building networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench import SizeError


@dataclass(frozen=True)
class Sizes:
    """Square images with sides that are multiples of `multiple`, from `least` pixels up."""

    model: str
    multiple: int = 1
    least: int = 32

    def check(self, size: int) -> None:
        """Raise SizeError, naming the nearest size that works, unless `size` is one."""
        if size >= self.least and size % self.multiple == 0:
            return
        allowed = f"a multiple of {self.multiple}" if self.multiple > 1 else f"{self.least} or more"
        nearest = max(self.least, round(size / self.multiple) * self.multiple)
        raise SizeError(
            f"size {size}: model {self.model!r} needs a side that is {allowed}; {nearest} is the nearest",
            nearest,
        )


CMT = Sizes("cmt", multiple=32)
SMT = Sizes("smt")
PERVIT = Sizes("pervit")
SGFORMER = Sizes("sgformer", multiple=112, least=112)  # windows of 7 at strides 4 to 16
SPA = Sizes("spa")
CPVT = Sizes("cpvt", multiple=16)  # the fovea is cut in whole cells of the token grid
