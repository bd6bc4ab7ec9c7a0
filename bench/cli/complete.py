"""What can stand in a place of the command line: names of components and protocols, and files.

Each function here gives the candidates for one option or argument whose text begins as given.
`bench.cli.shell` calls them when a shell completes a word. They answer without importing torch or numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bench.registry import Components, Registry

Named = Iterable[tuple[str, str]]
"""(name, what it is)"""


class Candidates(NamedTuple):
    """What a word can be completed to.

    Attributes:
        names: (the whole word, what it is).
        files: which files the shell offers beside them: None for none, "" for all, ".toml" for some.
    """

    names: list[tuple[str, str]]
    files: str | None = None


Completer = Callable[[str], Candidates]


def datasets(word: str) -> Candidates:
    """Names of data sets, comma-separated."""
    return _several(word, _entries(lambda registry: registry.datasets))


def dataset(word: str) -> Candidates:
    """The name of one data set."""
    return _one(word, _entries(lambda registry: registry.datasets)(word))


def strategies(word: str) -> Candidates:
    """Names of strategies, comma-separated."""
    return _several(word, _entries(lambda registry: registry.strategies))


def models(word: str) -> Candidates:
    """Names of models, comma-separated; those of families once a letter is typed."""
    return _several(word, _models)


def model(word: str) -> Candidates:
    """The name of one model."""
    return _one(word, _models(word))


def baselines(word: str) -> Candidates:
    """Names of models that are baselines, comma-separated, or all."""

    def named(last: str) -> Named:
        from bench.registry import installed

        known = [model for model in installed().models.all() if "baseline" in model.traits]
        alone = [] if "," in word else [("all", "every one of them")]
        return [*alone, *((model.name, model.about) for model in known)]

    return _several(word, named)


def ensembles(word: str) -> Candidates:
    """Names of ensembles, comma-separated, or none; after a parenthesis, the strategies of its members."""
    if "(" in word.rpartition(",")[2]:
        return _members(word)
    own = _entries(lambda registry: registry.ensembles)
    alone = [] if "," in word else [("none", "no ensemble")]
    return _several(word, lambda last: [*own(last), *alone])


def formed_ensembles(word: str) -> Candidates:
    """The name of an ensemble; after a parenthesis, its members or all runs."""
    if "(" in word:
        return _members(word)
    return _one(word, _entries(lambda registry: registry.ensembles)(word))


def metric(word: str) -> Candidates:
    """The name of one metric."""
    return _one(word, _entries(lambda registry: registry.metrics)(word))


def crosschecks(word: str) -> Candidates:
    """Tests that `bench compare` can do beside its own."""
    return _one(word, [("nb", "corrected resampled t"), ("mcnemar", "one round"), ("delong", "one round")])


def figures(word: str) -> Candidates:
    """The name of one kind of figure."""
    from bench.figures.kinds import ABOUT

    return _one(word, list(ABOUT.items()))


def subgroups(word: str) -> Candidates:
    """What test images can be divided by, or a file that says it."""
    known = [
        ("class", "the true class"),
        ("duplicate", "whether the audit found one"),
        ("size", "thirds of the images' pixels"),
        ("source", "where images come from"),
    ]
    return _one(word, known, files=".csv")


def metrics(word: str) -> Candidates:
    """Names of metrics, comma-separated."""
    return _several(word, _entries(lambda registry: registry.metrics))


def executors(word: str) -> Candidates:
    """The name of one executor."""
    return _one(word, _entries(lambda registry: registry.executors)(word))


def formats(word: str) -> Candidates:
    """The name of one reporter."""
    return _one(word, _entries(lambda registry: registry.reporters)(word))


def trackers(word: str) -> Candidates:
    """Names of trackers, comma-separated, or none."""
    own = _entries(lambda registry: registry.trackers)
    alone = [] if "," in word else [("none", "no tracker")]
    return _several(word, lambda last: [*own(last), *alone])


def uncertainties(word: str) -> Candidates:
    """What can stand beside a mean."""
    from bench.interfaces.rows import UNCERTAINTIES

    return _one(word, [(name, "") for name in UNCERTAINTIES])


def checklists(word: str) -> Candidates:
    """The name of a shipped checklist."""
    from bench.manuscript.checklist import checklist_names, checklist_title

    return _one(word, [(name, checklist_title(name)) for name in checklist_names()])


def protocols(word: str) -> Candidates:
    """The name of a shipped protocol, or a file."""
    return _one(word, _protocols(), files=".toml")


def kinds(word: str) -> Candidates:
    """A kind of component, protocols, or plugins."""
    from bench import hookspecs
    from bench.registry import KINDS

    about = {kind.plural: getattr(hookspecs, kind.hook).__doc__ for kind in KINDS}
    others = {"protocols": "Settings that the runs of a study share.", "plugins": "Packages of components."}
    return _one(word, (about | others).items())


def components(word: str) -> Candidates:
    """The name of one component of any kind or of a protocol, or a protocol file."""
    from bench.registry import installed

    registry = installed()
    named: list[tuple[str, str]] = []
    for kind in registry.kinds:
        described = _models(word) if kind is registry.models else _described(kind)
        named += [(name, f"{kind.kind.singular}: {about}") for name, about in described]
    families = [
        (name, f"family of models: {e.component.about}") for name, e in registry.models.families.items()
    ]
    own = [(name, f"protocol: {about}") for name, about in _protocols()]
    return _one(word, [*named, *families, *own], files=".toml")


def checks(word: str) -> Candidates:
    """Names of checks of `bench doctor`, comma-separated."""

    def named(last: str) -> Named:
        from bench.doctor.checks import CHECKS

        return [(check.name, check.question) for check in CHECKS]

    return _several(word, named)


def kept(word: str) -> Candidates:
    """What to keep, comma-separated."""
    known = [("model", "each fine-tuned network"), ("decoder", "each pretraining with its decoder")]
    return _several(word, lambda last: known)


def kept_runs(word: str) -> Candidates:
    """The name of a run whose model is kept in the default results folder, or a folder."""
    import os
    from pathlib import Path

    kept = Path(os.environ.get("BENCH_RESULTS") or "results", "kept", "runs").glob("*/*.*")
    named = sorted({f"{path.parent.name}/{path.name.rpartition('.')[0]}" for path in kept})
    return _one(word, [(name, "") for name in named], files="")


def devices(word: str) -> Candidates:
    """A device."""
    return _one(word, [("cpu", ""), ("cuda", "the GPU; cuda:N for another, cuda:all for every one")])


def study_files(word: str) -> Candidates:
    """A study file."""
    return Candidates([], files=".toml")


def files(word: str) -> Candidates:
    """A file or a folder."""
    return Candidates([], files="")


# --- how they are found ------------------------------------------------------------------------------


def _entries(kind: Callable[[Registry], Components]) -> Callable[[str], Named]:
    def named(word: str) -> Named:
        from bench.registry import installed

        return _described(kind(installed()))

    return named


def _described(components: Components) -> Named:
    return [(name, entry.component.about) for name, entry in components.entries.items()]


def _models(word: str) -> Named:
    """Models with a name of their own; once a letter is typed, those of families too."""
    from bench.registry import installed

    models = installed().models
    about = dict(_described(models))
    try:
        names = models.complete(word) if word else list(about)
    except Exception:  # a third party's family; the rest can be completed all the same
        names = list(about)
    return [(name, about.get(name, "")) for name in names]


def _members(word: str) -> Candidates:
    """Candidates for the last member of an ensemble: a strategy, or one of the model whose name stands before
    a dot. After the first, which is never alone, comes a plus sign; after any other, the end."""
    from bench.registry import installed

    start = max(word.rfind("("), word.rfind("+")) + 1
    before, last = word[:start], word[start:]
    ending = "+" if before.endswith("(") else ")"
    taken = before.rpartition("(")[2].split("+")
    own = list(_described(installed().strategies))
    if word.endswith("("):
        return Candidates([(f"{word}*)", "all runs"), *((f"{word}{name}+", about) for name, about in own)])
    model, dot, _ = last.rpartition(".")
    if dot and model in dict(_models(model)):
        own = [(f"{model}.{name}", about) for name, about in own]
    return Candidates(
        [(f"{before}{n}{ending}", about) for n, about in own if n.startswith(last) and n not in taken]
    )


def _protocols() -> Named:
    from bench.study.config import protocol_about, protocol_names

    return [(name, protocol_about(name)) for name in protocol_names()]


def _one(word: str, named: Named, files: str | None = None) -> Candidates:
    return Candidates([(name, about) for name, about in named if name.startswith(word)], files)


def _several(word: str, named: Callable[[str], Named]) -> Candidates:
    """Candidates for the last name of a comma-separated list, without those that stand before it."""
    before, comma, last = word.rpartition(",")
    taken = before.split(",")
    return Candidates(
        [
            (f"{before}{comma}{name}", about)
            for name, about in named(last)
            if name.startswith(last) and name not in taken
        ]
    )
