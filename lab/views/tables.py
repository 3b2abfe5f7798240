"""Tables fit for a projector, and the few colours used in them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

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


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    widths: Mapping[str, int] | None = None,
) -> str:
    """A table, with lines where a terminal is wide enough; Korean is as wide as it is shown.

    `widths` says after how many columns the text under a header goes on in the next line.
    """
    from tabulate import tabulate
    from wcwidth import wcswidth

    cells = [["" if cell is None else cell for cell in row] for row in rows]

    def drawn(style: str) -> str:
        return tabulate(
            cells,
            headers=[paint(header, bold=True) for header in headers],
            tablefmt=style,
            disable_numparse=True,
            maxcolwidths=[widths.get(header) for header in headers] if widths else None,
        )

    if not sys.stdout.isatty():
        return drawn("simple")
    boxed = drawn("rounded_outline")
    width = wcswidth(click.unstyle(boxed.partition("\n")[0]))
    return boxed if width <= shutil.get_terminal_size().columns else drawn("simple")
