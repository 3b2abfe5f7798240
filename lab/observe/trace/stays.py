"""A message's stay at a mail server, as the server's log tells it: came, was tried, left.

A stay is known by machine and queue ID. Its Message-ID joins it to the others; without one, it is
joined by what servers say of each other (`queued as`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lab.events import Event
from lab.observe.trace.connections import Transaction
from lab.record import Record

_ADDRESS = re.compile(r"\[([0-9a-fA-F.:]+)\]")
_FORWARDED = re.compile(r"\bforwarded as (\w+)")
_LOGIN = re.compile(r"\bsasl_username=([^,\s]+)")
_NOTIFICATION = re.compile(r": (?:sender )?((?:postmaster )?[\w-]+(?: status)? notification): ")
_ORIGINAL = re.compile(r" orig_to=<([^>]*)>")
_BEGINS = ("client", "message-id")


@dataclass(eq=False)
class Stay:
    """A message at `node` under `queue_id`. Times are epoch seconds.

    `arrived` is when its first line was logged, None if the record begins later; `left` when it
    was removed from the queue; `not_taken` says why it never came to be in it. `sender` is the
    envelope's (empty for a report, None if unknown), `client` who brought it as Postfix names it,
    `login` as whom. `reports` are the queue IDs of the delivery reports written about it, each
    with what it is and its line. `recipients` and `next_attempt` are what a look into the queue
    has shown.
    """

    node: str
    queue_id: str
    message_id: str | None = None
    sender: str | None = None
    client: str | None = None
    login: str | None = None
    arrived: float | None = None
    queued: float | None = None
    expired: float | None = None
    left: float | None = None
    not_taken: Event | None = None
    recipients: tuple[str, ...] = ()
    next_attempt: float | None = None
    attempts: list[Event] = field(default_factory=list)
    reports: list[tuple[str, str, Event]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def began(self) -> float:
        """The first that is known of it."""
        times = [event.time for event in self.events]
        return self.arrived if self.arrived is not None else min(times, default=0.0)


class Stays:
    """All stays on record, in the order in which they began."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._by_process: dict[tuple[str | None, str], list[Event]] = defaultdict(list)
        self._stays: dict[tuple[str, str], list[Stay]] = {}
        told: list[Event] = []
        looks: list[Event] = []
        for event in record.events:
            if event.kind == "log":
                if process := _process(event.summary):
                    self._by_process[event.node, process].append(event)
            elif event.kind in ("queue_change", "attempt") and event.refs.queue_id and event.node:
                told.append(event)
            elif event.kind == "queue":
                looks.append(event)
        for event in told:
            self._take(self._of(event), event)
        for event in looks:
            self._look(event)

    @cached_property
    def all(self) -> list[Stay]:
        """Every stay."""
        return sorted((one for found in self._stays.values() for one in found), key=_order)

    def line(self, event: Event) -> str:
        """The text of the log line that `event` was read from; empty if it is not on record."""
        return self._record.line(event.node, event.data.get("line", 0)) or ""

    def said_by_the_same(self, event: Event, since: float) -> list[str]:
        """What the program that wrote an attempt's line had written from `since` to then."""
        process = _process(self.line(event))
        lines = self._by_process.get((event.node, process or ""), ())
        ended = event.data.get("ended", event.time)
        return [one.summary for one in lines if since <= one.time <= ended]

    def at(self, node: str, queue_id: str, near: float) -> Stay | None:
        """The stay of that name which began nearest to `near` (epoch seconds)."""
        found = self._stays.get((node, queue_id), ())
        return min(found, key=lambda stay: abs(stay.began - near), default=None)

    def named_by(self, offer: Transaction) -> Stay | None:
        """Where an offered message came to, as the server has said (`queued as`)."""
        if offer.queue_id is None:
            return None
        node = offer.connection.server_node
        nodes = [node] if node else sorted({name for name, _ in self._stays})
        found = [one for name in nodes if (one := self.at(name, offer.queue_id, offer.ended))]
        return found[0] if len(found) == 1 else None

    def node_in(self, text: str | None, here: str | None = None) -> str | None:
        """The machine whose address stands in brackets in `text`; `here` for a loopback one."""
        found = _ADDRESS.search(text or "")
        if found is None:
            return None
        if found[1].startswith("127.") or found[1] == "::1":
            return here
        return self._record.about["addresses"].get(found[1])

    def after(self, stay: Stay, attempt: Event) -> Stay | None:
        """Where `attempt` put the message, if into another queue."""
        reason = attempt.data.get("reason") or ""
        if forwarded := _FORWARDED.search(reason):
            return self.at(stay.node, forwarded[1], attempt.time)
        remote = attempt.data.get("remote_id")
        if not remote:
            return None
        node = self.node_in(attempt.data.get("relay"), stay.node)
        nodes = [node] if node else sorted({name for name, queue_id in self._stays})
        found = [one for name in nodes if (one := self.at(name, remote, attempt.time))]
        return next((one for one in found if one is not stay), None)

    def original(self, attempt: Event) -> str:
        """The recipient before aliases."""
        found = _ORIGINAL.search(self.line(attempt))
        recipient: str = attempt.data.get("recipient") or ""
        return found[1] if found else recipient

    def of(self, message_id: str) -> list[Stay]:
        """The stays whose Message-ID that is."""
        return list(self._by_message_id.get(message_id, ()))

    @cached_property
    def _by_message_id(self) -> Mapping[str | None, list[Stay]]:
        found: dict[str | None, list[Stay]] = defaultdict(list)
        for stay in self.all:
            found[stay.message_id].append(stay)
        return found

    def linked(self, start: Iterable[Stay]) -> list[Stay]:
        """`start`, and all before and after them by what servers said of each other."""
        found = list(dict.fromkeys(start))
        known = set(found)
        for stay in found:  # grows while it is gone through
            following = [one for one in self._neighbours.get(stay, ()) if one not in known]
            found += following
            known.update(following)
        return sorted(found, key=_order)

    @cached_property
    def _neighbours(self) -> Mapping[Stay, Iterable[Stay]]:
        found: dict[Stay, dict[Stay, None]] = defaultdict(dict)
        for stay in self.all:
            for other in self._ahead(stay):
                found[stay][other] = found[other][stay] = None
        return found

    def _ahead(self, stay: Stay) -> Iterator[Stay]:
        for attempt in stay.attempts:
            if following := self.after(stay, attempt):
                yield following

    def _of(self, event: Event) -> Stay:
        node, queue_id = str(event.node), str(event.refs.queue_id)
        known = self._stays.setdefault((node, queue_id), [])
        begins = event.kind == "queue_change" and event.data.get("what") in _BEGINS
        if known and begins and (left := known[-1].left) is not None and left <= event.time:
            known.append(Stay(node, queue_id))  # the queue ID is used again
        if not known:
            known.append(Stay(node, queue_id))
        return known[-1]

    def _look(self, event: Event) -> None:
        """What a queue looked like."""
        for entry in event.data.get("entries") or ():
            stay = self.at(entry.get("node", event.node), entry.get("queue_id", ""), event.time)
            if stay is not None:
                stay.recipients = tuple(entry.get("recipients") or ()) or stay.recipients
                stay.next_attempt = entry.get("next_attempt")

    def _take(self, stay: Stay, event: Event) -> None:
        stay.events.append(event)
        stay.message_id = stay.message_id or real_id(event.refs.message_id)
        if event.kind == "attempt":
            stay.attempts.append(event)
            return
        value: str = event.data.get("value") or ""
        match event.data.get("what"):
            case "client":
                stay.client = value
                login = _LOGIN.search(self.line(event))
                stay.login = login[1] if login else None
                stay.arrived = event.time
            case "message-id":
                stay.message_id = real_id(value)
                stay.arrived = event.time if stay.arrived is None else stay.arrived
            case "queued":
                stay.sender = value
                stay.queued = event.time if stay.queued is None else stay.queued
                stay.not_taken = None  # what was refused was one recipient of several
            case "expired":
                stay.expired = event.time
            case "rejected" | "broken off" if stay.queued is None:
                stay.not_taken = event
            case "removed":
                stay.left = event.time
            case "dsn":
                kind = _NOTIFICATION.search(self.line(event))
                stay.reports.append((value, kind[1] if kind else "notification", event))


def real_id(message_id: str | None) -> str | None:
    """A Message-ID, or None for what stands in a log where a message has none."""
    return message_id if message_id not in ("", "<>", None) else None


def _process(line: str) -> str | None:
    found = re.search(r" (postfix/[\w/-]+\[\d+\]): ", line)
    return found[1] if found else None


def _order(stay: Stay) -> tuple[float, str, str]:
    return stay.began, stay.node, stay.queue_id
