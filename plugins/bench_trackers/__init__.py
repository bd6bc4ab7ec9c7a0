"""Trackers: a study's life in a file, in TensorBoard, in MLflow, in Weights & Biases.

Each of the last three needs an extra, whose library is imported when a study begins.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench import Tracker, hookimpl


@hookimpl
def register_trackers() -> Iterable[Tracker]:
    """What follows a study while it runs."""
    from bench_trackers.jsonl import JSONL
    from bench_trackers.mlflow import MLFLOW
    from bench_trackers.tensorboard import TENSORBOARD
    from bench_trackers.wandb import WANDB

    return [JSONL, TENSORBOARD, MLFLOW, WANDB]
