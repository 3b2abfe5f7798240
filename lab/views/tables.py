"""Tables fit for a projector, and the few colours used in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click

STATE_COLOURS = {
    "ready": "green",
    "up": "green",
    "ok": "green",
    "starting": "yellow",
    "warning": "yellow",
    "deferred": "yellow",
    "off": "red",
    "down": "red",
    "broken": "red",
    "failed": "red",
}


def coloured() -> bool:
    """Whether standard output takes colours (a terminal, and NO_COLOR unset; no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """`text` in `colour` where colours are taken."""
    if not coloured() or not (colour or bold or dim):
        return text
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None)


def state(word: str) -> str:
    """A state such as `ready` or `off`, in its colour."""
    return paint(word, STATE_COLOURS.get(word))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with lines on a terminal, without in a pipe; Korean is as wide as it is shown."""
    from tabulate import tabulate

    style = "rounded_outline" if sys.stdout.isatty() else "simple"
    return tabulate(
        [["" if cell is None else cell for cell in row] for row in rows],
        headers=[paint(header, bold=True) for header in headers],
        tablefmt=style,
        disable_numparse=True,
    )
