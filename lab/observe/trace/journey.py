"""What can be told of one message: the shapes a trace is made of, and their JSON.

Everything carries the events it was read from, which say where to look: a frame of a capture, a
line of a log. Times are epoch seconds; waits are lab seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.events import Event
from lab.observe.trace.connections import Carried, Connection, Transaction

_ANSWERS = ("refused", "no route")  # states of a call (lab.observe.stream) that is no connection


@dataclass(frozen=True)
class Attempt:
    """An attempt to pass the message on for one recipient, as its server logged it.

    `original` is the recipient before aliases; `wait` the lab seconds since the attempt before
    began, None for the first. `transaction` is that on `connection`. `calls` are the
    connections it tried to open in vain. `candidates` says how many connections (or calls to one
    address) it may have been, as far as packets and log can tell: 1 is certain.
    """

    program: str
    recipient: str
    original: str
    relay: str
    outcome: str
    dsn: str
    reason: str
    began: float
    ended: float
    wait: float | None
    next: tuple[str, str] | None
    """The machine and queue ID where it is now, if it was passed on to one."""
    connection: Connection | None
    transaction: Transaction | None
    calls: tuple[Connection, ...]
    candidates: int
    events: tuple[Event, ...]

    @property
    def tries(self) -> int:
        """SYNs sent in vain, to be refused or not answered."""
        return sum(call.tries for call in self.calls)

    @property
    def answer(self) -> str:
        """What its calls had come to at its end: `refused`, `no route: ICMP …`, or `no answer`."""
        states = (one.state for one in self.calls if one.refused and one.refused <= self.ended)
        return next((one for one in states if one.startswith(_ANSWERS)), "no answer")

    @property
    def shared_with(self) -> tuple[Carried, ...]:
        """The other messages on its connection."""
        number = self.transaction.number if self.transaction else None
        carried = self.connection.carried if self.connection else ()
        return tuple(one for one in carried if one.number != number)

    def as_json(self) -> dict[str, Any]:
        """The attempt as `lab trace --json` prints it."""
        wire = self.connection or (self.calls[-1] if self.calls else None)
        return {
            "time": self.began,
            "ended": self.ended,
            "outcome": self.outcome,
            "reason": self.reason,
            "dsn": self.dsn,
            "recipient": self.recipient,
            "original_recipient": self.original,
            "relay": self.relay,
            "program": self.program,
            "since_last_lab_seconds": rounded(self.wait),
            "next": _stop(self.next),
            "stream": wire.stream if wire else None,
            "file": wire.file if wire else None,
            "frame": wire.frame if wire else None,
            "number": self.transaction.number if self.transaction else None,
            "with": [one.as_json() for one in self.shared_with],
            "syns_in_vain": self.tries,
            "calls_answered": self.answer if self.calls else None,
            "candidates": self.candidates,
            "evidence": places(self.events),
        }


@dataclass(frozen=True)
class Hop:
    """The message at one mail server.

    `client` is who brought it, `source` the machine that is, `login` as whom it logged in, over
    `connection`; `transaction` is how, unless that was encrypted.
    `arrived` is None if the record begins later, `left` None while it is in the queue; `waited`
    is lab seconds, up to the record's end while it is there. `expired` is when it was given up;
    `not_taken` says why it never came to be in the queue. `recipients` are those known besides by
    attempts, `next_attempt` is when the next is due. `previous` are the hops before.
    """

    node: str
    queue_id: str
    message_id: str | None
    sender: str | None
    client: str | None
    source: str | None
    login: str | None
    arrived: float | None
    left: float | None
    waited: float | None
    expired: float | None
    not_taken: str | None
    recipients: tuple[str, ...]
    next_attempt: float | None
    attempts: tuple[Attempt, ...]
    connection: Connection | None
    transaction: Transaction | None
    previous: tuple[tuple[str, str], ...]
    events: tuple[Event, ...]

    @property
    def in_queue(self) -> bool:
        """Whether it waits there still."""
        return self.left is None and self.not_taken is None

    @property
    def key(self) -> tuple[str, str]:
        """Machine and queue ID."""
        return self.node, self.queue_id

    def as_json(self) -> dict[str, Any]:
        """The hop as `lab trace --json` prints it."""
        came = self.connection
        return {
            "node": self.node,
            "queue_id": self.queue_id,
            "arrived": self.arrived,
            "left": self.left,
            "waited": rounded(self.waited),
            "expired": self.expired,
            "not_taken": self.not_taken,
            "next_attempt": self.next_attempt,
            "sender": self.sender,
            "from": {
                "node": self.source,
                "client": self.client,
                "login": self.login,
                "port": came.port if came else None,
                "stream": came.stream if came else None,
                "file": came.file if came else None,
                "frame": came.frame if came else None,
                "number": self.transaction.number if self.transaction else None,
            },
            "previous": [_stop(one) for one in self.previous],
            "attempts": [attempt.as_json() for attempt in self.attempts],
            "evidence": places(self.events),
        }


@dataclass(frozen=True)
class Saved:
    """A copy in a mailbox; `by` is what saved it (`lmtp`, `imap` …), None if that is unknown."""

    node: str
    user: str
    folder: str
    uid: int | None
    time: float
    by: str | None
    session: str | None
    events: tuple[Event, ...]

    @property
    def delivered(self) -> bool:
        """Whether a server put it there, and not a mail program that keeps a copy."""
        return self.by in ("lmtp", "lda", None)

    def as_json(self) -> dict[str, Any]:
        """The copy as `lab trace --json` prints it."""
        found = {key: value for key, value in vars(self).items() if key != "events"}
        return found | {"evidence": places(self.events)}


@dataclass(frozen=True)
class Reading:
    """Something that somebody did with the message in a mailbox.

    `what`: `fetched`, `header fetched`, `part fetched`, `flags set` (with `flags`), `copy`,
    `delete`, `expunge` …, or `session`: an encrypted one, which may or may not have read it.
    `known` is from what: `packets` or `log`. `node` is the machine it was done from.
    """

    what: str
    user: str | None
    protocol: str | None
    node: str | None
    server: str | None
    time: float
    login: float | None
    encrypted: bool
    octets: int | None
    flags: tuple[str, ...]
    known: str
    connection: Connection | None
    events: tuple[Event, ...]

    def as_json(self) -> dict[str, Any]:
        """What was done as `lab trace --json` prints it."""
        wire = self.connection
        found = {k: v for k, v in vars(self).items() if k not in ("connection", "events", "flags")}
        return found | {
            "flags": list(self.flags),
            "stream": wire.stream if wire else None,
            "file": wire.file if wire else None,
            "evidence": places(self.events),
        }


@dataclass(frozen=True)
class Arrival:
    """What became of the message for one recipient.

    `outcome` is `delivered`, `bounced` (refused for good, or given up), `deferred` (tried in
    vain, still in a queue), `queued` (not tried yet), `relayed` (a server whose log is not on
    record has it) or `unknown`; `node` and `queue_id` are where that was seen, `time` is when, and
    for a delivered one, when they had it first. `recipient` is who the sender named, `final` where
    aliases led; `told` the Message-ID (or queue ID) of the report to the sender.
    """

    recipient: str
    final: str
    outcome: str
    reason: str | None
    node: str
    queue_id: str
    time: float | None
    told: str | None
    events: tuple[Event, ...]

    def as_json(self) -> dict[str, Any]:
        """The outcome as `lab trace --json` prints it."""
        found = {key: value for key, value in vars(self).items() if key != "events"}
        return found | {"evidence": places(self.events)}


@dataclass(frozen=True)
class Duplicate:
    """A copy more than there should be, and why, as far as the record tells (RFC 1047)."""

    saved: Saved
    cause: str
    events: tuple[Event, ...]

    def as_json(self) -> dict[str, Any]:
        """The duplicate as `lab trace --json` prints it."""
        return {
            "node": self.saved.node,
            "user": self.saved.user,
            "uid": self.saved.uid,
            "cause": self.cause,
            "evidence": places(self.events),
        }


@dataclass(frozen=True)
class Trace:
    """One message across all machines. `children` are reports about it, each a trace itself.

    `kind` is `message`, `delay notification` or `non-delivery notification`, `about` what the
    message it reports on is called. `refused` are the times it was offered and no queue on record
    took it. `until` is the last moment on record.
    """

    message_id: str | None
    kind: str
    about: str | None
    subject: str | None
    sender: str | None
    hops: tuple[Hop, ...]
    arrivals: tuple[Arrival, ...]
    saved: tuple[Saved, ...]
    readings: tuple[Reading, ...]
    duplicates: tuple[Duplicate, ...]
    refused: tuple[Transaction, ...]
    children: tuple[Trace, ...]
    outcome: str
    until: float
    started: float
    time_scale: float

    @property
    def name(self) -> str:
        """Its Message-ID, or the queue ID it had first."""
        return self.message_id or (self.hops[0].queue_id if self.hops else "?")

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who the sender named, each once."""
        return tuple(dict.fromkeys(one.recipient for one in self.arrivals))

    def as_json(self) -> dict[str, Any]:
        """The trace as `lab trace --json` prints it."""
        return {
            "message_id": self.message_id,
            "kind": self.kind,
            "about": self.about,
            "subject": self.subject,
            "sender": self.sender,
            "outcome": self.outcome,
            "hops": [hop.as_json() for hop in self.hops],
            "recipients": [one.as_json() for one in self.arrivals],
            "mailbox": [one.as_json() for one in self.saved],
            "readings": [one.as_json() for one in self.readings],
            "duplicates": [one.as_json() for one in self.duplicates],
            "refused": [_offer(one) for one in self.refused],
            "children": [one.as_json() for one in self.children],
            "until": self.until,
            "started": self.started,
            "time_scale": self.time_scale,
        }


def places(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Where events can be looked up, as `lab scenario run --json` has evidence."""
    found = []
    for event in events:
        if event.refs.file is not None:
            place = {"kind": "packet", "file": event.refs.file, "frame": event.refs.frame}
        elif "line" in event.data:
            place = {"kind": "log", "node": event.node, "line": event.data["line"]}
        else:
            place = {"kind": event.kind, "node": event.node, "event": event.seq}
        if place not in found:
            found.append(place)
    return found


def rounded(seconds: float | None) -> float | None:
    """To the millisecond, in which lab times are given."""
    return None if seconds is None else round(seconds, 3)


def _stop(key: tuple[str, str] | None) -> dict[str, str] | None:
    return {"node": key[0], "queue_id": key[1]} if key else None


def _offer(one: Transaction) -> dict[str, Any]:
    return {
        "time": one.began,
        "node": one.connection.client_node,
        "to": one.connection.server_node or one.connection.server,
        "code": one.code,
        "reply": one.reply,
        "stream": one.connection.stream,
        "file": one.connection.file,
        "evidence": places(one.events),
    }
