"""Which training images fine-tuning sees, where a protocol gives it the labels of a share of them alone.

The groups of the training part have one order a round, by a hash of their names and a seed that depends on
data set and round alone. A share takes the first of every class. So all networks and strategies of a round
have the same images, the images of 1 % are among those of 5 %, and no group is divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.data.splits import assign
from bench.data.splits.split import PartCount, Split
from bench.identity import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def labelled_images(split: Split, share: float, seed: int) -> NDArray[np.int64]:
    """Positions of the training images with labels, in the order of the split; with a share of 1 all of them.

    `share` is that of the protocol's fine-tuning, `seed` that of the study.
    """
    rows = split.indices("train")
    if share == 1:
        return rows
    # Numbered by name, so that the choice does not depend on the order of the index.
    names, groups = np.unique([split.groups[i] for i in rows], return_inverse=True)
    classes = np.array([split.classes.index(split.labels[i]) for i in rows])
    images = assign.GroupedLabels(classes, groups.astype(np.int64), names.tolist())
    return rows[assign.subset(images, share, derive_seed(seed, split.dataset, "labels", split.round))]


def labelled_counts(split: Split, share: float, seed: int) -> Mapping[str, PartCount]:
    """Images and groups of every class among `labelled_images`; a group of two classes counts for both."""
    rows = labelled_images(split, share, seed)
    images = Counter(split.labels[i] for i in rows)
    groups = Counter(label for label, _ in {(split.labels[i], split.groups[i]) for i in rows})
    return {name: PartCount(images[name], groups[name]) for name in split.classes}
