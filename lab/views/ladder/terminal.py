"""The ladder on a terminal: a line for each row, in boxes and arrows of Unicode.

    02:16:45  ├── MAIL FROM:<alice@sender.example> ──▶│
    02:16:45  │◀───────────────────── 250 2.1.0 Ok ───┤

A queue is a double line where the lifeline would be, with how many messages are in it; an outage
is a shaded margin, and a broken lifeline. All of it can be told without colours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from rich.style import Style
from rich.text import Text
from wcwidth import wcwidth

from lab.units import format_clock, wall_clock
from lab.views.ladder.grid import clocks, cut, lifelines, width_of
from lab.views.ladder.model import Band, Box, Item, Layout

# Colours that can be read on a dark terminal and on a light one.
MOODS = {"plain": "", "good": "green4", "bad": "bold red3", "wait": "orange3"}
_ARROWS = {
    "call": "bold",
    "reply": "dark_cyan",
    "accept": "dark_cyan",
    "command": "",
    "content": "bold medium_orchid",
    "question": "cornflower_blue",
    "answer": "cornflower_blue",
    "close": "dim",
    "packet": "",
    "mail": "bold",
}
_QUEUE = "bold black on orange3"
_OUTAGE = "grey93 on #3b2226"
_SHADE = "▒"
_ENOUGH = 12  # cells of a label that let one guess the rest
_REAL = 10  # the real clock's column, from the first one after the clocks


class Canvas:
    """One line of cells, each with its style."""

    def __init__(self, width: int) -> None:
        self._cells: list[str] = [" "] * width
        self._styles: list[str] = [""] * width
        self.width = width

    def put(self, at: int, text: str, style: str = "") -> int:
        """Write `text` from column `at` on; what has no room is left out. Returns where it ends."""
        for letter in text:
            cells = wcwidth(letter)
            if cells <= 0:
                continue
            if at >= 0 and at + cells <= self.width:
                self._cells[at] = letter
                self._styles[at] = style
                if cells == 2:
                    self._cells[at + 1] = ""
                    self._styles[at + 1] = style
            at += cells
        return at

    def text(self, below: str = "") -> Text:
        """The line, on the background `below`."""
        line = Text(no_wrap=True, end="")
        runs = groupby(zip(self._cells, self._styles, strict=True), key=itemgetter(1))
        for style, letters in runs:
            line.append("".join(letter for letter, _ in letters), _on(style, below))
        return line


_styles: dict[tuple[str, str], Style] = {}


def _on(style: str, below: str) -> Style:
    """`style`, on a background where it has none of its own; parsed once."""
    key = (style, below)
    if key not in _styles:
        _styles[key] = Style.parse(below or "none") + Style.parse(style or "none")
    return _styles[key]


class Terminal:
    """Renders a layout for a terminal `width` cells wide."""

    def __init__(self, layout: Layout, width: int) -> None:
        self.layout = layout
        self.width = width
        self._left, self._real = clocks(layout, width)
        self._at = lifelines(layout, self._left + 1, width)

    def heads(self, row: int | None = None) -> list[Text]:
        """The names of the hosts, and who of them is struck at `row` (default: the last)."""
        at = len(self.layout.items) - 1 if row is None else row
        struck = {band.host for band in self.layout.bands_at(at)}
        names, lines = Canvas(self.width), Canvas(self.width)
        names.put(1, "lab time", "dim")
        if self._real:
            names.put(self._left - _REAL, "real", "dim")
        for host in self.layout.hosts:
            column = self._at[host.name]
            bad = host.name in struck
            name = f"{host.name} ✗" if bad else host.name
            start = min(column - width_of(host.name) // 2, self.width - width_of(name))
            names.put(max(self._left, start), name, "bold red3" if bad else "bold")
            lines.put(column, "┊" if bad else "┬", "red3" if bad else "")
        return [names.text(), lines.text()]

    def lines(self, row: int, *, selected: bool = False) -> list[Text]:
        """A row: a line, or as many as it takes to say what was told."""
        item = self.layout.items[row]
        if item.what != "narration":
            return [self._line(row, item, selected=selected)]
        room = max(20, self.width - self._left - 6)
        return [
            self._line(row, replace(item, label=part), selected=selected, clocks=not number)
            for number, part in enumerate(textwrap.wrap(item.label, room) or [""])
        ]

    def idle(self, row: int, real_seconds: float) -> Text:
        """The line after the row `row`, after which nothing has happened for so long."""
        item = self.layout.items[row]
        lab = real_seconds * self.layout.scale
        pause = replace(item, what="break", lab_seconds=lab, real_seconds=real_seconds)
        return self._line(row, pause, selected=False)

    def _line(self, row: int, item: Item, *, selected: bool, clocks: bool = True) -> Text:
        canvas = Canvas(self.width)
        bands, boxes = self.layout.bands_at(row), self.layout.boxes_at(row)
        if clocks:
            self._clocks(canvas, row, item)
        if selected:
            canvas.put(0, "❯", "bold dark_orange3")
        if bands:
            canvas.put(self._left - 1, _SHADE, "red3")
        self._lifelines(canvas, row, boxes, bands, pause=item.what == "break")
        if item.what == "break":
            self._break(canvas, row, item, boxes)
        elif item.arrow and item.source in self._at and item.target in self._at:
            self._arrow(canvas, item, {box.host for box in boxes})
        else:
            self._note(canvas, item, boxes, row)
        return canvas.text(_OUTAGE if bands else "")

    # What is on every line ----------------------------------------------------------------------

    def _clocks(self, canvas: Canvas, row: int, item: Item) -> None:
        before = self.layout.items[row - 1] if row else None
        lab, real = format_clock(item.lab_time), wall_clock(item.time)
        if item.what == "break":
            return
        if before is None or before.what == "break" or format_clock(before.lab_time) != lab:
            canvas.put(1, lab, "dark_cyan")
        if before is not None and before.what != "break" and wall_clock(before.time) == real:
            return
        if self._real:
            canvas.put(self._left - _REAL, real, "dim")

    def _lifelines(
        self, canvas: Canvas, row: int, boxes: Sequence[Box], bands: Sequence[Band], *, pause: bool
    ) -> None:
        struck = {band.host for band in bands}
        for host, column in self._at.items():
            if host in struck:
                canvas.put(column, "┊", "bold red3")
            else:
                canvas.put(column, "┆" if pause else "│", "dim" if pause else "")
        for box in boxes:
            if box.host not in self._at:
                continue
            count = box.count(row)
            before = box.count(row - 1) if row > box.first else 0
            sides = "┏┓" if row == box.first else "┗┛" if row == box.last else "┃┃"
            inside = " " if count == before else str(count) if count < 10 else ""
            shown = f"{sides[0]}{inside}{sides[1]}" if inside else f"{count:<3}"[:3]
            canvas.put(self._at[box.host] - 1, shown, _QUEUE)

    # Rows ---------------------------------------------------------------------------------------

    def _break(self, canvas: Canvas, row: int, item: Item, boxes: Sequence[Box]) -> None:
        """Time in which nothing happens: who waits is said, and how long."""
        words = f" {self.layout.pause(row, item)} "
        canvas.put(4, "⋮", "dim")
        start = self._left
        line = "╌" * (self.width - start - 1)
        columns = set(self._at.values())
        for offset, letter in enumerate(line):
            if start + offset not in columns and not self._boxed(start + offset, boxes):
                canvas.put(start + offset, letter, "dim")
        middle = start + (self.width - start - width_of(words)) // 2
        canvas.put(middle, words, "bold orange3")

    def _boxed(self, column: int, boxes: Sequence[Box]) -> bool:
        return any(abs(self._at.get(box.host, -9) - column) <= 1 for box in boxes)

    def _arrow(self, canvas: Canvas, item: Item, boxed: set[str]) -> None:
        assert item.source is not None and item.target is not None
        source, target = self._at[item.source], self._at[item.target]
        right = source < target
        style = MOODS[item.mood] or _ARROWS.get(item.what, "")
        # A queue is a cell wider to each side than a lifeline.
        edges = [2 if name in boxed else 1 for name in (item.source, item.target)]
        start = source + (edges[0] if right else -edges[0])
        end = target - (edges[1] if right else -edges[1])
        low, length = min(start, end), abs(end - start) + 1
        if length < 2 or (start > end) is right:
            return
        drawn, since, until = _stroke(item, length, right=right)
        canvas.put(low, drawn, style)
        label, room = item.label, until - since
        if width_of(label) + 4 <= room:
            slack = room - width_of(label) - 4
            # Near to who says it: the eye follows the line from there.
            at = since + 1 + (min(1, slack) if right is not (item.fate == "belated") else slack)
            canvas.put(low + at, f" {label} ", style)
            return
        self._beside(canvas, item, low, low + length, style, inside=(low + since + 1, room - 4))

    def _beside(
        self,
        canvas: Canvas,
        item: Item,
        low: int,
        high: int,
        style: str,
        inside: tuple[int, int],
    ) -> None:
        """A label that is too long for its arrow stands to the right of it if there is room; else
        it is cut, in its arrow if that says enough, or else to its right or left.
        """
        ends = (self._at[item.source or ""], self._at[item.target or ""])
        after, before = max(*ends, high) + 2, min(*ends, low) - 2
        rooms = self.width - after - 1, before - self._left - 1
        size = width_of(item.label)
        if size <= rooms[0] or rooms[0] >= max(inside[1], _ENOUGH):
            canvas.put(after, f" {cut(item.label, rooms[0])} ", style)
        elif inside[1] >= _ENOUGH:
            canvas.put(inside[0], f" {cut(item.label, inside[1])} ", style)
        else:
            label = cut(item.label, rooms[1])
            canvas.put(before - width_of(label), f"{label} ", style)

    def _note(self, canvas: Canvas, item: Item, boxes: Sequence[Box], row: int) -> None:
        signs = {"fault": "✗" if item.mood == "bad" else "✓", "fold": "…"}
        sign = signs.get(item.what, {"bad": "✗", "good": "✓", "wait": "⧗"}.get(item.mood, "●"))
        style = MOODS[item.mood] or ("dim" if item.what == "fold" else "")
        if item.what == "narration":
            style = MOODS[item.mood] or "italic"
        label = item.label.removeprefix("… ") if item.what == "fold" else item.label
        if item.what == "narration":
            canvas.put(self._left + 1, f"  {label}", style)
            return
        column = self._at.get(item.source or "")
        if column is None:
            words = cut(f"{sign} {label}", self.width - self._left - 2)
            canvas.put(self._left + 1, words, style)
            return
        edge = 2 if any(box.host == item.source for box in boxes) else 1
        right, left = self.width - column - edge - 1, column - edge - self._left - 1
        words = f" {sign} {label} "
        if width_of(words) <= right or right >= left:
            canvas.put(column + edge, cut(words, right), style)
            return
        words = cut(f" {label}", left - 3) + f" {sign} "
        canvas.put(column - edge - width_of(words) + 1, words, style)


def _stroke(item: Item, length: int, *, right: bool) -> tuple[str, int, int]:
    """The line of an arrow without its label, and between which cells that may stand."""
    stroke = "━" if item.what == "content" else "╌" if item.dashed else "─"
    drawn = [stroke] * length
    drawn[-1] = "▶"
    since, until = 0, length
    needed = width_of(item.label) + 5
    match item.fate:
        case "unanswered":
            until = length - 2
            drawn[until - 1 :] = ["✗", " ", " "]
        case "lost" | "delayed":
            until = min(max(length // 2, needed), length - 3)
            drawn[until - 1 :] = ["✗" if item.fate == "lost" else "…"] + [" "] * (length - until)
        case "belated":
            since = max(min(length // 2, length - needed), 2)
            drawn[: since + 1] = [" "] * since + ["…"]
    if right:
        return "".join(drawn[-length:]), since, until
    mirrored = "".join(drawn[-length:][::-1]).replace("▶", "◀")
    return mirrored, length - until, length - since
