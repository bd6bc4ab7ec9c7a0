"""`bench predict` and `bench export`: kept models on images, as the study evaluated them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import bench, workspace
from test_kept import STUDY, invoke, kept_folder, records, session_of

from bench import ConfigError
from bench import files as files_module
from bench.identity import Ref
from bench.kept import export as exporting
from bench.kept import hub
from bench.kept.export import FORMS
from bench.kept.find import find
from bench.kept.load import Network, open_network
from bench.kept.predict import Predictor, Unlike, load_predictor, predict_files
from bench.registry import installed
from bench.results import store
from bench.results.kept import TrainedOn

CPU = torch.device("cpu")
EGMAE = "phantom/test_convnext.egmae.r0"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose models are kept, and the test images of its round as files, in the order of the stored
    predictions: `images/000.png` and so on."""
    folder = workspace(tmp_path_factory.mktemp("study"))
    bench(folder, "run", *STUDY, "--keep", "model")
    record = records(folder)["egmae"]
    assert record.path is not None
    index = session_of(folder).index(record.spec.dataset)
    arrays = {sample.id: sample.array for sample in index.samples}
    (folder / "images").mkdir()
    for i, id_ in enumerate(store.read_predictions(record.path, "test", record).ids):
        Image.fromarray(arrays[id_]).save(folder / "images" / f"{i:03d}.png")  # type: ignore[arg-type]
    return folder


def predict(study: Path, run: str, *words: object) -> Any:
    return invoke("predict", run, *words, "--results", study / "results", "--threads", 1)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def stored(study: Path, method: str) -> np.ndarray:
    record = records(study)[method]
    assert record.path is not None
    return store.read_predictions(record.path, "test", record).probabilities


# --- the same numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["egmae", "scratch", "mean(scratch+egmae)"])
def test_test_images_come_to_the_stored_probabilities_to_the_last_bit(
    study: Path, tmp_path: Path, method: str
) -> None:
    file = tmp_path / "out.csv"
    done = predict(study, f"phantom/test_convnext.{method}.r0", study / "images", "-o", file)
    assert done.exit_code == 0, done.output
    rows = rows_of(file.read_text(encoding="utf-8"))
    classes = ("no_lesion", "smooth", "irregular")
    ours = np.array([[float(row[f"p:{name}"]) for name in classes] for row in rows])
    assert np.array_equal(ours, stored(study, method))
    assert [row["predicted"] for row in rows] == [classes[i] for i in ours.argmax(1)]
    assert rows[0]["path"] == str(study / "images" / "000.png")
    assert f"written: {file} ({len(rows)} of {len(rows)} images)" in done.stderr


def test_a_folder_taken_out_of_its_study_predicts_the_same(study: Path, tmp_path: Path) -> None:
    alone = tmp_path / "taken"
    shutil.copytree(kept_folder(study, "egmae"), alone)
    done = invoke("predict", alone, study / "images", "--threads", 1, "-f", "json")
    found = [list(row["probabilities"].values()) for row in json.loads(done.stdout)]
    assert np.array_equal(found, stored(study, "egmae"))


def test_all_names_of_a_run_mean_it(study: Path) -> None:
    results, registry = study / "results", installed()
    record = records(study)["egmae"]
    folder = kept_folder(study, "egmae")
    for name in (EGMAE, "test_convnext.egmae.r0", record.key, record.key[:5], folder, record.path):
        assert find(str(name), results, registry).folders == (folder.resolve(),) or find(
            str(name), results, registry
        ).folders == (folder,)
    ensemble = find("phantom/test_convnext.mean(scratch + egmae).r0", results, registry)
    assert len(ensemble.folders) == 2


# --- which images ---------------------------------------------------------------------------------------


