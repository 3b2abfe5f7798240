"""The attempts drawn against the schedule: a row for each message, lab time from left to right.

Only the places are worked out here, in units of the drawing; the drawing itself is a template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.record import Record
from lab.units import counted, format_duration
from lab.views.report.attempts import SIGNS, Attempt, Message, Schedule, Sign
from lab.views.report.text import Moment, moment

WIDTH, LEFT, RIGHT = 1000, 200, 24
_TOP, _ABOVE, _ROW, _SINGLE, _AXIS = 34, 10, 26, 64, 56
_ROWS = 60  # more messages than that are in the table only
_CLOSE, _ASIDE = 15, 7
_LINE, _LETTER = 16, 7  # of an outage's words
_NAME = 26  # characters of a message's name
_TICKS = 7
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86400


class Band(NamedTuple):
    """An outage, from where to where."""

    x: float
    width: float
    words: str
    y: float
    """Of the words, which give way to each other upwards."""


class Tick(NamedTuple):
    """A moment on the axis, on both clocks."""

    x: float
    when: Moment


class Point(NamedTuple):
    """An attempt; those that would hide each other stand one above the other."""

    x: float
    y: float
    attempt: Attempt


@dataclass(frozen=True)
class Row:
    """A message: its time with the servers, its attempts, and what the schedule says."""

    y: float
    name: str
    full: str
    begin: float
    end: float
    points: list[Point]
    due: list[float]  # earliest next attempts
    give_up: float | None


@dataclass(frozen=True)
class Plot:
    """Everything to draw."""

    height: float
    top: float
    bottom: float
    row: float
    bands: list[Band]
    ticks: list[Tick]
    rows: list[Row]
    signs: list[Sign]
    left_out: int
    words: str
    due: str
    give_up: str


def plot(record: Record, messages: Sequence[Message], schedule: Schedule) -> Plot | None:
    """Where everything goes; None if there was no attempt."""
    if not messages:
        return None
    shown = messages[:_ROWS]
    outages = list(_outages(record))
    last = record.events[-1].lab_time
    begin = min(
        [message.entered for message in shown]
        + [on for on, off, _ in outages if off is None or off > shown[0].entered]
    )
    end = max(
        attempt.ended if message.left is None else max(attempt.ended, message.left)
        for message in shown
        for attempt in message.attempts
    )
    if any(message.left is None for message in shown):
        end = max(end, last)
    room = (end - begin or 1) * 0.03
    scale = _Scale(begin - room, end + room)
    height = _SINGLE if len(shown) == 1 else _ROW
    bands, lines = _bands(scale, outages)
    top = _TOP + _LINE * (lines - 1)
    bottom = top + height * len(shown) + 8
    used = {one.sign for message in shown for one in message.attempts}
    rows = [
        _row(message, scale, schedule, top + height * (number + 0.5), last)
        for number, message in enumerate(shown)
    ]
    return Plot(
        height=bottom + _AXIS,
        top=top - _ABOVE,
        bottom=bottom,
        row=height,
        bands=bands,
        ticks=list(_ticks(record, scale)),
        rows=rows,
        signs=[one for one in SIGNS if one in used],
        left_out=len(messages) - len(shown),
        words=_in_words(shown),
        due=format_duration(schedule.retry or 0) if any(row.due for row in rows) else "",
        give_up=format_duration(schedule.give_up) if schedule.give_up else "",
    )  # fmt: skip


class _Scale:
    """Lab seconds to places, and whether a moment is on the drawing."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end

    def at(self, lab_time: float) -> float:
        inside = min(max(lab_time, self.begin), self.end)
        share = (inside - self.begin) / (self.end - self.begin)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def shows(self, lab_time: float) -> bool:
        return self.begin <= lab_time <= self.end


def _outages(record: Record) -> Iterator[tuple[float, float | None, str]]:
    """From when to when (None: it was never healed) what was out of order."""
    on: dict[str, tuple[float, str]] = {}
    for event in record.of("fault"):
        fault = event.data["fault"]
        if event.data["on"]:
            on[fault] = event.lab_time, event.data["title"]
        elif fault in on:
            began, title = on.pop(fault)
            yield began, event.lab_time, title
    for began, title in on.values():
        yield began, None, title


def _bands(
    scale: _Scale, outages: Sequence[tuple[float, float | None, str]]
) -> tuple[list[Band], int]:
    """The outages, and how many lines their words take up."""
    placed, ends = [], [0.0]  # where the words in each line end, the lowest line first
    for on, off, words in sorted(outages, key=lambda one: one[0]):
        x = scale.at(on)
        line = next((number for number, end in enumerate(ends) if end <= x), len(ends))
        ends[line : line + 1] = [x + _LETTER * len(words)]
        placed.append((x, max(1.0, scale.at(scale.end if off is None else off) - x), words, line))
    lowest = _TOP - _ABOVE - 6 + _LINE * (len(ends) - 1)
    bands = [Band(x, width, words, lowest - _LINE * line) for x, width, words, line in placed]
    return bands, len(ends)


def _row(message: Message, scale: _Scale, schedule: Schedule, y: float, last: float) -> Row:
    due = []
    if schedule.retry:
        due = [
            attempt.began + schedule.retry
            for attempt in message.attempts
            if attempt.sign.name == "deferred"
        ]
    give_up = message.entered + schedule.give_up if schedule.give_up else None
    stays = last if message.left is None else message.left
    name = message.name
    return Row(
        y=round(y, 1),
        name=name if len(name) <= _NAME else name[: _NAME - 1] + "…",
        full=name,
        begin=scale.at(message.entered),
        end=scale.at(stays),
        points=list(_points(message, scale, y)),
        due=[scale.at(one) for one in due if scale.shows(one) and one <= stays],
        give_up=scale.at(give_up) if give_up is not None and scale.shows(give_up) else None,
    )


def _points(message: Message, scale: _Scale, y: float) -> Iterator[Point]:
    places = [scale.at(one.began) for one in message.attempts]
    aside = 0.0
    for number, (x, attempt) in enumerate(zip(places, message.attempts, strict=True)):
        close = number > 0 and x - places[number - 1] < _CLOSE
        follows = number + 1 < len(places) and places[number + 1] - x < _CLOSE
        aside = -aside if close else -_ASIDE if follows else 0.0
        yield Point(x, round(y + aside, 1), attempt)


def _ticks(record: Record, scale: _Scale) -> Iterator[Tick]:
    span = scale.end - scale.begin
    step = next((one for one in _STEPS if span / one <= _TICKS), 0)
    if not step:
        step = _DAY * -int(-span // (_DAY * _TICKS))
    number = -int(-scale.begin // step)
    while number * step <= scale.end:
        lab_time = number * step
        epoch = record.clock.started + record.clock.real(lab_time)
        yield Tick(scale.at(lab_time), moment(record.clock, epoch + 1e-6))
        number += 1


def _in_words(messages: Sequence[Message]) -> str:
    """The drawing in a sentence, for those who do not see it."""
    count = sum(len(message.attempts) for message in messages)
    ends: dict[str, int] = {}
    for message in messages:
        for attempt in message.attempts:
            ends[attempt.sign.means] = ends.get(attempt.sign.means, 0) + 1
    how = "; ".join(f"{number} {means}" for means, number in ends.items())
    tried = f"{counted(count, 'attempt')} for {counted(len(messages), 'message')}"
    return f"{tried}: {how}. The table has each."
