"""Draw docs/egmae.jpg: what each pretraining strategy shows the encoder. Run: python docs/make_picture.py

One row per class of the generated data set `phantom`; columns: image, patch entropy, egmae, noise, mae.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from bench import Context, Session, local_environment
from bench_strategies.corruption import EntropyNoise, PatchMask
from bench_strategies.entropy import patch_entropy
from bench_strategies.params import MaskParams, NoiseParams

SIZE, PATCH, GAP, HEADER = 224, 16, 6, 30
TITLES = ("image", "entropy (black 0, white 5.55)", "egmae", "noise (control)", "mae (control)")


def main() -> None:
    """Compose the picture from one image of each class."""
    dataset = Session(local_environment(device="cpu")).registry.datasets.get("phantom")
    index = dataset.index(Path(), dataset.params())
    rows = []
    for label in index.classes:
        array = [sample.array for sample in index.samples if sample.label == label][3]
        assert array is not None  # generated images have no file
        grey = Image.fromarray(array).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        rows.append(_row(torch.from_numpy(np.array(grey)).expand(1, 3, SIZE, SIZE)))
    width = len(TITLES) * (SIZE + GAP) - GAP
    canvas = Image.new("RGB", (width, HEADER + len(rows) * (SIZE + GAP) - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for i, title in enumerate(TITLES):
        draw.text((i * (SIZE + GAP) + 4, 6), title, fill="black", font=ImageFont.load_default(18))
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            canvas.paste(tile, (x * (SIZE + GAP), HEADER + y * (SIZE + GAP)))
    canvas.save(Path(__file__).with_name("egmae.jpg"), quality=82, optimize=True)


def _row(image: torch.Tensor) -> list[Image.Image]:
    """What stands beside one image, uint8 (1, 3, SIZE, SIZE)."""
    torch.manual_seed(0)
    context = Context(classes=("a", "b"), size=SIZE)
    clean = context.normalize(image)
    entropy = patch_entropy(image, PATCH)[0]
    heat = (entropy / np.log(256) * 255).byte().repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
    corruptions = (
        EntropyNoise(NoiseParams(), context, guided=True),
        EntropyNoise(NoiseParams(), context, guided=False),
        PatchMask(MaskParams()),
    )
    with torch.no_grad():
        corrupted = [corruption(image, clean).images for corruption in corruptions]
    entropy_map = Image.fromarray(heat.numpy())
    return [_picture(clean, context), entropy_map, *(_picture(images, context) for images in corrupted)]


def _picture(normalised: torch.Tensor, context: Context) -> Image.Image:
    """The first of normalised images (B, 3, H, W), as it was before it was normalised."""
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (context.normalization.mean, context.normalization.std)
    )
    pixels = ((normalised[0] * std + mean) * 255).clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


if __name__ == "__main__":
    main()
