"""Everything that happens in a run is an event, and every view is made from events alone.

A run's folder holds them as `events.jsonl`, one JSON object a line, in the order in which they
were noticed; `time` says when each happened, on the one clock that packets, logs and actions of
a lab share (of the machine it runs on; a remote engine's clock should agree with this one's).
What `data` holds is fixed for each kind by the types below: keys may be added, never renamed.
docs/events.md is the same for people.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, Self, TextIO, TypeAlias

# Python's own is not understood by pydantic, with which events are checked, before 3.12.
from typing_extensions import TypedDict

from lab.errors import UsageError
from lab.units import LabClock

FILE = "events.jsonl"

Kind: TypeAlias = Literal[
    "run",  # a run begins
    "outcome",  # and ends
    # What was observed
    "packet",
    "connection",  # opened, accepted, closed, reset …
    "turn",  # something said over a connection
    "dns",  # a question or an answer
    "transaction",  # a message's way through an SMTP or LMTP connection, whole
    "log",
    "attempt",  # to pass a message on, as its server logged it
    "queue_change",  # a message entered a queue, was given up, left …
    "mailbox_change",  # a message was saved, its flags set, expunged …
    "session",  # somebody logged in to their mailbox, or failed to
    "queue",  # snapshots
    "mailbox",
    "machine",
    "cable",
    "dsn",  # a delivery report, read
    # What was done, said and judged
    "action",
    "fault",
    "narration",
    "verdict",
]


@dataclass(frozen=True)
class Refs:
    """What joins an event to others: identities of a message, and a place in a capture.

    `stream` numbers TCP connections as Wireshark does (`tcp.stream`) in the capture `file`, a
    path within the run's folder; `frame` counts from 1.
    """

    message_id: str | None = None
    queue_id: str | None = None
    stream: int | None = None
    file: str | None = None
    frame: int | None = None

    @property
    def names(self) -> set[str]:
        """The identities of a message that are known: its Message-ID, its queue ID."""
        return {name for name in (self.message_id, self.queue_id) if name}


class Observation(NamedTuple):
    """What will be an event once it has its number in a log; `time` in epoch seconds."""

    kind: Kind
    summary: str
    time: float
    node: str | None
    data: Mapping[str, Any]
    refs: Refs = Refs()


@dataclass(frozen=True)
class Event:
    """Something observed, done or said.

    `time` is in epoch seconds, `lab_time` in lab seconds since the lab began, `node` the machine
    that did or said it, where it is one.
    """

    seq: int
    time: float
    lab_time: float
    node: str | None
    kind: Kind
    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    refs: Refs = Refs()

    def as_json(self) -> str:
        """The event as its line in `events.jsonl`."""
        return json.dumps({**vars(self), "refs": vars(self.refs)}, ensure_ascii=False)


class EventLog:
    """Appends events to a file and tells listeners, in order. Threads may share it.

    The file is locked (flock) as long as it is being written, whatever becomes of the writer, so
    that whoever reads along knows whether more can come. Without a `path` there are listeners only.
    """

    def __init__(self, path: Path | None, clock: LabClock) -> None:
        self.clock = clock
        self._file: TextIO | None = None
        if path:
            # Half a surrogate pair, which is no letter, is written as JSON writes it: \udc80.
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._lock = threading.Lock()
        self._seq = 0
        self.listeners: list[Callable[[Event], None]] = []

    def add(
        self,
        kind: Kind,
        summary: str,
        *,
        node: str | None = None,
        when: float | None = None,
        data: Mapping[str, Any] | None = None,
        refs: Refs | None = None,
    ) -> Event:
        """Record what happened at `when` (epoch seconds; default: now) and return it."""
        moment = time.time() if when is None else when
        return self.record(Observation(kind, summary, moment, node, data or {}, refs or Refs()))

    def record(self, seen: Observation) -> Event:
        """Give what was seen its number."""
        with self._lock:
            event = Event(
                seq=self._seq + 1,
                time=round(seen.time, 6),
                lab_time=round(self.clock.lab_time(seen.time), 3),
                node=seen.node,
                kind=seen.kind,
                summary=seen.summary,
                data=dict(seen.data),
                refs=seen.refs,
            )
            line = event.as_json()  # raises for data that is no JSON, before it has a number
            self._seq = event.seq
            if self._file:
                self._file.write(line + "\n")
                self._file.flush()
            for listener in self.listeners:
                listener(event)
        return event

    def close(self) -> None:
        """No more events."""
        with self._lock:
            if self._file:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def parse(line: str | bytes) -> Event:
    """An event from its line. Raises ValueError, KeyError or TypeError if it is none."""
    found = json.loads(line)
    return Event(**{**found, "refs": Refs(**found["refs"])})


def read(folder: Path) -> list[Event]:
    """All events of a run, in the order in which they happened.

    A last line that was cut off (its writer was killed) is left out. Raises UsageError for a
    folder without a record, or with a damaged one.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().split(b"\n")  # the last one may be cut within a letter
    except OSError as error:
        raise UsageError(
            f"there is no record of a run: {error.strerror}",
            where=str(path),
            hint="lab report --list shows the runs there are",
        ) from error
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            events.append(parse(line))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError("this is no event", where=f"{path}:{number}:1") from error
    return in_order(events)


