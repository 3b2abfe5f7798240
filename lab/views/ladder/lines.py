"""A ladder that grows, printed: each row once, when nothing can come before it any more."""

from __future__ import annotations

from collections.abc import Iterator

from lab.views.ladder.model import Host, Item, Layout
from lab.views.ladder.terminal import Terminal


class Lines:
    """The lines of a ladder `width` wide that have not been printed yet."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._printed: set[tuple[object, ...]] = set()
        self._heads: tuple[Host, ...] = ()

    def new(self, layout: Layout, until: float | None) -> Iterator[str]:
        """What is new of rows before the moment `until` (None: of all)."""
        terminal = Terminal(layout, self._width)
        for row, item in enumerate(layout.items):
            if until is not None and (item.time > until or item.fate == "pending"):
                return
            if (key := _identity(item)) in self._printed:
                continue
            if item.what == "fold" and until is not None and not _closed(layout, row, until):
                return  # it may yet stand for more
            self._printed.add(key)
            if layout.hosts != self._heads:
                self._heads = layout.hosts
                yield from (line.plain.rstrip() for line in terminal.heads(row))
            yield from (line.plain.rstrip() for line in terminal.lines(row))


def _closed(layout: Layout, row: int, until: float) -> bool:
    """Whether a break follows, after which nothing is alike any more."""
    return any(item.what == "break" and item.time <= until for item in layout.items[row:])


def _identity(item: Item) -> tuple[object, ...]:
    """What stays of a row: its words may change."""
    return (item.what, *(item.seqs[:1] or (round(item.time, 3), item.label)))
