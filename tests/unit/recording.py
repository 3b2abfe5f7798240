"""A record made by hand: what servers log, and what passes on the wire, as events.

Log lines are read by the lab's own Logbook. Moments are real seconds since the lab began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eventtypes import check

from lab.events import Event, Observation, Refs, in_order
from lab.observe.logbook import Logbook
from lab.observe.maillog import LogLine
from lab.record import Record

STARTED = 1_795_445_246.0  # 2026-11-23 14:47:26 UTC
SCALE = 60.0
ADDRESSES = {
    "198.51.100.10": "sender-pc",
    "198.51.100.25": "sender-mail",
    "203.0.113.10": "receiver-pc",
    "203.0.113.25": "receiver-mail",
    "203.0.113.26": "other-mail",
}
HOSTS = {
    "sender-pc": ("pc.sender.example", "198.51.100.10"),
    "sender-mail": ("mail.sender.example", "198.51.100.25"),
    "receiver-pc": ("pc.receiver.example", "203.0.113.10"),
    "receiver-mail": ("mail.receiver.example", "203.0.113.25"),
    "other-mail": ("mail.other.example", "203.0.113.26"),
}
ALICE, BOB, CAROL = "alice@sender.example", "bob@receiver.example", "carol@other.example"


@pytest.fixture(autouse=True)
def a_pipe_in_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No terminal, and no clock, of the machine that runs the tests."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@dataclass
class Recording:
    """Events as they are added."""

    events: list[Event] = field(default_factory=list)
    _book: Logbook = field(default_factory=Logbook)
    _lines: dict[str, int] = field(default_factory=dict)
    _frames: dict[str, int] = field(default_factory=dict)
    _streams: int = 0

    def __post_init__(self) -> None:
        data = {
            "scenario": "by-hand",
            "rows": [],
            "summary": "By hand.",
            "lab": "lab",
            "topology": {},
            "addresses": ADDRESSES,
            "time_scale": SCALE,
            "started": STARTED,
            "parameters": {},
        }
        self.add(Observation("run", "By hand", STARTED, None, data))

    @property
    def record(self) -> Record:
        """The record so far."""
        return Record(Path("by-hand"), tuple(in_order(self.events)))

    def add(self, seen: Observation) -> Event:
        """An event of what was seen; its data must be of its kind."""
        check(seen.kind, seen.data)
        lab_time = round((seen.time - STARTED) * SCALE, 3)
        fields = (seen.time, lab_time, seen.node, seen.kind, seen.summary, seen.data, seen.refs)
        self.events.append(event := Event(len(self.events) + 1, *fields))
        return event

    # What servers log ---------------------------------------------------------------------------

    def logs(self, at: float, node: str, text: str) -> None:
        """A line in the log of `node`: Postfix's from the program on, or Dovecot's."""
        self._lines[node] = number = self._lines.get(node, 0) + 1
        head = "Nov 23 14:47:26 " + ("mail " if text.startswith("postfix/") else "")
        for seen in self._book.read(LogLine(node, number, STARTED + at, head + text)):
            self.add(seen)

    def takes(
        self,
        at: float,
        node: str,
        queue_id: str,
        message_id: str = "<1@pc.sender.example>",
        *,
        by: str = "sender-pc",
        sender: str = ALICE,
        login: str | None = None,
    ) -> None:
        """`node` takes a message that `by` brings into its queue."""
        name, address = HOSTS[by]
        sasl = f", sasl_method=PLAIN, sasl_username={login}" if login else ""
        smtpd = "postfix/submission/smtpd[18]" if login else "postfix/smtpd[17]"
        self.logs(at, node, f"{smtpd}: {queue_id}: client={name}[{address}]{sasl}")
        self.logs(at + 0.001, node, f"postfix/cleanup[25]: {queue_id}: message-id={message_id}")
        active = f"from=<{sender}>, size=473, nrcpt=1 (queue active)"
        self.logs(at + 0.002, node, f"postfix/qmgr[21]: {queue_id}: {active}")

    def tries(
        self,
        at: float,
        node: str,
        queue_id: str,
        status: str,
        reason: str,
        *,
        to: str = BOB,
        relay: str = "none",
        took: float = 0.0,
        program: str = "smtp",
        more: str = "",
    ) -> None:
        """An attempt that ends at `at` is logged."""
        said = f"to=<{to}>,{more} relay={relay}, delay=9, delays=1/0/{took}/0, dsn=4.4.1"
        line = f"postfix/{program}[26]: {queue_id}: {said}, status={status} ({reason})"
        self.logs(at, node, line)

    def passes_on(
        self, at: float, node: str, queue_id: str, server: str, remote_id: str, to: str = BOB
    ) -> None:
        """`server` has taken it as `remote_id`."""
        name, address = HOSTS[server]
        reason = f"250 2.0.0 Ok: queued as {remote_id}"
        self.tries(at, node, queue_id, "sent", reason, to=to, relay=f"{name}[{address}]:25")

    def removes(self, at: float, node: str, queue_id: str) -> None:
        """It leaves the queue."""
        self.logs(at, node, f"postfix/qmgr[21]: {queue_id}: removed")

    def saves(
        self,
        at: float,
        node: str,
        queue_id: str,
        uid: int = 1,
        message_id: str = "<1@pc.sender.example>",
        *,
        to: str = BOB,
        session: str | None = None,
        more: str = "",
    ) -> None:
        """It is put into a mailbox by LMTP, and leaves the queue."""
        session = session or f"s{queue_id}{uid}"
        box = f"box=INBOX, uid={uid}, msgid={message_id}, size=934, flags=()"
        self.logs(at, node, f"lmtp({to})<34><{session}>: Info: Mailbox INBOX: save: {box}")
        relay = f"{HOSTS[node][0]}[private/dovecot-lmtp]"
        reason = f"250 2.0.0 <{to}> {session} Saved"
        self.tries(
            at + 0.001,
            node,
            queue_id,
            "sent",
            reason,
            to=to,
            relay=relay,
            program="lmtp",
            more=more,
        )

    def queue(self, at: float, node: str, queue_id: str, *recipients: str, **more: Any) -> None:
        """A look into the queue of `node`."""
        entry = {"node": node, "queue_id": queue_id, "recipients": list(recipients), **more}
        data = {"entries": [entry]}
        self.add(Observation("queue", f"1 in the queue of {node}", STARTED + at, node, data))

    # What passes on the wire --------------------------------------------------------------------

    def call(
        self, at: float, client: str, server: str, *, port: int = 25, networks: int = 2
    ) -> Call:
        """A SYN, seen on up to two networks: the client's first."""
        self._streams += 1
        return Call(self, at, client, server, port, self._streams, networks)

    def frame(self, network: str) -> int:
        """The number of the next frame on `network`."""
        self._frames[network] = number = self._frames.get(network, 0) + 1
        return number


