"""Studies of several budgets of epochs, and the figures of them: the paper's Figure 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from samples import mean_of, predictions, record_of, run_spec
from typer.testing import CliRunner

from bench import Study
from bench.cli import app
from bench.errors import ConfigError
from bench.identity import Ref
from bench.registry import installed
from bench.results import store
from bench.study.expand import expand
from bench.study.protocol import Finetuning
from bench.study.spec import PretrainSpec, RunSpec, budget_of

ABLATION = Path(__file__).parents[1] / "studies" / "ablation.toml"
BUDGETS = [(100, 30), (100, 45), (500, 30), (500, 45), (1000, 15)]
TINY = """\
datasets = ["phantom"]
strategies = ["egmae", "imagenet"]
ensembles = ["mean(egmae+imagenet)"]
base = "quick"
budgets = [{pretrain = 1, finetune = 1}, {pretrain = 1, finetune = 2}, {pretrain = 2, finetune = 1}]

[protocol]
rounds = 1
size = 32
precision = "fp32"

[protocol.pretrain]
resize = 40

[protocol.finetune]
resize = 36

[dataset.phantom]
patients = 40
size = 32

[strategy.egmae]
patch = 16

[evidence]
metric = "accuracy"
"""


def split_of(dataset: Ref, round_: int) -> str:
    return f"{dataset.name}{round_}"


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})


# --- the study ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped study without the strategy that needs weights of the network at hand."""
    text = ABLATION.read_text(encoding="utf-8")
    file = tmp_path_factory.mktemp("study") / "ablation.toml"
    text = text.replace('["egmae", "imagenet"]', '["egmae", "scratch"]').replace(
        '"mean(egmae+imagenet)"', '"mean(egmae+scratch)"'
    )
    file.write_text(text.replace('baseline = "imagenet"', 'baseline = "scratch"'))
    return file


def test_the_ablation_is_one_study_whose_budgets_share_pretrainings(offline: Path) -> None:
    study = Study.from_file(offline)
    units = expand(study, installed(), split_of).units
    cells = 4 * study.protocol.rounds
    assert study.protocol.rounds == 5
    kinds = [unit.kind for unit in units]
    assert kinds.count("pretrain") == 3 * cells  # 100, 500 and 1000 epochs
    runs = [unit for unit in units if isinstance(unit, RunSpec)]
    assert len([run for run in runs if run.start]) == 5 * cells
    assert len([run for run in runs if not run.start]) == 3 * cells  # 15, 30 and 45 epochs
    assert kinds.count("ensemble") == 5 * cells
    budgets = {(b.pretrain, b.finetune) for run in runs if run.start for b in [budget_of(run)]}
    assert budgets == set(BUDGETS)
    starts = {run.start.key for run in runs if run.start}
    assert starts == {unit.key for unit in units if isinstance(unit, PretrainSpec)}


def test_units_are_those_of_a_study_for_each_budget(offline: Path) -> None:
    """So what one study has done, the other does not repeat."""
    together = {unit.key for unit in expand(Study.from_file(offline), installed(), split_of).units}
    apart = set()
    for pretrain, finetune in BUDGETS:
        values = {"protocol.pretrain.epochs": pretrain, "protocol.finetune.epochs": finetune}
        one = Study.from_file(offline, budgets=None)
        one = Study.from_names(
            [ref.name for ref in one.datasets],
            ["egmae", "scratch"],
            ensembles="mean(egmae+scratch)",
            values=values,
        )
        apart |= {unit.key for unit in expand(one, installed(), split_of).units}
    assert together == apart


