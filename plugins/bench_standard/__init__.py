"""The metrics, the executors and the reporters that everybody needs."""

from __future__ import annotations

from collections.abc import Iterable

from bench import Executor, Metric, Reporter, hookimpl


@hookimpl
def register_metrics() -> Iterable[Metric]:
    """Classification and calibration metrics; `bench_standard.metrics` has the definitions."""
    from bench_standard.metrics import METRICS

    return METRICS


@hookimpl
def register_executors() -> Iterable[Executor]:
    """One unit after another, or several at once, on this machine."""
    from bench_standard.executors import EXECUTORS

    return EXECUTORS


@hookimpl
def register_reporters() -> Iterable[Reporter]:
    """Renderings of the comparison table."""
    from bench_standard.reporters import REPORTERS

    return REPORTERS
