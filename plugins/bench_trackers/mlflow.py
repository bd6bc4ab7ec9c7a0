"""Runs in MLflow: one for the study, and within it one for each unit.

A study that goes on finds its run again by a tag, and so does a unit. Where the server cannot be reached, the
tracker ends with a warning and the study goes on; what the server has missed is in the records, and sent when
the same command is given again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import (
    ConfigError,
    EpochEnded,
    Event,
    StudyBegan,
    StudyEnded,
    Tell,
    TrackedUnit,
    Tracker,
    UnitBegan,
    UnitDone,
    UnitFailed,
)
from bench_trackers.extras import curves_of, require, tell_missed

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI = "MLFLOW_TRACKING_URI"
STUDY, UNIT = "bench.study", "bench.unit"
LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
PAGE = 1000  # runs in one answer of the server
AT_ONCE = 100  # parameters in one request, the most that MLflow takes
LONGEST = 6000  # characters of a parameter that MLflow takes


@dataclass(frozen=True)
class MlflowParams:
    """Parameters of the tracker `mlflow`. A password belongs into $MLFLOW_TRACKING_PASSWORD.

    Attributes:
        uri: of the tracking server ("http://localhost:5000"); $MLFLOW_TRACKING_URI unless given.
        experiment: its name; made if there is none.
    """

    uri: str = ""
    experiment: str = "bench"


def check(params: MlflowParams) -> None:
    """Raises ConfigError where the client is not installed, or no server is named."""
    require("mlflow", "mlflow")
    if not (params.uri or os.environ.get(URI)):
        raise ConfigError(
            f"--track mlflow: no server is named; --set tracker.mlflow.uri=http://HOST:5000, or set ${URI}"
        )


@contextmanager
def follow(study: StudyBegan, params: MlflowParams) -> Iterator[Tell]:
    """Open the study's run, or find it again; send what the server has missed."""
    for name, value in LIMITS.items():  # else it tries for many minutes to reach a server that is away
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    runs = _Runs(MlflowClient(params.uri or os.environ[URI]), study, params.experiment)
    tell_missed(study, runs.has, runs.tell)
    yield runs.tell


class _Runs:
    """The run of a study, and those of its units by key."""

    def __init__(self, client: MlflowClient, study: StudyBegan, experiment: str) -> None:
        self.client, self.study = client, study
        known = client.get_experiment_by_name(experiment)
        self.experiment = known.experiment_id if known else client.create_experiment(experiment)
        self.parent = self._parent()
        found = self._search(f"tags.`mlflow.parentRunId` = '{self.parent}'")
        self.ids: dict[str, str] = {
            run.data.tags[UNIT]: run.info.run_id for run in found if UNIT in run.data.tags
        }
        self.finished = {run.data.tags.get(UNIT) for run in found if run.info.status == "FINISHED"}

    def has(self, unit: TrackedUnit) -> bool:
        """Whether all of the unit has been sent."""
        return unit.key in self.finished

    def _parent(self) -> str:
        """The study's run: the one of before, or a new one."""
        found = self._search(f"tags.`{STUDY}` = '{self.study.name}'")
        if found:
            parent = str(found[0].info.run_id)
            self.client.update_run(parent, status="RUNNING")
            return parent
        tags = {STUDY: self.study.name, "mlflow.runName": self.study.title}
        parent = str(self.client.create_run(self.experiment, tags=tags).info.run_id)
        self._parameters(parent, self.study.settings)
        return parent

    def _search(self, wanted: str) -> list[Any]:
        runs, token = [], None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                wanted,
                max_results=PAGE,
                order_by=["attributes.start_time"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def tell(self, event: Event) -> None:
        """Send one event."""
        if isinstance(event, StudyEnded):
            status = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}[event.status]
            self.client.set_terminated(self.parent, status=status)
        elif isinstance(event, UnitBegan):
            self._begin(event)
        elif isinstance(event, EpochEnded):
            self._epoch(event)
        elif isinstance(event, UnitDone):
            run = self.ids[event.unit.key]
            scores = {f"test/{name}": value for name, value in event.scores.items()}
            self._metrics(run, scores, event.time, 0)
            self.client.log_artifact(run, str(event.unit.record / "record.json"))
            self.client.set_terminated(run, status="FINISHED", end_time=round(1000 * event.time))
        elif isinstance(event, UnitFailed):
            run = self.ids.get(event.unit.key) or self._begin(event)
            self.client.set_tag(run, "bench.reason", event.reason[:LONGEST])
            self.client.set_terminated(run, status="FAILED")

    def _begin(self, event: UnitBegan | UnitFailed) -> str:
        """The unit's run: the one of before, or a new one."""
        unit = event.unit
        if unit.key in self.ids:
            known = self.ids[unit.key]
            self.client.update_run(known, status="RUNNING")
            return known
        tags = {
            UNIT: unit.key,
            "mlflow.parentRunId": self.parent,
            "mlflow.runName": f"{unit.name} ({unit.kind})",
        }
        run = self.client.create_run(self.experiment, start_time=round(1000 * event.time), tags=tags)
        self.ids[unit.key] = str(run.info.run_id)
        chosen = {"dataset": unit.dataset, "model": unit.model, "method": unit.method, "round": unit.round}
        self._parameters(self.ids[unit.key], {**unit.settings, **chosen, "kind": unit.kind})
        return self.ids[unit.key]

    def _epoch(self, event: EpochEnded) -> None:
        self._metrics(self.ids[event.unit.key], curves_of(event), event.time, event.epoch)

    def _metrics(self, run: str, values: Mapping[str, float], time: float, step: int) -> None:
        from mlflow.entities import Metric

        at = round(1000 * time)
        self.client.log_batch(run, metrics=[Metric(name, value, at, step) for name, value in values.items()])

    def _parameters(self, run: str, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in values.items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(run, params=params[first : first + AT_ONCE])


MLFLOW = Tracker(
    name="mlflow",
    about="a run for the study and one for each unit, on an MLflow server",
    params=MlflowParams,
    open=follow,
    check=check,
)
