"""lightly's dataset and MAETransform in the loop of its documentation. A program of its own.

Its MAE and SimMIM take a vision transformer and no convolutional network, so the network with its loss is
that of the strategy `mae` of `bench`, and the work the same.
"""

import argparse
import json
import os
from typing import Any

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # it asks its server otherwise

import timm
import torch
from lightly.data import LightlyDataset
from lightly.transforms.mae_transform import MAETransform

from bench import Context, Encoder
from bench_strategies.mae import STRATEGY

SCALE = (0.2, 1.0)
GREY_LEVELS = {"mean": [0.0] * 3, "std": [1 / 255] * 3}
"""With these it leaves grey levels as they are; the module normalises them."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--device")
    for name in ("size", "batch", "epochs", "workers", "classes"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("rate", "decay"):
        parser.add_argument(f"--{name}", type=float)
    a = parser.parse_args()

    transform = MAETransform(a.size, min_scale=SCALE[0], normalize=GREY_LEVELS)
    dataset = LightlyDataset(f"{a.data}/train", transform=transform)
    loader: Any = torch.utils.data.DataLoader(
        dataset,
        batch_size=a.batch,
        shuffle=True,
        drop_last=True,
        num_workers=a.workers,
        persistent_workers=a.workers > 0,
    )
    model = objective(a.model, a.size, a.classes).to(a.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=a.rate, weight_decay=a.decay)
    for _ in range(a.epochs):
        steps, total = 0, 0.0
        for batch in loader:
            images = batch[0][0].to(a.device)
            loss = model(images)
            total += float(loss.detach())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        print(json.dumps({"steps": steps, "loss": total / steps}), flush=True)


def objective(name: str, size: int, classes: int) -> torch.nn.Module:
    """What the strategy `mae` trains; its forward takes images and returns the loss."""

    def features(net: Any, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = net.forward_features(images)
        return maps

    net = timm.create_model(name, num_classes=classes).eval()
    with torch.no_grad():
        _, width, cells, _ = features(net, torch.zeros(1, 3, size, size)).shape
    encoder = Encoder(net=net, features=features, stride=size // cells, width=width)
    context = Context(classes=tuple(map(str, range(classes))), size=size)
    assert STRATEGY.objective is not None
    return STRATEGY.objective(encoder, STRATEGY.params(), context).train()


if __name__ == "__main__":
    main()
