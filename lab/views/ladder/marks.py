"""What is being drawn, while it grows: a mark becomes an item once a layout is wanted.

A packet that crosses a router is seen on two networks, and told twice; a mark is one thing that
happened, with everywhere that it was seen.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from lab.events import Event
from lab.views.ladder.model import Item, Mood, What
from lab.views.ladder.repeats import Repeats
from lab.views.ladder.said import Said


class Sighting(NamedTuple):
    """Where and when something was seen; `network` is None where it was no packet."""

    time: float
    seq: int
    network: str | None
    file: str | None
    frame: int | None


def sighting(event: Event, network: str | None = None) -> Sighting:
    """The one that `event` tells of."""
    return Sighting(event.time, event.seq, network, event.refs.file, event.refs.frame)


@dataclass(eq=False, slots=True)
class Mark:
    """One thing that happened. `near` are the networks of whoever did it.

    `unit` is what it is a part of (a lookup, a message in a queue), `alike` what others like that
    unit have in common with it, by which long runs of them are folded. `ids` are identities of
    messages. `shape` is what repeated goings-on have in common. `in_time` and `item` are kept from
    one layout to the next: that it arrived soon after it was sent, and what it was drawn as.
    """

    what: What
    label: str
    text: str
    sightings: list[Sighting]
    source: str | None = None
    target: str | None = None
    protocol: str = ""
    mood: Mood = "plain"
    near: frozenset[str] = frozenset()
    connection: Conversation | None = None
    mail: Mail | None = None
    answered: bool = False
    ids: set[str] = field(default_factory=set)
    unit: tuple[object, ...] = ()
    alike: tuple[object, ...] = ()
    log: tuple[str, int] | None = None
    shape: str = ""
    in_time: bool = field(default=False, init=False)
    item: Item | None = field(default=None, init=False)

    @property
    def first(self) -> Sighting:
        """Where it was seen first; where that is the same moment, nearest to who did it."""
        return self.sightings[0]

    @property
    def time(self) -> float:
        """When it happened, in epoch seconds."""
        return self.sightings[0].time

    def see(self, seen: Sighting) -> None:
        """It was seen there, too."""
        self.in_time = False
        self.sightings.append(seen)
        self.sightings.sort(key=lambda one: (one.time, one.network not in self.near, one.seq))

    def seen_on(self, network: str) -> bool:
        """Whether it was seen on `network`."""
        return any(one.network == network for one in self.sightings)


@dataclass(eq=False, slots=True)
class Mail:
    """A message's way through a connection: the marks from MAIL to the last reply."""

    number: int
    marks: list[Mark] = field(default_factory=list)
    dotted: bool = True  # ended by a line with a dot (DATA), not counted in octets (BDAT)
    content: Mark | None = None
    reply: Mark | None = None
    ids: set[str] = field(default_factory=set)

    @property
    def under_way(self) -> bool:
        """Whether what becomes of it is still to be said, as far as the wires show."""
        connection = self.marks[0].connection
        if self.reply is not None or connection is None or connection.over:
            return False
        return self.content is not None or connection.mail is self


@dataclass(eq=False, slots=True)
class Conversation:
    """What is known of a TCP connection, or of a question to the DNS and its answer."""

    name: str
    protocol: str
    client: str
    server: str
    calls: Repeats = field(default_factory=Repeats)
    once: dict[tuple[str, str], Mark] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=lambda: defaultdict(Said))
    asked: dict[tuple[str, int], deque[Mark]] = field(default_factory=lambda: defaultdict(deque))
    mails: list[Mail] = field(default_factory=list)
    mail: Mail | None = None  # the one that is under way
    answered: bool = False
    over: bool = False

    @property
    def marks(self) -> list[Mark]:
        """Everything said over it, in the order of each side."""
        return [mark for side in ("client", "server") for mark in self.said[side]]
