"""Ensembles of runs that are finished: which units they are. Nothing is combined here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.comparison.compare import Table
from bench.comparison.methods import Method
from bench.comparison.rows import Label, row_id
from bench.errors import ConfigError, UnknownName
from bench.identity import Ref
from bench.study.ensembles import ALL_RUNS, Member, parse_ensemble
from bench.study.spec import EnsembleSpec, RunSpec


class Combination(NamedTuple):
    """An ensemble of methods of one table.

    Attributes:
        where: data set, and protocol where several tables have it.
        methods: that are combined, at least two.
        units: one for each round that all of them have, at least one.
        left_out: rounds that some of them have, with the methods that lack them.
    """

    where: str
    methods: Sequence[Method]
    units: Sequence[EnsembleSpec]
    left_out: Mapping[int, Sequence[str]]


class Asked(NamedTuple):
    """What one text asks for, and why some of it cannot be."""

    found: list[Combination]
    problems: list[str]


def combinations_of(tables: Sequence[Table], text: str, refs: Mapping[str, Ref]) -> Asked:
    """The ensembles that `text` asks for, of the finished runs of these tables, each within one table.

    NAME(A+B) combines these methods, NAME(*) all runs of a table, NAME all runs of each model; `refs` are the
    ensembles by name, with their parameters. Raises UnknownName for a member that no table has, ConfigError
    for what is not written so, or where no table and round has all members.
    """
    found, problems = [], []
    for table in tables:
        try:
            groups = list(_groups(table, text))
        except UnknownName as error:
            problems.append(f"{table.where}: {error}")
            continue
        for methods, problem in groups:
            if problem:
                problems.append(f"{table.where}: {problem}")
                continue
            combination = _combination(table, methods, refs[ensemble_name(text)])
            if combination.units:
                found.append(combination)
            else:
                problems.append(f"{table.where}: no round is finished by all of {_names(methods)}")
    if not found:
        _raise(tables, text, problems)
    return Asked(found, problems)


def ensemble_name(text: str) -> str:
    """The name of the ensemble that is asked for."""
    return text.partition("(")[0].strip()


def _raise(tables: Sequence[Table], text: str, problems: Sequence[str]) -> None:
    """Raise what tells most of why no table has what `text` asks for."""
    rows = [row for table in tables for row in _runs(table)]
    if not rows:
        raise ConfigError(
            f"ensemble {text!r}: nothing to combine; these results hold ensembles alone, without the runs "
            "that they are of; repeat the command that made those"
        )
    parse_ensemble(text, *_named(rows))  # which says what is known, if a name is in no table
    raise ConfigError(
        f"ensemble {text!r}: nothing to combine; only runs of the same images, splits and protocol can be, "
        f"two or more (`bench table` shows which are): {'; '.join(problems)}"
    )


def _runs(table: Table) -> list[Method]:
    return [method for method in table.methods if not method.is_ensemble]


def _named(rows: Sequence[Method]) -> tuple[list[str], list[str]]:
    """Models and methods, as the rows of a table are called."""
    models = list(dict.fromkeys(row.label.model for row in rows))
    return models, list(dict.fromkeys(row.label.method for row in rows))


def _groups(table: Table, text: str) -> Iterator[tuple[list[Method], str]]:
    """The methods of each ensemble that `text` asks for in this table, or why they are none."""
    rows = _runs(table)
    if not rows:
        return
    models, methods = _named(rows)
    _, members = parse_ensemble(text, models, methods)
    if members == ALL_RUNS:
        groups = [rows]
    elif not members:
        groups = [[row for row in rows if row.label.model == model] for model in models]
    elif members[0].model:
        yield _found(rows, members)
        return
    else:
        for model in models:
            yield _found(rows, [Member(member.strategy, model) for member in members])
        return
    for group in groups:
        lone = f"{group[0].name} is the only run" if len(group) < 2 else ""
        yield group, lone if members == ALL_RUNS or not lone else f"{lone} of {group[0].label.model}"


def _found(rows: Sequence[Method], members: Sequence[Member]) -> tuple[list[Method], str]:
    known = {row.label: row for row in rows}
    labels = {Label(member.model, member.strategy): member for member in members}
    group = [known[label] for label in labels if label in known]
    lacking = [member.name for label, member in labels.items() if label not in known]
    return group, f"there is no finished {' and no '.join(lacking)}" if lacking else ""


def _combination(table: Table, methods: Sequence[Method], ensemble: Ref) -> Combination:
    methods = _ordered(table, methods)
    every = sorted({number for method in methods for number in method.done})
    left_out = {
        number: lacking
        for number in every
        if (lacking := [method.name for method in methods if number not in method.done])
    }
    units = [
        EnsembleSpec(ensemble, tuple(_run(method, number) for method in methods))
        for number in every
        if number not in left_out
    ]
    return Combination(table.where, methods, units, left_out)


def _run(method: Method, number: int) -> RunSpec:
    spec = method.done[number].spec
    assert isinstance(spec, RunSpec)  # ensembles are left out
    return spec


def _ordered(table: Table, methods: Sequence[Method]) -> Sequence[Method]:
    """In the order of their study, as an ensemble in this table shows it that has them all; else as they
    are."""
    own = {row_id(method.units[0].spec): method for method in methods}
    for method in table.methods:
        spec = method.units[0].spec
        if isinstance(spec, EnsembleSpec):
            order = [row_id(member) for member in spec.members]
            if own.keys() <= set(order):
                return [own[row] for row in order if row in own]
    return methods


def _names(methods: Sequence[Method]) -> str:
    return ", ".join(method.name for method in methods)
