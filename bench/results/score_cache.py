"""Scores, and judgements of tables, that were computed before, so that a table of ten thousand units takes
seconds.

    results/.scratch/scores/scores.sqlite

A score is known by the checksum of the predictions and the identity of the metric: its name and revision,
the version of its package, the file it is written in, and the versions of what most metrics stand on.
Checksums are remembered by size and times of a file. Nothing depends on this file: it may be deleted, and one
that is damaged is. Several processes may use it; what one of them cannot write is computed again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError
from bench.files import sha256_of
from bench.identity import digest
from bench.registry import Registry
from bench.results.score import module_of

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric

log = logging.getLogger("bench")

FILE = Path(".scratch", "scores", "scores.sqlite")
WORTHWHILE = 1.0  # seconds of computing from which scores are kept
_WAIT = 2.0  # seconds for another process that writes
_TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT);
CREATE TABLE IF NOT EXISTS scores
    (sha256 TEXT, metric TEXT, identity TEXT, value REAL, seal TEXT, PRIMARY KEY (sha256, metric));
CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, text TEXT, seal TEXT);
"""


class Known(NamedTuple):
    """A score as it was computed, and for what state of the metric."""

    identity: str
    value: float


class ScoreCache:
    """The scores kept in one results folder. Changes are on disk after `save`."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.path = results / FILE
        self._prefix = f"{results}{os.sep}"
        self._files: dict[str, tuple[str, str]] = {}
        self._scores: dict[tuple[str, str], Known] = {}
        self._new_files: dict[str, tuple[str, str]] = {}
        self._new_scores: dict[tuple[str, str], Known] = {}
        self._new_judgements: dict[str, str] = {}
        self._started = time.perf_counter()
        self._read()

    def sha256(self, file: Path) -> str:
        """Checksum of a file, remembered while its size and times stay. Raises OSError."""
        name = str(file).removeprefix(self._prefix)
        stamp = _stamp(file)
        known = self._files.get(name)
        if known and known[0] == stamp:
            return known[1]
        sha256 = sha256_of(file)
        self._files[name] = self._new_files[name] = (stamp, sha256)
        return sha256

    def get(self, sha256: str, identities: Mapping[str, str]) -> dict[str, float]:
        """What is known of the predictions with this checksum, by metric."""
        found = {name: self._scores.get((sha256, name)) for name in identities}
        return {n: k.value for n, k in found.items() if k and k.identity == identities[n]}

    def keep(self, sha256: str, identities: Mapping[str, str], values: Mapping[str, float]) -> None:
        """Remember scores of metrics that have an identity."""
        for name in values.keys() & identities.keys():
            known = Known(identities[name], float(values[name]))
            self._scores[sha256, name] = self._new_scores[sha256, name] = known

    def judgement(self, key: str) -> str:
        """What is kept under the key of a judgement; "" if nothing is."""
        try:
            with closing(self._connect()) as base:
                row = base.execute("SELECT text, seal FROM judgements WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:  # not there yet, of an older version, or not readable
            log.debug("%s: not used (%s)", self.path, error)
            return ""
        return str(row[0]) if row and row[1] == _seal(key, row[0]) else ""

    def keep_judgement(self, key: str, text: str) -> None:
        """Remember a judgement."""
        self._new_judgements[key] = text

    def save(self, worthwhile: float = WORTHWHILE) -> None:
        """Write what is new, if computing it took so many seconds; what cannot be written is not kept."""
        new = self._new_scores or self._new_judgements
        if not new or time.perf_counter() - self._started < worthwhile:
            return
        files = [(name, *known) for name, known in self._new_files.items()]
        scores = [(*at, *_row(at, known)) for at, known in self._new_scores.items()]
        judgements = [(key, text, _seal(key, text)) for key, text in self._new_judgements.items()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_WAIT)) as base, base:
                base.executescript(_TABLES)
                base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", files)
                base.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", scores)
                base.executemany("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?)", judgements)
        except (OSError, sqlite3.Error) as error:
            log.debug("%s: scores are not kept (%s)", self.path, error)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", _WAIT, uri=True)

    def _read(self) -> None:
        if not self.path.is_file():
            return
        try:
            with closing(self._connect()) as base:
                files = base.execute("SELECT path, stamp, sha256 FROM files").fetchall()
                scores = base.execute("SELECT sha256, metric, identity, value, seal FROM scores").fetchall()
        except sqlite3.OperationalError as error:  # locked, or not readable
            log.debug("%s: not used (%s)", self.path, error)
            return
        except sqlite3.DatabaseError as error:
            log.debug("%s: damaged, so it is removed (%s)", self.path, error)
            self.path.unlink(missing_ok=True)
            return
        self._files = {path: (stamp, sha256) for path, stamp, sha256 in files}
        for sha256, metric, identity, value, seal in scores:
            at, known = (sha256, metric), Known(identity, math.nan if value is None else value)
            if _row(at, known)[-1] == seal:
                self._scores[at] = known


def _row(at: tuple[str, str], known: Known) -> tuple[str, float | None, str]:
    """Identity, value and a checksum of all, so that a flipped bit is not a score."""
    seal = _seal(f"{at}{known.identity}", repr(known.value))
    return known.identity, None if math.isnan(known.value) else known.value, seal


def _seal(at: str, value: str) -> str:
    return hashlib.sha256(f"{at}{value}".encode()).hexdigest()[:16]


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


# --- metrics -----------------------------------------------------------------------------------------


def identities(metrics: Iterable[Metric], registry: Registry) -> dict[str, str]:
    """What the scores of each metric depend on beside the predictions. A metric that no plugin registered
    has no identity, so that its scores are not kept."""
    known = {}
    for metric in metrics:
        try:
            entry = registry.metrics.entry(metric.name)
        except BenchError:
            continue
        if entry.component is metric:
            code = _source(module_of(metric))
            plugin = f"{entry.plugin.distribution} {entry.plugin.version}"
            known[metric.name] = digest([metric.name, metric.revision, plugin, code, _foundations()])[:16]
    return known


def _source(module: str) -> str:
    """Checksum of the file that a module was loaded from; "" if there is none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return sha256_of(Path(file)) if file else ""
    except OSError:
        return ""


@cache
def _foundations() -> tuple[str, ...]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("numpy", "scikit-learn", "scipy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return tuple(found)
