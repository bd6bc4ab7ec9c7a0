"""Joules that a device has taken, by the counters of the machine, where there are any that may be read.

A GPU: NVML's counter, with nvidia-ml-py (extra "energy"; its module is pynvml) and a GPU from Volta on.
Processors: RAPL's counters as Linux shows them for Intel and AMD, which most systems let nobody but root
read. They count all that a GPU, or all processor packages, took: also for what ran beside.
"""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")  # not intel-rapl:0:0, which is a part of it; AMD's have this name too
INTERVAL = 30.0  # seconds between readings; 2^32 units of 61 microjoules, at a kilowatt, last four minutes

log = logging.getLogger("bench")


class EnergyCounter(Protocol):
    """Counts from when it was made."""

    source: str

    def close(self) -> float:
        """Joules so far; it counts no further. Raises whatever reading the counter raises."""


def energy_counter(device: torch.device) -> EnergyCounter | None:
    """A counter of what `device` takes from now on; None where there is none. Raises whatever it suffers."""
    return Nvml(device) if device.type == "cuda" else _rapl()


class Nvml:
    """The energy counter of one GPU, in millijoules since its driver was loaded. Raises ImportError without
    pynvml, and its NVMLError for a GPU without the counter, such as a part of one (MIG)."""

    source = "nvml"

    def __init__(self, device: torch.device) -> None:
        import pynvml
        import torch

        self.nvml: Any = pynvml
        self.nvml.nvmlInit()
        try:
            # By its identifier, because CUDA_VISIBLE_DEVICES renumbers the GPUs that PyTorch sees.
            identifier = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            self.handle = self.nvml.nvmlDeviceGetHandleByUUID(identifier)
            self.first = self._millijoules()
        except BaseException:
            self.nvml.nvmlShutdown()
            raise

    def close(self) -> float:
        try:
            return (self._millijoules() - self.first) / 1000
        finally:
            self.nvml.nvmlShutdown()

    def _millijoules(self) -> int:
        return int(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))


def _rapl() -> Rapl | None:
    """The counters of all processor packages; None on a machine that shows none."""
    zones = sorted(path for path in POWERCAP.glob("intel-rapl:*") if PACKAGE.fullmatch(path.name))
    # There may be one more of the whole platform ("psys"), in which the packages are counted.
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
    return Rapl(packages) if packages else None


class Rapl:
    """Energy counters of processor packages, in microjoules; each begins again at 0 after its range.

    A thread reads them now and then, so that no turn is missed. Raises OSError or ValueError if one of them
    cannot be read.
    """

    source = "rapl"

    def __init__(self, packages: list[Path]) -> None:
        self.ranges = {package: int(_text(package / "max_energy_range_uj")) for package in packages}
        self.last = {package: _microjoules(package) for package in packages}
        self.counted = 0
        self.failure: Exception | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="energy", daemon=True)
        self.thread.start()

    def close(self) -> float:
        self.ended.set()
        self.thread.join()
        if self.failure is not None:
            raise self.failure
        self.read()
        return self.counted / 1e6

    def read(self) -> None:
        """Add what was taken since the last reading. A counter that is lower than it was began again once."""
        for package, last in self.last.items():
            now = _microjoules(package)
            self.counted += now - last if now >= last else self.ranges[package] - last + now
            self.last[package] = now

    def _watch(self) -> None:
        while not self.ended.wait(INTERVAL):
            try:
                self.read()
            except Exception as error:  # told by `close`
                self.failure = error
                return


def _microjoules(package: Path) -> int:
    return int(_text(package / "energy_uj"))


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
