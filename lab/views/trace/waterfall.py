"""A trace as a waterfall: a bar for each step on an axis of lab time, long idle times left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from lab.observe.trace.journey import Trace
from lab.units import LabClock, format_clock, format_duration, wall_clock
from lab.views.tables import coloured
from lab.views.trace.steps import Mood, Step, steps
from lab.views.trace.table import heading
from lab.views.visible import in_line

_WIDTH = 100  # where nobody says how wide the screen is
_ROWS = 22  # of steps, so that all of it fits on a projector's 30 lines
_LEAST_AXIS = 24
_BUSY = 0.4  # how much of the axis must be taken by what happens, before idle time is shown
_ROOMY = 24  # columns with room for both a beginning and an end
_BREAK = 3  # columns of a break
_STYLES: dict[Mood, str] = {"good": "green", "bad": "red", "waits": "yellow", "plain": "cyan"}
_LEGEND = "━ waits in a queue  █ at work  ● a moment  ┊ idle time left out"
_RULER = ("lab time", "left out")


@dataclass(frozen=True)
class _Segment:
    """A stretch of time (epoch seconds) and the columns it is drawn on."""

    began: float
    ended: float
    column: int
    width: int


class Axis:
    """Where moments stand in `width` columns; `spans` are when something happens."""

    def __init__(self, spans: Sequence[tuple[float, float]], width: int) -> None:
        busy = _merged(spans) or [(0.0, 0.0)]
        parts = _uninterrupted(busy)
        gap = _BREAK if len(parts) * (_BREAK + 2) <= width else 1
        if len(parts) * (gap + 1) > width:
            parts, gap = [(parts[0][0], parts[-1][1])], 0
        free = width - gap * (len(parts) - 1) - len(parts)
        lengths = [ended - began for began, ended in parts]
        total = sum(lengths)
        if not total:  # nothing took any time: room for all alike
            lengths, total = [1.0] * len(parts), float(len(parts))
        self.width = width
        self.segments: list[_Segment] = []
        self.breaks: list[tuple[int, float]] = []
        """The middle columns of breaks, and the seconds left out there."""
        column, used = 0, 0.0
        for index, (began, ended) in enumerate(parts):
            if index:
                self.breaks.append((column + gap // 2, began - parts[index - 1][1]))
                column += gap
            before, used = round(free * used / total), used + lengths[index]
            wide = 1 + round(free * used / total) - before
            self.segments.append(_Segment(began, ended, column, wide))
            column += wide

    def column(self, moment: float) -> int:
        """The column of a moment; one in a break is where the break is."""
        for index, one in enumerate(self.segments):
            if moment < one.began:
                return self.breaks[index - 1][0] if index else 0
            if moment <= one.ended:
                length = one.ended - one.began
                share = (moment - one.began) / length if length else 0
                return one.column + min(one.width - 1, int(share * one.width))
        return self.width - 1


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for began, ended in sorted(spans):
        if found and began <= found[-1][1]:
            found[-1] = (found[-1][0], max(ended, found[-1][1]))
        else:
            found.append((began, ended))
    return found


def _uninterrupted(busy: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The stretches between breaks: the longest idle times, and those about as long, are left out
    until what happens takes its share of the axis."""
    gaps = sorted({later[0] - earlier[1] for earlier, later in pairwise(busy)}, reverse=True)
    work = sum(ended - began for began, ended in busy)
    least = float("inf")
    for gap in gaps:
        idle = sum(
            size for earlier, later in pairwise(busy) if (size := later[0] - earlier[1]) < least
        )
        if work >= _BUSY * (work + idle):
            break
        least = min(least, gap / 2)
    parts = [busy[0]]
    for began, ended in busy[1:]:
        if began - parts[-1][1] >= least:
            parts.append((began, ended))
        else:
            parts[-1] = (parts[-1][0], ended)
    return parts


def show(trace: Trace) -> None:
    """Print it on standard output, in colour where that is taken."""
    # Without colours the rest of what a terminal can do is not wanted either.
    system: Literal["auto"] | None = "auto" if coloured() else None
    console = Console(highlight=False, soft_wrap=True, color_system=system)
    width = console.width if console.is_terminal else _WIDTH
    console.print(Text.from_ansi(heading(trace)))
    told = _fewer(steps(trace))
    if told:
        console.print()
    for line in _drawn(trace, told, max(width, 60)):
        console.print(line)


