"""The plainest loop of all: ImageFolder, DataLoader, AdamW. A program of its own, without `bench`."""

import argparse
import json

import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--device")
    for name in ("size", "resize", "batch", "epochs", "workers"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("rate", "decay"):
        parser.add_argument(f"--{name}", type=float)
    a = parser.parse_args()

    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    augment = v2.Compose([v2.Resize(a.resize), v2.RandomCrop(a.size), v2.RandomHorizontalFlip(), *last])
    centre = v2.Compose([v2.Resize(a.resize), v2.CenterCrop(a.size), *last])
    train, val = ImageFolder(f"{a.data}/train", augment), ImageFolder(f"{a.data}/val", centre)
    batches = DataLoader(
        train, a.batch, shuffle=True, num_workers=a.workers, persistent_workers=a.workers > 0
    )
    judged = DataLoader(val, a.batch, num_workers=a.workers, persistent_workers=a.workers > 0)
    net = timm.create_model(a.model, num_classes=len(train.classes)).to(a.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.rate, weight_decay=a.decay)
    for _ in range(a.epochs):
        net.train()
        steps, total, right = 0, 0.0, 0
        for images, labels in batches:
            loss = cross_entropy(net(images.to(a.device)), labels.to(a.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps, total = steps + 1, total + loss.item()
        net.eval()
        with torch.no_grad():
            for images, labels in judged:
                right += int((net(images.to(a.device)).argmax(1) == labels.to(a.device)).sum())
        print(json.dumps({"steps": steps, "loss": total / steps, "accuracy": right / len(val)}), flush=True)


if __name__ == "__main__":
    main()
