"""The methods text says what the records say, all of it that belongs there, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import data_of, failure_of, mean_of, opened, predictions, record_of, run_spec
from test_cli import bench

from bench import Environment
from bench.comparison.tables import choose_metrics
from bench.data.audit.verdict import Verdict
from bench.data.splits.split import draw_split
from bench.errors import ConfigError, StoreError, UnknownName
from bench.execution.run import summarize_data
from bench.identity import Ref
from bench.interfaces.model import Normalization
from bench.manuscript.document import Chapter, Cite, Code, Gap, Section, choose_format, markdown_text, render
from bench.manuscript.facts import Material, gather
from bench.manuscript.methods import methods, methods_text
from bench.registry import installed
from bench.results import store
from bench.results.record import Asked, DataSummary, Provenance, Record
from bench.study.protocol import AuditSettings, Finetuning, Pretraining, SplitSettings
from bench.study.spec import PretrainSpec, RunSpec

OLD = Path(__file__).parent / "data" / "results_v1"
WIDE = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)

PROVENANCE = Provenance(
    hardware={"device": "cpu", "cpu": "Some Processor", "cores": 2, "threads": 1},
    git={"commit": "57aa1e366b172ce6be763be6777c895837f2b708", "dirty": False},
    packages={"medbench": "0.1.0", "torch": "2.14.1", "timm": "1.0.31", "scikit-learn": "1.9.1"},
    python="3.11.7",
    platform="Linux-6.1",
)
TOYS = {"x": {"distribution": "toys", "version": "3"}}
VERDICT = Verdict(
    audit="a0d17" + "0" * 11,
    settings=AuditSettings(),
    leaking_clusters=0,
    leaking_groups=0,
    leaked=0,
    label_conflicts=0,
    kept_out=0,
)


def record(spec: Any, **changes: Any) -> Record:
    """A finished unit that says all that there is to say."""
    data = {"audit": VERDICT, "fixed": False, **changes.pop("data", {})}
    known = {
        "data": data_of(**data),
        "provenance": PROVENANCE,
        "normalization": Normalization(),
        "weights": "random initialisation",
        **changes,
    }
    return record_of(spec, **known)


def material_of(records: Iterable[Record], results: Path = Path("results")) -> Material:
    registry = installed()
    return gather(records, results, choose_metrics(registry, ()), registry)


def text_of(*records: Record) -> str:
    """The text on one line."""
    return " ".join(methods_text(material_of(records), "text", with_works=False).split())


def gaps_of(*records: Record) -> list[str]:
    return re.findall(r"\[for you to write: ([^]]*)\]", text_of(*records))


# --- it says what the records say --------------------------------------------------------------------

FINETUNINGS = st.builds(
    Finetuning,
    epochs=st.integers(1, 9999),
    batch=st.integers(1, 9999),
    resize=st.integers(224, 8000),
    flip=st.sampled_from([0.25, 0.375, 0.625]),
    learning_rate=st.sampled_from([0.0123, 0.00077, 3.5e-5]),
    betas=st.sampled_from([(0.8, 0.98), (0.7, 0.999)]),
    weight_decay=st.sampled_from([0.011, 0.3]),
    warmup=st.sampled_from([0.0, 0.07, 0.21]),
    selection=st.sampled_from(["last", "best"]),
)


@WIDE
@given(FINETUNINGS)
def test_every_value_of_the_fine_tuning_is_in_the_text(budget: Finetuning) -> None:
    text = text_of(record(run_spec(finetune=budget)))
    assert f"for {budget.epochs} epochs in batches of {budget.batch} images" in text
    assert f"shorter side was resized to {budget.resize} pixels" in text
    assert f"probability of {budget.flip:g}" in text
    assert f"The learning rate was {budget.learning_rate:g}; it" in text
    assert f"β = ({budget.betas[0]:g}, {budget.betas[1]:g}); weight decay {budget.weight_decay:g}" in text
    assert (f"the first {100 * budget.warmup:g} % of all steps" in text) == bool(budget.warmup)
    assert ("highest validation accuracy" in text) == (budget.selection == "best")


@WIDE
@given(FINETUNINGS, FINETUNINGS)
def test_records_that_differ_in_a_value_have_texts_that_differ(one: Finetuning, other: Finetuning) -> None:
    """Beside the keys of the units, which always differ."""
    first, second = run_spec(finetune=one), run_spec(finetune=other)
    texts = [text_of(record(spec)).replace(spec.key, "KEY") for spec in (first, second)]
    assert (texts[0] == texts[1]) == (one == other)


def pretrained(budget: Pretraining) -> RunSpec:
    spec = run_spec("egmae", epochs=7)
    assert spec.start
    return dataclasses.replace(spec, start=dataclasses.replace(spec.start, pretrain=budget))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 123}, "for 123 epochs"),
        ({"batch": 48}, "batches of 48 images"),
        ({"resize": 301}, "shorter side was 301 pixels"),
        ({"scale": (0.35, 0.9)}, "random crops of 35 % to 90 % of the area"),
        ({"flip": 0.25}, "mirrored with a probability of 0.25"),
        ({"learning_rate": 0.0032, "batch": 64}, "was 0.0032 for 256 images a step, that is 0.0008 for 64"),
        ({"betas": (0.8, 0.9)}, "β = (0.8, 0.9)"),
        ({"weight_decay": 0.2}, "weight decay 0.2"),
        ({"warmup": 0.11}, "the first 11 % of all steps"),
        ({"data": "train+val"}, "the training and the validation part"),
        ({"data": "all"}, "which makes it transductive"),
    ],
)
def test_every_value_of_the_pretraining_is_in_the_text(changes: dict[str, Any], expected: str) -> None:
    assert expected in text_of(record(pretrained(Pretraining(**changes))))
    assert expected not in text_of(record(pretrained(Pretraining())))


def verdict(**changes: Any) -> Verdict:
    return dataclasses.replace(VERDICT, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"settings": {"val": 0.15, "test": 0.3}}, "15 % of all images for validation and 30 % for testing"),
        ({"settings": {"method": "kfold", "folds": 7}}, "7 disjoint folds"),
        ({"settings": {"groups": "none"}}, "without regard to groups or duplicates"),
        ({"settings": {"groups": "given"}}, "duplicates were not looked for when images were assigned"),
        ({"settings": {"conflicts": "out"}}, "were left out of all parts"),
        ({"settings": {"conflicts": "anywhere"}}, "were treated like all others"),
        ({"fixed": True}, "parts that the data set itself fixes"),
        ({"version": "second edition"}, "second edition"),
        ({"content": "beef" * 16}, "beefbeefbeefbeef"),
        ({"audit": verdict(settings=AuditSettings(distance=6))}, "differ in at most 6 bits"),
        ({"audit": verdict(settings=AuditSettings(similarity=0.8))}, "correlates by at least 0.8"),
        ({"audit": verdict(settings=AuditSettings(embed="vit_b"))}, "among features of vit_b"),
        (
            {"audit": verdict(leaking_clusters=3, leaking_groups=2, leaked=11)},
            "3 sets of duplicates and 2 groups, with 11 validation and test images",
        ),
        ({"audit": verdict(kept_out=18)}, "18 images whose duplicates carry another label"),
        (
            {"audit": verdict(label_conflicts=4)},
            "Up to 4 validation and test images have a duplicate with another",
        ),
        (
            {"audit": verdict(remarks=("borders tell the class",))},
            "The audit also found: borders tell the class.",
        ),
    ],
)
def test_how_images_were_divided_is_in_the_text(changes: dict[str, Any], expected: str) -> None:
    assert expected in text_of(record(run_spec(), data=changes))
    assert expected not in text_of(record(run_spec()))


def test_images_are_counted_from_the_record() -> None:
    text = text_of(record(run_spec()))
    assert "The study used 774 images of 3 classes: benign (431 images in 360 groups)" in text
    train, val, test = (300 + 150 + 90, 44 + 21 + 13, 87 + 42 + 27)
    assert f"There were {train} training, {val} validation and {test} test images." in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size": 96}, "random square of 96 pixels"),
        ({"seed": 41}, "derived from the seed 41"),
        ({"precision": "bf16"}, "in bfloat16"),
        ({"model": Ref("smt", {"drop_path": 0.4})}, "with drop_path = 0.4"),
        ({"strategy": Ref("egmae", {"patch": 32}, revision=2)}, "with patch = 32"),
        ({"dataset": Ref("busi", {"odd": "yes"})}, "were odd = yes"),
    ],
)
def test_what_the_spec_says_is_in_the_text(changes: dict[str, Any], expected: str) -> None:
    model = changes.pop("model", Ref("smt"))
    base = run_spec(changes.get("strategy", "scratch"))
    spec = dataclasses.replace(base, **{**changes, "model": model})
    assert expected in text_of(record(spec))
    assert expected not in text_of(record(run_spec(model="smt")))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"normalization": Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))}, "(0.1, 0.2, 0.3)"),
        ({"weights": "file mine.pth, sha256 77"}, "file mine.pth, sha256 77"),
        ({"accumulate": 4}, "did each step in up to 4 parts"),
        ({"notes": ("class benign has no image in val",)}, "Class benign has no image in val."),
        ({"engine": {"deterministic": "no: cumsum has no deterministic kernel"}}, "because cumsum has no"),
        ({"provenance": dataclasses.replace(PROVENANCE, python="3.13.1")}, "Python 3.13.1"),
        ({"provenance": dataclasses.replace(PROVENANCE, git={"commit": "beef" * 10, "dirty": True})},
         "beefbeefbeef, with changes that were not committed"),
        ({"provenance": dataclasses.replace(PROVENANCE, hardware={"device": "cuda", "gpu": "NVIDIA H200"})},
         "Trainings ran on NVIDIA H200"),
        ({"provenance": dataclasses.replace(PROVENANCE, plugins=TOYS)},
         "Plugins of others that were used: toys 3."),
    ],
)  # fmt: skip
def test_what_else_a_record_says_is_in_the_text(changes: dict[str, Any], expected: str) -> None:
    assert expected in text_of(record(run_spec(), **changes))
    assert expected not in text_of(record(run_spec()))


def test_networks_and_ensembles_are_described_and_cited() -> None:
    specs = [run_spec("scratch", model="smt"), run_spec("imagenet", model="smt")]
    text = text_of(*map(record, specs), record(mean_of(*specs), normalization=None, weights=None))
    assert (
        "smt (SMT-S: scale-aware modulation early, attention late) [lin2023smt], with 28.00 million" in text
    )
    assert "4.46 billion multiply-adds" in text
    assert "mean (arithmetic mean of the members' probabilities) [florindo2026entropy], combined" in text
    assert "smt mean(scratch + imagenet)" in text
    assert "imagenet (ImageNet weights: the model's own, or a file) [russakovsky2015imagenet]" in text


def test_statistics_are_those_that_so_many_rounds_allow() -> None:
    """As `bench compare` has them: intervals always, of methods from two rounds, tests from three."""
    texts = {
        rounds: text_of(*(record(run_spec(s, r)) for s in ("scratch", "imagenet") for r in range(rounds)))
        for rounds in (1, 2, 3)
    }
    assert "are of these trained models and not of their methods" in texts[1]
    assert "no difference between methods was tested" in texts[1]
    assert "Results are means over 2 rounds. Their 95 % intervals are those of a t distribution" in texts[2]
    assert "share [nadeau2003inference]." in texts[2]
    assert "no difference between methods was tested" in texts[2]
    assert "adjusted by Holm's method [holm1979simple]." in texts[3]
    assert "repeated in 2 rounds, each with its own split" in texts[2]


def test_works_are_listed_where_they_are_cited() -> None:
    variance, adjustment = "nadeau2003inference", "holm1979simple"
    for rounds, expected in ((1, set()), (2, {variance}), (3, {variance, adjustment})):
        units = [record(run_spec(s, r)) for s in ("scratch", "imagenet") for r in range(rounds)]
        keys = {entry.key for entry in material_of(units).works.entries}
        assert keys & {variance, adjustment} == expected


def test_what_was_declared_in_advance_is_said() -> None:
    asked = Asked(protocol="quick", rounds=2, metric="auc", baseline="scratch", margin=0.02)
    text = text_of(record(run_spec(), asked=asked), record(run_spec(round_=1), asked=asked))
    assert (
        "Declared in advance were the primary metric auc, comparisons with scratch, adjusted by Holm's "
        "method, and a margin of 0.02"
    ) in text
    assert "the analysis is exploratory" in text_of(record(run_spec()))
    other = dataclasses.replace(asked, metric="f1")
    gaps = gaps_of(record(run_spec(), asked=asked), record(run_spec(round_=1), asked=other))
    assert any("declared different ones" in gap for gap in gaps)


def test_what_differs_between_units_is_said_of_those_it_is_about() -> None:
    other = dataclasses.replace(PROVENANCE, hardware={"device": "cpu", "cpu": "Another", "threads": 2})
    text = text_of(record(run_spec("scratch")), record(run_spec("imagenet"), provenance=other))
    assert (
        "Trainings ran (1 of 2 units) on Some Processor with 2 cores and 1 thread for each training." in text
    )
    assert "Trainings ran (1 of 2 units) on Another and 2 threads for each training." in text


def test_methods_that_lack_rounds_and_units_that_failed_are_named() -> None:
    gone = failure_of(run_spec("imagenet", 1), "no weights")
    text = text_of(
        record(run_spec("scratch")), record(run_spec("scratch", 1)), record(run_spec("imagenet")), gone
    )
    assert "Fewer rounds have finished of convnext_tiny imagenet (1)." in text
    assert "Not finished: convnext_tiny.imagenet.r1: failed (no weights)." in text


def test_sets_that_may_not_be_compared_have_chapters_of_their_own() -> None:
    chapters = methods(material_of([record(run_spec()), record(run_spec(size=96))]))
    assert len(chapters) == 2
    texts = [render([chapter], "text") for chapter in chapters]
    assert sum("random square of 96" in " ".join(text.split()) for text in texts) == 1


# --- nothing that records lack -----------------------------------------------------------------------


def bare(spec: RunSpec) -> Record:
    return Record(spec=spec, data=None, provenance=Provenance())


def test_what_a_record_lacks_is_a_gap_and_not_a_fact() -> None:
    gaps = " | ".join(gaps_of(bare(run_spec())))
    for missing in (
        "how images were divided",
        "how many images of which class",
        "subtracted from the pixels",
        "versions of all software",
        "the hardware that trainings ran on",
        "whether networks were computed in float32 or bfloat16",
        "which weights convnext_tiny started from",
    ):
        assert missing in gaps
    text = text_of(bare(run_spec()))
    for invented in (
        "stratified",
        "Duplicates were looked for",
        "PyTorch",
        "multiply-adds",
        "git commit",
        "seed 1",
    ):
        assert invented not in text


def test_a_record_that_says_all_leaves_what_no_record_can_say() -> None:
    gaps = gaps_of(record(run_spec(model="smt")))
    assert len(gaps) == 2
    assert "ethics approval" in gaps[0]
    assert "which of these intervals and tests are reported" in gaps[1]


def test_an_older_record_does_not_say_that_parts_were_drawn_by_chance() -> None:
    assert any(
        "does not fix the parts itself" in gap for gap in gaps_of(record(run_spec(), data={"fixed": None}))
    )


def test_components_that_are_not_installed_or_newer_are_not_described() -> None:
    text = text_of(record(run_spec("gone", model="smt")))
    assert "gone [for you to write: what gone is: its plugin is not installed here]" in text
    old = dataclasses.replace(run_spec(model="smt"), strategy=Ref("egmae", revision=1))
    assert any(
        "results are of its revision 1, installed is revision 2" in gap for gap in gaps_of(record(old))
    )


# --- renderings --------------------------------------------------------------------------------------


def test_each_format_shows_citations_code_and_gaps_its_own_way() -> None:
    parts = ("50 % of a_b", Cite(("k1", "k2")), " ", Code("x_1"), " ", Gap("why"), Cite(()), ".")
    chapters = [Chapter("T_1", (Section("Head", (parts,)),))]
    assert render(chapters, "text").endswith("Head. 50 % of a_b [k1, k2] x_1 [for you to write: why].\n")
    assert "50 % of a\\_b [@k1; @k2] `x_1` **\\[for you to write: why\\]**." in render(chapters, "markdown")
    latex = render(chapters, "latex")
    assert r"50 \% of a\_b~\cite{k1,k2} \texttt{x\_1} \textbf{[for you to write: why]}." in latex
    assert r"\subsection*{Methods: T\_1}" in latex


@given(st.text(max_size=60))
def test_names_from_outside_cannot_become_markup_or_control_a_terminal(name: str) -> None:
    chapters = [Chapter(name, (Section("Head", ((name, Code(name)),)),))]
    for form in ("text", "markdown", "latex"):
        shown = render(chapters, form)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert not re.search(r"(?<!\\)(\\\\)*[*_<`]", markdown_text(name))


def test_the_suffix_or_the_option_chooses_the_format() -> None:
    suffixes = {".txt": "text", ".md": "markdown"}
    assert choose_format("", None, suffixes) == "text"
    assert choose_format("", Path("a.MD"), suffixes) == "markdown"
    assert choose_format("markdown", Path("a.out"), suffixes) == "markdown"
    with pytest.raises(ConfigError, match=r"--format 'docx'.*known: text, markdown"):
        choose_format("docx", None, suffixes)
    with pytest.raises(ConfigError, match=r"\.md is for markdown, not for --format text"):
        choose_format("text", Path("a.md"), suffixes)


# --- the command -------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder of results that were never trained."""
    results = tmp_path / "results"
    specs = [run_spec(strategy, r, model="smt") for strategy in ("scratch", "imagenet") for r in range(2)]
    for spec in specs:
        each = predictions(spec.round)
        store.write(results, record(spec), predictions={"val": each, "test": each})
    for r in range(2):
        spec = mean_of(*[each for each in specs if each.round == r])
        made = record(spec, normalization=None, weights=None)
        store.write(results, made, predictions={"val": predictions(r), "test": predictions(r)})
    return tmp_path


