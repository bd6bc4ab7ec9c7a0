"""A terminal for tests: a process in a pseudo-terminal, and what a person would see of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_CODE = re.compile(
    r"\x1b\](?P<title>[^\x07\x1b]*)(?:\x07|\x1b\\)|\x1b\[(?P<numbers>[?>=]?[\d;]*)[ !]?(?P<letter>[@-~])"
    r"|\x1b[()][AB0]|\x1b[=>78DMEc]"
)
_UNFINISHED = re.compile(r"\x1b(?:[\[(\]][^@-Z^-~\x07]{0,80})?$")


class Screen:
    """The lines of a terminal, also those that have left it at the top. Knows what rich and shells write."""

    def __init__(self, columns: int, height: int) -> None:
        self.columns, self.height = columns, height
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.rest = ""  # the beginning of a code whose end has not arrived

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]

    def feed(self, text: str) -> None:
        text, self.rest = self.rest + text, ""
        while text:
            code = _CODE.match(text)
            if code:
                if code["letter"]:
                    self._control(code["letter"], code["numbers"])
                text = text[code.end() :]
            elif _UNFINISHED.match(text):
                self.rest = text
                return
            else:
                self._character(text[0])
                text = text[1:]

    def _character(self, c: str) -> None:
        if c == "\r":
            self.column = 0
        elif c == "\n":
            self._move_to(self.row + 1)
        elif c == "\b":
            self.column = max(0, self.column - 1)
        elif c >= " ":
            if self.column == self.columns:
                self.column = 0
                self._move_to(self.row + 1)
            row = self.rows[self.row]
            row.extend(" " * (self.column + 1 - len(row)))
            row[self.column] = c
            self.column += 1

    def _control(self, letter: str, numbers: str) -> None:
        first, _, second = numbers.lstrip("?>=").partition(";")
        count, top = max(1, int(first or 1)), max(0, len(self.rows) - self.height)
        if letter in "AF":
            self.row = max(top, self.row - count)
        elif letter in "BE":
            self._move_to(self.row + count)
        elif letter == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif letter == "D":
            self.column = max(0, self.column - count)
        elif letter == "G":
            self.column = count - 1
        elif letter == "H":
            self._move_to(top + count - 1)
            self.column = max(1, int(second or 1)) - 1
        elif letter == "K":
            self._erase_line(first)
        elif letter == "J":
            self._erase_line(first)
            if first in ("", "0"):
                del self.rows[self.row + 1 :]
            else:
                self.rows[top:] = [[] for _ in self.rows[top:]]
        elif letter == "P":
            del self.rows[self.row][self.column : self.column + count]

    def _erase_line(self, which: str) -> None:
        row = self.rows[self.row]
        if which in ("", "0"):
            del row[self.column :]
        elif which == "1":
            row[: self.column] = " " * self.column
        else:
            row.clear()

    def _move_to(self, row: int) -> None:
        while len(self.rows) <= row:
            self.rows.append([])
        self.row = row


class Terminal:
    """A process whose input and output are a terminal."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        columns: int = 160,
        height: int = 50,
    ) -> None:
        self.screen = Screen(columns, height)
        self.ended = False
        self.process, self.fd = pty.fork()
        if self.process == 0:
            try:
                os.chdir(cwd)
                os.execvpe(command[0], list(command), {**env, "TERM": "xterm-256color"})
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read(self, seconds: float) -> None:
        """Show what arrives within this time."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return
        try:
            raw = os.read(self.fd, 65536)
        except OSError:  # how Linux says that nobody is at the other end
            raw = b""
        if not raw:
            self.ended = True
            return
        text = raw.decode(errors="replace")
        for question in re.findall(r"\x1b\[(?:0?c|>0?c|6n)", text):
            self.type("\x1b[1;1R" if question.endswith("n") else "\x1b[?62;c")
        self.screen.feed(text)

    def wait_for(self, condition: Callable[[list[str]], object], seconds: float = 60) -> list[str]:
        """The lines as soon as they meet the condition."""
        deadline = time.monotonic() + seconds
        while not condition(self.screen.lines):
            assert not self.ended, "\n".join(self.screen.lines)
            assert time.monotonic() < deadline, "\n".join(self.screen.lines)
            self.read(0.1)
        return self.screen.lines

    def wait(self, seconds: float = 120) -> int:
        """The exit code, once the process has ended."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            assert time.monotonic() < deadline, "\n".join(self.screen.lines)
            self.read(0.1)
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = 0
        os.close(self.fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
