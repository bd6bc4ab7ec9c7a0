"""Every parameter says what it means: `bench show` prints these texts, and nothing else explains them."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_medmnist.datasets import DATASETS
from native import put

from bench import Component, LocalWeights
from bench.cli.parameters import field_docs, parameters
from bench.registry import installed
from bench.study.protocol import AuditSettings, Finetuning, Pretraining, Protocol, SplitSettings
from bench_datasets import folder

THIRD_PARTY = Path(__file__).parent / "third_party"


def components() -> Iterator[Component]:
    """All that is installed, one network of the family, and the packages of this repository beside bench."""
    for kind in installed().kinds:
        yield from kind.all()
    yield installed().models.get("test_resnet")
    yield from DATASETS
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(THIRD_PARTY)
        example = importlib.import_module("bench_example")
        yield from (*example.register_datasets(), *example.register_strategies())


PARAMS = sorted({component.params for component in components()}, key=lambda cls: cls.__qualname__)

PARTS = (AuditSettings, SplitSettings, Pretraining, Finetuning)


@pytest.mark.parametrize("params", [*PARAMS, Protocol], ids=lambda cls: cls.__name__)
def test_every_parameter_is_explained(params: type[Any]) -> None:
    """Those of a protocol's parts too, which `parameters` looks into."""
    assert [parameter.name for parameter in parameters(params, "x") if not parameter.about] == []


@pytest.mark.parametrize("cls", [*PARAMS, Protocol, *PARTS], ids=lambda cls: cls.__name__)
def test_nothing_is_explained_that_does_not_exist(cls: type[Any]) -> None:
    assert set(field_docs(cls)) <= {field.name for field in dataclasses.fields(cls)}


def test_the_components_have_parameters_to_explain() -> None:
    names = {params.__name__ for params in PARAMS}
    assert {"NoiseParams", "MaskParams", "ImagenetParams", "TimmParams", "BaselineParams"} <= names
    assert {"ChestParams", "StripesParams", "BlurParams"} <= names


def test_inherited_parameters_are_explained_where_they_are_written() -> None:
    @dataclass(frozen=True)
    class Own(LocalWeights):
        """Parameters of a model.

        Attributes:
            depth: number
                of blocks.
        """

        depth: int = 2
        width: int = 3

    about = {parameter.name: parameter.about for parameter in parameters(Own, "model.own")}
    assert about["model.own.depth"] == "number of blocks."
    assert about["model.own.width"] == ""
    assert about["model.own.weights"].startswith("a local file")


EXAMPLES = {
    "benign/patient012_left.png": ("benign/patient012_right.png", "malignant/patient013_left.png"),
    "benign/p7/1.png": ("benign/p7/2.png", "malignant/p8/1.png"),
}


def test_the_examples_for_grouping_the_images_of_a_patient_work(tmp_path: Path) -> None:
    """Without this parameter patients are on both sides of a split, and its text is all the help there is."""
    text = field_docs(folder.Params)["group"]
    files = re.findall(r"\S+\.png", text)
    patterns = re.findall(r'"dataset\.folder\.group=(\S+)"', text)
    assert files == list(EXAMPLES)
    for number, (file, pattern) in enumerate(zip(files, patterns, strict=True)):
        root = put(tmp_path / str(number), file, *EXAMPLES[file])
        first, same_patient, other = folder.index(root, folder.Params(group=pattern)).samples
        assert first.group == same_patient.group != other.group
        assert first.group in file
