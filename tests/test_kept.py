"""What a study keeps beside its results: weights of the very run, made again where they are missing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from samples import data_of, mean_of, predictions, record_of, run_spec
from test_cli import PHANTOM, bench, command, environment, wait_for, workspace
from typer.testing import CliRunner

from bench import Session, silent
from bench.cli import app
from bench.data.splits.split import PartCount
from bench.execution.run import execute
from bench.execution.work import sweep
from bench.interfaces.executor import Environment
from bench.kept.load import load_network, load_objective
from bench.registry import installed
from bench.results import kept, store
from bench.results.record import Record
from bench.results.seal import sealed_text
from bench.results.tensors_file import write_tensors
from bench.study.study import Study

STUDY = ["--strategies", "scratch,egmae", "--protocol", "tiny.toml", *PHANTOM]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that kept everything."""
    folder = workspace(tmp_path_factory.mktemp("finished"))
    done = bench(folder, "run", *STUDY, "--keep", "model,decoder")
    assert re.search(r"kept: the weights of 3 units, [\d.]+ MB, in results/kept", done.stderr), done.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def records(folder: Path) -> dict[str, Record]:
    """Finished units: pretrainings by "pretrain", runs and ensembles by their method."""
    found, warnings = store.scan(folder / "results")
    assert not warnings
    names = {r.key: r.spec.label.split(".", 1)[1].removesuffix(".r0") for r in found}
    return {"pretrain" if r.kind == "pretrain" else names[r.key]: r for r in found if r.status == "done"}


def kept_folder(folder: Path, method: str) -> Path:
    return kept.path_of(folder / "results", records(folder)[method].spec)


def results_of(folder: Path) -> dict[str, bytes]:
    """Every file of finished units."""
    places = [folder / "results" / place for place in ("runs", "pretrain")]
    return {str(f.relative_to(folder)): f.read_bytes() for p in places for f in p.rglob("*") if f.is_file()}


def session_of(folder: Path, **changes: object) -> Session:
    given = {"threads": 1, "keep": ("model", "decoder"), **changes}
    return Session(Environment(data=folder, results=folder / "results", **given))  # type: ignore[arg-type]


# --- keeping ------------------------------------------------------------------------------------------


def test_keeping_changes_no_key_and_no_prediction(finished: Path, folder: Path) -> None:
    shutil.rmtree(folder / "results" / "runs")
    record = records(finished)["scratch"]
    assert execute(record.spec, session_of(folder, keep=()), silent).status == "done"
    (without,) = (folder / "results" / "runs").rglob("predictions.parquet")
    assert (
        without.read_bytes() == (finished / "results" / without.relative_to(folder / "results")).read_bytes()
    )


def test_a_missing_model_is_made_again_and_no_record_is_touched(folder: Path) -> None:
    weights = kept_folder(folder, "egmae") / "model.safetensors"
    content, before = weights.read_bytes(), results_of(folder)
    shutil.rmtree(folder / "results" / "kept")
    words = ["plan", *STUDY, "--keep", "model", "--no-probe", "--results", str(folder / "results")]
    words[words.index("tiny.toml")] = str(folder / "tiny.toml")
    planned = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert planned.output.count("keep model") == 2, planned.output

    done = bench(folder, "run", *STUDY, "--keep", "model")
    assert "4 units: 2 done, 2 to do" in done.stderr
    assert "2 units of these are done, and done again to keep their weights" in done.stderr
    assert weights.read_bytes() == content
    assert results_of(folder) == before
    keep = session_of(folder, keep=("model",)).environment.keep
    units = [record.spec for record in records(folder).values()]
    assert kept.finished_keys(folder / "results", units, keep) == {unit.key for unit in units}


