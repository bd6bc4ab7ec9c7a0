"""What the study of a plan can show, for `bench plan --detect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cli.screen import echo, warn
from bench.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.execution.plan import Plan
    from bench.results.record import Record

MOST = 50.0  # points


def check_points(points: float) -> None:
    """Raise ConfigError for what is no difference in points of accuracy."""
    from bench.errors import ConfigError

    if not 0 < points <= MOST:  # also what is not a number
        raise ConfigError(
            f"--detect {points:g}: give a difference in points of accuracy, above 0 and up to {MOST:g}: 3 "
            "means 0.03"
        )


def show_detectable(plan: Plan, records: Sequence[Record], points: float, redraw: bool) -> None:
    """Of each data set, whether its rounds can show a difference of so many points of accuracy. `redraw` is
    whether its splits were drawn, not given."""
    from bench.comparison.foreseen import foresee
    from bench.comparison.foreseen_text import lines
    from bench.comparison.noise import measure_noise
    from bench.errors import StoreError
    from bench.study.spec import RunSpec

    results = plan.session.environment.results
    for dataset in dict.fromkeys(ref for ref, _ in plan.splits):
        splits = [split for (ref, _), split in plan.splits.items() if ref == dataset]
        runs = [u for u in plan.units if isinstance(u, RunSpec) and u.dataset == dataset]
        try:
            found = measure_noise(records, results, splits[0], runs[0]) if runs else None
        except StoreError as error:
            warn([str(error)])
            found = None
        protocol = plan.study.protocol
        images, audit = plan.session.audited(dataset, protocol.audit, plan.study.short_sides)
        foreseen = foresee(splits, images, audit, points / 100, found, redraw)
        for line in lines(foreseen, results):
            echo(one_line(line))
