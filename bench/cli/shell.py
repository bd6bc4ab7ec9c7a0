"""Completion in a shell: what stands at the word being typed, and how bash, zsh and fish are set up.

    bench --install-completion      puts bench/cli/completion/bench.<shell> where the shell finds it
    _BENCH_COMPLETE=zsh bench ...   what that file calls: the words typed so far, the last one unfinished

An answer must come within 0.3 s, so it is found from the signatures of the commands: neither a command nor
the machinery that parses a command line is loaded. Nothing on the way imports torch or numpy.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer
from typer.models import ArgumentInfo, OptionInfo

from bench.cli.complete import Candidates, Completer, files

SHELLS = ("bash", "zsh", "fish")
NOTHING = Candidates([])
_OPEN_QUOTE = re.compile("^(--[^=]+=)?[\"']")
"""Of a word that is still being typed, in bash and fish; zsh takes it off itself"""


# --- answering ---------------------------------------------------------------------------------------


def answer(app: typer.Typer, shell: str, words: Sequence[str]) -> str:
    """What the last of `words` can be completed to, one candidate per line as the shells' files read them."""
    if shell not in SHELLS:  # set up by something else
        return ""
    *before, word = words or [""]
    cut = 0
    if shell == "bash":
        before, word, cut = _joined(before, word)
    word = _OPEN_QUOTE.sub(r"\1", word)
    candidates = complete(app, before, word)
    lines = [f"name\t{name[cut:]}\t{' '.join(about.split())}" for name, about in candidates.names]
    if candidates.files is not None:
        lines.append(f"files\t{candidates.files}")
    return "\n".join(lines)


def _joined(before: list[str], word: str) -> tuple[list[str], str, int]:
    """Words that bash has split at "=", whole again, and how much of the last one bash takes as settled."""
    whole: list[str] = []
    settled = 0
    for text in [*before, word]:
        if whole and (text == "=" or whole[-1].endswith("=")):
            whole[-1] += text
            settled = whole[-1].index("=") + 1
        else:
            whole.append(text)
            settled = 0
    return whole[:-1], whole[-1], settled


def complete(app: typer.Typer, before: Sequence[str], word: str) -> Candidates:
    """Candidates for `word`, which follows the words `before` on the command line of `app`."""
    commands, parameters = _group(app)
    position = 0
    owner: _Parameter | None = None  # the option whose value comes next
    used: set[str] = set()
    for text in before:
        name, equals, _ = text.partition("=")
        if owner is not None:
            owner = None
        elif text.startswith("-"):
            option = parameters.option(name)
            used |= set(option.names) if option else {name}
            owner = option if option and option.takes_value and not equals else None
        elif commands:
            if text not in commands:
                return NOTHING
            commands, parameters = _target(commands[text])
            used = set()
        else:
            position += 1
    if owner is not None:
        return owner.completer(word)
    if word.startswith("-"):
        return _options(parameters, word, used)
    if commands:
        return Candidates([(name, about) for name, (_, about) in commands.items() if name.startswith(word)])
    argument = parameters.argument(position)
    return argument.completer(word) if argument else _options(parameters, word, used)


def _options(parameters: _Parameters, word: str, used: set[str]) -> Candidates:
    """Names of options, or the values of one written as --option=value."""
    name, equals, value = word.partition("=")
    if equals:
        option = parameters.option(name)
        if option is None or not option.takes_value:
            return NOTHING
        values = option.completer(value)
        return Candidates([(f"{name}={text}", about) for text, about in values.names], values.files)
    return Candidates(
        [
            (text, option.about)
            for option in (*parameters.options, HELP)
            for text in option.names
            if text.startswith(word) and (option.repeatable or not used & set(option.names))
        ]
    )


# --- what the commands take --------------------------------------------------------------------------


class _Parameter(NamedTuple):
    """An option, or an argument (without names)."""

    names: tuple[str, ...]
    about: str
    completer: Completer
    takes_value: bool
    repeatable: bool


class _Parameters(NamedTuple):
    options: list[_Parameter]
    arguments: list[_Parameter]

    def option(self, name: str) -> _Parameter | None:
        return next((option for option in self.options if name in option.names), None)

    def argument(self, position: int) -> _Parameter | None:
        """The argument at this position; a last one that is repeatable takes all that follow."""
        if position < len(self.arguments):
            return self.arguments[position]
        last = self.arguments[-1] if self.arguments else None
        return last if last and last.repeatable else None


Command = typer.Typer | Callable[..., Any]
Commands = Mapping[str, tuple[Command, str]]
"""name -> (a command or a group of commands, what it does)"""