class Call:
    """A TCP connection, or the attempt at one."""

    def __init__(
        self,
        recording: Recording,
        at: float,
        client: str,
        server: str,
        port: int,
        stream: int,
        networks: int,
    ) -> None:
        self._recording = recording
        self.client, self.server, self.port, self.stream = client, server, port, stream
        self.networks = ["sender-lan", "receiver-lan"][:networks]
        self._numbers = dict.fromkeys(self.networks, 0)
        self._protocol = {25: "smtp", 587: "smtp", 110: "pop3", 143: "imap"}[port]
        self.event(at, "syn", "never answered")

    def _data(self, network: str) -> dict[str, Any]:
        client = f"{HOSTS[self.client][1]}:{40000 + self.stream}"
        server = f"{HOSTS[self.server][1]}:{self.port}"
        return {
            "connection": f"{client}>{server}#{self.stream:08x}",
            "network": network,
            "protocol": self._protocol,
            "client": client,
            "server": server,
            "client_node": self.client,
            "server_node": self.server,
        }

    def _refs(self, network: str, message_id: str | None = None, queue: str | None = None) -> Refs:
        frame = self._recording.frame(network)
        return Refs(message_id, queue, self.stream, f"captures/{network}.pcap", frame)

    def event(self, at: float, what: str, state: str, tries: int = 1) -> Call:
        """Something happens to it."""
        for index, network in enumerate(self.networks):
            data = self._data(network) | {
                "what": what,
                "side": "client",
                "state": state,
                "tries": tries,
                "history": [],
            }
            moment = STARTED + at + index * 0.0001
            self._recording.add(
                Observation("connection", what, moment, self.client, data, self._refs(network))
            )
        return self

    def accepted(self, at: float) -> Call:
        """The server answers."""
        return self.event(at, "accepted", "half open")

    def closes(self, at: float) -> Call:
        """The client closes."""
        return self.event(at, "fin", "closed by client with QUIT")

    def says(self, at: float, side: str, what: str, **data: Any) -> Call:
        """A turn."""
        names = data.pop("message_id", None), data.pop("queue_id", None)
        node = self.client if side == "client" else self.server
        for network in self.networks:
            refs = self._refs(network, *names)
            values: dict[str, Any] = {
                "side": side,
                "what": what,
                "command": None,
                "argument": None,
                "code": None,
                "status": None,
                "tag": None,
                "text": "",
                "size": 0,
                "last_frame": refs.frame,
                "answers": None,
                "complete": True,
                "failed": False,
            }
            all_of_it = self._data(network) | values | data
            self._recording.add(Observation("turn", what, STARTED + at, node, all_of_it, refs))
        return self

    def mail(
        self,
        at: float,
        queue_id: str | None,
        message_id: str | None = "<1@pc.sender.example>",
        *,
        to: tuple[str, ...] = (BOB,),
        code: int | None = 250,
        reply: str | None = None,
        heard_by: int = 2,
        seen_by: int = 2,
        sender: str = ALICE,
    ) -> Call:
        """A message is handed over; its last reply is seen on the last `heard_by` networks."""
        reply = reply or f"2.0.0 Ok: queued as {queue_id}"
        for network in self.networks[-seen_by:]:
            self._numbers[network] += 1
            heard = code is not None and network in self.networks[-heard_by:]
            data = self._data(network) | {
                "mail_from": sender,
                "recipients": list(to),
                "accepted": list(to),
                "code": code if heard else None,
                "reply": reply if heard else None,
                "size": 473,
                "number": self._numbers[network],
                "frames": {},
            }
            refs = self._refs(network, message_id, queue_id if heard else None)
            data["frames"] = {
                "mail": refs.frame,
                "rcpt": [refs.frame],
                "data": refs.frame,
                "end_of_data": None,
                "reply": self._recording.frame(network) if heard else None,
            }
            moment = STARTED + at
            self._recording.add(
                Observation("transaction", "handed over", moment, self.client, data, refs)
            )
        return self