def _fewer(told: list[Step]) -> list[Step]:
    """The middle ones of many attempts in vain as one row, if there are too many rows."""
    if len(told) <= _ROWS:
        return told
    found: list[Step] = []
    for vain, group in groupby(told, lambda step: step.vain):
        run = list(group)
        if not vain or len(run) < 6:
            found += run
            continue
        middle = run[2:-1]
        spans = tuple(span for step in middle for span in step.spans)
        more = replace(middle[0], label=f"  … {len(middle)} more", note="all in vain", spans=spans)
        found += [*run[:2], more, run[-1]]
    return found


def _drawn(trace: Trace, told: list[Step], width: int) -> list[Text]:
    if not told:
        return []
    labels = [in_line("  " * step.depth + step.label) for step in told]
    notes = [in_line(step.note) for step in told]
    left = min(max(map(cell_len, (*labels, *_RULER))), width // 3)
    right = min(max(map(cell_len, notes)), width // 3)
    axis = Axis(_spans(told, trace.until), max(_LEAST_AXIS, width - left - right - 4))
    lines = [
        Text(f"{title:<{left}}  {line}", style="dim")
        for title, line in zip(
            _RULER, _ruler(axis, LabClock(trace.started, trace.time_scale)), strict=True
        )
        if line
    ]
    for label, note, step in zip(labels, notes, told, strict=True):
        bar = Text("".join(_bar(axis, step, trace.until)), style=_STYLES[step.mood])
        line = Text(set_cell_size(label, left) + "  ").append_text(bar)
        line.append("  " + set_cell_size(note, right))
        line.rstrip()
        lines.append(line)
    first, last = told[0].began, max(_end(step, trace.until) for step in told)
    real = f"real time {wall_clock(first)} to {wall_clock(last)}"
    lines += [Text(""), Text(f"{_LEGEND}   {real}", style="dim")]
    return lines


def _end(step: Step, until: float) -> float:
    return max(until if ended is None else ended for _, ended in step.spans)


def _spans(told: list[Step], until: float) -> list[tuple[float, float]]:
    """When something happens: work, and the two ends of waiting."""
    found: list[tuple[float, float]] = []
    for step in told:
        for began, ended in step.spans:
            end = until if ended is None else ended
            found += [(began, began), (end, end)] if step.shape == "stay" else [(began, end)]
    return found


def _bar(axis: Axis, step: Step, until: float) -> list[str]:
    """The row of a step."""
    breaks = {column for column, _ in axis.breaks}
    cells = ["┊" if column in breaks else " " for column in range(axis.width)]
    sign = {"stay": "━", "work": "█", "moment": "●"}[step.shape]
    for began, ended in step.spans:
        first = axis.column(began)
        last = axis.column(until if ended is None else ended)
        for column in range(first, last + 1):
            if column not in breaks or step.shape != "stay":
                cells[column] = sign
        if ended is None:
            cells[last] = "▶"
    return cells


def _ruler(axis: Axis, clock: LabClock) -> tuple[str, str]:
    """Lab time where a stretch begins, and how long the breaks are."""
    times = [(one.column, format_clock(clock.lab_time(one.began))) for one in axis.segments]
    last = axis.segments[-1]
    if last.width >= _ROOMY:
        times.append((axis.width, format_clock(clock.lab_time(last.ended))))
    idle = [
        (column - len(text) // 2, text)
        for column, seconds in axis.breaks
        for text in [format_duration(seconds * clock.scale)]
    ]
    return _line(times, axis.width), _line(idle, axis.width)


def _line(texts: list[tuple[int, str]], width: int) -> str:
    """Texts at their columns; first the two at the ends, then those for which there is room."""
    cells = [" "] * width
    for column, text in texts[:1] + texts[:0:-1][:1] + texts[1:-1]:
        start = max(0, min(column, width - len(text)))
        if not "".join(cells[max(0, start - 1) : start + len(text) + 1]).strip():
            cells[start : start + len(text)] = text
    return "".join(cells).rstrip()
