"""The nine baselines: the authors' names, shapes and logits, and that they train.

tests/data/baselines holds facts about the authors' networks with 7 classes at 224 x 224: the number of
tensors, the sha256 of their sorted names and shapes, and float64 logits for one input under two rules that
fill every tensor from its name (see `filled`).
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from bench import ConfigError, Context, Model, SizeError, WeightsError
from bench.cost.count import count_cost
from bench_models import baselines
from bench_models.cmt import CMT, fit_tables
from bench_models.cpvt import CPVT
from bench_models.layers import attend, drop_rates
from bench_models.pervit import PerViT
from bench_models.sgformer import SGFormer, fit_positions, sine_positions
from bench_models.sgformer_attention import GuidedAttention, from_windows, to_windows
from bench_models.sizes import Sizes
from bench_models.smt import SMT
from bench_models.spa import SPANet, keep_centre

DATA = Path(__file__).parent / "data" / "baselines"
MODELS = {model.name: model for model in baselines.BASELINES}
OWN = ("cmt", "smt", "pervit", "sgformer", "spa")
FROM_TIMM = {"swin": "swin", "convnext_small": "convnext", "focalnet": "focalnet"}  # model -> facts

# The same networks with fewer blocks, for what does not depend on depth.
SLIM: dict[str, Callable[[int, int, float], nn.Module]] = {
    "cmt": lambda classes, size, drop: CMT(classes, size, drop, (1, 1, 2, 1)),
    "smt": lambda classes, size, drop: SMT(classes, size, drop, (1, 1, 2, 1)),
    "pervit": lambda classes, size, drop: PerViT(classes, size, drop, (272, 320, 464)),
    "sgformer": lambda classes, size, drop: SGFormer(classes, size, drop, (1, 2, 2, 1)),
    "spa": lambda classes, size, drop: SPANet(classes, size, drop, (1, 1, 2, 1)),
    "cpvt": lambda classes, size, drop: CPVT(classes, size, drop, (272, 320)),
}


def small(name: str) -> int:
    return 112 if name == "sgformer" else 64


def facts(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def context(classes: int = 7, size: int = 224) -> Context:
    return Context(classes=tuple(f"class {i}" for i in range(classes)), size=size)


def built(model: Model, classes: int = 7, size: int = 224, **params: Any) -> nn.Module:
    return model.build(baselines.BaselineParams(**params), context(classes, size))


def filled(shapes: dict[str, Any], rule: str) -> dict[str, Tensor]:
    """Every tensor from its name: A is weights near 0, B keeps the scale of activations."""
    return {name: _filled(name, tuple(shape), rule) for name, shape in shapes.items()}


def _filled(name: str, shape: tuple[int, ...], rule: str) -> Tensor:
    t = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if rule == "A" or len(shape) < 2:
        t = t * (0.02 if rule == "A" else 0.1)
    else:
        t = t / math.sqrt(math.prod(shape[1:]))
    if name.endswith("running_var"):
        return t.abs() + 1
    is_norm = name.endswith(".weight") and len(shape) == 1
    return 1 + t if is_norm else t


def state_shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in net.state_dict().items()}


def images(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


# --- equal to the authors' networks ------------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_names_and_shapes_are_the_authors(name: str) -> None:
    shapes = state_shapes(built(MODELS[name]))
    text = "\n".join(sorted(f"{n} {shape}" for n, shape in shapes.items()))
    known = facts(name)
    assert len(shapes) == known["tensors"]
    assert hashlib.sha256(text.encode()).hexdigest() == known["sha256"]


RULES = [pytest.param("A", marks=pytest.mark.slow), "B"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OWN)
def test_logits_are_the_authors(name: str, rule: str) -> None:
    net = built(MODELS[name]).eval()
    counters = {n: t for n, t in net.state_dict().items() if not t.is_floating_point()}
    shapes = {n: shape for n, shape in state_shapes(net).items() if n not in counters}
    net.load_state_dict({**filled(shapes, rule), **counters})
    # Sorting tokens makes sgformer discontinuous: float32 rounding changes which tokens merge.
    dtype, tolerance = (torch.float64, 1e-9) if name == "sgformer" else (torch.float32, 1e-5)
    with torch.no_grad():
        logits = net.to(dtype)(images(2, 224).to(dtype))
    expected = torch.tensor(facts(name)["logits"][rule], dtype=dtype)
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", FROM_TIMM)
def test_checkpoints_of_the_authors_load_into_timm_and_give_their_logits(name: str, rule: str) -> None:
    known = facts(FROM_TIMM[name])
    net = built(MODELS[name]).eval()
    state = filled(known["shapes"], rule)
    if name == "swin":  # the authors' files hold two constants as well
        state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
        state["layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(49, 49)
    net.load_state_dict(dict(MODELS[name].translate(net, state)))
    with torch.no_grad():
        logits = net(images(2, 224))
    torch.testing.assert_close(logits, torch.tensor(known["logits"][rule]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FROM_TIMM)
def test_timms_own_names_pass_through_and_strange_ones_do_not_crash(name: str) -> None:
    with torch.device("meta"):
        net = built(MODELS[name], size=64)
    state = net.state_dict()
    assert MODELS[name].translate(net, state).keys() == state.keys()
    unknown = {"blocks.0.attn.qkv.weight": torch.zeros(6, 2), "cls_token": torch.zeros(1, 1, 2)}
    if name == "convnext_small":
        with pytest.raises(WeightsError, match="begins with blocks"):
            MODELS[name].translate(net, unknown)
    else:  # left for the strategy to name
        assert MODELS[name].translate(net, unknown).keys() == unknown.keys()


def test_attention_written_out_equals_the_fused_kernel() -> None:
    for name in ("cmt", "smt", "pervit", "sgformer"):
        torch.manual_seed(0)
        net = SLIM[name](3, small(name), 0.0).eval().double()
        x = images(2, small(name)).double()
        with torch.no_grad():
            fused = net(x)
            for module in net.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False
            torch.testing.assert_close(net(x), fused, atol=1e-10, rtol=0)


def test_reconstruction_has_the_published_cost() -> None:
    cost = count_cost(built(MODELS["cpvt"], classes=3), 224)
    assert cost.params / 1e6 == pytest.approx(22.76, rel=0.005)
    assert cost.macs is not None
    assert cost.macs / 1e9 == pytest.approx(15.64, rel=0.005)
    assert "RECONSTRUCTION" in MODELS["cpvt"].about


# --- the components ----------------------------------------------------------------------------------


def test_baselines_load_without_torch() -> None:
    code = "import sys, bench_models.baselines; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_baselines_are_the_nine_rows() -> None:
    assert list(MODELS) == [
        "swin",
        "convnext_small",
        "cmt",
        "smt",
        "focalnet",
        "pervit",
        "sgformer",
        "spa",
        "cpvt",
    ]
    assert all(model.traits >= {"dense", "baseline"} for model in MODELS.values())
    assert all(model.citation and model.licence for model in MODELS.values())


@pytest.mark.parametrize("name", FROM_TIMM)
def test_imagenet_weights_are_the_authors(name: str) -> None:
    source = MODELS[name].pretrained_source(baselines.BaselineParams())
    assert source.endswith((".ms_in1k", ".fb_in1k"))


@pytest.mark.parametrize("name", MODELS)
def test_features_and_classifier(name: str) -> None:
    """The map that is pooled, and which parameters depend on the number of classes, from 1 to 1000."""
    model, size = MODELS[name], small(name)
    with torch.device("meta"), torch.no_grad():  # shapes alone, without arithmetic
        one, thousand = (built(model, classes, size).eval() for classes in (1, 1000))
        x = torch.empty(2, 3, size, size)
        feature_map = model.features(one, x)  # type: ignore[misc]
        assert [net(x).shape for net in (one, thousand)] == [(2, 1), (2, 1000)]
    assert feature_map.ndim == 4
    assert feature_map.shape[0] == 2
    assert feature_map.shape[2] == feature_map.shape[3] > 1
    shapes = state_shapes(thousand)
    differ = {n for n, shape in state_shapes(one).items() if shape != shapes[n]}
    prefix = model.classifier(one)
    assert differ == {n for n in shapes if n.startswith(prefix)} == {f"{prefix[0]}weight", f"{prefix[0]}bias"}


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [
        ("cmt", 100, 96),
        ("smt", 16, 32),
        ("pervit", 31, 32),
        ("sgformer", 200, 224),
        ("sgformer", 56, 112),
        ("spa", 8, 32),
        ("cpvt", 100, 96),
    ],
)
def test_impossible_size_is_one_clear_error(name: str, size: int, nearest: int) -> None:
    model, message = MODELS[name], rf"size {size}: model '{name}'.*{nearest} is the nearest"
    for refuse in (lambda: built(model, size=size), lambda: model.check_size(model.params(), size)):
        with pytest.raises(SizeError, match=message) as caught:
            refuse()
        assert caught.value.nearest == nearest
    model.check_size(model.params(), nearest)
    with torch.device("meta"):
        built(model, size=nearest)


def test_impossible_size_of_a_timm_network_is_known_without_building() -> None:
    model = MODELS["convnext_small"]
    with pytest.raises(SizeError, match="cannot take images of 31x31 pixels") as caught:
        model.check_size(model.params(), 31)
    assert caught.value.nearest == 32
    model.check_size(model.params(), 32)


@pytest.mark.parametrize("name", ["cmt", "pervit", "sgformer", "cpvt"])
def test_images_of_another_size_than_built_for_are_one_clear_error(name: str) -> None:
    net = SLIM[name](3, small(name), 0.0)
    with pytest.raises(ConfigError, match="built for"):
        net(images(1, 2 * small(name)))


@pytest.mark.parametrize(("name", "size"), [("smt", 75), ("spa", 75), ("pervit", 75), ("cmt", 96)])
def test_odd_sizes(name: str, size: int) -> None:
    with torch.no_grad():
        assert SLIM[name](3, size, 0.0).eval()(images(2, size)).isfinite().all()


@pytest.mark.parametrize("size", [0, 31, 48])
def test_size_message(size: int) -> None:
    with pytest.raises(ConfigError, match="needs a side that is a multiple of 32"):
        Sizes("x", multiple=32).check(size)


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", SLIM)
def test_overfits_sixteen_images_and_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    net = SLIM[name](3, small(name), 0.0).train()
    x, labels = images(16, small(name)), torch.arange(16) % 3
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4)
    for step in range(15):
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
            assert loss.item() == pytest.approx(math.log(3), abs=0.5)
        optimizer.step()
        if loss.item() < 0.5:
            break
    assert loss.item() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", SLIM)
def test_gradients_reach_every_parameter_at_full_depth(name: str) -> None:
    torch.manual_seed(0)
    net = built(MODELS[name], classes=3, size=small(name), drop_path=0.0)
    F.cross_entropy(net(images(4, small(name))), torch.arange(4) % 3).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", SLIM)
def test_bf16_autocast_and_channels_last_change_rounding_only(name: str) -> None:
    torch.manual_seed(0)
    net = SLIM[name](3, small(name), 0.0).eval()
    x = images(2, small(name))
    with torch.no_grad():
        logits = net(x)
        turned = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(x)
    slack = 1e-2 if name == "sgformer" else 1e-5  # its sort may swap tokens
    torch.testing.assert_close(turned, logits, atol=slack, rtol=0)
    torch.testing.assert_close(rough.float(), logits, atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("name", SLIM)
def test_torch_compile_traces_the_whole_network(name: str) -> None:
    """Without a break in the graph. Its own backend takes minutes, so one without code generation."""
    torch.manual_seed(0)
    net = SLIM[name](3, small(name), 0.0).eval()
    x = images(2, small(name))
    logits = torch.compile(net, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(logits, net(x), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spa", "pervit"])
def test_compiled_networks_give_the_same_logits(name: str) -> None:
    torch.manual_seed(0)
    net = SLIM[name](3, 64, 0.0).eval()
    with torch.no_grad():
        logits = torch.compile(net)(images(2, 64))
        torch.testing.assert_close(logits, net(images(2, 64)), atol=1e-4, rtol=0)


def drop_probabilities(net: nn.Module) -> list[float]:
    return [float(m.drop_prob) for m in net.modules() if isinstance(m, DropPath)]


AUTHORS_RATES = {
    "swin": 0.5,
    "convnext_small": 0.4,
    "cmt": 0.1,
    "smt": 0.2,
    "focalnet": 0.3,
    "pervit": 0.1,
    "sgformer": 0.1,
    "spa": 0.1,
    "cpvt": 0.1,
}


@pytest.mark.parametrize(("name", "highest"), AUTHORS_RATES.items())
def test_stochastic_depth_rises_linearly_to_the_authors_rate(name: str, highest: float) -> None:
    with torch.device("meta"):
        rates = sorted({*drop_probabilities(built(MODELS[name], size=small(name))), 0.0})
        none = set(drop_probabilities(built(MODELS[name], size=small(name), drop_path=0.0)))
    assert rates[-1] == pytest.approx(highest)
    steps = [b - a for a, b in pairwise(rates)]
    assert steps == pytest.approx([highest / len(steps)] * len(steps), rel=1e-4)
    assert none <= {0.0}


def test_drop_rates_count_over_all_stages() -> None:
    assert drop_rates(0.3, (1, 2, 1)) == [[0.0], pytest.approx([0.1, 0.2]), [pytest.approx(0.3)]]
    assert drop_rates(0.3, (1,)) == [[0.0]]


@pytest.mark.parametrize("name", ["cmt", "pervit", "sgformer"])
def test_stochastic_depth_acts_in_training_alone(name: str) -> None:
    torch.manual_seed(0)
    net = SLIM[name](3, small(name), 0.9)
    for module in net.modules():  # what batch norm and dropout do is not the matter here
        if isinstance(module, (nn.BatchNorm2d, nn.Dropout)):
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
            module.training = False
    x = images(2, small(name))
    with torch.no_grad():
        net.eval()
        assert torch.equal(net(x), net(x))
        net.train()
        assert not torch.equal(net(x), net(x))


# --- initialisation ----------------------------------------------------------------------------------


def spread(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_linear_layers_start_at_a_spread_of_002() -> None:
    for name in ("cmt", "smt", "sgformer", "spa"):
        for part, module in SLIM[name](7, small(name), 0.0).named_modules():
            if isinstance(module, nn.Linear) and module.weight.numel() > 4000:
                assert spread(module.weight) == pytest.approx(0.02, rel=0.1), f"{name}.{part}"
                assert module.bias is None or not module.bias.any()


def test_convolutions_start_by_fan_out() -> None:
    cmt, smt = SLIM["cmt"](7, 64, 0.0), SLIM["smt"](7, 64, 0.0)
    # With groups, CMT's rule (kaiming_normal_) ignores them, SMT's does not.
    expected = {
        cmt.get_parameter("blocks_d.0.mlp.proj.weight"): math.sqrt(2 / (2048 * 9)),
        cmt.get_parameter("patch_embed_d.proj.weight"): math.sqrt(2 / (512 * 4)),
        smt.get_parameter("block4.0.mlp.dwconv.dwconv.weight"): math.sqrt(2 / 9),
        smt.get_parameter("patch_embed4.proj.weight"): math.sqrt(2 / (512 * 9)),
    }
    for weight, std in expected.items():
        assert spread(weight) == pytest.approx(std, rel=0.1)


def test_tables_start_as_described_and_are_not_decayed() -> None:
    cmt, sgformer = CMT(3, 64), SGFormer(3, 112)
    assert spread(cmt.get_parameter("relative_pos_a")) == pytest.approx(1, rel=0.1)
    assert cmt.no_weight_decay() == {f"relative_pos_{s}" for s in "abcd"}
    assert sgformer.no_weight_decay() == {"pos_embed"}
    named = dict(cmt.named_parameters()).keys() | dict(sgformer.named_parameters()).keys()
    assert cmt.no_weight_decay() | sgformer.no_weight_decay() <= named


def test_sine_positions() -> None:
    code = sine_positions(56, 64)[0]
    row, column, k = 5, 17, 3
    rate = 10000 ** (-k / 16)
    cell = code[row * 56 + column]
    expected = [f(p * rate) for p in (column, row) for f in (math.sin, math.cos)]
    assert cell[[k, 16 + k, 32 + k, 48 + k]].tolist() == pytest.approx(expected, abs=1e-6)


def test_pervit_starts_from_sharp_to_flat_positions() -> None:
    net = PerViT(3, 64)
    networks = [net.get_submodule(f"blocks.{t}.attn.activation") for t in range(12)]
    biases = [n.get_parameter("gn2.bias")[0].item() for n in networks]
    weights = [n.get_parameter("gn2.weight")[0].item() for n in networks]
    assert biases == pytest.approx(torch.linspace(-5, 4, 12).tolist())
    assert weights == pytest.approx(torch.linspace(3, 0.01, 12).tolist())
    # A token weighs its own place above the corner opposite, much in the first block, little in the last.
    with torch.no_grad():
        first, *_, last = net.eval().positions()
    assert first[0, :, 0, 0].mean() - first[0, :, 0, -1].mean() > 1
    assert 0 < last[0, :, 0, 0].mean() - last[0, :, 0, -1].mean() < 0.1


# --- PerViT's positions ------------------------------------------------------------------------------


def test_pervit_costs_the_same_in_training_and_evaluation() -> None:
    """The position networks run for every batch in both, as where the paper's figure was counted."""
    torch.manual_seed(0)
    net, runs = PerViT(3, 64, widths=(272, 320)).eval(), []
    net.get_submodule("blocks.0.attn.activation").register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        first = net(images(2, 64))
        assert torch.equal(net(images(2, 64)), first)
        net.get_parameter("blocks.0.attn.activation.gn2.weight").mul_(5)
        assert not torch.equal(net(images(2, 64)), first)
    assert len(runs) == 3
    count = count_cost(PerViT(3), 224).macs
    assert count is not None
    assert f"{count / 1e9:.2f}" == "11.49"


