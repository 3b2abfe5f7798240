"""Which rows a message's stay in a queue and an outage reach over."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from lab.views.ladder.model import Band, Box
from lab.views.ladder.notes import Outage, Stay


def boxes(stays: Iterable[Stay], moments: Sequence[float]) -> tuple[Box, ...]:
    """A box for each time in which a host's queue was not empty; `moments` are those of the rows.

    Messages whose whole stay falls between two rows have left none.
    """
    changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for stay in stays:
        changes[stay.host].append((stay.since, 1))
        if stay.until is not None:
            changes[stay.host].append((stay.until, -1))
    found = []
    for host, ones in changes.items():
        count, first, counts = 0, 0, dict[int, int]()
        for moment, change in sorted(ones):
            if count == 0:
                first, counts = bisect_left(moments, moment), {}
            count += change
            if count:
                counts[bisect_left(moments, moment)] = count
                continue
            last = bisect_right(moments, moment) - 1
            if first <= last:
                found.append(Box(host, first, last, _within(counts, last)))
        if count and first < len(moments):
            found.append(Box(host, first, None, _within(counts, len(moments) - 1)))
    return tuple(sorted(found, key=lambda box: (box.first, box.host)))


def _within(counts: dict[int, int], last: int) -> tuple[tuple[int, int], ...]:
    return tuple((row, count) for row, count in sorted(counts.items()) if row <= last)


def bands(
    outages: Iterable[Outage], moments: Sequence[float], hosts: Collection[str]
) -> tuple[Band, ...]:
    """A band for each outage, from the row at which it began to that at which it ended."""
    found = []
    for outage in outages:
        first = bisect_left(moments, outage.since)
        last = None if outage.until is None else bisect_right(moments, outage.until) - 1
        if first < len(moments) and (last is None or first <= last):
            host = outage.host if outage.host in hosts else None
            found.append(Band(outage.title, host, first, last))
    return tuple(found)
