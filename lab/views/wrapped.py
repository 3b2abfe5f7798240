"""Text in lines of so many columns. A Korean letter takes two, which textwrap does not know."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells


def fill(text: str, width: int, indent: str = "", first: str | None = None) -> str:
    """`text`, a paragraph, in lines of up to `width` columns, each after `indent`.

    The first begins with `first` instead. Only spaces are broken at, and words that are too long.
    """
    start = indent if first is None else first
    lines: list[str] = []
    line, empty = start, True
    for word in text.split(" "):
        room = max(8, width - cell_len(indent))
        pieces = chop_cells(word, room) if cell_len(word) > room else [word]
        for piece in pieces:
            if not piece:
                continue
            if not empty and cell_len(line) + 1 + cell_len(piece) > width:
                lines.append(line)
                line, empty = indent, True
            line += piece if empty else f" {piece}"
            empty = False
    return "\n".join([*lines, line])


def padded(text: str, columns: int) -> str:
    """`text` with spaces behind it, so that it takes at least so many columns."""
    return text + " " * (columns - cell_len(text))
