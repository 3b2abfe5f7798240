"""What belongs to a message, as the logs tell: its names at all machines, and when it was handled.

A message has a Message-ID, a queue ID at every server, a number in every mailbox, and its reports
have others. Lines that mention two of these join them, and what is joined is of one message. Joined
too much would only be told too much: a queue ID that is used again, say, joins two messages.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from lab.errors import UsageError
from lab.events import Observation
from lab.observe.maillog import LOCAL
from lab.observe.trace.stays import real_id

Name = tuple[str, ...]
"""`("id", Message-ID)`, `("queue", node, queue ID)`, `("session", of LMTP)`, `("copy", node, user,
folder, uid)` for what has no Message-ID."""

_ADDRESS = re.compile(r"\[([0-9a-fA-F.:]+)\]")
_FORWARDED = re.compile(r"\bforwarded as (\w+)")
_SAVED = re.compile(r" (\S+) Saved\b")
_SESSION = re.compile(r"\blmtp\([^()\s]*\)<\d+><([^>]*)>: ")
_PROCESS = re.compile(r" (postfix/[\w/-]+\[\d+\]): ")
_NEAR_SECONDS = 1.0  # around an attempt: what happens then may have to do with it
_LISTED = 5


class Spans:
    """Spans of time (epoch seconds), for the question whether something falls into one."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []
        for began, ended in sorted(spans):
            if self._ends and began <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], ended)
            else:
                self._begins.append(began)
                self._ends.append(ended)

    def meet(self, began: float, ended: float) -> bool:
        """Whether one of them has a moment in common with this."""
        first = bisect_left(self._ends, began)
        return first < len(self._begins) and self._begins[first] <= ended

    def __contains__(self, moment: float) -> bool:
        return self.meet(moment, moment)


@dataclass(frozen=True)
class Reading:
    """Reads names in what a Logbook makes of a line.

    `addresses` tells which machine has which address, `nodes` are those that write logs.
    """

    addresses: Mapping[str, str]
    nodes: Collection[str]

    def names(self, seen: Sequence[Observation]) -> list[Name]:
        """The names in a line, which is `seen[0]`, and what it means; all of one message."""
        found: list[Name] = []
        for one in seen:
            if one.refs.queue_id:
                found.append(("queue", one.node or "", one.refs.queue_id))
            if message_id := real_id(one.refs.message_id):
                found.append(("id", message_id))
        for one in seen[1:]:
            found += self._meant(one, seen[0].summary)
        return found

    def _meant(self, seen: Observation, line: str) -> Iterator[Name]:
        node, data = seen.node or "", seen.data
        if seen.kind == "attempt":
            if data["remote_id"]:
                yield from (
                    ("queue", at, data["remote_id"]) for at in self._at(node, data["relay"])
                )
            if forwarded := _FORWARDED.search(data["reason"]):
                yield "queue", node, forwarded[1]
            if data["program"] in LOCAL and (saved := _SAVED.search(data["reason"])):
                yield "session", saved[1]
        elif seen.kind == "queue_change":
            if data["what"] == "message-id" and (message_id := real_id(data["value"])):
                yield "id", message_id
            if data["what"] == "dsn":
                yield "queue", node, data["value"]
        elif seen.kind == "mailbox_change":
            if data["uid"] and real_id(seen.refs.message_id) is None:
                yield "copy", node, data["user"], data["folder"], str(data["uid"])
            if data["what"] == "save" and (session := _SESSION.search(line)):
                yield "session", session[1]

    def _at(self, node: str, relay: str) -> Collection[str]:
        """The machine that a relay is; all of them, if that can't be told."""
        found = _ADDRESS.search(relay)
        if found is None:
            return self.nodes
        if found[1].startswith("127.") or found[1] == "::1":
            return (node,)
        known = self.addresses.get(found[1])
        return (known,) if known else self.nodes


def process(line: str) -> str | None:
    """The program and process that wrote a line, if it is Postfix."""
    found = _PROCESS.search(line)
    return found[1] if found else None


