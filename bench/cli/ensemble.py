"""`bench ensemble`: ensembles of finished runs, formed after the fact. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import complete
from bench.cli.options import DatasetsOption, Names, ResultsOption, assignments, check_results, given_names
from bench.cli.screen import contain, echo, installed_components, units, warn
from bench.text import one_line

if TYPE_CHECKING:
    from bench.comparison.afterwards import Combination
    from bench.execution.session import Session
    from bench.interfaces.executor import Outcome
    from bench.registry import Registry
    from bench.study.spec import UnitSpec


def ensemble(
    ensembles: Annotated[
        list[str],
        typer.Argument(
            help="NAME(A+B) of these rows, 'NAME(*)' of all runs of a table, NAME of all runs of each model. "
            "`bench list ensembles`.",
            metavar="ENSEMBLES...",
            autocompletion=complete.formed_ensembles,
            show_default=False,
        ),
    ],
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    set_: Annotated[
        Names, typer.Option("--set", help="Change one parameter: ensemble.NAME.PARAMETER=value.")
    ] = None,
) -> None:
    """Combine finished runs into ensembles, for every round that all members have, and show the table.

    Nothing is trained. Those that are there already are kept, also if `bench run --ensembles` made them.

    Example: bench ensemble "greedy(*)" "mean(egmae+imagenet)"
    """
    from bench.comparison.stored_order import as_stored
    from bench.execution.run import execute
    from bench.interfaces.executor import Outcome, silent
    from bench.results import store

    registry = contain(installed_components())
    check_results(results, needed=True)
    combinations = list(_asked(ensembles, results, given_names("--dataset", dataset), set_, registry))
    for combination in combinations:
        _require_sound(combination, results)
    session = _session(results, registry)
    failed = 0
    for combination in combinations:
        for line in _heading(combination):
            echo(one_line(line), err=True)
        specs = as_stored(results, combination.units)
        _ask_as_members_were(session, combination)
        for spec in specs:
            known = store.exists(results, spec)
            outcome = Outcome(unit=spec, status="done") if known else execute(spec, session, silent)
            failed += outcome.status != "done"
            echo(f"  {one_line(_line(spec, outcome, known, results))}", err=True)
    _show(results, combinations, registry)
    if failed:
        echo(f"{units(failed)} could not be formed; the table has the cause", err=True)
        raise typer.Exit(1)


def _asked(
    texts: Sequence[str], results: Path, datasets: Sequence[str], set_: Names, registry: Registry
) -> Iterator[Combination]:
    """What the arguments ask for, once each. What cannot be is said on stderr where something else can.

    Raises ConfigError or UnknownName before anything is formed.
    """
    from bench.comparison.afterwards import combinations_of, ensemble_name
    from bench.comparison.compare import titled_tables
    from bench.comparison.scored import score_records
    from bench.comparison.tables import of_datasets
    from bench.errors import ConfigError
    from bench.results.store import scan
    from bench.study.study import ensemble_refs, split_names

    asked = list(dict.fromkeys(split_names(texts)))
    if not asked:
        raise ConfigError('name an ensemble, say "greedy(*)" (`bench list ensembles` shows them)')
    names = list(dict.fromkeys(ensemble_name(text) for text in asked))
    refs = ensemble_refs(names, registry, assignments(set_))
    records, warnings = scan(results)
    scored, damage = score_records(of_datasets(records, datasets, results), [], registry, results)
    warn([*warnings, *damage])
    tables = titled_tables(scored)
    if not tables:
        raise ConfigError(f"{results}: no finished runs that could be combined; `bench run` makes some")
    every = [combinations_of(tables, text, refs) for text in asked]
    warn(f"left out: {problem}" for one in every for problem in one.problems)
    once = {(c.where, *(unit.key for unit in c.units)): c for one in every for c in one.found}
    return iter(once.values())


def _require_sound(combination: Combination, results: Path) -> None:
    """Raise StoreError for a member whose files are not what was stored: it would be trained again."""
    from bench.errors import StoreError
    from bench.results import store

    for spec in (member for unit in combination.units for member in unit.members):
        if not store.sound(results, spec):
            raise StoreError(
                f"{store.path_of(results, spec)}: is damaged (`bench verify` says how), so nothing was "
                "combined; repeat the command that made it"
            )


def _session(results: Path, registry: Registry) -> Session:
    from bench.api import local_environment
    from bench.execution.session import Session

    return Session(local_environment(None, results, device="cpu", jobs=1), registry)


def _ask_as_members_were(session: Session, combination: Combination) -> None:
    """Records of ensembles name the study that their members were made for."""
    known = next(iter(combination.methods[0].done.values())).record.asked
    asked = {name: value for name, value in asdict(known).items() if value is not None}
    session.environment = replace(session.environment, asked=asked)


def _heading(combination: Combination) -> Iterator[str]:
    models = dict.fromkeys(method.label.model for method in combination.methods)
    names = [method.label.method if len(models) == 1 else method.name for method in combination.methods]
    name = combination.units[0].ensemble.name
    yield f"{combination.where}: {'+'.join(models)}.{name}({' + '.join(names)})"
    for number, lacking in combination.left_out.items():
        yield f"  round {number}  left out: {', '.join(lacking)} did not finish it"


def _line(spec: UnitSpec, outcome: Outcome, known: bool, results: Path) -> str:
    from bench.results import store

    said = outcome.reason
    if outcome.status == "done":
        rule = store.read(results, spec).rule
        said = ": ".join(filter(None, ("is there already, kept" if known else "formed", rule)))
    elif outcome.status == "failed":
        said = f"failed: {said}"
    return f"round {spec.round}  {said}"


def _show(results: Path, combinations: Sequence[Combination], registry: Registry) -> None:
    """The tables of the data sets that were asked for, by the default reporter."""
    from bench.comparison.reporters import choose_reporter, render
    from bench.comparison.tables import tables_of
    from bench.results.store import scan

    datasets = {unit.dataset.name for combination in combinations for unit in combination.units}
    records, _ = scan(results)
    compared = tables_of(records, results, datasets=sorted(datasets), registry=registry)
    warn(compared.warnings)
    echo(render(choose_reporter(registry), compared.tables, registry), nl=False)
