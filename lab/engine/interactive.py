"""The user's own terminal, or pipe, joined to a program in a node."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from lab.engine.exec import STDERR


class Program(Protocol):
    """A program in a node, started with or without a terminal."""

    def write(self, data: bytes) -> None:
        """Send `data` to its standard input."""

    def close_stdin(self) -> None:
        """Tell it that its input has ended."""

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, bytes) as they arrive, until it ends."""

    def status(self) -> int:
        """Its exit status, once it has ended."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size."""


def on_a_terminal() -> bool:
    """Whether the user sits at a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def terminal_type() -> str:
    """What the user's terminal understands, as terminfo(5) names it."""
    return os.environ.get("TERM", "xterm")


def terminal_size() -> tuple[int, int]:
    """The rows and columns of the user's terminal now, whatever LINES and COLUMNS say."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 24, 80
    return size.lines, size.columns


def join_terminal(program: Program) -> int:
    """Make this terminal the program's own (it was given one); its exit status."""
    import termios
    import tty

    def resize(*_: Any) -> None:
        with contextlib.suppress(Exception):  # it may have ended this instant
            program.resize(*terminal_size())

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(stdin)
        resize()
        _feed(program, stdin)
        for _, data in program.frames():
            _write_all(sys.stdout.fileno(), data)
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
    return program.status()


def join_pipes(program: Program) -> int:
    """Give the program our stdin, stdout and stderr, byte for byte; its exit status."""
    _feed(program, sys.stdin.fileno())
    for stream, data in program.frames():
        _write_all(2 if stream == STDERR else 1, data)
    return program.status()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _feed(program: Program, source: int) -> None:
    """Pass what arrives on `source` to the program, in the background."""

    def copy() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(source, 65536):
                program.write(data)
            program.close_stdin()

    threading.Thread(target=copy, daemon=True).start()