@dataclass(frozen=True)
class Wanted:
    """What there is to know of some messages before their packets are looked at.

    `handled` is when they came in and were tried, with a second around it; `wrote` when the
    processes (by node and name) that tried them were about that. `users` (by node) have a copy.
    `unlogged` are names that no log knows, without <> and in small letters.
    """

    names: Set[Name]
    handled: Spans
    wrote: Mapping[tuple[str, str], Spans]
    users: Set[tuple[str, str]]
    unlogged: Set[str]

    @property
    def nodes(self) -> set[str]:
        """The machines that had them in their queues."""
        return {name[1] for name in self.names if name[0] == "queue"}

    def called(self, message_id: str | None) -> bool:
        """Whether that is the Message-ID of one of them."""
        if message_id is None:
            return False
        return ("id", message_id) in self.names or any(
            plain(message_id).startswith(name) for name in self.unlogged
        )


@dataclass
class Index:
    """Which names are of one message, for all messages in the logs; and when each was handled."""

    reading: Reading
    _above: dict[Name, Name] = field(default_factory=dict)
    _came: list[tuple[Name, float]] = field(default_factory=list)
    _tried: list[tuple[Name, tuple[str, str], float, float]] = field(default_factory=list)
    _users: list[tuple[Name, tuple[str, str]]] = field(default_factory=list)

    def add(self, seen: Sequence[Observation]) -> None:
        """A line, and what it means."""
        found = self.reading.names(seen)
        for name, other in pairwise(found):
            self._above[self._root(name)] = self._root(other)
        if not found:
            return
        self._root(found[0])
        for one in seen[1:]:
            data, node = one.data, one.node or ""
            if one.kind == "attempt":
                by = node, process(seen[0].summary) or ""
                self._tried.append((found[0], by, data["began"], data["ended"]))
            elif one.kind == "queue_change" and data["what"] in ("client", "message-id"):
                self._came.append((found[0], one.time))
            elif one.kind == "mailbox_change" and data["what"] == "save":
                self._users.append((found[0], (node, data["user"])))

    def _root(self, name: Name) -> Name:
        above = self._above.setdefault(name, name)
        while above != name:
            self._above[name] = self._above[above]
            name, above = above, self._above[above]
        return name

    def wanted(self, texts: Collection[str]) -> Wanted:
        """All of the messages that are called so, or begin so if only one does.

        Raises UsageError where several do.
        """
        roots: set[Name] = set()
        unlogged = set()
        for text in map(plain, texts):
            found = self._called(text)
            roots |= found
            if text and not found:
                unlogged.add(text)
        wrote: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        handled = []
        for name, moment in self._came:
            if self._root(name) in roots:
                handled.append((moment - _NEAR_SECONDS, moment + _NEAR_SECONDS))
        for name, by, began, ended in self._tried:
            if self._root(name) in roots:
                near = max(_NEAR_SECONDS, 0.1 + 0.06 * (ended - began))  # as exact as Postfix is
                handled.append((began - near, ended + near))
                wrote[by].append((began - near, ended))
        return Wanted(
            names={name for name in list(self._above) if self._root(name) in roots},
            handled=Spans(handled),
            wrote={key: Spans(spans) for key, spans in wrote.items()},
            users={user for name, user in self._users if self._root(name) in roots},
            unlogged=unlogged,
        )

    def last(self) -> str | None:
        """A name of the message that came in last, reports to senders being part of what they are
        about."""
        first: dict[Name, tuple[float, Name]] = {}
        for name, moment in self._came:
            root = self._root(name)
            first[root] = min(first.get(root, (moment, name)), (moment, name))
        return max(first.values())[1][-1] if first else None

    def _called(self, text: str) -> set[Name]:
        """The roots of what is called `text`, or else of what alone begins like it."""
        known = [(plain(name[-1]), name) for name in self._above if name[0] in ("id", "queue")]
        if exact := {self._root(name) for called, name in known if called == text}:
            return exact
        found = {
            self._root(name): name for called, name in known if text and called.startswith(text)
        }
        if len(found) > 1:
            some = sorted(name[-1] for name in found.values())[:_LISTED]
            more = "\nand others" if len(found) > _LISTED else ""
            raise UsageError(
                f"'{text}' may be any of {len(found)} messages",
                detail="\n".join(some) + more,
                hint="type more of the Message-ID, or a queue ID",
            )
        return set(found)


def plain(name: str) -> str:
    """A name of a message as people type it: without <>, in small letters."""
    return name.strip().strip("<>").casefold()
