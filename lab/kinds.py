"""The kinds of events, and what the `data` of each holds; docs/events.md is the same for people.

Keys may be added, never renamed. Times (`began`, `ended`, `received` …) are epoch seconds,
`evidence` is a list of places as lab.scenarios.evidence writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypeAlias

# Python's own is not understood by pydantic, with which events are checked, before 3.12.
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from pydantic import TypeAdapter

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


class RunData(TypedDict):
    """What begins: a scenario, or the recording of a lab that is up (`scenario` is None).

    A record that is `partial` has the events of some messages only, or of none: those of others are
    in its captures and logs (lab.observe.rebuild).
    """

    scenario: str | None
    rows: list[str]
    summary: str
    language: NotRequired[str]  # what is told is in: en, ko
    lab: str
    topology: dict[str, Any]
    addresses: dict[str, str]  # IP address -> node
    time_scale: float
    started: float
    parameters: dict[str, Any]
    partial: NotRequired[bool]


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
    damaged: NotRequired[bool]  # on its way: its receiver drops it


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
    """A fault goes on or off; `id` and `fault` (`loss receiver-mail`) are the same for both.

    `what` is its name, `title` what it is in words, `healed` what its end is.
    """

    id: NotRequired[str]
    on: bool
    fault: str
    what: str
    title: str
    healed: NotRequired[str]
    parameters: NotRequired[dict[str, str]]
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


@cache
def checker(kind: Kind) -> TypeAdapter[Any]:
    """Checks the data of events of `kind`; other keys than those it knows are let pass."""
    from pydantic import TypeAdapter

    return TypeAdapter(DATA[kind])
