"""A terminal all to oneself: keys as they are pressed, lines where they belong, and everything as
it was afterwards, whatever happens.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.text import Text

_OPEN = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # a second screen, no cursor, lines are not wrapped
_CLOSE = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
_KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
# An escape sequence, or a letter; terminals say arrows in two ways (SS3 and CSI).
_KEY = re.compile(r"\x1bO[A-DHF]|\x1b\[[0-9;?]*[@-~]|[\s\S]")
_BEGUN = re.compile(r"\x1b(?:O|\[[0-9;?]*)?\Z")
_PATIENCE_SECONDS = 0.05  # for the rest of an escape sequence; without it, it was the Escape key


class Screen:
    """The terminal while `opened`. `wake` may be called by any thread to end a `wait`."""

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._keyboard = Keyboard()
        self._before: list[Any] | None = None
        self._ears, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._shown: list[str] = []
        self._size = (0, 0)
        self.hung_up = False
        """Whether the terminal is gone."""

    @contextmanager
    def opened(self) -> Iterator[Screen]:
        """Take the terminal, and give it back as it was."""
        handlers = {
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._stop),
            signal.SIGCONT: signal.signal(signal.SIGCONT, lambda *_: self._take()),
        }
        try:
            self._take()
            yield self
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            try:
                self._give_back()
            finally:
                os.close(self._ears)
                bell, self._bell = self._bell, -1
                os.close(bell)

    def _take(self) -> None:
        """Have the terminal to oneself; as it is now, it will be given back."""
        opened = self._before is not None
        self._before = self._before or termios.tcgetattr(self._in)
        tty.setcbreak(self._in, termios.TCSADRAIN)
        if not opened:
            self._write(_OPEN)
        self._size = (0, 0)  # whatever is on it now, everything is drawn anew

    def _give_back(self) -> None:
        if self._before is None:
            return
        before, self._before = self._before, None
        # A terminal that was closed meanwhile is not to be had back, and nobody looks at it.
        with suppress(OSError):
            self._write(_CLOSE)
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._in, termios.TCSADRAIN, before)

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the shell gets its terminal as it was; when it lets us go on, all is drawn."""
        self._give_back()
        mine = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here, unless there is no shell to go on from
        signal.signal(signal.SIGTSTP, mine)
        self._take()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; never so few that nothing can be drawn."""
        try:
            columns, rows = os.get_terminal_size(self._out)
        except OSError:
            columns, rows = 80, 24
        return max(columns, 40), max(rows, 8)

    def wake(self) -> None:
        """There is something to draw."""
        try:
            os.write(self._bell, b"!")
        except (BlockingIOError, OSError):
            return  # it is being woken already, or has gone

    def wait(self, seconds: float) -> list[str]:
        """The keys pressed within that time; fewer or none if it is woken."""
        seconds = min(seconds, self._keyboard.patience(time.monotonic()))
        ready, _, _ = select.select([self._in, self._ears], [], [], max(0.0, seconds))
        if self._ears in ready:
            os.read(self._ears, 4096)
        if self._in not in ready:
            return self._keyboard.typed(b"", time.monotonic())
        typed = b""
        with suppress(OSError):  # EIO: as good as the end of what is typed
            typed = os.read(self._in, 1024)
        if not typed:
            self.hung_up = True
        return self._keyboard.typed(typed, time.monotonic())

    def draw(self, lines: Sequence[Text]) -> None:
        """Show `lines`, writing only those that are new."""
        width, height = self.size
        if (width, height) != self._size:
            self._size, self._shown = (width, height), []
            self._write("\x1b[2J")
        console = Console(force_terminal=True, width=width, highlight=False, legacy_windows=False)
        drawn = []
        for line in lines[:height]:
            with console.capture() as capture:
                console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
            drawn.append(capture.get())
        changed = [
            f"\x1b[{row};1H\x1b[0m\x1b[K{text}"
            for row, text in enumerate(drawn, 1)
            if row > len(self._shown) or self._shown[row - 1] != text
        ]
        if len(self._shown) > len(drawn):
            changed.append(f"\x1b[{len(drawn) + 1};1H\x1b[J")
        self._shown = drawn
        if changed:
            try:
                self._write("".join(changed))
            except OSError:
                self.hung_up = True

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]


class Keyboard:
    """What is typed, as names of keys. An escape sequence may come in parts."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._begun = ""
        self._until = 0.0

    def patience(self, now: float) -> float:
        """For how many seconds more the rest of what has begun may come."""
        return max(0.0, self._until - now) if self._begun else float("inf")

    def typed(self, octets: bytes, now: float) -> list[str]:
        """The keys that are known, now that `octets` have come at `now` (seconds, of any clock)."""
        text = self._begun + self._decoder.decode(octets)
        begun = _BEGUN.search(text)
        if begun is None or (text == self._begun and now >= self._until):
            self._begun = ""
            return list(keys(text))
        if text != self._begun:
            self._until = now + _PATIENCE_SECONDS
        self._begun = begun[0]
        return list(keys(text[: begun.start()]))


def keys(typed: str) -> Iterator[str]:
    """What was pressed: names of special keys, letters as they are."""
    for key in _KEY.findall(typed):
        name = _KEYS.get(key.replace("\x1bO", "\x1b["))
        if name is not None:
            yield name
        elif not key.startswith("\x1b"):
            yield key
