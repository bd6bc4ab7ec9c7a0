"""The ensembles of a study: which of its runs each one combines, and how a user writes that.

mean                                      all strategies of each model
mean(egmae+imagenet)                      these strategies of each model
mean(resnet18.egmae+resnet50.imagenet)    these runs, whichever models they are of
mean(*)                                   all runs, of all models together
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import ConfigError, UnknownName
from bench.identity import Ref
from bench.parsing import brief, shown


@dataclass(frozen=True)
class Member:
    """A strategy of one model, or of each model of the study.

    Attributes:
        strategy: name of the strategy.
        model: name of the model; empty for each.
    """

    strategy: str
    model: str = ""

    @property
    def name(self) -> str:
        """As it is written: STRATEGY or MODEL.STRATEGY."""
        return f"{self.model}.{self.strategy}" if self.model else self.strategy


ALL_RUNS = (Member("*"),)
"""The members of an ensemble that combines all runs there are, of all models: NAME(*)."""


@dataclass(frozen=True)
class StudyEnsemble:
    """An ensemble of a study and which runs it combines.

    Attributes:
        ensemble: how they are combined, with its parameters.
        members: the runs, in the order of the study, all with a model or all without; empty for all
            strategies of each model, `ALL_RUNS` for all runs of all models.
    """

    ensemble: Ref
    members: tuple[Member, ...] = ()

    @property
    def name(self) -> str:
        """As it is written: NAME, NAME(*) or NAME(MEMBER+MEMBER)."""
        chosen = "+".join(member.name for member in self.members)
        return f"{self.ensemble.name}({chosen})" if chosen else self.ensemble.name


def parse_ensemble(
    text: str, models: Sequence[str], strategies: Sequence[str], installed: Collection[str] = ()
) -> tuple[str, tuple[Member, ...]]:
    """The name of the ensemble that `text` asks for, and its members in the order of the study.

    `models` and `strategies` are those of the study, `installed` all strategies that there are. Spaces
    between names count for nothing. Raises ConfigError, and UnknownName for a member that the study lacks.
    """
    said = f"ensemble {shown(text)}"
    name, opening, rest = (part.strip() for part in text.partition("("))
    if not opening and ")" not in name:
        return name, ()
    pieces = [piece.strip() for piece in rest.removesuffix(")").split("+")]
    if not name or not rest.endswith(")") or any(not p or set(p) & set("()") for p in pieces):
        raise ConfigError(
            f"{said}: must be NAME or NAME(A+B), its members joined by + in one pair of parentheses, or "
            "NAME(*) for all runs (a comma begins the next ensemble)"
        )
    every = ALL_RUNS[0].name
    if every in pieces:
        if len(pieces) > 1:
            raise ConfigError(f"{said}: {every} means all runs, so it stands alone: {name}({every})")
        return name, ALL_RUNS
    members = _settle(said, _read_members(said, pieces, models, strategies, installed), models)
    for member in members:
        if members.count(member) > 1:
            raise ConfigError(f"{said}: member {member.name!r} is named twice")
    if len(members) == 1:
        raise ConfigError(f"{said}: one member alone is no ensemble; name two or more, joined by +")
    return name, tuple(member for member in _possible(models, strategies) if member in members)


def _possible(models: Sequence[str], strategies: Sequence[str]) -> list[Member]:
    """Every member that a study of these models and strategies can have, in its order."""
    return [Member(strategy, model) for model in ("", *models) for strategy in strategies]


def _read_members(
    said: str,
    pieces: Sequence[str],
    models: Sequence[str],
    strategies: Sequence[str],
    installed: Collection[str],
) -> list[Member]:
    """The members that these texts between plus signs are. A name may hold dots and plus signs itself, so
    names are told apart by what the study has; what has two meanings is refused."""
    known: dict[str, list[Member]] = {}
    for member in _possible(models, strategies):
        known.setdefault(member.name, []).append(member)
    names = _names_of(said, pieces, known)
    for name in names:
        if name not in known:
            hint = f"(in {said})"
            if name in installed:
                hint = f"(in {said}; the strategy {name} is not in the study, --strategies adds it)"
            near = known if "." in name else strategies
            raise UnknownName("member", name, near, hint, listed="a member is STRATEGY or MODEL.STRATEGY")
        if len(known[name]) > 1:
            meanings = " and ".join(f"{m.strategy!r} of {m.model or 'each model'}" for m in known[name])
            raise ConfigError(f"{said}: {name!r} can mean {meanings}; leave one of them out of the study")
    return [known[name][0] for name in names]


def _names_of(said: str, pieces: Sequence[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """The known names that `pieces`, joined by plus signs, are; up to the first that is unknown."""
    longest = max(name.count("+") + 1 for name in known)
    if longest == 1 or len(pieces) > sum(name.count("+") + 1 for name in known):
        return tuple(pieces)  # no name holds a plus sign, or some member is unknown or named twice
    readings: list[list[tuple[str, ...]]] = [[()]]  # of the first 0, 1, ... pieces, two at most of each
    for end in range(1, len(pieces) + 1):
        last = {start: "+".join(pieces[start:end]) for start in range(max(0, end - longest), end)}
        found = [(*before, n) for start, n in last.items() if n in known for before in readings[start]]
        readings.append(found[:2])
    if len(readings[-1]) > 1:
        ways = " or as ".join(", ".join(names) for names in readings[-1])
        raise ConfigError(f"{said}: can be read as {brief(ways)}; leave one of these out of the study")
    read = max(i for i, found in enumerate(readings) if found)
    return (*readings[read][0], *pieces[read : read + 1])


def _settle(said: str, members: Sequence[Member], models: Sequence[str]) -> list[Member]:
    """The members, all with a model or all without; with one model alone, naming it changes nothing."""
    if len(models) == 1:
        return [Member(member.strategy) for member in members]
    of_each = next((member for member in members if not member.model), None)
    if of_each and any(member.model for member in members):
        ways = " or ".join(f"{model}.{of_each.name}" for model in models[:2])
        raise ConfigError(
            f"{said}: {of_each.name} is a strategy of {len(models)} models, while other members name "
            f"theirs; write {ways}{' or ...' * (len(models) > 2)}"
        )
    return list(members)
