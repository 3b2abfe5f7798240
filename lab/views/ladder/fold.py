"""Long runs of alike things, and long times without any, made short; each leaves a row behind
that says what is not shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

from lab.units import LabClock, counted, format_duration
from lab.views.ladder.marks import Mark, Sighting

_IDLE_REAL = 0.3  # seconds in which nothing happens are a break, if that is
_IDLE_LAB = 60.0  # so long in the lab,
_IDLE_ANYWAY = 5.0  # or so long on the wall
_WHOLE, _MANY = 2, 5  # of so many alike or more, the first two are shown, and the last
_PERIODS = (1, 2, 3)  # how many stretches of activity may make up what is repeated

_ALIKE = {
    "queued": "in the queue",
    "removed": "leave the queue",
    "attempt": "attempts like this",
    "again": "tried again",
    "save": "saved in the mailbox",
}

Stretch: TypeAlias = list[Mark]
Key: TypeAlias = tuple[Hashable, ...]


def stretches(marks: Sequence[Mark], clock: LabClock) -> list[Stretch]:
    """`marks`, in order of time, divided where nothing happened for long."""
    found: list[Stretch] = []
    for mark in marks:
        if found and not _idle(mark.time - found[-1][-1].time, clock):
            found[-1].append(mark)
        else:
            found.append([mark])
    return found


def _idle(seconds: float, clock: LabClock) -> bool:
    long = seconds >= _IDLE_REAL and seconds * clock.scale >= _IDLE_LAB
    return long or seconds >= _IDLE_ANYWAY


def pause(before: Mark, after: Mark, clock: LabClock) -> Mark:
    """The break between two, of which it stands half-way."""
    real = after.time - before.time
    moment = Sighting(before.time + real / 2, before.first.seq, None, None, None)
    lab = format_duration(round(real * clock.scale))
    words = f"{lab} pass ({format_duration(real)} of real time)"
    return Mark("break", words, words, [moment])


def folded(stretch: Stretch) -> Stretch:
    """`stretch`, with what is alike to many others in it left out, first connections and what is
    about one message, then messages that went over one connection.
    """
    return _folded(_folded(stretch, _outer), _inner)


def _outer(mark: Mark) -> tuple[Key, Key] | None:
    """The unit a mark is a part of, and what alike units have in common."""
    connection = mark.connection
    if mark.alike:
        return mark.unit, mark.alike
    if connection is None:
        return None
    ends = (connection.client, connection.server, connection.protocol, connection.answered)
    return ("connection", connection.name), ("connection", *ends)


def _inner(mark: Mark) -> tuple[Key, Key] | None:
    if mark.mail is None or mark.connection is None or mark.what == "mail":
        return None
    name = mark.connection.name
    return ("mail", name, mark.mail.number), ("mail", name)


def _folded(stretch: Stretch, unit_of: Callable[[Mark], tuple[Key, Key] | None]) -> Stretch:
    units: dict[Key, dict[Key, Mark]] = defaultdict(dict)  # of each kind, and the first of each
    for mark in stretch:
        if found := unit_of(mark):
            units[found[1]].setdefault(found[0], mark)
    hidden: dict[Key, Key] = {}  # unit -> what is alike
    for alike, ones in units.items():
        if len(ones) >= _MANY:
            hidden |= dict.fromkeys(list(ones)[_WHOLE:-1], alike)
    if not hidden:
        return stretch
    said: set[Key] = set()
    kept: Stretch = []
    for mark in stretch:
        found = unit_of(mark)
        if found is None or found[0] not in hidden:
            kept.append(mark)
        elif found[1] not in said:
            said.add(found[1])
            left_out = [one for one in units[found[1]] if one in hidden]
            kept.append(_stands_for(mark, found[1], len(left_out)))
    return kept


def _stands_for(mark: Mark, alike: Key, count: int) -> Mark:
    """The row for `count` units like the one that `mark` is the first of."""
    connection = mark.connection
    match alike[0]:
        case "mail":
            label = f"{counted(count, 'more message')} on this connection"
        case "connection" if connection is not None and connection.answered:
            label = f"{counted(count, 'more connection')} like this"
        case "connection":
            label = f"{counted(count, 'more call')} without an answer"
        case "dns":
            label = f"{counted(count, 'more time')} the same question"
        case _:
            label = f"{count} more {_ALIKE.get(str(alike[2]), 'like this')}"
    return Mark(
        "fold",
        f"… {label}",
        f"{label}: {mark.label}",
        [_at(mark)],
        mark.source,
        mark.target if alike[0] != "dns" else None,
        protocol=mark.protocol,
        unit=(count,),
    )


def repeated(all_of_it: Sequence[Stretch], clock: LabClock) -> list[Stretch]:
    """The stretches, without those that only repeat what came before; a fold in their place."""
    shapes = [_shape(stretch) for stretch in all_of_it]
    found: list[Stretch] = []
    index = 0
    while index < len(all_of_it):
        period, times = _longest(shapes, index)
        if times < _MANY:
            found.append(all_of_it[index])
            index += 1
            continue
        first, last = index + _WHOLE * period, index + (times - 1) * period
        found += all_of_it[index:first]
        found.append([_again(all_of_it[first:last], times - 1 - _WHOLE, clock)])
        index = last
        found += all_of_it[index : index + period]
        index += period
    return found


def _longest(shapes: list[Key], index: int) -> tuple[int, int]:
    """The period at `index` that repeats most, and how often."""
    best = (1, 1)
    for period in _PERIODS:
        pattern = shapes[index : index + period]
        times = 1
        while shapes[index + times * period : index + (times + 1) * period] == pattern:
            times += 1
        if times * period > best[0] * best[1] and times >= _MANY:
            best = (period, times)
    return best


def _shape(stretch: Stretch) -> Key:
    """What a stretch has in common with another that tells the same; never so for outages."""
    told: list[Hashable] = []
    for mark in stretch:
        if mark.what == "fault":
            told.append(mark)
        elif mark.shape != "again":
            label = mark.shape or mark.label
            told.append((mark.what, mark.source, mark.target, label))
    return tuple(dict.fromkeys(told))


def _again(left_out: Sequence[Stretch], times: int, clock: LabClock) -> Mark:
    first, last = left_out[0][0], left_out[-1][-1]
    lasts = format_duration(round((last.time - first.time) * clock.scale))
    label = f"… {times} times more the same, in {lasts}"
    return Mark("fold", label, label, [_at(first)], unit=(times,))


def _at(mark: Mark) -> Sighting:
    """The moment of `mark`, without its evidence."""
    return Sighting(mark.time, mark.first.seq, None, None, None)