@pytest.mark.long
def test_a_model_that_is_made_again_goes_on_after_a_kill(folder: Path) -> None:
    shutil.rmtree(folder / "results" / "kept" / "runs")
    checkpoints = folder / "results" / ".scratch" / "checkpoints"
    process = subprocess.Popen(
        command("run", *STUDY, "--keep", "model", "--jobs", "1"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: any(checkpoints.glob("*.pt")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (checkpoint,) = checkpoints.glob("*.pt")
    place = Environment(data=folder, results=folder / "results")
    sweep(place, spare={checkpoint.name.partition(".")[0]})
    assert checkpoint.exists(), "what is done again is not swept away as done"
    assert not list((folder / "results" / "kept" / "runs").glob("*/*/model.json"))
    bench(folder, "run", *STUDY, "--keep", "model")
    assert len(list((folder / "results" / "kept" / "runs").glob("*/*/model.json"))) == 2
    assert not list(checkpoints.glob("*.pt"))


def test_a_damaged_model_is_noticed_set_aside_and_made_again(folder: Path) -> None:
    target = kept_folder(folder, "scratch")
    whole = (target / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(whole[:-5])
    spec = records(folder)["scratch"].spec
    assert kept.lacks(folder / "results", spec, ["model"]) == "model"
    assert execute(spec, session_of(folder), silent).status == "done"
    assert (target / "model.safetensors").read_bytes() == whole
    (aside,) = (folder / "results" / ".damaged").rglob("model.safetensors")
    assert aside.stat().st_size == len(whole) - 5


def test_an_altered_model_of_the_same_size_is_refused_where_it_is_used_and_by_verify(folder: Path) -> None:
    file = kept_folder(folder, "scratch") / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    done = invoke("verify", folder / "results")
    assert "model.safetensors is not the file that was stored (its sha256 differs); delete" in done.output
    done = invoke("predict", kept_folder(folder, "scratch"), image(folder))
    assert "its sha256 differs" in str(done.exception)


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300"})


def image(folder: Path) -> Path:
    from PIL import Image

    path = folder / "image.png"
    Image.fromarray(np.zeros((40, 50), dtype=np.uint8)).save(path)
    return path


def test_predictions_that_differ_are_told_and_nothing_is_kept(folder: Path) -> None:
    """As after an update of a library: the stored predictions are those of other weights."""
    record = records(folder)["scratch"]
    assert record.path is not None
    parts = {}
    for part in ("val", "test"):
        read = store.read_predictions(record.path, part, record)
        other = read.probabilities[:, ::-1].copy()
        parts[part] = dataclasses.replace(read, probabilities=other)
    shutil.rmtree(record.path)
    packages = {**record.provenance.packages, "torch": "1.0"}
    made = dataclasses.replace(record.provenance, packages=packages)
    store.write(
        folder / "results", dataclasses.replace(record, path=None, provenance=made), predictions=parts
    )
    stored = results_of(folder)
    assert kept.lacks(folder / "results", record.spec, ["model"]) == "model", "another result's weights"
    with pytest.raises(Exception, match="belongs to another result than the stored one"):
        load_network(folder / "results", records(folder)["scratch"], installed(), torch.device("cpu"))
    shutil.rmtree(folder / "results" / "kept" / "runs")
    outcome = execute(record.spec, session_of(folder), silent)
    assert outcome.status == "failed"
    assert re.search(
        r"differs from the stored result by up to 0\.\d+ in a probability, another class for \d+ images: it "
        r"was computed with torch 1\.0 \(now ",
        outcome.reason,
    ), outcome.reason
    assert results_of(folder) == stored
    assert not list((folder / "results" / "kept" / "runs").rglob("*.json"))


def test_other_threads_are_refused_before_anything_is_trained(folder: Path) -> None:
    shutil.rmtree(folder / "results" / "kept")
    for method in ("scratch", "pretrain"):
        outcome = execute(records(folder)[method].spec, session_of(folder, threads=2), silent)
        assert outcome.status == "failed"
        assert "computed on cpu, 1 thread, and this command computes on cpu, 2 threads" in outcome.reason
        assert "give --device cpu --threads 1" in outcome.reason
    assert not list((folder / "results" / ".scratch" / "checkpoints").glob("*"))


def test_a_decoder_is_made_again_and_the_encoder_compared(folder: Path) -> None:
    record = records(folder)["pretrain"]
    target = kept.path_of(folder / "results", record.spec)
    content = (target / "objective.safetensors").read_bytes()
    shutil.rmtree(target)
    assert execute(record.spec, session_of(folder), silent).status == "done"
    assert (target / "objective.safetensors").read_bytes() == content

    assert record.path is not None
    encoder = load_file(record.path / "encoder.safetensors")
    name = next(iter(encoder))
    shutil.rmtree(target)
    shutil.rmtree(record.path)
    other = {**encoder, name: encoder[name] + 1}
    store.write(
        folder / "results",
        dataclasses.replace(record, path=None),
        files=lambda place: write_tensors(place / "encoder.safetensors", other, {}),
    )
    outcome = execute(record.spec, session_of(folder), silent)
    assert f"in 1 of {len(encoder)} tensors of its encoder" in outcome.reason
    assert not target.exists()


def test_a_study_file_says_what_is_kept_and_words_are_checked(folder: Path) -> None:
    study = Study.from_keywords(datasets="phantom", strategies="scratch", keep=["model"])
    assert study.keep == ("model",)
    assert Study.from_names("phantom", "scratch", keep="decoder,model,model").keep == ("model", "decoder")
    done = invoke("plan", *PHANTOM, "--strategies", "scratch", "--keep", "modle")
    assert "--keep 'modle': must be model or decoder, or both" in str(done.exception)
    (folder / "wrong.toml").write_text('keep = ["all"]\n')
    done = invoke("plan", *PHANTOM, "--study", folder / "wrong.toml")
    assert "wrong.toml.keep" in str(done.exception)
    assert "'model' or 'decoder'" in str(done.exception)


def test_clean_removes_kept_weights_alone(folder: Path) -> None:
    before = results_of(folder)
    refused = invoke("clean", "--kept", "--results", folder / "results")
    assert refused.exit_code != 0
    assert (folder / "results" / "kept" / "runs").is_dir()
    done = invoke("clean", "--kept", "--yes", "--results", folder / "results")
    assert done.exit_code == 0, done.output
    assert not list((folder / "results" / "kept").rglob("*.safetensors"))
    assert (folder / "results" / ".scratch" / "images").is_dir()
    assert results_of(folder) == before


def test_an_ensemble_keeps_nothing(tmp_path: Path) -> None:
    ensemble = mean_of(run_spec("egmae"), run_spec("mae"))
    assert kept.kind_of(ensemble) is None
    assert kept.lacks(tmp_path, ensemble, ["model", "decoder"]) is None


# --- loading ------------------------------------------------------------------------------------------


def test_a_kept_network_has_the_weights_and_a_kept_objective_its_encoder(finished: Path) -> None:
    results, found = finished / "results", records(finished)
    device = torch.device("cpu")
    network = load_network(results, found["egmae"], installed(), device)
    assert network.context.classes == ("no_lesion", "smooth", "irregular")
    assert not network.net.training
    stored = load_file(kept_folder(finished, "egmae") / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in network.net.state_dict().items())

    objective = load_objective(results, found["pretrain"], installed(), device)
    assert found["pretrain"].path is not None
    encoder = load_file(found["pretrain"].path / "encoder.safetensors")
    state = objective.module.state_dict()
    assert all(torch.equal(value, state[f"net.{name}"]) for name, value in encoder.items())
    loss = objective.module(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert torch.isfinite(loss)


def reseal(path: Path, change: Callable[[dict], object]) -> None:
    """Change a description as a stranger might who knows how it is sealed."""
    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content)
    path.write_text(sealed_text(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(classes=["a", "b"]), "do not fit test_convnext"),
        (lambda c: c.update(size="large"), "model.json.size = 'large': must be"),
        (lambda c: c.update(payload="x"), "model.json.payload: no such key"),
        (lambda c: c.pop("model"), "model.json.model"),
        (lambda c: c.update(version=99), "newer than this bench; update it"),
        (lambda c: c["model"].update(name="nonesuch_net"), "unknown model 'nonesuch_net'"),
        (lambda c: c["model"].update(revision=7), "revision 7 of the model test_convnext"),
        (lambda c: c["model"].update(params={"drop_path": "__import__('os')"}), "drop_path"),
        (lambda c: c.update(classes=[1, 2, 3]), "model.json.classes: must be a list of names"),
        (lambda c: c.update(kind="decoder"), "describes a decoder, not a model"),
    ],
)
def test_descriptions_of_strangers_are_checked(
    folder: Path, change: Callable[[dict], object], said: str
) -> None:
    target = kept_folder(folder, "scratch").rename(folder / "from a stranger")
    reseal(target / "model.json", change)
    done = invoke("predict", target, image(folder), "--threads", 1)
    assert said in str(done.exception), done.exception


def test_names_of_classes_that_no_file_can_hold_are_refused(folder: Path) -> None:
    target = kept_folder(folder, "scratch").rename(folder / "from a stranger")
    content = json.loads((target / "model.json").read_text())
    content.pop("sha256")
    body = json.dumps(content | {"classes": ["\ud800", "b", "c"]}).removesuffix("}")
    seal = hashlib.sha256(body.encode()).hexdigest()
    (target / "model.json").write_text(f'{body},\n "sha256": "{seal}"\n}}')
    done = invoke("predict", target, image(folder), "--threads", 1)
    assert "model.json.classes: must be a list of names" in str(done.exception), done.exception


def test_a_description_that_was_edited_is_refused(folder: Path) -> None:
    file = kept_folder(folder, "scratch") / "model.json"
    file.write_text(file.read_text().replace('"smooth"', '"harmless"'))
    done = invoke("predict", file.parent, image(folder))
    assert "was edited since it was written" in str(done.exception)


# --- files of tensors -----------------------------------------------------------------------------------


def test_the_bytes_of_a_file_depend_on_its_content_alone(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3).t(), "a": torch.zeros(0), "c": torch.ones(1)}
    tensors["tied"] = tensors["b"]
    about = {f"name {i}": f'"text" {i} é' for i in range(12)}
    contents = set()
    for i in range(5):
        write_tensors(
            tmp_path / f"{i}", dict(tensors), dict(sorted(about.items(), key=lambda kv: hash((i, kv))))
        )
        contents.add((tmp_path / f"{i}").read_bytes())
    assert len(contents) == 1
    read = load_file(tmp_path / "0")
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
    from safetensors import safe_open

    with safe_open(tmp_path / "0", "pt") as file:
        assert file.metadata() == about


def test_the_documented_lines_load_an_encoder_into_timm(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n((?:(?!```).)*encoder\.safetensors(?:(?!```).)*)```", text, re.DOTALL)
    path = records(finished)["pretrain"].path
    assert path is not None
    monkeypatch.chdir(path)
    assert code.count("convnext_tiny") == 1
    names: dict = {}
    exec(code.replace("convnext_tiny", "test_convnext"), names)
    encoder = load_file("encoder.safetensors")
    assert all(torch.equal(value, encoder[name]) for name, value in names["net"].state_dict().items())
    from safetensors import safe_open

    with safe_open("encoder.safetensors", "pt") as file:
        about = file.metadata()
    assert about["model"] == "test_convnext"
    assert about["strategy"] == "egmae"
    assert about["size"] == "32"
    assert json.loads(about["mean"]) == [0.5, 0.5, 0.5]
    assert about["key"] == records(finished)["pretrain"].key


# --- cards ----------------------------------------------------------------------------------------------


def test_a_card_says_what_a_model_is_and_is_not_for(finished: Path) -> None:
    text = (kept_folder(finished, "egmae") / "README.md").read_text(encoding="utf-8")
    for said in (
        "# test\\_convnext, egmae: phantom",
        "**not a medical device**",
        "| no\\_lesion |",  # counts
        "| Accuracy |",
        "95 % interval",
        "| class | Sensitivity |",
        "## Known weaknesses",
        "- audit ",
        "MIT, as bench itself",
        "bench predict",
        "@misc{florindo2026entropy",
        "its energy was not measured",
        "Python 3.",
    ):
        assert said in text, said


def test_a_card_escapes_names_from_outside(tmp_path: Path) -> None:
    from bench.kept.card import write_cards

    classes = ("<script>alert(1)</script>", "a|b `c`", "\u202eevil")
    spec = run_spec("egmae", 0)
    each = predictions(0, classes=classes)
    counts = {part: dict.fromkeys(classes, (20, 10)) for part in ("train", "val", "test")}
    data = data_of(
        title="![x](http://tracker)",
        counts={p: {n: PartCount(*c) for n, c in by.items()} for p, by in counts.items()},
    )
    store.write(
        tmp_path, record_of(spec, data=data, notes=("<img src=x>",)), predictions={"val": each, "test": each}
    )
    record = store.read(tmp_path, spec)
    net = torch.nn.Linear(2, 2)

    def described(file: object) -> kept.Kept:
        return kept.Kept(
            kind="model",
            key=spec.key,
            label=spec.label,
            dataset="busi",
            model=spec.model,
            strategy=spec.strategy,
            round=0,
            classes=classes,
            size=32,
            normalization=kept.Normalization(),
            result=kept.result_of(record),
            file=file,  # type: ignore[arg-type]
        )

    kept.write(tmp_path, spec, net.state_dict(), described)
    (path,) = write_cards(tmp_path, [spec], installed())
    text = path.read_text(encoding="utf-8")
    assert "alert(1)" in text
    prose = re.sub(r"`+[^`]*`+", "", text)  # without code, in which nothing is markup
    assert not re.search(r"(?<!\\)(<script|<img|\[x)", prose), "each is escaped"
    assert "\\<script\\>" in prose
    assert "\\<img src=x\\>" in prose
    assert "\u202e" not in text
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert rows
    assert all("a\\|b" in row for row in rows)
