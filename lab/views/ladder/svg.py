"""The ladder as SVG: text as text, no scripts, in the colours of whatever page it stands in.

It can be put into an HTML page as it is. Rows lead to their evidence where the page says where
that is; a label that is cut has the whole in its title.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import escape
from importlib.resources import files
from itertools import pairwise

from lab.units import format_clock, wall_clock
from lab.views.ladder.grid import cut, width_of
from lab.views.ladder.model import Band, Box, Item, Layout
from lab.views.visible import visible

Link = Callable[[Item], "str | None"]

_ROW, _HEAD, _BREAK = 30.0, 54.0, 40.0  # heights
_CELL = 8.0  # a letter's width, of the label's font
_LEFT, _RIGHT = 176.0, 24  # for the clocks; for what sticks out
_LEAST, _MOST = 130, 330  # between two lifelines
_AROUND = 46  # arrowhead, and air, around a label
_HALF_BOX = 11
_EVERY = 40  # rows, after which the heads come again


class Drawing:
    """Draws one layout."""

    def __init__(self, layout: Layout, link: Link | None = None) -> None:
        self.layout = layout
        self.link = link or (lambda item: None)
        self._x = self._columns()
        self._told = {box: self._counts(box) for box in layout.boxes}
        self._y: list[float] = []
        self._heads = [0.0]
        y = _HEAD
        for row, item in enumerate(layout.items):
            if row and row % _EVERY == 0:
                self._heads.append(y)
                y += _HEAD
            self._y.append(y)
            y += _BREAK if item.what == "break" else _ROW
        self._heads.append(y)
        self.height = y + _HEAD
        last = max(self._x.values(), default=_LEFT)
        half = max((width_of(host.name) for host in layout.hosts), default=0) * 9 / 2
        self.width = max(last + half + _RIGHT, 640)

    def svg(self) -> str:
        """All of it."""
        title = escape(self.layout.title or "Ladder")
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="ladder" role="img" '
            f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}">',
            f"<title>{title}</title>",
            f"<desc>{escape(self._described())}</desc>",
            f"<style>{_css()}</style>",
        ]
        parts += [self._band(band) for band in self.layout.bands]
        parts += [self._lifeline(name) for name in self._x]
        parts += [self._struck(band) for band in self.layout.bands]
        parts += [self._box(box) for box in self.layout.boxes]
        parts += [self._head(y) for y in self._heads]
        parts += [self._row(row, item) for row, item in enumerate(self.layout.items)]
        return visible("\n".join([*parts, "</svg>"]))

    def _described(self) -> str:
        names = ", ".join(host.name for host in self.layout.hosts)
        outages = "; ".join(band.title for band in self.layout.bands)
        return (
            f"A message ladder. Columns: {names}. {len(self.layout.items)} rows, in order of time."
            + (f" Outages: {outages}." if outages else "")
        )

    # Where things are ---------------------------------------------------------------------------

    def _columns(self) -> dict[str, float]:
        """The lifelines: as far apart as most of what is said across them needs."""
        names = [host.name for host in self.layout.hosts]
        place = {name: index for index, name in enumerate(names)}
        gaps = [
            max(float(_LEAST), (width_of(one) + width_of(other)) * 4.5 + 24)
            for one, other in pairwise(names)
        ]
        for item in self.layout.items:
            if item.arrow and item.source in place and item.target in place:
                start, end = sorted((place[item.source], place[item.target]))
                need = min(width_of(item.label) * _CELL + _AROUND, _MOST)
                missing = need - sum(gaps[start:end])
                for index in range(start, end):
                    gaps[index] += max(0.0, missing / (end - start))
        found: dict[str, float] = {}
        x: float = _LEFT + (width_of(names[0]) * 4.5 if names else 0.0)
        for name, gap in zip(names, [*gaps, 0.0], strict=False):
            found[name] = x
            x += gap
        return found

    def _top(self, row: int) -> float:
        return self._y[row]

    def _bottom(self, row: int | None) -> float:
        if row is None:
            return self._heads[-1]
        tall = _BREAK if self.layout.items[row].what == "break" else _ROW
        return self._y[row] + tall

    # What stands behind -------------------------------------------------------------------------

    def _band(self, band: Band) -> str:
        top = self._top(band.first)
        return (
            f'<rect class="band" x="0" y="{top:.0f}" width="{self.width:.0f}" '
            f'height="{self._bottom(band.last) - top:.0f}">'
            f"<title>{escape(band.title)}</title></rect>"
        )

    def _lifeline(self, name: str) -> str:
        x = self._x[name]
        return _line("lifeline", x, _HEAD - 8, x, self._heads[-1] + 8)

    def _struck(self, band: Band) -> str:
        if band.host is None:
            return ""
        x, top, bottom = self._x[band.host], self._top(band.first), self._bottom(band.last)
        hidden = f'<rect class="gap" x="{x - 2:.0f}" y="{top:.0f}" width="4" '
        hidden += f'height="{bottom - top:.0f}" style="fill:var(--paper)"/>'
        return hidden + _line("struck", x, top, x, bottom)

    def _box(self, box: Box) -> str:
        x = self._x.get(box.host)
        if x is None:
            return ""
        top, bottom = self._top(box.first) + 4, self._bottom(box.last) - 4
        most = max(count for _, count in box.counts)
        words = f"{box.host}: up to {most} in the queue"
        found = (
            f'<rect class="box" x="{x - _HALF_BOX:.1f}" y="{top:.0f}" rx="3" '
            f'width="{2 * _HALF_BOX}" height="{bottom - top:.0f}">'
            f"<title>{escape(words)}</title></rect>"
        )
        for row, count in self._told[box]:
            found += f'<text class="count" x="{x:.1f}" y="{self._top(row) + 20:.0f}">{count}</text>'
        return found

    def _counts(self, box: Box) -> list[tuple[int, int]]:
        """At which rows how many messages are told: where nothing else stands in the box."""
        found = []
        for (row, count), following in zip(box.counts, [*box.counts[1:], None], strict=True):
            last = following[0] - 1 if following else box.last
            until = len(self.layout.items) - 1 if last is None else last
            free = (
                at
                for at in range(row, until + 1)
                if self.layout.items[at].source == box.host and not self.layout.items[at].arrow
            )
            if (at := next(free, None)) is not None:
                found.append((at, count))
        return found

    def _head(self, y: float) -> str:
        found = ""
        for host in self.layout.hosts:
            x = self._x[host.name]
            found += f'<text class="head" x="{x:.1f}" y="{y + 22:.0f}">{escape(host.name)}</text>'
            if y:
                continue
            kind = host.kind.replace("-", " ")
            found += f'<text class="kind" x="{x:.1f}" y="{y + 38:.0f}">{escape(kind)}</text>'
        if y == 0:
            found += '<text x="8" y="22">lab time</text>'
            found += '<text class="real" x="84" y="22">real time</text>'
        return found

    # Rows ---------------------------------------------------------------------------------------

    def _row(self, row: int, item: Item) -> str:
        y = self._y[row]
        if item.what == "break":
            drawn = self._pause(row, item, y)
        elif item.arrow and item.source in self._x and item.target in self._x:
            drawn = self._clocks(row, item, y) + self._arrow(row, item, y + 22)
        else:
            drawn = self._clocks(row, item, y) + self._note(row, item, y + 19)
        mood = f" {item.mood}" if item.mood != "plain" else ""
        found = f'<g class="row {item.what}{mood}">{drawn}</g>'
        target = self.link(item)
        return f'<a href="{escape(target)}">{found}</a>' if target else found

    def _clocks(self, row: int, item: Item, y: float) -> str:
        lab, real = format_clock(item.lab_time), wall_clock(item.time)
        before = self.layout.items[row - 1] if row else None
        if before is not None and before.what != "break":
            lab = "" if format_clock(before.lab_time) == lab else lab
            real = "" if wall_clock(before.time) == real else real
        found = f'<text x="8" y="{y + 19:.0f}">{lab}</text>' if lab else ""
        at = 84 if item.lab_time < 86400 else 110
        if real:
            found += f'<text class="real" x="{at}" y="{y + 19:.0f}">{real}</text>'
        return found

    def _pause(self, row: int, item: Item, y: float) -> str:
        words = self.layout.pause(row, item)
        middle, x = y + _BREAK / 2, self.width / 2
        half = width_of(words) * _CELL / 2 + 12
        return (
            f'<line class="pause" x1="8" y1="{middle:.0f}" x2="{x - half:.0f}" y2="{middle:.0f}"/>'
            f'<line class="pause" x1="{x + half:.0f}" y1="{middle:.0f}" x2="{self.width - 8:.0f}" '
            f'y2="{middle:.0f}"/>'
            f'<text class="label mid" x="{x:.0f}" y="{middle + 5:.0f}">⋮ {escape(words)} ⋮</text>'
        )

    def _arrow(self, row: int, item: Item, y: float) -> str:
        assert item.source is not None and item.target is not None
        way = 1 if self._x[item.source] < self._x[item.target] else -1
        start = self._x[item.source] + way * self._edge(item.source, row)
        end = self._x[item.target] - way * self._edge(item.target, row)
        head = True
        match item.fate:
            case "lost" | "delayed":
                end, head = start + (end - start) * 0.55, False
            case "unanswered":
                end, head = end - way * 16, False
            case "belated":
                start += (end - start) * 0.45
        style = "dashed" if item.dashed else "thick" if item.what == "content" else "plain"
        found = _line(style, start, y, end - way * (6 if head else 0), y)
        if head:
            back = end - way * 10
            found += f'<path d="M{end:.1f} {y:.0f}L{back:.1f} {y - 5:.0f}V{y + 5:.0f}z"/>'
        elif item.fate == "delayed":
            found += f'<circle cx="{end:.1f}" cy="{y:.0f}" r="2"/>'
            found += f'<circle cx="{end + way * 8:.1f}" cy="{y:.0f}" r="2"/>'
        else:
            at = f"M{end - 5:.1f} {y - 5:.0f}l10 10m0 -10l-10 10"
            found += f'<path class="cross" d="{at}"/>'
        return found + self._label(item, min(start, end), max(start, end), y - 6, way)

    def _edge(self, host: str, row: int) -> float:
        boxed = any(box.host == host for box in self.layout.boxes_at(row))
        return _HALF_BOX + 1 if boxed else 1

    def _label(self, item: Item, low: float, high: float, y: float, way: int) -> str:
        """Above its arrow, near to who says it; a long one reaches to where there is room."""
        size = width_of(item.label) * _CELL
        if size + 14 > high - low:  # from its left end on, over what is to the right
            x = min(low + 10, self.width - 8 - size)
            return self._text(item, max(x, float(_LEFT)), y)
        if way > 0:
            return self._text(item, low + 10, y)
        return self._text(item, high - 10, y, anchor=" end", room=high - 10 - _LEFT)

    def _text(
        self, item: Item, x: float, y: float, *, anchor: str = "", room: float | None = None
    ) -> str:
        room = self.width - x - 8 if room is None else room
        shown = cut(item.label, int(room / _CELL))
        full = item.text if item.text != shown else ""
        title = f"<title>{escape(full)}</title>" if full else ""
        return f'<text class="label{anchor}" x="{x:.1f}" y="{y:.0f}">{title}{escape(shown)}</text>'

    def _note(self, row: int, item: Item, y: float) -> str:
        x = self._x.get(item.source or "")
        if x is None:
            return self._text(item, _LEFT, y)
        size = width_of(item.label) * _CELL
        counted = any(
            box.host == item.source and at == row
            for box in self.layout.boxes
            for at, _ in self._told[box]
        )
        found = "" if counted else f'<circle cx="{x:.1f}" cy="{y - 5:.0f}" r="4"/>'
        if x + 20 + size < self.width - 8 or self.width - x > x - _LEFT:
            return found + self._text(item, x + 18, y)
        return found + self._text(item, x - 18, y, anchor=" end", room=x - 18 - _LEFT)


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.0f}" x2="{x2:.1f}" y2="{y2:.0f}"/>'


@cache
def _css() -> str:
    path = files("lab.views.ladder") / "templates" / "ladder.css"
    return escape(path.read_text(encoding="utf-8"), quote=False)


def svg(layout: Layout, link: Link | None = None) -> str:
    """`layout` as an SVG element. `link` says where a row leads to, if anywhere (`#frame-7`)."""
    return Drawing(layout, link).svg()
