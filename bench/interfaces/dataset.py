"""Data sets: labelled images with the groups that must stay on one side of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.interfaces.component import Component, P
from bench.interfaces.reviewed import Reviewed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled image: a file to decode, or an array already in memory.

    Attributes:
        id: names the image within its data set.
        label: one of the index's classes.
        group: what must stay on one side of a split (patient, lesion); empty if the image stands alone.
        path: the file, if there is no `array`.
        array: uint8 (H, W) or (H, W, 3); may be a row of a memory map.
        part: "train", "val" or "test" where the data set fixes its split.
        source: what identifies an array without hashing it, say a file's checksum and the row.
        masks: files that outline what the label is about, say each lesion, where the data set has them:
            pictures of the size of the image, white inside. Together they are the mask of the image. They are
            opened by `bench explain` alone, and are in no key and no content hash.
    """

    id: str
    label: str
    group: str = ""
    path: Path | None = None
    array: NDArray[np.uint8] | None = None
    part: str = ""
    source: str = ""
    masks: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Index:
    """All samples of a data set. If every sample has a part, that is the split; otherwise one is drawn.

    Attributes:
        classes: names of the classes, in the order of a network's outputs.
        samples: the images.
        version: which published version this copy is, where versions differ.
        expected: images per class of that version; empty means the component's own `expected`.
        notes: what a user should know about this copy (files passed over, rows without an image);
            `bench data verify` shows them.
        bits: of the values in 16-bit files, 1 to 16: 2**bits - 1 is white. 0: the smallest of 8, 10, 12, 14
            and 16 bits that holds the highest value of all of them.
        passed_over: kind -> number of files that lie among the images and are none of them, say
            {"masks": 12, ".txt files": 3}: plurals, each kind once. Verifying and auditing show it, data
            sheets too, records keep it and tables say it.
        changes: what the core changed of it because a study asked for it (`Selection`); set by the core, and
            said below tables.
        reviewed: the files whose decisions of a person were applied; set by the core.
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    version: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bits: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    reviewed: tuple[Reviewed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file of a data set's official download.

    Attributes:
        name: file name under which it is kept.
        urls: addresses tried in order, the official one first.
        checksum: "sha256:HEX" or "md5:HEX" of the file, if somebody publishes it; otherwise it is recorded
            at the first download and compared later.
        size: bytes; 0 if not known. Where a server states no length, this or `checksum` shows that a file
            that is no archive is whole.
        rebuilt: whether the server packs the file anew for every download, so that only the checksum of its
            contents can be compared.
        unpack: folder, below the data set's own, where its members go ("" for that folder itself); None
            leaves the file packed, under its name.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str = ""
    size: int = 0
    rebuilt: bool = False
    unpack: str | None = ""


@dataclass(frozen=True, kw_only=True)
class Dataset(Component[P]):
    """Labelled images in the layout of their official download.

    `bench` decodes the pixels, once. `bench data fetch` shows licence and citation, asks for consent, and
    downloads what `archives(params)` lists into `root/<name>/`, where `index` must find it.

    Attributes:
        index: `index(root, params)` lists the images without opening any. Raises DataNotFound, which says
            what was looked for, where, and how to get it.
        expected: images per class.
        home: web page of the data set.
        fetch: how to get it by hand, in words that a user can follow.
        archives: `archives(params)` lists the files of the official download.
        sources: `sources(root, params)` says where images come from (a hospital, a device, a collection), by
            image id; images of which that is not known are left out. Called by `bench subgroups`, and where
            a study groups or tests by source.
            Raises DataNotFound, as `index` does.
        redistribution: which right the licence gives to pass on images, in words: "CC BY 4.0 permits it, with
            credit". Pages that `bench` makes then have pictures in them, and say this. Empty where the
            licence does not say so: then they have pictures only if the user asks for them.
        download: `download(folder, params)` gets files that have no plain address (they need a client with
            an account). Raises DataNotFound, which says what to do by hand.
        reviewed: a csv file of the package, id,group[,exclude][,phash][,reason], in which a person decided
            which images belong together; used unless `groups` is set to another file or to "none".
    """

    index: Callable[[Path, P], Index]
    expected: Mapping[str, int] = field(default_factory=dict)
    home: str = ""
    fetch: str = ""
    archives: Callable[[P], Sequence[Archive]] = lambda params: ()
    sources: Callable[[Path, P], Mapping[str, str]] | None = None
    download: Callable[[Path, P], None] | None = None
    redistribution: str = ""
    reviewed: Path | None = None
