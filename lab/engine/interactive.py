"""The user's own terminal, or pipe, joined to a program in a node."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from lab.engine.exec import STDERR, Exec


def attach_terminal(
    container: str, argv: Sequence[str], user: str, workdir: str | None = None
) -> int:
    """Run a program as if this terminal were the node's own; its exit status."""
    import termios
    import tty

    terminal = {"TERM": os.environ.get("TERM", "xterm")}
    with Exec(
        container, argv, user=user, environment=terminal, workdir=workdir, tty=True
    ) as program:

        def resize(*_: Any) -> None:
            size = shutil.get_terminal_size()
            with contextlib.suppress(Exception):  # it may have ended this instant
                program.resize(size.lines, size.columns)

        stdin = sys.stdin.fileno()
        before = termios.tcgetattr(stdin)
        signal.signal(signal.SIGWINCH, resize)
        try:
            tty.setraw(stdin)
            resize()
            _feed(program, stdin)
            for _, data in program.frames():
                os.write(sys.stdout.fileno(), data)
        finally:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        return program.status()


def pass_through(container: str, argv: Sequence[str], user: str, workdir: str | None = None) -> int:
    """Run a program with our stdin, stdout and stderr, byte for byte; its exit status."""
    with Exec(container, argv, user=user, workdir=workdir) as program:
        _feed(program, sys.stdin.fileno())
        for stream, data in program.frames():
            _write_all(2 if stream == STDERR else 1, data)
        return program.status()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _feed(program: Exec, source: int) -> None:
    """Pass what arrives on `source` to the program, in the background."""

    def copy() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(source, 65536):
                program.write(data)
            program.close_stdin()

    threading.Thread(target=copy, daemon=True).start()