def test_folders_patterns_and_files_each_image_once_and_no_masks(study: Path, tmp_path: Path) -> None:
    deep = tmp_path / "scans" / "deep"
    deep.mkdir(parents=True)
    for name in ("a.png", "deep/b.png", "deep/b_mask.png", "deep/.hidden.png"):
        shutil.copy(study / "images" / "000.png", tmp_path / "scans" / name)
    (deep / "notes.txt").write_text("no image")
    done = predict(study, EGMAE, tmp_path / "scans", tmp_path / "scans" / "*" / "b.png", deep / "b.png")
    assert [Path(row["path"]).name for row in rows_of(done.stdout)] == ["a.png", "b.png"]
    assert "passed over in folders: files that are no images (1), masks of images (1)" in done.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nothing", "IMAGES nothing: no such file or folder, and no pattern of any"),
        ("*.jpg", "IMAGES *.jpg: no such file or folder, and no pattern of any"),
        ("empty", "IMAGES empty: holds no image; give files, folders or patterns of images"),
    ],
)
def test_what_names_no_image_is_refused(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert said in str(predict(study, EGMAE, word).exception)


def test_images_that_cannot_be_read_are_named_and_the_others_predicted(study: Path, tmp_path: Path) -> None:
    good = [study / "images" / "000.png", study / "images" / "001.png"]
    bad = tmp_path / "torn \x1b[31m.png"
    bad.write_bytes(good[0].read_bytes()[:100])
    file = tmp_path / "out.csv"
    done = predict(study, EGMAE, good[0], bad, good[1], "-o", file)
    assert done.exit_code == 1
    assert [row["path"] for row in rows_of(file.read_text())] == [str(path) for path in good]
    assert "torn \\x1b[31m.png: cannot be read as an image" in done.stderr
    assert "(2 of 3 images; 1 cannot be read and are left out)" in done.stderr

    assert predict(study, EGMAE, *good, bad, "--on-bad-image", "skip").exit_code == 0
    before = file.read_bytes()
    failed = predict(study, EGMAE, *good, bad, "--on-bad-image", "fail", "-o", file)
    assert "cannot be read as an image" in str(failed.exception)
    assert file.read_bytes() == before, "nothing is half-written"
    none = predict(study, EGMAE, bad, "-o", tmp_path / "none.csv")
    assert "none of 1 images can be read" in str(none.exception)
    assert not (tmp_path / "none.csv").exists()
    assert not list(tmp_path.glob(".writing*"))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out.txt", "give a name that ends in .csv or .json"),
        ("images/000.png", "give a name that ends in .csv or .json"),
        ("folder.csv", "is a folder; name a file"),
        ("missing/below/a_file/out.csv", None),
    ],
)
def test_where_predictions_may_be_written(study: Path, tmp_path: Path, output: str, said: str | None) -> None:
    (tmp_path / "folder.csv").mkdir()
    done = predict(study, EGMAE, study / "images" / "000.png", "-o", tmp_path / output)
    if said is None:
        assert (tmp_path / output).is_file()
    else:
        assert said in str(done.exception)


def test_values_beyond_the_training_s_range_and_unlike_images_are_told(study: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 60_000, dtype=np.uint16)).save(tmp_path / "wide.png")
    colour = np.zeros((300, 400, 3), dtype=np.uint8)
    colour[..., 0] = 200
    Image.fromarray(colour).save(tmp_path / "colour.png")
    chosen = find(EGMAE, study / "results", installed())
    predictor = load_predictor(chosen, installed(), CPU)
    narrow = Predictor(**{**vars(predictor), "ranges": type(predictor.ranges)(bits=12)})
    wide, _ = predict_files(narrow, [tmp_path / "wide.png", tmp_path / "colour.png"], 1)
    assert "holds the value 60000, and the model was trained on images of 12 bits" in wide.problem

    done = predict(study, EGMAE, tmp_path / "colour.png", study / "images" / "000.png")
    assert done.exit_code == 0
    assert "1 of 2 images are in colour, and the model was trained on grey images alone: " in done.stderr
    assert "1 of 2 images have a short side far from those of the training's images" in done.stderr
    same = predict(study, EGMAE, study / "images")
    assert "warning" not in same.stderr