def test_the_shipped_study_names_the_papers_rows() -> None:
    text = ABLATION.read_text(encoding="utf-8")
    found = re.findall(r"pretrain = (\d+)\nfinetune = (\d+)", text)
    assert [(int(a), int(b)) for a, b in found] == BUDGETS
    assert 'datasets = ["busi", "isic2018", "kvasir", "covid"]' in text
    assert 'ensembles = ["mean(egmae+imagenet)"]' in text


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"budgets": []}, "budgets: names none"),
        ({"budgets": [{"pretrain": 1, "finetune": 2}] * 2}, "1/2 (pretrain/finetune epochs) is named twice"),
        (
            {"budgets": [{"pretrain": 1, "finetune": 2}], "protocol": {"finetune": {"epochs": 3}}},
            "budgets and protocol.finetune.epochs: two values for one setting",
        ),
        (
            {"budgets": [{"pretrain": 1, "finetune": 2}], "protocol": {"pretrain": {"epochs": 3}}},
            "budgets and protocol.pretrain.epochs: two values for one setting",
        ),
        ({"budgets": [{"pretrain": 0, "finetune": 2}]}, "pretrain"),
        ({"budgets": [{"pretrain": 5}]}, "finetune"),
        ({"budgets": [{"pretrain": 5, "finetune": 2, "epochs": 1}]}, "epochs"),
    ],
)
def test_bad_budgets_are_one_clear_error(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        Study.from_keywords(datasets=["phantom"], strategies=["scratch"], base="quick", **keywords)
    assert "\n" not in str(raised.value)


def test_budgets_and_shares_go_together() -> None:
    study = Study.from_keywords(
        datasets=["phantom"],
        strategies=["egmae"],
        ensembles=["none"],
        base="quick",
        shares=[0.1, 1],
        budgets=[{"pretrain": 1, "finetune": 2}, {"pretrain": 1, "finetune": 3}],
        protocol={"rounds": 1},
    )
    kinds = [unit.kind for unit in expand(study, installed(), split_of).units]
    assert (kinds.count("pretrain"), kinds.count("run")) == (1, 4)


# --- the figures -------------------------------------------------------------------------------------


def store_budgets(results: Path, datasets: tuple[str, ...] = ("busi", "kvasir")) -> None:
    """Units of the ablation in two rounds, the better the longer they were trained."""
    for dataset in datasets:
        for round_ in range(2):
            for number, (pretrain, finetune) in enumerate(BUDGETS):
                shared: dict[str, Any] = {
                    "dataset": Ref(dataset),
                    "finetune": Finetuning(epochs=finetune),
                }
                own = run_spec("egmae", round_, epochs=pretrain, **shared)
                other = run_spec("imagenet", round_, **shared)
                for spec, skill in (
                    (own, 1 + number / 4),
                    (other, 1.2),
                    (mean_of(own, other), 1.5 + number / 4),
                ):
                    one = predictions(100 * round_ + number, n=90, skill=skill)
                    store.write(results, record_of(spec), predictions={"val": one, "test": one})


def test_one_command_draws_the_papers_figure(tmp_path: Path) -> None:
    store_budgets(tmp_path / "results")
    output = tmp_path / "figure2.svg"
    results = ("--results", str(tmp_path / "results"))
    made = bench("figure", "ablation", "-o", str(output), *results)
    assert made.exit_code == 0, made.output
    text = output.read_text(encoding="utf-8")
    for name in ("busi", "100/30", "100/45", "500/30", "500/45", "1000/15"):
        assert name in text
    assert "mean(egmae+imagenet)" in made.stdout
    rows = [line.split() for line in made.stdout.splitlines() if line.startswith("busi ")]
    means = [float(cell) for cell in rows[0] if re.fullmatch(r"0\.\d{4}", cell)]
    assert len(means) == 5
    assert means[-1] == max(means)


def test_one_row_is_chosen_by_the_name_that_all_budgets_share(tmp_path: Path) -> None:
    store_budgets(tmp_path / "results", ("busi",))
    results = ("--results", str(tmp_path / "results"), "-o", str(tmp_path / "f.svg"))
    made = bench("figure", "ablation", "--method", "egmae", *results)
    assert made.exit_code == 0, made.output
    assert "Means of egmae with" in made.stdout
    refused = bench("figure", "ablation", "--method", "imagenet", *results)
    assert "no rows differ in their epochs alone" in str(refused.exception)
    refused = bench("figure", "ablation", "--method", "nobody", *results)
    assert "unknown method 'nobody'" in str(refused.exception)


def test_a_row_without_a_pretraining_stands_at_every_budget_with_its_fine_tuning(tmp_path: Path) -> None:
    store_budgets(tmp_path / "results", ("busi",))
    made = bench("figure", "epochs", "-o", str(tmp_path / "f.svg"), "--results", str(tmp_path / "results"))
    assert made.exit_code == 0, made.output
    head, *rows = [
        line for line in made.stdout.splitlines() if re.match(r"Method|imagenet|egmae|mean", line)
    ][-4:]
    assert head.split() == ["Method", *(f"{a}/{b}" for a, b in BUDGETS)]
    [imagenet] = [row for row in rows if row.startswith("imagenet")]
    values = re.findall(r"(0\.\d{4}) \[", imagenet)
    assert len(values) == 5
    assert values[0] == values[2]  # of 30 epochs, whatever others pretrained
    assert values[1] == values[3]


def test_rows_that_differ_in_more_than_epochs_have_a_line_each(tmp_path: Path) -> None:
    for pretrain, finetune in ((100, 30), (500, 30)):
        for patch in (16, 32):
            tuned = Finetuning(epochs=finetune)
            spec = run_spec("egmae", epochs=pretrain, params={"patch": patch}, finetune=tuned)
            one = predictions(pretrain + patch, n=90)
            store.write(tmp_path / "results", record_of(spec), predictions={"val": one, "test": one})
    made = bench("figure", "epochs", "-o", str(tmp_path / "f.svg"), "--results", str(tmp_path / "results"))
    assert made.exit_code == 0, made.output
    assert re.findall(r"^egmae patch=\d+", made.stdout, re.MULTILINE) == ["egmae patch=16", "egmae patch=32"]


def test_families_of_one_data_set_have_a_line_each(tmp_path: Path) -> None:
    """As a results folder with the budgets of two shares of the labels has them."""
    for pretrain in (100, 500):
        for share in (0.5, 1.0):
            spec = run_spec("egmae", epochs=pretrain, finetune=Finetuning(share=share))
            one = predictions(pretrain, n=90, skill=1 + share)
            store.write(tmp_path / "results", record_of(spec), predictions={"val": one, "test": one})
    made = bench("figure", "ablation", "-o", str(tmp_path / "f.svg"), "--results", str(tmp_path / "results"))
    assert made.exit_code == 0, made.output
    assert re.findall(r"^busi(?: \(2\))?  ", made.stdout, re.MULTILINE) != []
    assert "busi, busi (2)" in made.stdout


@pytest.mark.long
def test_from_study_to_figure(tmp_path: Path) -> None:
    """The real commands, with epochs that fit a test."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    results = str(tmp_path / "results")
    ran = bench(
        "run", "--study", str(file), "--results", results, "--in-process", "--device", "cpu", "--threads", "1"
    )
    assert ran.exit_code == 0, ran.output
    records, _ = store.scan(Path(results))
    kinds = [record.kind for record in records]
    assert (kinds.count("pretrain"), kinds.count("run"), kinds.count("ensemble")) == (2, 5, 3)
    assert "2/1" in ran.output
    again = bench(
        "run", "--study", str(file), "--results", results, "--in-process", "--device", "cpu", "--threads", "1"
    )
    assert "10 done, 0 to do" in again.output
    for name in ("ablation", "epochs", "learning-pretraining"):
        made = bench("figure", name, "-o", str(tmp_path / f"{name}.pdf"), "--results", results)
        assert made.exit_code == 0, made.output
    assert (tmp_path / "ablation.pdf").read_bytes().startswith(b"%PDF")
