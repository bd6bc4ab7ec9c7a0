"""What a check of this machine is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from bench.interfaces.executor import Environment

Status = Literal["PASS", "FAIL", "skipped"]
PASSED: Final = "PASS"
FAILED: Final = "FAIL"
SKIPPED: Final = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        passed: whether the machine can be relied on in this respect.
        said: one line.
        remedy: what to do if it did not pass: the option that avoids the failure.
        figures: what was measured, for the report.
    """

    passed: bool
    said: str
    remedy: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One question about this machine.

    Attributes:
        name: what `--only` takes.
        question: what passes if it is true.
        run: answers it. It runs in a process of its own, which may crash or hang.
        remedy: what to do if that process crashes or hangs, or `run` raises.
        limit: seconds after which it counts as hanging.
        gpu: whether it is about CUDA devices alone.
    """

    name: str
    question: str
    run: Callable[[Environment], Finding]
    remedy: str
    limit: float = 60.0
    gpu: bool = False


@dataclass(frozen=True)
class Result:
    """How a check ended."""

    name: str
    question: str
    status: Status
    said: str
    remedy: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, check: Check, finding: Finding, seconds: float) -> Result:
        status: Status = PASSED if finding.passed else FAILED
        remedy = "" if finding.passed else finding.remedy or check.remedy
        return cls(
            check.name, check.question, status, finding.said, remedy, finding.figures, round(seconds, 2)
        )

    @property
    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
