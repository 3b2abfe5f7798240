"""What a ladder is made of, whichever way it is drawn.

Hosts are columns from left to right, items are rows from top to bottom, in the order in which
they happened. Boxes (queues) and bands (outages) reach over rows, which they name by number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lab.units import counted, format_duration

Level: TypeAlias = Literal["messages", "commands", "packets"]
LEVELS: tuple[Level, ...] = ("messages", "commands", "packets")

What: TypeAlias = Literal[
    # Arrows, from `source` to `target`
    "call",  # SYN
    "accept",  # SYN ACK
    "command",
    "reply",
    "content",
    "close",  # FIN
    "reset",
    "question",  # of DNS, as is the answer
    "answer",
    "icmp",
    "packet",
    "mail",  # a whole transaction or session
    # At `source`, without a target; at none, they are about all
    "note",
    "fault",
    "narration",
    # Rows that stand for others
    "fold",  # many alike
    "break",  # nothing happened
]

# What becomes of an arrow: it arrives, or it
Fate: TypeAlias = Literal[
    "arrives",
    "pending",  # has not been seen to arrive yet
    "lost",  # was never seen on the other side's network
    "unanswered",  # was, as far as the wire shows, but nobody answered the call
    "delayed",  # arrives, but not now,
    "belated",  # but here
]
Mood: TypeAlias = Literal["plain", "good", "bad", "wait"]


@dataclass(frozen=True)
class Item:
    """A row: an arrow, a note at a lifeline, or what stands for rows that are left out.

    `time` is in epoch seconds, `lab_time` in lab seconds since the lab began. `label` is short,
    `text` says all. `seqs` are the events it is made from; `file` and `frame` where a capture has
    it, `log` the machine and the line where a log has it. `more` is how many alike a fold stands
    for; `lab_seconds` and `real_seconds` are how long nothing happens (a break) or how much later
    it arrives (delayed, belated).
    """

    what: What
    time: float
    lab_time: float
    label: str
    text: str
    source: str | None = None
    target: str | None = None
    fate: Fate = "arrives"
    mood: Mood = "plain"
    protocol: str = ""
    connection: str = ""
    seqs: tuple[int, ...] = ()
    file: str | None = None
    frame: int | None = None
    log: tuple[str, int] | None = None
    more: int = 0
    lab_seconds: float = 0
    real_seconds: float = 0

    @property
    def lost(self) -> bool:
        """Whether it ends half-way."""
        return self.fate in ("lost", "unanswered")

    @property
    def dashed(self) -> bool:
        """Whether its line is broken: it is no part of what is said, or still on its way."""
        return self.what in ("question", "answer", "accept", "close") or self.fate == "pending"

    @property
    def arrow(self) -> bool:
        """Whether it goes from one host to another."""
        return self.source is not None and self.target is not None and self.source != self.target


@dataclass(frozen=True)
class Host:
    """A column. `kind` is that of its node (pc, mail-server, dns, router), or `other`."""

    name: str
    kind: str


@dataclass(frozen=True)
class Box:
    """Messages in the queue of `host`, from row `first` to row `last` (None: still there).

    `counts`: from which row on there were how many.
    """

    host: str
    first: int
    last: int | None
    counts: tuple[tuple[int, int], ...]

    def covers(self, row: int) -> bool:
        """Whether there are messages at `row`."""
        return self.first <= row and (self.last is None or row <= self.last)

    def count(self, row: int) -> int:
        """How many messages there are at `row`."""
        found = 0
        for since, count in self.counts:
            if since > row:
                break
            found = count
        return found


@dataclass(frozen=True)
class Band:
    """An outage, from row `first` to row `last` (None: it is still on); `host` is whom it strikes.

    Where that is no host (a network, say), `host` is None.
    """

    title: str
    host: str | None
    first: int
    last: int | None

    def covers(self, row: int) -> bool:
        """Whether the outage is on at `row`."""
        return self.first <= row and (self.last is None or row <= self.last)


@dataclass(frozen=True)
class Layout:
    """A ladder. `ended` says whether no more can come; `scale` is lab seconds in a real one.

    `settles` is when (epoch seconds) time alone will have changed it, where something is on its
    way: it has arrived by then, or is lost.
    """

    title: str
    hosts: tuple[Host, ...]
    items: tuple[Item, ...]
    boxes: tuple[Box, ...]
    bands: tuple[Band, ...]
    level: Level
    ended: bool
    scale: float
    settles: float | None = None

    def boxes_at(self, row: int) -> list[Box]:
        """The queues that are not empty at `row`."""
        return [box for box in self.boxes if box.covers(row)]

    def bands_at(self, row: int) -> list[Band]:
        """The outages that are on at `row`."""
        return [band for band in self.bands if band.covers(row)]

    def pause(self, row: int, item: Item) -> str:
        """What is said of a break at `row`: how long nothing happens, and who waits."""
        real, lab = format_duration(item.real_seconds), format_duration(round(item.lab_seconds))
        waiting = sum(box.count(row) for box in self.boxes_at(row))
        who = f" · {counted(waiting, 'message')} wait{'s' if waiting == 1 else ''}"
        return f"{lab} pass ({real} of real time)" + (who if waiting else "")


@dataclass(frozen=True)
class View:
    """What of a ladder is wanted.

    `words`: only what has to do with each of these hosts, protocols, messages (a Message-ID, a
    queue ID or a subject), or says it. `narration`: also what was told and judged.
    """

    level: Level = "commands"
    words: tuple[str, ...] = ()
    narration: bool = False


EVERYTHING = View()