def test_the_command_writes_text_and_bibtex_to_stdout(stored: Path) -> None:
    done = bench(stored, "methods-text")
    assert done.stderr == ""
    assert "@article{aldhabyani2020busi," in done.stdout
    assert set(re.findall(r"\[([a-z]+\d{4}[a-z0-9]+)\]", done.stdout)) <= set(
        re.findall(r"^@\w+\{([^,]+),", done.stdout, re.MULTILINE)
    )


def test_the_command_writes_files(stored: Path) -> None:
    done = bench(stored, "methods-text", "-o", "m.md", "--bib", "m.bib")
    assert done.stdout == ""
    text, bib = (stored / "m.md").read_text("utf-8"), (stored / "m.bib").read_text("utf-8")
    assert "@article" not in text
    keys = set(re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE))
    cited = {key for group in re.findall(r"\[(@[^\]]+)\]", text) for key in re.findall(r"@([^;\s]+)", group)}
    assert cited
    assert cited <= keys
    assert keys - cited <= {"harris2020numpy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "bussi"], "unknown dataset 'bussi'; did you mean busi?"),
        (["--format", "docx"], "--format 'docx': not a format of this text; known: text, markdown, latex"),
        (["--format", "text", "-o", "m.tex"], "--output m.tex: .tex is for latex, not for --format text"),
        (["--metrics", "acuracy"], "unknown metric 'acuracy'"),
        (["--results", "nowhere"], "--results nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_clear_line(stored: Path, arguments: list[str], message: str) -> None:
    done = bench(stored, "methods-text", *arguments, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_written_is_named_with_its_option(stored: Path) -> None:
    done = bench(stored, "methods-text", "--bib", "no/m.bib", code=1)
    assert "no/m.bib: cannot be written" in done.stderr
    assert "choose another --bib" in done.stderr


def test_without_results_it_says_what_to_do(tmp_path: Path) -> None:
    assert "no finished runs in results" in bench(tmp_path, "methods-text").stderr


def test_old_results_have_their_text_too(tmp_path: Path) -> None:
    done = bench(tmp_path, "methods-text", "--results", str(OLD))
    assert "3b4b28dbc08be87b (round 0)" in " ".join(done.stdout.split())
    assert "Not finished: test_convnext.imagenet.r0: failed" in " ".join(done.stdout.split())


def test_a_data_set_without_results_is_refused() -> None:
    with pytest.raises(UnknownName, match="data sets with results in"):
        gather([record(run_spec())], Path("results"), (), installed(), ["kvasir"])


def test_a_data_set_of_which_nothing_finished_is_a_warning() -> None:
    material = material_of([failure_of(run_spec())])
    assert not material.comparisons
    assert material.warnings == ("busi: nothing has finished of 1 units (left out)",)


def test_a_pretraining_is_told_of_by_those_that_start_from_it() -> None:
    """Its record is found by its key, wherever the table has no row for it."""
    spec = run_spec("egmae", epochs=3)
    assert isinstance(spec.start, PretrainSpec)
    start = record(spec.start, accumulate=8, weights=None)
    assert "1 unit of pretraining did each step in up to 8 parts" in text_of(record(spec), start)


def test_a_record_that_no_version_wrote_is_an_error_and_no_traceback() -> None:
    odd = dataclasses.replace(PROVENANCE, git="somewhere")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="a record of busi holds what cannot be told"):
        methods(material_of([record(run_spec(), provenance=odd)]))


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="needs pdflatex and bibtex"
)
def test_latex_compiles_and_every_citation_is_found(stored: Path) -> None:
    bench(stored, "methods-text", "-o", "m.tex", "--bib", "m.bib")
    (stored / "doc.tex").write_text(
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{url}\\begin{document}\n"
        "\\input{m}\n\\bibliographystyle{plain}\\bibliography{m}\\end{document}\n"
    )
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "doc.tex"]
    for command in (latex, ["bibtex", "doc"], latex, latex):
        done = subprocess.run(command, cwd=stored, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-3000:]
    log = (stored / "doc.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "Warning--" not in (stored / "doc.blg").read_text()


def summary_of(root: Path, parts: Iterable[str]) -> DataSummary:
    """What a record says of images in these parts, "" for none."""
    rng, lines = np.random.default_rng(0), ["path,label,split"]
    for i, part in enumerate(parts):
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},{part}")
    (root / "images.csv").write_text("\n".join(lines))
    environment = Environment(data=root / "images.csv", results=root / "results")
    images = opened(installed().datasets.get("folder"), environment, [16])
    return summarize_data(images, draw_split(images, SplitSettings(), 0, 0), Ref("folder"))


@pytest.mark.parametrize(
    ("parts", "fixed"),
    [
        (["train"] * 12 + ["val"] * 4 + ["test"] * 4, True),
        (["train"] * 16 + ["test"] * 4, True),  # validation is drawn from training
        ([""] * 20, False),
    ],
)
def test_a_record_says_whether_the_data_set_fixes_its_parts(
    tmp_path: Path, parts: list[str], fixed: bool
) -> None:
    data = summary_of(tmp_path, parts)
    assert data.fixed is fixed
    assert ("parts that the data set itself fixes" in text_of(record_of(run_spec(), data=data))) is fixed


def test_it_is_stored_and_read_back(stored: Path) -> None:
    files = list((stored / "results").glob("runs/*/*/record.json"))
    assert {json.loads(file.read_text())["data"]["fixed"] for file in files} == {False}
    assert all(r.data and r.data.fixed is False for r in store.scan(stored / "results")[0])
