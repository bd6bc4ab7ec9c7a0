"""Entropy-guided pretraining and its controls, checked against plain loops over patches."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from bench import ConfigError, Context, Encoder, Normalization
from bench_strategies import egmae, mae, noise
from bench_strategies.corruption import EntropyNoise, PatchMask
from bench_strategies.entropy import patch_entropy
from bench_strategies.params import MaskParams, NoiseParams
from bench_strategies.reconstruction import Corrupted, Decoder, Reconstruction, per_pixel, to_patches

CONTEXT = Context(classes=("a", "b"), size=64, normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))


def images(count: int = 4, size: int = 64) -> torch.Tensor:
    """Noise of rising strength on grey; the first column of patches is flat."""
    rng = np.random.default_rng(0)
    spread = np.linspace(1, 120, count)[:, None, None, None]
    pixels = np.clip(128 + rng.normal(size=(count, 3, size, size)) * spread, 0, 255).astype(np.uint8)
    pixels[..., :16] = 90
    return torch.from_numpy(pixels)


class TinyNet(nn.Module):
    """Stride 16, 5 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 16, 16)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(net=TinyNet(), features=lambda net, x: net.conv(x), stride=16, width=5)


def test_noise_variance_is_the_patch_entropy() -> None:
    """Measured over many draws: sample variance of the added noise against eq. 4 to 6."""
    batch = images()
    clean = CONTEXT.normalize(batch)
    corruption = EntropyNoise(NoiseParams(), CONTEXT, guided=True)
    torch.manual_seed(0)
    added = torch.stack([corruption(batch, clean).images - clean for _ in range(30)])
    variance = added.square().mean(0)  # (B, 3, 64, 64)
    measured = to_patches(variance, 16).mean(-1).view(4, 4, 4)
    expected = patch_entropy(batch, 16)
    assert expected[:, :, 0].max() == 0
    assert measured[:, :, 0].max() == 0  # a flat patch stays clean
    torch.testing.assert_close(measured[:, :, 1:], expected[:, :, 1:], rtol=0.05, atol=0.0)


def test_options_change_the_variance_as_stated() -> None:
    batch = images()
    clean = CONTEXT.normalize(batch)

    def spread(**options: str) -> torch.Tensor:
        torch.manual_seed(0)
        corruption = EntropyNoise(dataclasses.replace(NoiseParams(), **options), CONTEXT, guided=True)
        return corruption(batch, clean).images - clean

    plain = spread()
    torch.testing.assert_close(spread(logarithm="base2"), plain / math.sqrt(math.log(2)))
    per_channel = (spread(scale="unit") / plain)[..., 16:].transpose(0, 1).flatten(1).median(1).values
    torch.testing.assert_close(per_channel, torch.tensor([5.0, 4.0, 10 / 3]), rtol=1e-4, atol=0.0)
    assert not torch.allclose(spread(colour="joint"), plain)


def test_the_unguided_control_has_the_same_mean_variance_in_every_patch() -> None:
    batch = images()
    clean = CONTEXT.normalize(batch)
    guided = EntropyNoise(NoiseParams(), CONTEXT, guided=True)(batch, clean).strength.square()
    unguided = EntropyNoise(NoiseParams(), CONTEXT, guided=False)(batch, clean).strength.square()
    torch.testing.assert_close(unguided.mean((1, 2)), guided.mean((1, 2)))
    assert (unguided == unguided[:, :1, :1]).all()
    for strategy, is_guided in ((egmae, True), (noise, False)):
        corruption = strategy.objective(encoder(), NoiseParams(decoder_width=8), CONTEXT).corruption
        assert (corruption(batch, clean).strength.square() == (guided if is_guided else unguided)).all()


