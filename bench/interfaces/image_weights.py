"""Images that count more or less: how metrics are told of resampled test images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageWeights:
    """How much each of N images counts in each of B resampled sets. Images of one group count the same, so
    that what is summed over images is best summed within groups first: `sums` does.

    Attributes:
        of_groups: (B, G) weights of G groups; read fastest if those of a group lie side by side in memory.
        group: int64 (N,), the group of each image, as a column of `of_groups`.
    """

    of_groups: NDArray[np.float64]
    group: NDArray[np.int64]

    @classmethod
    def equal(cls, count: int) -> ImageWeights:
        """One row in which each of `count` images counts 1."""
        import numpy as np

        return cls(np.ones((1, 1)), np.zeros(count, dtype=np.int64))

    def __len__(self) -> int:
        """B."""
        return len(self.of_groups)

    @cached_property
    def of_images(self) -> NDArray[np.float64]:
        """(B, N); in memory with the weights of an image side by side."""
        import numpy as np

        return np.ascontiguousarray(self.of_groups.T)[self.group].T

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """(B,) what all images weigh."""
        import numpy as np

        return self.sums(np.ones(len(self.group)))

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) or (B, M) weighted sums over images of `values` (N,) or (N, M)."""
        import numpy as np

        of_groups = np.zeros((self.of_groups.shape[1], *values.shape[1:]))
        np.add.at(of_groups, self.group, values)
        result: NDArray[np.float64] = self.of_groups @ of_groups
        return result