HELP = _Parameter(("--help", "-h"), "Show what can be given, and exit.", lambda word: NOTHING, False, False)


def _target(command: tuple[Command, str]) -> tuple[Commands, _Parameters]:
    target, _ = command
    return _group(target) if isinstance(target, typer.Typer) else ({}, _parameters(target))


def _group(app: typer.Typer) -> tuple[Commands, _Parameters]:
    """The commands of an app, and the parameters that come before them."""
    commands: dict[str, tuple[Command, str]] = {}
    for command in app.registered_commands:
        if command.name and command.callback:
            commands[command.name] = (command.callback, (command.callback.__doc__ or "").partition("\n")[0])
    for group in app.registered_groups:
        if group.name and group.typer_instance:
            commands[group.name] = (group.typer_instance, str(group.typer_instance.info.help))
    callback = app.registered_callback.callback if app.registered_callback else None
    return commands, _parameters(callback) if callback else _Parameters([], [])


def _parameters(callback: Callable[..., Any]) -> _Parameters:
    """The options and arguments that a command's signature annotates."""
    options: list[_Parameter] = []
    arguments: list[_Parameter] = []
    for name, hint in typing.get_type_hints(callback, include_extras=True).items():
        if typing.get_origin(hint) is not typing.Annotated:
            continue
        kind, info = typing.get_args(hint)[:2]
        if isinstance(info, OptionInfo):
            options.append(_parameter(_names(info) or (f"--{name.replace('_', '-')}",), kind, info))
        elif isinstance(info, ArgumentInfo):
            arguments.append(_parameter((), kind, info))
    return _Parameters(options, arguments)


def _names(info: OptionInfo) -> tuple[str, ...]:
    """The names given to typer.Option, the first of which it takes for a default until it sees more."""
    given = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
    return tuple(name for text in given for name in text.split("/") if name.startswith("-"))


def _parameter(names: tuple[str, ...], kind: Any, info: OptionInfo | ArgumentInfo) -> _Parameter:
    kinds = _flat(kind)
    completer = info.autocompletion
    if completer is None:
        words = [
            text for part in kinds if typing.get_origin(part) is Literal for text in typing.get_args(part)
        ]
        completer = files if Path in kinds else lambda word: _starting(word, words)
    return _Parameter(names, info.help or "", completer, bool not in kinds, list in kinds)


def _flat(kind: Any) -> list[Any]:
    """A type, and what it is made of."""
    inner = [] if typing.get_origin(kind) is Literal else typing.get_args(kind)
    return [typing.get_origin(kind) if inner else kind, *(part for each in inner for part in _flat(each))]


def _starting(word: str, words: Sequence[str]) -> Candidates:
    return Candidates([(text, "") for text in words if text.startswith(word)])


# --- setting a shell up ------------------------------------------------------------------------------


def script(shell: str) -> str:
    """What a shell must read to complete `bench`."""
    return (resources.files("bench.cli") / "completion" / f"bench.{shell}").read_text(encoding="utf-8")


def install(shell: str) -> list[Path]:
    """Put the shell's file where the shell finds it; returns the files written. Raises StoreError."""
    from bench.files import cannot_write

    place, rc, line = _places(shell)
    written = [place]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(script(shell), encoding="utf-8")
        if rc is not None:
            text = rc.read_text(encoding="utf-8") if rc.is_file() else ""
            if line not in text.splitlines():
                rc.write_text(
                    f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n", "utf-8"
                )
                written.append(rc)
    except OSError as error:
        raise cannot_write(place, error) from error
    return written


def _places(shell: str) -> tuple[Path, Path | None, str]:
    """Where the shell's file belongs, and the line of its start-up file that loads it (fish needs none)."""
    home = Path.home()
    if shell == "bash":
        place = home / ".bash_completions" / "bench.sh"
        return place, home / ".bashrc", f"source '{place}'"
    if shell == "zsh":
        rc = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        return home / ".zfunc" / "_bench", rc, "fpath+=~/.zfunc; autoload -Uz compinit; compinit"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return config / "fish" / "completions" / "bench.fish", None, ""


def current_shell() -> str:
    """The shell that `bench` was called from, or $SHELL. Raises ConfigError for one that is not known."""
    import shellingham

    from bench.errors import ConfigError

    try:
        name = str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        which = f"{name} is not a shell" if name else "no shell was recognised"
        raise ConfigError(f"{which} that bench completes in; use {', '.join(SHELLS)} (or set SHELL to one)")
    return name
