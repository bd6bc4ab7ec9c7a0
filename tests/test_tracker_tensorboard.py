"""The tracker `tensorboard`: what it writes, read back by TensorBoard's own library."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tracked_samples import STUDY, UNIT, begun, done, epochs

from bench import UnitDone, testing
from bench_trackers.tensorboard import TENSORBOARD, TensorboardParams


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_it_conforms(tmp_path: Path) -> None:
    testing.check_tracker(TENSORBOARD)
    testing.check_tracker(TENSORBOARD, TensorboardParams(folder=str(tmp_path / "elsewhere")))
    assert len(list((tmp_path / "elsewhere" / "check.0123abcd").iterdir())) == 5


def test_curves_scores_and_settings_are_read_back(tmp_path: Path) -> None:
    with TENSORBOARD.open(replace(STUDY, results=tmp_path), TensorboardParams()) as tell:
        for event in (begun(), *epochs(3), done(auc=0.75)):
            tell(event)
    (folder,) = (tmp_path / "tensorboard" / STUDY.name).iterdir()
    assert folder.name == "net.mean-a+b-.r0.run"
    found = read(folder)
    losses = found.Scalars("fine-tune/loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert losses[1].wall_time == 1_700_000_002.0
    assert [p.value for p in found.Scalars("fine-tune/validation accuracy")] == [0.5, 0.5, 0.5]
    assert [p.value for p in found.Scalars("fine-tune/images per second")] == [61.0, 61.0, 61.0]
    assert [p.value for p in found.Scalars("test/auc")] == [0.75]
    stored = found.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    settings = metadata.parse_session_start_info_plugin_data(stored).hparams
    assert settings["finetune.epochs"].number_value == 3
    assert settings["method"].string_value == UNIT.method


def test_a_unit_of_before_is_written_from_its_record_once(tmp_path: Path) -> None:
    before = replace(UNIT, done=True)
    calls = []

    def replay(unit):  # type: ignore[no-untyped-def]
        calls.append(unit.key)
        return [begun(), *epochs(2), UnitDone(time=0.0, unit=unit, seconds=1.0, scores={"auc": 0.5})]

    study = replace(STUDY, results=tmp_path, units=(before,), replay=replay)
    for _ in range(2):
        with TENSORBOARD.open(study, TensorboardParams()):
            pass
    assert calls == [UNIT.key]
    (folder,) = (tmp_path / "tensorboard" / STUDY.name).iterdir()
    assert len(read(folder).Scalars("fine-tune/loss")) == 2


def test_it_does_not_load_torch() -> None:
    """In the process that shows the progress, which trains nothing."""
    import subprocess

    script = (
        "import sys, tempfile\nfrom bench import StudyBegan\nfrom pathlib import Path\n"
        "from bench_trackers.tensorboard import TENSORBOARD, TensorboardParams, scalar\n"
        "folder = Path(tempfile.mkdtemp())\n"
        "study = StudyBegan(time=0.0, name='s', title='s', settings={}, units=(), results=folder)\n"
        "with TENSORBOARD.open(study, TensorboardParams()) as tell:\n    scalar('a', 1.0)\n"
        "from tensorboard.summary.writer.event_file_writer import EventFileWriter\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