@pytest.mark.parametrize("loss", ["masked", "weighted", "all"])
@pytest.mark.parametrize("target", ["raw", "patch"])
def test_loss_is_the_mean_squared_error_on_masked_patches(loss: str, target: str) -> None:
    params = NoiseParams(loss=loss, target=target, decoder_width=8)  # type: ignore[arg-type]
    module = egmae.objective(encoder(), params, CONTEXT)
    assert isinstance(module, Reconstruction)
    batch = images()
    torch.manual_seed(3)
    masked_loss = module(batch)

    torch.manual_seed(3)
    clean = CONTEXT.normalize(batch)
    corrupted = module.corruption(batch, clean)
    predicted = module.decoder(module.net.conv(corrupted.images), corrupted.strength)
    entropy = patch_entropy(batch, 16)
    total = weights = 0.0
    for b in range(4):
        for row in range(4):
            for column in range(4):
                window = (
                    b,
                    slice(None),
                    slice(16 * row, 16 * row + 16),
                    slice(16 * column, 16 * column + 16),
                )
                wanted, sigma2 = clean[window], entropy[b, row, column].item()
                if target == "patch":
                    wanted = (wanted - wanted.mean()) / (wanted.var() + 1e-6).sqrt()
                weight = {"masked": float(sigma2 > 0), "weighted": sigma2, "all": 1.0}[loss]
                total += weight * (predicted[window] - wanted).square().mean().item()
                weights += weight
    assert masked_loss.item() == pytest.approx(total / weights, rel=1e-4)


def test_a_batch_without_any_masked_patch_has_zero_loss_and_zero_gradients() -> None:
    module = egmae.objective(encoder(), NoiseParams(decoder_width=8), CONTEXT)
    loss = module(torch.full((2, 3, 64, 64), 50, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or (p.grad == 0).all() for p in module.parameters())


def test_plain_masking_hides_the_stated_share_and_nothing_else() -> None:
    corruption = PatchMask(MaskParams(patch=8, ratio=0.6))
    with torch.no_grad():
        corruption.token.copy_(torch.tensor([7.0, 8.0, 9.0]).view(1, 3, 1, 1))
    clean = torch.randn(5, 3, 64, 64)
    corrupted: Corrupted = corruption(torch.empty(0), clean)
    mask = per_pixel(corrupted.weight, 8).bool().expand(-1, 3, -1, -1)
    assert (corrupted.weight.sum((1, 2)) == round(0.6 * 64)).all()
    assert torch.equal(corrupted.images[~mask], clean[~mask])
    assert torch.equal(corrupted.images, torch.where(mask, corruption.token.expand_as(clean), clean))
    assert not torch.equal(corrupted.weight[0], corrupted.weight[1])


def test_decoder_puts_pixels_where_their_features_are() -> None:
    decoder = Decoder(5, 16, NoiseParams(decoder_width=8, positions="none"))
    features = torch.zeros(1, 5, 4, 4)
    lit = features.clone()
    lit[0, :, 0, 3] = 5.0
    with torch.no_grad():
        changed = (decoder(lit, torch.zeros(1, 4, 4)) - decoder(features, torch.zeros(1, 4, 4))).abs()
    assert changed.shape == (1, 3, 64, 64)
    assert changed[..., :16, 48:].mean() > 3 * changed[..., 48:, :16].mean()


@pytest.mark.parametrize(
    "strategy", [egmae.STRATEGY, noise.STRATEGY, mae.STRATEGY], ids=lambda strategy: strategy.name
)
@pytest.mark.parametrize("name", ["convnext_atto", "tf_efficientnet_lite0", "resnet10t"])
def test_every_objective_learns_and_reaches_the_whole_encoder(strategy, name: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=2)
    with torch.no_grad():
        width, side = net.forward_features(torch.zeros(1, 3, 64, 64)).shape[1:3]
    built = Encoder(net=net, features=lambda n, x: n.forward_features(x), stride=64 // side, width=width)
    params = dataclasses.replace(strategy.params(), decoder_width=32)
    module = strategy.objective(built, params, CONTEXT)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    batch, losses = images(8), []
    for _ in range(8):
        loss = module(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    # The classifier and the norm before it are the only parts that pretraining leaves alone.
    unreached = [n for n, p in net.named_parameters() if p.grad is None]
    assert all(n.startswith(("classifier", "head", "fc")) for n in unreached), unreached


def test_patch_must_divide_the_image() -> None:
    with pytest.raises(ConfigError, match=r"patch 24 does not divide protocol\.size 64"):
        egmae.objective(encoder(), NoiseParams(patch=24), CONTEXT)
