"""What a shell completes: names of components and protocols, also within comma-separated lists.

Answers within 0.3 s of interpreter start, so without importing torch. `bench --install-completion` sets the
shell up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.registry import Components, Registry

Completion = list[tuple[str, str]]
"""(what to complete to, what it is)"""


def datasets(incomplete: str) -> Completion:
    """Names of data sets."""
    return _listed(incomplete, _names(lambda registry: registry.datasets))


def strategies(incomplete: str) -> Completion:
    """Names of strategies."""
    return _listed(incomplete, _names(lambda registry: registry.strategies))


def models(incomplete: str) -> Completion:
    """Names of models, those of families too."""
    from bench.registry import installed

    components = installed().models
    about = {name: entry.component.about for name, entry in components.entries.items()}
    return _listed(
        incomplete, lambda word: ((name, about.get(name, "")) for name in components.complete(word))
    )


def baselines(incomplete: str) -> Completion:
    """Names of models that are baselines, and all."""

    def named(word: str) -> Iterable[tuple[str, str]]:
        from bench.registry import installed

        known = [model for model in installed().models.all() if "baseline" in model.traits]
        return [("all", "every one of them"), *((model.name, model.about) for model in known)]

    return _listed(incomplete, named)


def ensembles(incomplete: str) -> Completion:
    """Names of ensembles, and none."""
    own = _names(lambda registry: registry.ensembles)
    return _listed(incomplete, lambda word: [*own(word), ("none", "no ensemble")])


def metrics(incomplete: str) -> Completion:
    """Names of metrics."""
    return _listed(incomplete, _names(lambda registry: registry.metrics))


def executors(incomplete: str) -> Completion:
    """Names of executors."""
    return _single(incomplete, _names(lambda registry: registry.executors))


def formats(incomplete: str) -> Completion:
    """Names of reporters."""
    return _single(incomplete, _names(lambda registry: registry.reporters))


def protocols(incomplete: str) -> Completion:
    """Names of shipped protocols."""
    from bench.study.config import protocol_names

    return _single(incomplete, lambda word: [(name, "") for name in protocol_names()])


def kinds(incomplete: str) -> Completion:
    """Kinds of component, and protocols."""
    from bench.registry import KINDS

    names = [*(kind.plural for kind in KINDS), "protocols", "plugins"]
    return _single(incomplete, lambda word: [(name, "") for name in names])


def components(incomplete: str) -> Completion:
    """Names of all components and protocols."""

    def named(word: str) -> Iterable[tuple[str, str]]:
        from bench.registry import installed

        for kind in installed().kinds:
            about = {name: entry.component.about for name, entry in kind.entries.items()}
            yield from ((name, about.get(name, kind.kind.singular)) for name in kind.complete(word))
        yield from protocols(word)

    return _single(incomplete, named)


def _names(kind: Callable[[Registry], Components]) -> Callable[[str], Iterable[tuple[str, str]]]:  # type: ignore[type-arg]  # of any kind
    def named(word: str) -> Iterable[tuple[str, str]]:
        from bench.registry import installed

        entries = kind(installed()).entries
        return [(name, entry.component.about) for name, entry in entries.items()]

    return named


def _single(incomplete: str, named: Callable[[str], Iterable[tuple[str, str]]]) -> Completion:
    return [(name, about) for name, about in named(incomplete) if name.startswith(incomplete)]


def _listed(incomplete: str, named: Callable[[str], Iterable[tuple[str, str]]]) -> Completion:
    """Completions of the last name of a comma-separated list, without those that stand before it."""
    before, comma, word = incomplete.rpartition(",")
    taken = before.split(",")
    return [
        (f"{before}{comma}{name}", about)
        for name, about in named(word)
        if name.startswith(word) and name not in taken
    ]