def test_grey_images_are_unlike_those_in_colour() -> None:
    from bench.kept.predict import Prepared

    unlike = Unlike(TrainedOn(images=10, grey=0.0, sides=(100, 200)))
    for i in range(5):
        unlike.look_at(Prepared(Path(f"{i}.png"), {}, "", 150, grey=i < 4))
    (said,) = unlike.warnings()
    assert said.startswith(
        "4 of 5 images are grey, and the model was trained on images in colour alone: 0.png,"
    )
    assert "..." in said


class Watched(Sequence[Path]):
    """Paths that remember how many were asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.asked = paths, 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: Any) -> Any:
        found = self.paths[i]
        self.asked = max(self.asked, i.stop if isinstance(i, slice) else i)
        return found

    def __iter__(self) -> Iterator[Path]:
        raise AssertionError("all of them at once")


def test_images_are_read_a_batch_at_a_time(study: Path) -> None:
    chosen = find(EGMAE, study / "results", installed())
    paths = Watched([study / "images" / "000.png"] * 1000)
    first = next(predict_files(load_predictor(chosen, installed(), CPU), paths, 2))
    assert first.probabilities is not None
    assert 64 <= paths.asked < 150


# --- which run ------------------------------------------------------------------------------------------


def test_a_run_that_is_not_kept_is_told_how_to_keep_it(study: Path, tmp_path: Path) -> None:
    shutil.copytree(
        study / "results", tmp_path / "results", ignore=shutil.ignore_patterns("kept", ".scratch")
    )
    for name in (EGMAE, "phantom/test_convnext.mean(scratch+egmae).r0"):
        done = invoke("predict", name, study / "images", "--results", tmp_path / "results")
        assert "was not kept, or is damaged; to keep it: bench run --dataset phantom" in str(done.exception)
        assert "--keep model" in str(done.exception)


def test_names_that_mean_nothing_or_several_are_refused(study: Path, tmp_path: Path) -> None:
    done = predict(study, "phantom/test_convnext.egmea.r0", study / "images")
    assert "did you mean phantom/test_convnext.egmae.r0" in str(done.exception)
    done = predict(study, str(study / "images"), study / "images")
    assert "holds neither a kept model nor a record" in str(done.exception)
    done = predict(study, str(tmp_path / "no" / "such"), study / "images")
    assert "no such folder; give a folder in results/kept" in str(done.exception)
    pretraining = records(study)["pretrain"].path
    assert "is no finished run or ensemble" in str(
        predict(study, str(pretraining), study / "images").exception
    )

    copy = tmp_path / "results"
    shutil.copytree(study / "results", copy)
    record = records(study)["scratch"]
    other = dataclasses.replace(record, spec=dataclasses.replace(record.spec, seed=7), path=None)  # type: ignore[type-var]
    assert record.path is not None
    parts = {part: store.read_predictions(record.path, part, record) for part in ("val", "test")}
    store.write(copy, other, predictions=parts)
    name = "phantom/test_convnext.scratch.r0"
    assert find(name, copy, installed()).record == store.read(copy, record.spec), "the only kept one"
    shutil.rmtree(copy / "kept")
    with pytest.raises(Exception, match=f"may be any of these.*{record.key}.*") as error:
        find(name, copy, installed())
    assert other.key in str(error.value)


# --- exports --------------------------------------------------------------------------------------------


def test_a_hub_folder_is_loaded_by_timm_as_documented(study: Path, tmp_path: Path) -> None:
    import timm

    target = tmp_path / "my-model"
    words = ("export", EGMAE, "--to", "hub", "-o", target, "--results", study / "results", "--threads", 1)
    done = invoke(*words, "--data", study)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "largest difference of a probability: 0, on " in done.stderr
    assert "test images of the run (0.0001 is allowed)" in done.stderr
    net = timm.create_model(f"local-dir:{target}", pretrained=True).eval()
    network = open_network(kept_folder(study, "egmae"), installed(), CPU)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(
            net(network.context.normalize(images)), network.net(network.context.normalize(images))
        )
    assert net.pretrained_cfg["mean"] == (0.5, 0.5, 0.5) or list(net.pretrained_cfg["mean"]) == [0.5] * 3
    config = json.loads((target / "config.json").read_text())
    assert config["label_names"] == ["no_lesion", "smooth", "irregular"]
    card = (target / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "not a medical device" in card
    assert "is there already; give another name" in str(invoke(*words).exception)


def test_an_exported_graph_is_compared_and_one_that_differs_is_not_written(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(kept_folder(study, "egmae"), alone)
    target = tmp_path / "model.pt2"
    words = ("export", alone, "--to", "pt2", "-o", target, "--threads", 1)
    done = invoke(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert (
        "compared on 32 images of random pixels, because the model was taken out of its results"
        in done.stderr
    )
    files: dict[str, Any] = {"facts.json": ""}
    program = torch.export.load(target, extra_files=files)
    assert json.loads(files["facts.json"])["use"] == "research only; not a medical device"
    with torch.no_grad():
        assert program.module()(torch.zeros(7, 3, 32, 32)).shape == (7, 3)

    target.unlink()
    form = FORMS["pt2"]

    def unknown(path: Path, images: torch.Tensor) -> np.ndarray:
        # As of a host whose name has dots: nothing that tells writers apart may be taken for a suffix.
        assert re.fullmatch(r"\.writing-node\.example\.org-\d+-[0-9a-f]{32}\.pt2", path.name)
        raise RuntimeError("no kernel for this operator")

    monkeypatch.setattr(files_module, "host_name", lambda: "node.example.org")
    monkeypatch.setattr(
        exporting, "FORMS", {**FORMS, "pt2": type(form)(form.name, form.suffix, form.write, unknown)}
    )
    done = invoke(*words)
    assert isinstance(done.exception, ConfigError), done.exception
    assert "cannot be run as pt2 (RuntimeError: no kernel for this operator); try --to" in str(done.exception)
    assert not list(tmp_path.glob("*.pt2"))
    assert not list(tmp_path.glob(".writing*"))

    worse = type(form)(form.name, form.suffix, form.write, lambda path, images: form.run(path, images) * 1.5)
    monkeypatch.setattr(exporting, "FORMS", {**FORMS, "pt2": worse})
    done = invoke(*words)
    assert "differs from the original by" in str(done.exception)
    assert "nothing was written" in str(done.exception)
    assert not list(tmp_path.glob("*.pt2"))
    assert not list(tmp_path.glob(".writing*"))


def test_what_cannot_be_exported_says_why(study: Path, tmp_path: Path) -> None:
    done = invoke(
        "export",
        "phantom/test_convnext.mean(scratch+egmae).r0",
        "--to",
        "hub",
        "--results",
        study / "results",
    )
    assert "is an ensemble; export its members one by one: test_convnext.scratch.r0" in str(done.exception)
    done = invoke("export", EGMAE, "--to", "onnx", "-o", "x.pt", "--results", study / "results")
    assert "give a name that ends in .onnx" in str(done.exception)

    network = open_network(kept_folder(study, "egmae"), installed(), CPU)
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)

    class Own(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) * (2 if float(images.sum()) > 1 else 3)  # depends on values

    kept = type(network.kept)(**{**vars(network.kept), "model": Ref("own_net")})
    own = Network(Own(), network.context, network.model, kept)
    with pytest.raises(Exception, match="own_net is no network of timm"):
        hub.configuration(own, {})
    with pytest.raises(Exception, match=r"own_net cannot be exported as pt2 .*try --to onnx or hub"):
        exporting.export(own, FORMS["pt2"], tmp_path / "own.pt2", images, "")
    assert not list(tmp_path.iterdir())