def in_order(events: list[Event]) -> list[Event]:
    """Events as they happened, not as they were noticed."""
    return sorted(events, key=lambda event: (event.time, event.seq))


def follow(path: Path, poll_seconds: float = 0.02) -> Iterator[Event | None]:
    """The events of a run as they are written; None whenever there are no more for now.

    Ends when nobody writes the file any more.
    """
    pending = b""
    with path.open("rb") as file:
        while True:
            over = not being_written(path)  # asked first: what came before the end is still read
            pending += file.read()
            *lines, pending = pending.split(b"\n")
            for line in lines:
                yield parse(line)
            if not lines:
                if over:
                    return
                yield None
                time.sleep(poll_seconds)


def being_written(path: Path) -> bool:
    """Whether somebody holds the lock of an event log."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# --- What the events of each kind hold -------------------------------------------------------
#
# Times (`began`, `ended`, `received` …) are epoch seconds. `evidence` is a list of places as
# lab.scenarios.evidence writes them.


class RunData(TypedDict):
    """What begins: a scenario, or the recording of a lab that is up (`scenario` is None)."""

    scenario: str | None
    rows: list[str]
    summary: str
    lab: str
    topology: dict[str, Any]
    addresses: dict[str, str]  # IP address -> node
    time_scale: float
    started: float
    parameters: dict[str, Any]


class OutcomeData(TypedDict):
    """How it went: what `lab scenario run --json` prints."""

    scenario: str
    ok: bool
    run: str
    lab_seconds: float
    real_seconds: float
    dropped: int
    error: NotRequired[str]  # why it could not go on to its end
    expectations: list[dict[str, Any]]


class PacketData(TypedDict):
    """A frame on a network. `length` is the payload's (TCP, UDP) or the frame's, in octets."""

    network: str
    protocol: str
    src: str
    dst: str
    length: int
    flags: NotRequired[str]  # TCP: SYN, SYN ACK, FIN …
    seq: NotRequired[int]
    ack: NotRequired[int]


class _Connected(TypedDict):
    """`connection` is the same wherever the connection is seen; `network` where this was."""

    connection: str
    network: str
    protocol: str
    client: str  # address:port
    server: str
    client_node: str | None
    server_node: str | None


class ConnectionData(_Connected):
    """What happened to a connection: `syn`, `accepted`, `established`, `fin`, `reset`, `icmp` or
    `over`; who did it; how it stands now, in words; what TCP did besides, once it is over.
    """

    what: str
    side: str
    state: str
    tries: int  # SYNs so far
    history: list[str]


class TurnData(_Connected):
    """Something said. The keys are those of `lab dialogue --json`; `text` may be cut (`size` is
    what was sent), `last_frame` is where it was complete.
    """

    side: str
    what: str  # greeting, command, reply, auth, content, untagged, encrypted, lost …
    command: str | None
    argument: str | None
    code: int | None
    status: str | None
    tag: str | None
    text: str
    size: int
    last_frame: int
    answers: int | None  # the last frame of what this answers
    complete: bool
    failed: bool


class DnsData(_Connected):
    """A question, or its answer (`answers` are records, as text; `status` as in NXDOMAIN)."""

    side: str
    what: str  # question, answer, garbled
    type: str | None
    name: str | None
    status: str | None
    answers: list[str]
    text: str


class TransactionData(_Connected):
    """From MAIL to the last reply. `frames`: where its steps were complete; `number`: which it was
    on its connection, from 1. The reference `queue_id` is the one the server named.
    """

    mail_from: str
    recipients: list[str]
    accepted: list[str]
    code: int | None
    reply: str | None
    size: int
    number: int
    frames: dict[str, Any]


class LogData(TypedDict):
    """A line of a machine's log: its number there, and the program that wrote it."""

    line: int
    program: str | None


