"""What is explained: which rows of which table, and which test images of which round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.again import command_of, runs_of
from bench.comparison.compare import Table
from bench.comparison.methods import Method, find_method
from bench.data.images.index import first_few
from bench.errors import ConfigError, DataError, UnknownName
from bench.identity import derive_seed
from bench.results import kept
from bench.results.record import Record
from bench.study.spec import PretrainSpec, RunSpec

if TYPE_CHECKING:
    from bench.data.images.images import Images
    from bench.interfaces.predictions import Predictions
    from bench.registry import Registry


def choose_table(tables: Sequence[Table], names: Sequence[str], results: Path, registry: Registry) -> Table:
    """The one table to explain, with the rows called `names`, or all whose networks were kept.

    Raises UnknownName for a row that no table has; ConfigError where several tables are left, or no network
    of a row was kept: it says by which command it would be.
    """
    if not tables:
        raise ConfigError(f"no finished runs in {results}; make some (`bench run --help`)")
    having = [table for table in tables if _has_all(table, names)]
    if not having:
        for name in names:
            find_method([row for table in tables for row in table.methods], name)
        raise ConfigError(f"no table has all of {', '.join(names)}: rows of one table are explained together")
    kept_in = [table for table in having if any(has_network(row, results) for row in table.methods)]
    if not kept_in:
        row = _row(having[0], names)
        raise ConfigError(
            f"no fine-tuned network of these results was kept, so nothing can be explained; keep them by "
            f"{keeping_command(row, results, registry)}"
        )
    if len(kept_in) > 1:
        several = "; ".join(table.where for table in kept_in)
        raise ConfigError(
            f"kept networks belong to several tables ({several}); name a data set by --dataset, or keep the "
            "results of each protocol in a folder of its own (--results)"
        )
    (table,) = kept_in
    if not names:
        return table._replace(methods=[row for row in table.methods if has_network(row, results)])
    rows = [find_method(table.methods, name) for name in names]
    for row in rows:
        if not has_network(row, results):
            raise ConfigError(
                f"{row.name}: its fine-tuned network was not kept; keep it by "
                f"{keeping_command(row, results, registry)}"
            )
    return table._replace(methods=list({row.name: row for row in rows}.values()))


def _row(table: Table, names: Sequence[str]) -> Method:
    return find_method(table.methods, names[0]) if names else table.methods[0]


def _has_all(table: Table, names: Sequence[str]) -> bool:
    try:
        for name in names:
            find_method(table.methods, name)
    except UnknownName:
        return False
    return True


def has_network(row: Method, results: Path) -> bool:
    """Whether every network of a row was kept in some round."""
    return any(not lacking(unit.record, results) for unit in row.done.values())


def lacking(record: Record, results: Path) -> list[str]:
    """Labels of the runs of a record, members of an ensemble, whose networks were not kept."""
    return [run.label for run in runs_of(record) if kept.lacks(results, run, ["model"]) is not None]


def has_decoder(start: PretrainSpec, results: Path) -> bool:
    """Whether a pretraining was kept with its decoder."""
    return kept.lacks(results, start, ["decoder"]) is None


def keeping_command(row: Method, results: Path, registry: Registry) -> str:
    """The command that keeps the networks and pretrainings of a row."""
    record = row.units[0].record
    rounds = max(record.asked.rounds, 1 + max(unit.spec.round for unit in row.units))
    command, _ = command_of(record, rounds, registry)
    where = "" if results == Path("results") else f" --results {results}"
    return f"`{command} --data DIR{where} --keep model,decoder`"


def rows_by_round(table: Table, results: Path) -> dict[int, list[Method]]:
    """The rows of each round whose networks were kept in it."""
    rounds = sorted({number for row in table.methods for number in row.done})
    found = {
        number: [
            row
            for row in table.methods
            if number in row.done and not lacking(row.done[number].record, results)
        ]
        for number in rounds
    }
    return {number: rows for number, rows in found.items() if rows}


def check_round(
    round_: int | None,
    rounds: Mapping[int, Sequence[Method]],
    table: Table,
    results: Path,
    registry: Registry,
) -> None:
    """Raise ConfigError for a round of which nothing was kept; `rounds` are the others."""
    if round_ is None or round_ in rounds:
        return
    if not any(round_ in row.done for row in table.methods):
        raise ConfigError(f"--round {round_}: {table.where} has no results of this round")
    raise ConfigError(
        f"--round {round_}: no network of this round was kept (of rounds "
        f"{', '.join(map(str, rounds))} some were); "
        f"keep them by {keeping_command(table.methods[0], results, registry)}"
    )


def pretrainings(rows: Sequence[Method], round_: int) -> list[tuple[Method, RunSpec]]:
    """Rows that start from a pretraining, with their run of this round."""
    found = []
    for row in rows:
        spec = row.done[round_].spec if round_ in row.done else None
        if isinstance(spec, RunSpec) and spec.start is not None:
            found.append((row, spec))
    return found


# --- images ------------------------------------------------------------------------------------------


def random_ids(tested: Predictions, count: int, seed: int) -> tuple[str, ...]:
    """So many test images, drawn at random: the same ones for the same test part and seed, whoever is
    explained. In the order of the test part."""
    random = np.random.default_rng(derive_seed(seed, "explain", *sorted(tested.ids)))
    order = random.permutation(sorted(tested.ids))[:count].tolist()
    chosen = set(order)
    return tuple(id_ for id_ in tested.ids if id_ in chosen)


def named_ids(
    names: Sequence[str], images: Images, tested: Mapping[int, Predictions], round_: int
) -> tuple[str, ...]:
    """The test images of a round that a user calls `names`: by their id, or the name of their file. `tested`
    is the test part of every round.

    Raises DataError for a name that no image or several have, and for an image that is not in the test part
    of the round: it says which rounds test on it.
    """
    return tuple(dict.fromkeys(_named(name, images, tested, round_) for name in names))


def _named(name: str, images: Images, tested: Mapping[int, Predictions], round_: int) -> str:
    found = list(_called(name, images))
    if not found:
        raise DataError(
            f"--images {name!r}: {images.dataset} has no image of this id or file name; ids are such as "
            f"{first_few(list(tested[round_].ids), 3)}"
        )
    if len(found) > 1:
        raise DataError(
            f"--images {name!r}: {len(found)} images are called so: {first_few(found)}; give the id of one"
        )
    if found[0] not in tested[round_].ids:
        others = [str(number) for number, one in tested.items() if found[0] in one.ids]
        remedy = f"--round {' or '.join(others)} tests on it" if others else "choose another image"
        raise DataError(
            f"--images {name!r}: {found[0]} is not in the test part of round {round_}, so networks may have "
            f"been trained on it; {remedy}"
        )
    return found[0]


def _called(name: str, images: Images) -> Iterator[str]:
    if name in images.ids:
        yield name
        return
    for id_, path in zip(images.ids, images.paths, strict=True):
        last = id_.rpartition("/")[2]
        if name in (last, path.name if path else "", path.stem if path else ""):
            yield id_
