"""A story in steps: the class predicts, sees, says why, and hears why, a key between each two.

Where nobody sits at a terminal it goes on by itself.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from typing import TYPE_CHECKING

import click

from lab.views.visible import in_line

if TYPE_CHECKING:
    from rich.console import Console

    from lab.scenarios.stage import Pause
    from lab.views.words import Words

_QUIT = ("q", "Q", "ㅂ")  # the last is the same key on a Korean keyboard
_ERASED = "\r\x1b[K"


class Steps:
    """Waits on the terminal of `console`, in the language of `words`."""

    def __init__(self, console: Console, words: Words) -> None:
        self._console = console
        self._words = words
        self._predicted = ""

    def wait(self, what: Pause) -> None:
        """Wait for the class. Raises click.Abort if they want to end it."""
        if not sys.stdin.isatty():
            return
        if what == "asked":
            self._predicted = said = self._line("your_prediction")
        else:
            said = self._key("why_next" if what == "observed" else "go_on")
        if said in _QUIT:
            raise click.Abort

    def prediction(self) -> str:
        """What was predicted since this was last called; empty if nothing was."""
        found, self._predicted = self._predicted, ""
        return found

    def _line(self, prompt: str) -> str:
        # What was typed before it was asked for answers nothing.
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        self._ask(prompt)
        return in_line(sys.stdin.readline().strip())

    def _key(self, prompt: str) -> str:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSAFLUSH)  # Ctrl-C is still Ctrl-C
        try:
            self._ask(prompt)
            return os.read(terminal, 32).decode(errors="replace")
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
            # It has been answered; only the story is to be read afterwards.
            self._console.file.write(_ERASED if self._console.is_terminal else "\n")
            self._console.file.flush()

    def _ask(self, prompt: str) -> None:
        self._console.print(f"  ▸ {self._words(prompt)} ", style="bold", end="")
