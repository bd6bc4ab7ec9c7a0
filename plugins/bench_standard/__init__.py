"""The metrics, the executors and the reporters that everybody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench import Executor, Metric, Predictions, Reporter, Table, hookimpl

if TYPE_CHECKING:
    from bench import Outcome, Workplace


def _score(name: str) -> Callable[[Predictions], float]:
    def score(predictions: Predictions) -> float:
        from bench_standard import metrics

        return float(getattr(metrics, name)(predictions))

    return score


def _metric(name: str, title: str, about: str, **options: Any) -> Metric:
    return Metric(name=name, title=title, about=about, score=_score(name), **options)


@hookimpl
def register_metrics() -> Iterable[Metric]:
    """Classification and calibration metrics; `bench_standard.metrics` has the definitions."""
    per_class = "of the classes with test images or predictions"
    extra: dict[str, Any] = {"default": False}
    loss: dict[str, Any] = {"default": False, "higher_is_better": False}
    return [
        _metric("accuracy", "Accuracy", "share of images whose most probable class is right"),
        _metric("precision", "Precision", f"macro precision: plain mean {per_class}; 0/0 is 0"),
        _metric("recall", "Recall", f"macro recall: plain mean {per_class}; 0/0 is 0"),
        _metric("f1", "F1", f"macro F1: mean of the F1 {per_class}"),
        _metric("f1_pr", "F1 (PR)", "harmonic mean of macro precision and macro recall; not the macro F1"),
        _metric("auc", "AUC", "one-vs-rest area under the ROC curve, mean of classes with test images"),
        _metric("balanced_accuracy", "Bal. acc.", "mean recall of the classes with test images", **extra),
        _metric("mcc", "MCC", "multi-class Matthews correlation; 0 where undefined", **extra),
        _metric("brier", "Brier", "mean squared distance to the one-hot label, summed over classes", **loss),
        _metric("ece", "ECE", "expected calibration error, 15 equal bins of the top probability", **loss),
        _metric("log_loss", "Log loss", "mean negative log probability of the true class, nats", **loss),
    ]


def _local(execute: Any, units: list[Any], workplace: Workplace, report: Any) -> Iterator[Outcome]:
    from bench_standard.executors import local

    return local(execute, units, workplace, report)


def _packed(execute: Any, units: list[Any], workplace: Workplace, report: Any) -> Iterator[Outcome]:
    from bench_standard.packed import packed

    return packed(execute, units, workplace, report)


@hookimpl
def register_executors() -> Iterable[Executor]:
    """One unit after another, or several beside each other, on this machine."""
    return [
        Executor(name="local", about="one unit after another, in this process", map=_local),
        Executor(name="packed", about="--jobs units at once, each in a process of its own", map=_packed),
    ]


def _render(name: str) -> Callable[[list[Table]], str]:
    def render(tables: list[Table]) -> str:
        from bench_standard import reporters

        return str(getattr(reporters, name)(tables))

    return render


@hookimpl
def register_reporters() -> Iterable[Reporter]:
    """Renderings of the comparison table."""
    about = {
        "rich": "for the terminal, as wide as it is; the best value of a column stands out",
        "markdown": "pipe tables, the best value of a column bold",
        "latex": "booktabs tables, the best value of a column bold",
        "csv": "one flat table of all rows, means and deviations in full precision",
        "json": "all that a table holds, in full precision",
    }
    return [Reporter(name=name, about=text, render=_render(name)) for name, text in about.items()]
