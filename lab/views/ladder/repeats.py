"""What may be repeated word for word (a call, a ping): when it passed tells which it was.

However many alike there are, a sighting costs little: a flood of pings is a hundred thousand.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from lab.views.ladder.marks import Mark, Sighting

# Two sightings of a datagram, or of a call, within this time are of one: it takes a packet less
# to cross a router, and whoever asks again waits longer.
_SAME_SECONDS = 0.2

_time = attrgetter("time")
# When it was seen first, when it came among others of that moment, and it.
_Waiting: TypeAlias = "tuple[float, int, Mark]"


class Repeats:
    """Marks of things that are alike, in order of time."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._unseen: dict[str, list[_Waiting]] = {}  # by network, what was not seen there yet

    def find(self, seen: Sighting) -> Mark | None:
        """The mark that was seen elsewhere just now, if there is one: this is the same."""
        if not seen.network:
            return None
        unseen = self._unseen.get(seen.network)
        if unseen is None:
            unseen = self._unseen[seen.network] = [
                (mark.time, number, mark)
                for number, mark in enumerate(self.marks)
                if not mark.seen_on(seen.network)
            ]
        after = bisect_left(unseen, seen.time, key=_when)
        apart = [
            (abs(unseen[at][0] - seen.time), at)
            for at in (after - 1, after)
            if 0 <= at < len(unseen)
        ]
        nearest, at = min(apart, default=(_SAME_SECONDS, 0))
        return unseen.pop(at)[2] if nearest < _SAME_SECONDS else None

    def add(self, mark: Mark) -> None:
        """A new one."""
        if not self.marks or self.marks[-1].time <= mark.time:  # as a rule, and quicker
            self.marks.append(mark)
        else:
            insort(self.marks, mark, key=_time)
        for network, unseen in self._unseen.items():
            if not mark.seen_on(network):
                insort(unseen, (mark.time, len(self.marks), mark), key=_when)


def _when(waiting: _Waiting) -> float:
    return waiting[0]