class AttemptData(LogData):
    """An attempt to pass a message on, or into a mailbox (program `lmtp`). It ended, and the line
    was written, at `ended`; `remote_id` is the message's queue ID at the other server.
    """

    recipient: str
    relay: str
    status: str
    dsn: str
    reason: str
    began: float
    ended: float
    remote_id: str | None


class QueueChangeData(LogData):
    """`what` is one of `client`, `message-id`, `queued`, `expired`, `dsn`, `removed`, `rejected`
    (perhaps before there was a queue ID), `trouble` (with one server, the next may be tried),
    `broken off` (its client was gone in the middle of it, so that it never was in the queue);
    `value` what belongs to it: the client, the sender, the queue ID of the report, the words.
    """

    what: str
    value: str


class MailboxChangeData(LogData):
    """`what` Dovecot did to a message or folder: `save`, `copy`, `flag_change`, `delete`, …"""

    user: str
    what: str
    folder: str
    uid: int | None
    flags: list[str]
    size: int | None


class SessionData(LogData):
    """`what`: `login`, `logout` or `failed`. `protocol`: imap or pop3, or smtp where a submission
    failed; `user` is empty if that was not said; `client` its address.
    """

    user: str
    what: str
    protocol: str
    client: str | None
    detail: str


class QueueData(TypedDict):
    """A queue as it was: the entries of `lab queue --json`."""

    entries: list[dict[str, Any]]


class MailboxData(TypedDict):
    """A mailbox as it was."""

    user: str
    messages: list[dict[str, Any]]


class MachineData(TypedDict):
    """A machine's state, as `lab status --json` has it."""

    name: str
    state: str
    kind: str
    addresses: list[str]
    hostname: str
    container: str | None


class CableData(TypedDict):
    """The state of the cables of a machine: network -> `up` or `down`."""

    links: dict[str, str]


class DsnData(TypedDict):
    """A delivery report taken apart: the type and text of each part."""

    parts: list[dict[str, str]]


class ActionData(TypedDict, total=False):
    """What somebody did: `by` whom; for a message, its `to` and `subject`."""

    evidence: list[dict[str, Any]]
    by: str
    subject: str
    to: list[str]
    protocol: str
    bytes: int
    settings: dict[str, str]
    lab_seconds: float


class FaultData(TypedDict):
    """A fault goes on or off; `fault` is the same for both, `what` its kind, `title` its words."""

    on: bool
    fault: str
    what: str
    title: str
    evidence: list[dict[str, Any]]


class NarrationData(TypedDict):
    """What is told; `role` is tell, predict or explain. `evidence`: of what it explains."""

    role: str
    key: str
    evidence: list[dict[str, Any]]


class VerdictData(TypedDict):
    """An expectation, judged."""

    id: str
    expected: str
    observed: str
    ok: bool
    evidence: list[dict[str, Any]]


DATA: Mapping[Kind, Any] = {
    "run": RunData,
    "outcome": OutcomeData,
    "packet": PacketData,
    "connection": ConnectionData,
    "turn": TurnData,
    "dns": DnsData,
    "transaction": TransactionData,
    "log": LogData,
    "attempt": AttemptData,
    "queue_change": QueueChangeData,
    "mailbox_change": MailboxChangeData,
    "session": SessionData,
    "queue": QueueData,
    "mailbox": MailboxData,
    "machine": MachineData,
    "cable": CableData,
    "dsn": DsnData,
    "action": ActionData,
    "fault": FaultData,
    "narration": NarrationData,
    "verdict": VerdictData,
}
