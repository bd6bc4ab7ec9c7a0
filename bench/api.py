"""The Python API on which the command line stands: a study, its plan, its run, its results, its tables.

import bench

study = bench.Study.from_names("phantom", "egmae,imagenet", protocol="quick")
plan = bench.plan(study)
bench.run(plan, report=bench.print_progress)
print(bench.render(bench.tables(bench.load_results())))

`docs/api.md` says more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.errors import ConfigError
from bench.interfaces.executor import Environment, Progress, Report, both, silent
from bench.interfaces.reporter import Table, Tables
from bench.process import set_environment, warn_if_late

if TYPE_CHECKING:
    from bench.cost.model_cost import ModelCost
    from bench.execution.plan import Plan
    from bench.execution.prepare import Setup, Training
    from bench.execution.session import Session
    from bench.interfaces.executor import Executor, Outcome
    from bench.interfaces.rows import Uncertainty
    from bench.results.results import Results
    from bench.study.spec import PretrainSpec, RunSpec
    from bench.study.study import Names, Study

MOST = 4096  # threads, or units at once; no machine has more cores


def local_environment(
    data: str | Path | None = None,
    results: str | Path | None = None,
    *,
    device: str = "",
    threads: int = 0,
    jobs: int | None = None,
    compile: bool = False,
    graph: bool = True,
    timeout: float = 0.0,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> Environment:
    """Where units run on this machine, with the command line's defaults for what is not given.

    Without `graph`, or with $BENCH_GRAPH set to 0, a GPU does ordinary steps instead of CUDA graphs.
    Data sets are looked for in `data`, else $BENCH_DATA, else the platform's folder for a user's data;
    results are kept in `results`, else $BENCH_RESULTS, else ./results. The device is a GPU if there is one;
    several GPUs ("cuda:0,cuda:1", or "cuda:all") are dealt to the units. `jobs` units are at work at
    once, and share the cores that this process may use; unless given, the plan decides, by its units, cores
    and memory on a CPU, and one a device on GPUs. A unit is given up after
    `timeout` seconds (0: when it is silent for half an hour and twice as long as all it has done before). As
    on the command line, threads wait for each other in the way that trains fast unless $OMP_WAIT_POLICY or
    $GOMP_SPINCOUNT say how, which has an effect in this process if torch is not loaded yet. Raises
    ConfigError for a device that is not there, and for a number of jobs or threads that cannot be.

    With `on_bad_image` "skip", images that cannot be decoded are left out of a study, with a warning, if they
    are one in twenty at most and leave no class empty; with "fail" the first such image is an error.
    """
    set_environment()
    from bench.execution.provenance import usable_cores

    devices = _devices(device)
    jobs_given = jobs is not None
    jobs = len(devices) if jobs is None else jobs
    check_counts(jobs, threads)
    if on_bad_image not in ("fail", "skip"):
        raise ConfigError(f"on_bad_image = {on_bad_image!r}: must be 'fail' or 'skip'")
    folder = Path(results or os.environ.get("BENCH_RESULTS") or "results")
    check_folder(folder, "--results")
    return Environment(
        data=default_data_root() if data is None else Path(data),
        results=folder,
        device=devices[0],
        devices=devices if len(devices) > 1 else (),
        threads=threads or max(1, usable_cores() // jobs),
        threads_given=threads > 0,
        jobs=jobs,
        jobs_given=jobs_given,
        compile=compile,
        graph=graph and os.environ.get("BENCH_GRAPH") != "0",
        timeout=timeout,
        on_bad_image=on_bad_image,
    )


def _devices(names: str) -> tuple[str, ...]:
    """The devices that `--device` names. Raises ConfigError.

    torch is not asked where the answer is the CPU in any case: it takes seconds to load, and a process that
    leaves the training to others does not need it.
    """
    if names == "cpu" or (not names and not _has_driver()):
        return ("cpu",)
    from bench.engine.device import parse_devices

    return parse_devices(names)


def _has_driver() -> bool:
    """Whether a GPU may be there: the library of NVIDIA's driver, or the device file of AMD's. Nothing is
    known of systems other than Linux."""
    import ctypes

    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def check_counts(jobs: int, threads: int) -> None:
    """Raise ConfigError for a number of units at once, or of threads, that cannot be."""
    if not (1 <= jobs <= MOST and 0 <= threads <= MOST):
        raise ConfigError(
            f"jobs = {jobs}, threads = {threads}: jobs must be 1 to {MOST}, threads too (0: a fair share)"
        )


def check_folder(path: Path, option: str) -> None:
    """Raise ConfigError if what lies at `path`, or above it, is no readable folder. It may be missing."""
    from bench.parsing import PATH_SHOWN, brief

    said = f"{option} {brief(str(path), PATH_SHOWN)}"
    try:
        above = next((p for p in (path, *path.parents) if p.exists()), path)
    except (OSError, ValueError) as error:  # a name too long, a NUL, a folder that must not be looked into
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{said}: cannot be a folder ({reason}); name another") from None
    if above.exists() and not above.is_dir():
        raise ConfigError(f"{said}: {above} is a file; name a folder")
    if above == path and above.exists() and not os.access(path, os.R_OK | os.X_OK):
        raise ConfigError(f"{said}: cannot be read (permission denied); change its mode, or name another")


def default_data_root() -> Path:
    """$BENCH_DATA, or the platform's folder for a user's data."""
    from platformdirs import user_data_path

    return Path(os.environ.get("BENCH_DATA") or user_data_path("bench"))


def plan(
    study: Study,
    env: Environment | None = None,
    report: Report = silent,
    *,
    manifests: Sequence[str | Path] = (),
    strict: bool = False,
) -> Plan:
    """Decode and audit the images of a study, freeze its splits, and list its units. Trains nothing.

    `env` is where units run (`local_environment()` unless given). `manifests` are split manifests made
    elsewhere, or folders of them. With `strict`, a split that leaks is refused. Raises BenchError.
    """
    from bench.execution.plan import make_plan
    from bench.execution.session import Session

    environment = replace(env or local_environment(), asked=study.asked, keep=study.keep)
    paths = [Path(path) for path in manifests]
    return make_plan(study, Session(environment), report, manifests=paths, strict=strict)


def run(
    plan: Plan,
    env: Environment | None = None,
    report: Report = silent,
    *,
    executor: str | Executor = "",
    in_process: bool = False,
    max_failures: int = 0,
) -> list[Outcome]:
    """Do what is left of a plan; returns one outcome per unit that was to do.

    `env` is where units run (where they were planned unless given); `report` hears of progress
    (`bench.print_progress` prints it); `executor` is how units are worked through, by name or as a value
    (the default one that works on `env.jobs` units at once unless given); with `in_process`, units run in
    this process, as a debugger needs it. After `max_failures` failed units (0: no limit) no other is begun.
    Raises UnknownName, or ConfigError where there is no such executor, or one that works on one device and
    several of them; what a unit suffers is its outcome. An interruption passes through: the same call goes on
    from there.
    """
    from bench.execution.follow import check_trackers, followed
    from bench.execution.plan import choose_executor
    from bench.execution.session import Session
    from bench.execution.status_file import told
    from bench.execution.threads import one_at_a_time, share_machine
    from bench.execution.work import work
    from bench.kept.card import write_cards
    from bench.registry import installed

    if env is not None:
        env = replace(env, asked=plan.study.asked, keep=plan.study.keep)
        plan = replace(plan, session=Session(env, plan.session.registry))
        share_machine(plan.units, plan.session)
    session = plan.session
    in_process = in_process or session.registry is not installed()  # another process would not have it
    chosen = choose_executor(session.registry, executor, session.environment, in_process)
    if not chosen.parallel and not session.environment.jobs_given:
        one_at_a_time(plan.units, session)
    if chosen.in_process:
        warn_if_late()
    trackers = check_trackers(plan.study, session.registry)
    outcomes = []
    with (
        told(plan.study, session.environment.scratch) as status,
        followed(plan, plan.to_do, status, trackers) as following,
    ):
        for outcome in work(plan, chosen, both(report, following.report), max_failures=max_failures):
            following.ended(outcome)
            outcomes.append(outcome)
    if session.environment.keep:
        write_cards(session.environment.results, plan.units, session.registry)
    return outcomes


def prepare_training(unit: PretrainSpec | RunSpec, session: Session) -> tuple[Setup, Training]:
    """Lay one unit out as `bench run` does: images, split and network, and its training. Nothing is trained.

    For who develops a strategy or measures the engine (`bench.engine`). `unit` is one of a plan's, `session`
    the plan's. Raises BenchError where the data, the split or the network cannot be had.
    """
    from bench.execution.prepare import prepare, training_of

    setup = prepare(unit, session)
    return setup, training_of(unit, setup, session)


def measure_model(
    name: str,
    env: Environment | None = None,
    *,
    classes: int = 3,
    size: int = 224,
    batches: Sequence[int] = (),
    train: bool = False,
    seconds: float = 1.0,
    report: Report = silent,
) -> ModelCost:
    """What the model `name` costs, as `bench cost` says it: parameters, operations and speed.

    Counted for one image of `size` pixels, or of the nearest size that the network takes. Timed on the
    device of `env` (`local_environment()` unless given) with one image and with each of `batches`, for at
    least `seconds` each; with `train`, training steps too; without `batches`, nothing is timed. Raises
    UnknownName, or BenchError if the network cannot be built.
    """
    from bench.comparison.reported import load_reported
    from bench.cost.model_cost import CostRequest
    from bench.cost.model_cost import measure_model as measure
    from bench.execution.session import Session

    session = Session(env or local_environment())
    device = str(session.configure_device())
    request = CostRequest(classes, size, tuple(batches), train, device, seconds)

    def tell(stage: str) -> None:
        report(Progress(unit=name, stage=stage))

    return measure(session.registry.models.get(name), request, load_reported(), tell)


def load_results(folder: str | Path | None = None, metrics: Names = ()) -> Results:
    """A results folder ($BENCH_RESULTS or ./results unless given) as pandas frames: `runs`, `rounds`,
    `predictions`, `history`.

    `metrics` names the columns of `rounds` (comma-separated, or one by one); none means every installed
    metric. A folder without results gives empty frames with the same columns. Raises UnknownName.
    """
    from bench.results.results import load_results as load

    return load(folder or os.environ.get("BENCH_RESULTS") or "results", metrics)


def tables(
    results: Results,
    metrics: Names = (),
    *,
    datasets: Names = (),
    reported: bool = False,
    uncertainty: Uncertainty = "interval",
    ranks: bool = False,
    costs: bool = False,
    per_class: bool = False,
    by_share: bool = False,
) -> Tables:
    """Comparison tables of stored results, one per set of rows that may be compared.

    `metrics` names the columns (the default ones unless given), `datasets` the data sets (all of them);
    `reported` puts published numbers beside ours; `uncertainty` ("interval", "sd", "none") is what stands
    beside a mean, `ranks` shows where rows rank under resampling, `costs` what training took. With
    `per_class` there is a table of each class against the rest, and `metrics` are its columns: sensitivity,
    specificity, ppv, npv, auc, auprc. With `by_share` there is a table of each metric with a column for each
    share of labels. Raises UnknownName for a metric that is not installed or a data set without results,
    PluginError for a metric that cannot be computed, ConfigError for `per_class` with `reported`, because
    nothing is published per class, and for `by_share` with `reported`, `costs` or `per_class`.
    """
    from bench.comparison.build import Shown
    from bench.comparison.tables import tables_of
    from bench.study.study import split_names

    shown = Shown(uncertainty=uncertainty, ranks=ranks, costs=costs, by_share=by_share)
    if by_share and (reported or costs or per_class):
        raise ConfigError("tables by_share have no reported, costs or per_class; leave one of them out")
    if per_class:
        from bench.comparison.per_class import per_class_tables

        if reported:
            raise ConfigError("nothing is published per class; leave out reported=True or per_class=True")
        return per_class_tables(
            results.records,
            results.folder,
            split_names(metrics),
            datasets=split_names(datasets),
            shown=shown,
        ).tables
    return tables_of(
        results.records,
        results.folder,
        split_names(metrics),
        datasets=split_names(datasets),
        reported=reported,
        shown=shown,
    ).tables


def render(tables: Sequence[Table], reporter: str = "") -> str:
    """Tables as text: what `bench table --format REPORTER` writes.

    `reporter` is "markdown", "html", "latex", "csv", "json" or another that a plugin registers; the
    default one unless given. Raises UnknownName, or ConfigError if no plugin has a default.
    """
    from bench.comparison.reporters import choose_reporter
    from bench.comparison.reporters import render as render_with
    from bench.registry import installed

    return render_with(choose_reporter(installed(), reporter), tables, installed())


def write_report(
    results: Results,
    path: str | Path,
    *,
    metric: str = "",
    baseline: str = "",
    margin: float | None = None,
    datasets: Names = (),
    data: str | Path | None = None,
    pictures: bool | None = None,
) -> list[str]:
    """Write one page of HTML with all that stored results say: what `bench report` writes to `path`.

    `metric`, `baseline` and `margin` say how methods are compared (as declared unless given), `datasets`
    names data sets (all of them). Images are looked for in `data`, else $BENCH_DATA, else the platform's
    folder; `pictures` puts them into the page (True) or not (False), else the licence of each data set
    decides. Returns what is wrong with results or could not be shown. Raises UnknownName or ConfigError for
    a name that is not there, for a `path` that is no page of ours, and where the extra "report" is not
    installed; StoreError where the file cannot be written.
    """
    from bench.comparison.asked import question_of
    from bench.execution.session import Session
    from bench.files import cannot_write, write_text
    from bench.page import check_page_path
    from bench.registry import installed
    from bench.report.gathered import gather
    from bench.report.page import check_installed, report_page
    from bench.study.study import split_names

    registry, path = installed(), Path(path)
    check_installed()
    check_page_path(path, "path")
    question, problems = question_of(
        results.records,
        registry,
        metric=metric,
        baseline=baseline,
        margin=margin,
        datasets=split_names(datasets),
    )
    place = local_environment(data, results.folder, device="cpu", jobs=1, on_bad_image="skip")
    session = None if pictures is False else Session(place, registry)
    gathered = gather(
        results.records, results.folder, question, registry, session, pictures, baseline_asked=bool(baseline)
    )
    page = report_page(gathered)
    try:
        write_text(path, page.html)
    except OSError as error:
        raise cannot_write(path, error) from error
    return [*problems, *page.warnings]
