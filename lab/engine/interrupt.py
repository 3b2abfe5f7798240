"""Ctrl-C, and being told to end: obeyed at once, but never halfway through a removal."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

DESPAIR_SECONDS = 3.0  # who presses Ctrl-C again this long after the first means it

# Not on every system: Windows has no SIGHUP.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def heed() -> None:
    """From here on a polite kill, or a terminal that is closed, is a Ctrl-C: what was begun is
    cleaned up. What whoever started us wants ignored (nohup) stays ignored.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = _unraisable


def ignore() -> None:
    """From here on it is too late: the work is done, and only its telling is left."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def ignored() -> Iterator[None]:
    """A Ctrl-C during the block has no effect."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ignore()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def put_off() -> Iterator[None]:
    """A Ctrl-C during the block takes effect at its end.

    Unless it is repeated after DESPAIR_SECONDS: an engine that hangs must not hold its user too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    came: list[tuple[float, int]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if came and time.monotonic() - came[0][0] > DESPAIR_SECONDS:
            raise KeyboardInterrupt
        came.append((time.monotonic(), number))

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    callable_ones = {number: handler for number, handler in before.items() if callable(handler)}
    for number in callable_ones:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in callable_ones.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _unraisable(found: Any) -> None:
    """An interrupt that hit where Python can't raise (a callback, a finalizer) comes again."""
    if isinstance(found.exc_value, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    else:
        sys.__unraisablehook__(found)
