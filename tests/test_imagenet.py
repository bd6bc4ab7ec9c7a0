"""The strategies imagenet and scratch: every tensor but the classifier comes from where they say, or none."""

import copy
import dataclasses
import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench import ConfigError, LocalWeights, Model, NoParams, Weights, WeightsError
from bench.registry import make_ref
from bench_strategies import imagenet, scratch
from bench_strategies.imagenet import ImagenetParams


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


MODEL = Model(
    name="tiny", about="a test network", build=lambda p, c: network(), classifier=lambda net: ("3.",)
)


@pytest.fixture
def checkpoint() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return network(1000).state_dict()


def freeze(path: Path) -> ImagenetParams:
    frozen = imagenet.STRATEGY.freeze(ImagenetParams(weights=str(path)), MODEL, NoParams())
    assert isinstance(frozen, ImagenetParams)
    return frozen


def initialize(net: nn.Module, params: ImagenetParams, model: Model = MODEL) -> str:
    assert imagenet.STRATEGY.initialize
    return imagenet.STRATEGY.initialize(net, model, NoParams(), params)


def load(path: Path) -> nn.Module:
    net = network()
    initialize(net, freeze(path))
    return net


def test_a_file_fills_all_but_the_classifier(tmp_path: Path, checkpoint: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "net.safetensors"
    save_file(checkpoint, str(path))
    net = network()
    before = copy.deepcopy(net.state_dict())
    line = initialize(net, freeze(path))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("3.") else checkpoint[name]), name
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert line == f"file net.safetensors, sha256 {sha}, new classifier"


def test_a_classifier_of_the_right_size_is_new_too(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(network(3).state_dict(), str(path))
    net = network()
    before = net[3].weight.detach().clone()
    initialize(net, freeze(path))
    assert torch.equal(net[3].weight, before)


@pytest.mark.parametrize("wrapper", ["", "model", "state_dict", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_usual_wrappings_are_undone(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor], wrapper: str, prefix: str
) -> None:
    state: dict[str, Any] = {f"{prefix}{name}": value for name, value in checkpoint.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "net.pth")
    assert torch.equal(load(tmp_path / "net.pth").state_dict()["0.weight"], checkpoint["0.weight"])


def test_averaged_weights_come_first(tmp_path: Path, checkpoint: dict[str, torch.Tensor]) -> None:
    torch.save({"state_dict": network(5).state_dict(), "state_dict_ema": checkpoint}, tmp_path / "net.pth")
    assert torch.equal(load(tmp_path / "net.pth").state_dict()["0.weight"], checkpoint["0.weight"])


def test_what_does_not_fit_is_counted_and_named_and_nothing_is_loaded(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor]
) -> None:
    del checkpoint["1.running_mean"], checkpoint["1.running_var"]
    checkpoint["0.weight"] = torch.zeros(8, 3, 3, 3)
    checkpoint["0.bias"] += 1
    checkpoint["extra"] = torch.zeros(1)
    save_file(checkpoint, str(tmp_path / "net.safetensors"))
    net = network()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(WeightsError) as caught:
        initialize(net, freeze(tmp_path / "net.safetensors"))
    for part in (
        "does not fit tiny",
        "2 missing (1.running_mean, 1.running_var)",
        "1 unexpected (extra)",
        "1 of another shape (0.weight (8, 3, 3, 3), needs (4, 3, 3, 3))",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_file_that_changed_after_planning_is_refused(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "net.safetensors"
    save_file(checkpoint, str(path))
    params = freeze(path)
    save_file(network(7).state_dict(), str(path))
    with pytest.raises(WeightsError, match="has changed since the study was planned"):
        initialize(network(), params)
    path.unlink()
    with pytest.raises(WeightsError, match="is not there; give its path"):
        initialize(network(), params)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code in a checkpoint ran",)


def test_a_pickle_with_code_is_refused_unrun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Evil()}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(WeightsError, match="not a checkpoint of tensors only"):
            load(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
@pytest.mark.parametrize("length", [0, 100])
def test_half_a_file_is_refused(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor], name: str, length: int
) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(checkpoint, path)
    else:
        save_file(checkpoint, str(path))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=name):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"), [([1, 2], "holds a list"), ({"epoch": 3}, r"entries: epoch")]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "net.pth")


def test_the_checksum_is_the_identity_and_the_path_is_not(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor]
) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        save_file(checkpoint, str(tmp_path / name))
    refs = [
        make_ref(imagenet.STRATEGY, freeze(tmp_path / name))
        for name in ("one.safetensors", "two.safetensors")
    ]
    assert refs[0].params == refs[1].params
    assert list(refs[0].params) == ["weights_sha256"]
    assert [Path(ref.local["weights"]).name for ref in refs] == ["one.safetensors", "two.safetensors"]


def test_a_relative_path_is_made_absolute(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(checkpoint, str(tmp_path / "net.safetensors"))
    monkeypatch.chdir(tmp_path)
    assert freeze(Path("net.safetensors")).weights == str(tmp_path / "net.safetensors")


def test_settings_that_cannot_be_meant_are_refused(
    tmp_path: Path, checkpoint: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(ConfigError, match="no such file"):
        freeze(path)
    save_file(checkpoint, str(path))
    with pytest.raises(ConfigError, match="has sha256"):
        imagenet.freeze(ImagenetParams(weights=str(path), weights_sha256="ab"), MODEL, NoParams())
    named = dataclasses.make_dataclass("Named", [], bases=(LocalWeights,), frozen=True)(weights=str(path))
    with pytest.raises(ConfigError, match=r"model\.tiny\.weights = .* has sha256"):
        imagenet.freeze(ImagenetParams(weights_sha256="ab"), MODEL, named)
    with pytest.raises(ConfigError, match="name the file too"):
        imagenet.freeze(ImagenetParams(weights_sha256="ab"), MODEL, NoParams())


def test_the_models_own_weights_are_frozen_by_name_and_loaded() -> None:
    state = network(1000).state_dict()
    model = Model(
        name="tiny",
        about="a test network",
        build=lambda p, c: network(),
        classifier=lambda net: ("3.",),
        pretrained_source=lambda params: "shop:tiny==1",
        pretrained=lambda net, params, source: Weights(state=state, source=source),
    )
    params = imagenet.freeze(ImagenetParams(), model, NoParams())
    assert params == ImagenetParams(source="shop:tiny==1")
    net = network()
    assert initialize(net, params, model) == "shop:tiny==1, new classifier"
    assert torch.equal(net.state_dict()["0.weight"], state["0.weight"])


def test_a_model_without_weights_is_never_silently_random() -> None:
    params = imagenet.freeze(ImagenetParams(), MODEL, NoParams())
    with pytest.raises(WeightsError, match=r"tiny has no ImageNet weights.*strategy\.imagenet\.weights=FILE"):
        initialize(network(), params)
    assert imagenet.STRATEGY.initialize
    with pytest.raises(WeightsError, match=r"give a file with --set model\.tiny\.weights=FILE"):
        imagenet.STRATEGY.initialize(network(), MODEL, LocalWeights(), params)


def test_scratch_changes_nothing() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    assert scratch.STRATEGY.initialize
    assert scratch.STRATEGY.initialize(net, MODEL, NoParams(), NoParams()) == "random initialisation"
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
