"""Reading what a user wrote: study files, protocols, and single values set on the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.errors import ConfigError, UnknownName
from bench.parsing import DEEPEST, brief, check_plain, parse, read_toml, shown
from bench.study.protocol import Budget, Share

DEFAULT_PROTOCOL = "paper"
NO_ENSEMBLES = NO_TRACKERS = ("none",)
Parameters = Mapping[str, Mapping[str, Any]]
"""Component's name -> parameter -> value"""


@dataclass(frozen=True)
class StudyConfig:
    """What a study file says, or the keywords of `Study.from_keywords`.

    Attributes:
        datasets: names of data sets.
        models: names of models; none means the protocol's.
        baselines: further models to compare with; "all" is every one with the trait "baseline".
        strategies: names of strategies.
        ensembles: names of ensembles, over all strategies of each model, or with the members to combine:
            "mean(egmae+imagenet)", "mean(resnet18.egmae+resnet50.egmae)"; None means the default one, "none"
            none.
        shares: shares of the training images whose labels fine-tuning sees; the study is run with each.
            None means the protocol's `finetune.share`.
        keep: what to keep beside results: "model" (each fine-tuned network), "decoder" (each pretraining with
            its decoder).
        budgets: epochs of pretraining and fine-tuning; the study is run with each. None means the protocol's.
        base: a shipped protocol or the path of a protocol file.
        protocol: values that differ from the base.
        dataset: parameters of data sets, by name.
        model: parameters of models, by name.
        strategy: parameters of strategies, by name.
        ensemble: parameters of ensembles, by name, whichever members they combine.
        track: names of trackers, which follow the study while it runs; "none" for no.
        tracker: parameters of trackers, by name.
        evidence: metric, baseline and margin, declared before the study is run (`bench.study.declaration`).
    """

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    ensembles: tuple[str, ...] | None = None
    shares: tuple[Share, ...] | None = None
    keep: tuple[Literal["model", "decoder"], ...] = ()
    budgets: tuple[Budget, ...] | None = None
    base: str = DEFAULT_PROTOCOL
    protocol: Mapping[str, Any] = field(default_factory=dict)
    dataset: Parameters = field(default_factory=dict)
    model: Parameters = field(default_factory=dict)
    strategy: Parameters = field(default_factory=dict)
    ensemble: Parameters = field(default_factory=dict)
    track: tuple[str, ...] = ()
    tracker: Parameters = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)


def read_study(path: Path) -> StudyConfig:
    """Read a study file. Raises ConfigError."""
    config: StudyConfig = parse(StudyConfig, read_toml(path), path.name)
    return config


# --- protocols ---------------------------------------------------------------------------------------


def protocol_names() -> list[str]:
    """Names of the protocols shipped with the package."""
    folder = resources.files("bench.study") / "protocols"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def protocol_about(name: str) -> str:
    """The first comment of a shipped protocol, which says what it is."""
    text = (resources.files("bench.study") / "protocols" / f"{name}.toml").read_text(encoding="utf-8")
    return text.splitlines()[0].lstrip("# ")


def read_protocol(name: str) -> tuple[str, dict[str, Any]]:
    """The name and values of a shipped protocol, or of a protocol file. Raises UnknownName or ConfigError."""
    if name.endswith(".toml"):
        return Path(name).stem, read_toml(Path(name))
    if name not in protocol_names():
        raise UnknownName("protocol", name, protocol_names(), "(a file is given as --protocol FILE.toml)")
    with resources.as_file(resources.files("bench.study") / "protocols" / f"{name}.toml") as path:
        return name, read_toml(path)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return merged


# --- single values -----------------------------------------------------------------------------------


class Assignment(NamedTuple):
    """One value to change: where, to what, and how the user wrote it."""

    path: str
    value: Any
    text: str


def parse_assignment(text: str) -> Assignment:
    """From `strategy.egmae.patch=32`, as `--set` takes it. Raises ConfigError."""
    check_plain(text, "--set")
    path, equals, value = text.partition("=")
    said = f"--set {brief(text)}"
    if not equals or not value.strip():
        raise _malformed(said)
    return Assignment(path.strip(), _value(value.strip(), said), said)


def assignments_of(values: Mapping[str, Any]) -> list[Assignment]:
    """From `{"strategy.egmae.patch": 32}`, as the Python API takes them."""
    return [Assignment(path, value, f"{path} = {shown(value)}") for path, value in values.items()]


def assign(config: StudyConfig, assignments: Sequence[Assignment], kinds: Sequence[str]) -> StudyConfig:
    """`config` with these values; `kinds` of component ("strategy") have parameters. Raises ConfigError."""
    tables: dict[str, Any] = {
        name: copy.deepcopy(getattr(config, name)) for name in ("protocol", "evidence", *kinds)
    }
    given: dict[str, Assignment] = {}
    for assignment in assignments:
        other = given.setdefault(assignment.path, assignment)
        if other is not assignment and other.value != assignment.value:
            raise ConfigError(f"{other.text} and {assignment.text}: two values for one key; give one of them")
        _assign(assignment, tables, kinds)
    return replace(config, **tables)


def _assign(assignment: Assignment, tables: dict[str, Any], kinds: Sequence[str]) -> None:
    keys = assignment.path.split(".")
    if len(keys) < 2 or not all(keys):
        raise _malformed(assignment.text)
    target: dict[str, Any]
    if keys[0] in ("protocol", "evidence"):
        target, rest = tables[keys[0]], keys[1:]
    elif keys[0] in kinds and len(keys) >= 3:
        # A name may hold dots (timm's tags); the last key is the parameter.
        target, rest = tables[keys[0]].setdefault(".".join(keys[1:-1]), {}), keys[-1:]
    else:
        starts = ", ".join(["protocol.KEY", "evidence.KEY", *(f"{kind}.NAME.KEY" for kind in kinds)])
        raise ConfigError(f"{assignment.text}: {shown(assignment.path)} must start with one of {starts}")
    if len(rest) > DEEPEST:
        raise ConfigError(f"{assignment.text}: nested more than {DEEPEST} deep; write it flat")
    for key in rest[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{assignment.text}: {key!r} is not a table")
        target = inner
    target[rest[-1]] = assignment.value


def _malformed(text: str) -> ConfigError:
    return ConfigError(f"{text}: must be like protocol.finetune.epochs=30 or strategy.egmae.patch=32")


def _value(text: str, said: str) -> Any:
    """A TOML value; whatever is not one is a string. Raises ConfigError for what Python cannot read."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError:
        raise ConfigError(f"{said}: nested too deep") from None
    except ValueError:
        raise ConfigError(f"{said}: a number of thousands of digits; at most 64 bits are possible") from None