# --- building blocks ---------------------------------------------------------------------------------


@given(side=st.integers(1, 120), level=st.integers(1, 3))
def test_keep_centre(side: int, level: int) -> None:
    square = side - side // 2 ** (level + 1)
    square -= (side - square) % 2
    margin = (side - square) // 2
    kept = keep_centre(torch.ones(1, 1, side, side), level)[0, 0]
    assert kept.sum() == square**2
    assert kept[margin : side - margin, margin : side - margin].all()


def test_merge_equals_the_sum_over_sorted_groups() -> None:
    torch.manual_seed(0)
    attention = GuidedAttention(8, 2, 4).double()
    tokens, significance = torch.randn(1, 196, 8, dtype=torch.float64), torch.rand(1, 196)
    order = significance.argsort(dim=1)
    merged = attention.merge(tokens, order)[0]
    expected, start = [], 0
    for part, count in enumerate((49, 14, 7), start=1):
        linear = attention.get_submodule(f"f{part}")
        for _ in range((49, 98, 49)[part - 1] // count):
            group = tokens[0, order[0, start : start + count]]
            expected.append(linear.weight[0] @ group + linear.bias)  # type: ignore[index,operator]
            start += count
    torch.testing.assert_close(merged, torch.stack(expected))


def test_windows_are_laid_back_where_they_were() -> None:
    grid = torch.arange(2 * 14 * 21 * 3).view(2, 14, 21, 3)
    windows = to_windows(grid)
    assert windows.shape == (2 * 6, 49, 3)
    assert torch.equal(windows[1].view(7, 7, 3), grid[0, :7, 7:14])
    assert torch.equal(from_windows(windows, 14, 21), grid)


def test_attend_is_softmax_attention() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    bias = torch.randn(2, 5, 3)
    expected = ((q @ k.mT) / 2 + bias).softmax(-1) @ v
    for fused in (True, False):
        torch.testing.assert_close(attend(q, k, v, fused, bias), expected)


# --- tables of another image size --------------------------------------------------------------------


def test_position_tables_of_another_size_are_resampled() -> None:
    small_net, large_net = CMT(3, 64, depths=(1, 1, 1, 1)), CMT(3, 128, depths=(1, 1, 1, 1))
    state = small_net.state_dict()
    state["relative_pos_b"] = torch.full((2, 64, 4), 0.7)
    state["relative_pos_d"] = torch.arange(2.0).repeat(2).view(1, 1, 4).expand(8, 4, 4)  # by key column
    fitted = fit_tables(large_net, state)
    large_net.load_state_dict(dict(fitted))
    assert torch.allclose(fitted["relative_pos_b"], torch.tensor(0.7))
    rows = fitted["relative_pos_d"].reshape(8, 16, 4, 4)  # heads, queries, key row, key column
    assert (rows.diff(dim=-1) > 0).all()
    assert torch.allclose(rows, rows[:1, :1, :1])
    same = fit_tables(small_net, state)
    assert all(torch.equal(same[name], value) for name, value in state.items())


def test_sgformer_positions_of_another_size_are_resampled() -> None:
    depths = (1, 1, 1, 1)
    state, net = SGFormer(3, 112, depths=depths).state_dict(), SGFormer(3, 224, depths=depths)
    state["pos_embed"] = torch.full((1, 28 * 28, 64), 0.3)
    fitted = fit_positions(net, state)
    net.load_state_dict(dict(fitted))
    assert torch.allclose(net.pos_embed, torch.tensor(0.3), atol=1e-5)
    assert fit_positions(net, fitted) is fitted
