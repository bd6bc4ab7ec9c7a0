"""What all rows of a comparison share: data splits, budgets, image size, precision, seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Interval

Epochs = Annotated[int, Interval(ge=1, le=1_000_000)]
Images = Annotated[int, Interval(ge=1, le=65_536)]
Side = Annotated[int, Interval(ge=8, le=8192)]
Fraction = Annotated[float, Interval(ge=0.001, lt=1)]
LEAST_SHARE = 0.0001
Share = Annotated[float, Interval(ge=LEAST_SHARE, le=1)]
Rate = Annotated[float, Interval(gt=0, le=100)]
Decay = Annotated[float, Interval(ge=0, le=100)]
Betas = tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]]
Scale = tuple[Annotated[float, Interval(gt=0, le=1)], Annotated[float, Interval(gt=0, le=1)]]


@dataclass(frozen=True)
class AuditSettings:
    """When two images are taken for the same picture (`bench.data.audit.duplicates`).

    Attributes:
        distance: candidates are pairs whose 64-bit perceptual hashes differ in at most so many bits.
        similarity: correlation of aligned detail from which candidates count as duplicates.
        embed: a model whose ImageNet features propose further candidates, each image's nearest neighbours.
        keypoints: whether the same picture is also looked for at another crop, scale, aspect or rotation.
    """

    distance: Annotated[int, Interval(ge=0, le=16)] = 10
    similarity: Annotated[float, Interval(gt=0, le=1)] = 0.55
    embed: str = ""
    keypoints: bool = True


@dataclass(frozen=True)
class SplitSettings:
    """How images are divided. Groups stay whole; classes keep their proportions.

    Attributes:
        method: "holdout" draws each round's parts anew from the round's seed; "kfold" makes round r's test
            part the r-th of `folds` disjoint folds and draws validation from the rest.
        val: share of all images that validate.
        test: share of all images that are tested on, with "holdout".
        folds: number of folds, with "kfold".
        groups: "audited" are the data set's own groups (patient, lesion), joined where the audit finds
            duplicates; "given" the data set's own alone; "none" lets every image stand alone, to measure
            what that leaks.
        conflicts: where images go whose duplicates carry another label, with audited groups: "train" keeps
            them out of validation and test, "out" out of all parts, "anywhere" treats them like the rest.
        mend: what is left out of a split that the data set itself fixes and that leaks. Of a group or a set
            of duplicates that is in several parts, "drop_test" keeps the images in the first of training,
            validation and test that has some, so that what was trained stays the same; "drop_train" keeps
            those in the last, so that what is tested stays the same; "none" leaves the split as it is.
    """

    method: Literal["holdout", "kfold"] = "holdout"
    val: Fraction = 0.1
    test: Fraction = 0.2
    folds: Annotated[int, Interval(ge=2, le=20)] = 5
    groups: Literal["audited", "given", "none"] = "audited"
    conflicts: Literal["train", "out", "anywhere"] = "train"
    mend: Literal["none", "drop_test", "drop_train"] = "none"

    def __post_init__(self) -> None:
        if self.method == "holdout" and self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; it must leave images to train on")


@dataclass(frozen=True)
class Pretraining:
    """Budget of self-supervised pretraining, the same for every strategy (paper, section 4.2).

    Attributes:
        epochs: passes over the images.
        batch: images per step.
        resize: short side at which images are kept before the random resized crop, pixels.
        scale: smallest and largest share of the image's area that a crop takes.
        flip: probability of a horizontal flip.
        learning_rate: AdamW's, for 256 images per step; scales linearly with `batch`.
        betas: AdamW's.
        weight_decay: AdamW's, of weights alone (biases and norms are not decayed).
        warmup: share of all steps over which the learning rate rises linearly; then half a cosine to 0.
        data: which parts of the split it sees, without labels; "all" is transductive.
        extra: a folder of further images, without labels, all below it; empty for none. Those that are
            duplicates of validation or test images are left out (`bench.data.splits.pool`).
        pool: digest of the pixels of these images, which the plan fills in; what is given must fit.
    """

    epochs: Epochs = 1000
    batch: Images = 16
    resize: Side = 256
    scale: Scale = (0.2, 1.0)
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5
    learning_rate: Rate = 1.5e-4
    betas: Betas = (0.9, 0.95)
    weight_decay: Decay = 0.05
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    data: Literal["train", "train+val", "all"] = "train"
    extra: str = field(default="", metadata={"identity": False})
    pool: str = ""

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {self.scale} must be [smallest, largest]")


@dataclass(frozen=True)
class Finetuning:
    """Supervised fine-tuning (paper, section 4.3): resize, random crop, horizontal flip.

    Every network starts it with the same small random classifier (`bench.execution.prepare`).

    Attributes:
        epochs: passes over the training images.
        batch: images per step.
        resize: short side before the random crop, pixels.
        flip: probability of a horizontal flip.
        learning_rate: AdamW's.
        betas: AdamW's.
        weight_decay: AdamW's, of weights alone (biases and norms are not decayed).
        warmup: share of all steps over which the learning rate rises linearly; then half a cosine to 0.
        selection: weights to judge: of the last epoch, or of the one with the best validation accuracy.
        share: share of the training images that it sees, with their labels (`bench.data.splits.labelled`);
            pretraining sees all of them, validation and test stay as they are.
    """

    epochs: Epochs = 15
    batch: Images = 16
    resize: Side = 236
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5
    learning_rate: Rate = 1e-4
    betas: Betas = (0.9, 0.999)
    weight_decay: Decay = 0.05
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    selection: Literal["last", "best"] = "last"
    share: Share = 1.0


@dataclass(frozen=True, order=True)
class Budget:
    """Epochs of a method that pretrains: 1000/15, as the paper writes it.

    Attributes:
        pretrain: of the pretraining; 0 stands for a method without one, and in no study file.
        finetune: of the fine-tuning.
    """

    pretrain: Epochs
    finetune: Epochs

    @property
    def name(self) -> str:
        """ "1000/15"."""
        return f"{self.pretrain}/{self.finetune}"


@dataclass(frozen=True)
class Protocol:
    """What all rows of a comparison share. Defaults are the paper's (shipped as protocols/paper.toml).

    Attributes:
        size: side of the square input, pixels.
        rounds: repetitions, each with its own split, initial weights and order of images.
        seed: the number from which all random numbers of a study derive.
        precision: "auto" is bf16 autocast on a GPU and fp32 elsewhere, also on a CPU that is faster in bf16:
            rows must not depend on a trial of speed.
        model: the network where a command names none; empty means the paper protocol's.
        audit: when two images are taken for the same picture.
        split: how images are divided.
        pretrain: budget of self-supervised pretraining.
        finetune: budget of fine-tuning.
    """

    size: Side = 224
    rounds: Annotated[int, Interval(ge=1, le=1000)] = 5
    seed: Annotated[int, Ge(0)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    model: str = ""
    audit: AuditSettings = AuditSettings()
    split: SplitSettings = SplitSettings()
    pretrain: Pretraining = Pretraining()
    finetune: Finetuning = Finetuning()

    def __post_init__(self) -> None:
        if self.finetune.resize < self.size:
            raise ValueError(f"finetune.resize {self.finetune.resize} is less than size {self.size}")
        if self.split.method == "kfold" and self.rounds > self.split.folds:
            raise ValueError(f"rounds {self.rounds} is more than split.folds {self.split.folds}")
