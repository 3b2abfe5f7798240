"""Connections as the history of a message needs them: each once, with the messages it carried.

What a router passes on is seen on several networks. Here that is one connection, told from the
capture that saw it first; where another network knows more (a reply that was sent and never came),
that is kept beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.events import Event


@dataclass(frozen=True)
class Carried:
    """A message on a connection: which it was (from 1), and what it is called, as far as seen."""

    number: int
    message_id: str | None
    queue_id: str | None
    subject: str | None

    def as_json(self) -> dict[str, Any]:
        """The message as `lab trace --json` prints it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Connection:
    """A TCP connection, or a call that nobody answered. Times are epoch seconds.

    `id` is the same on every network; `file`, `stream` and `frame` (its SYN, None if the capture
    began later) are where it was seen first. `tries` counts the SYNs. `accepted`, `closed` and
    `refused` (by an RST or an ICMP error) are None if that was not seen.
    """

    id: str
    protocol: str
    client: str
    server: str
    client_node: str | None
    server_node: str | None
    file: str | None
    stream: int | None
    frame: int | None
    began: float
    accepted: float | None
    closed: float | None
    refused: float | None
    tries: int
    state: str
    history: tuple[str, ...]
    encrypted: bool
    carried: tuple[Carried, ...]
    events: tuple[Event, ...]

    @property
    def port(self) -> str:
        """The server's."""
        return self.server.rpartition(":")[2]


@dataclass(frozen=True)
class Transaction:
    """A mail transaction: a message on a connection, from MAIL to the last reply (RFC 5321 §3.3).

    `code` and `reply` are what the client was told; None if no answer was seen on its network. If
    one was seen on another, so that the server has answered and the client did not hear it, that
    is `unheard`. `queue_id` is the one the server named.
    """

    connection: Connection
    number: int
    message_id: str | None
    queue_id: str | None
    mail_from: str
    recipients: tuple[str, ...]
    accepted: tuple[str, ...]
    code: int | None
    reply: str | None
    unheard: Event | None
    size: int
    began: float
    ended: float
    events: tuple[Event, ...]

    @property
    def taken(self) -> bool:
        """Whether the server has said that it took the message, be it heard or not."""
        code = self.unheard.data.get("code") if self.unheard else self.code
        return code is not None and 200 <= code < 300


class Connections:
    """All connections among some events, and the messages handed over on them."""

    def __init__(self, events: Iterable[Event], subjects: Mapping[str, str]) -> None:
        seen: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if event.data.get("protocol") != "dns" and "connection" in event.data:
                seen[event.data["connection"]].append(event)
        self.all: list[Connection] = []
        self.transactions: list[Transaction] = []
        for found in seen.values():
            said = _Said(found)
            sightings = _sightings(found, said)
            self.all.append(connection := _connection(found, sightings, said, subjects))
            self.transactions += [
                _transaction(connection, number, those, said)
                for number, those in enumerate(sightings, 1)
            ]
        self._by_id = {one.id: one for one in self.all}

    def named(self, id_: str | None) -> Connection | None:
        """The connection `id_`."""
        return self._by_id.get(id_ or "")

    def calls(self, client: str, server: str, began: float, ended: float) -> list[Connection]:
        """Connections of `client` (a node) to `server` (address:port) begun within that time."""
        found = (one for one in self.all if one.server == server and one.client_node == client)
        return [one for one in found if began <= one.began <= ended]

    def standing(
        self, client: str, server: str | None, began: float, ended: float
    ) -> list[Connection]:
        """Those from node to node (None: to any) that stood at some moment within that time."""
        return [
            one
            for one in self.all
            if one.client_node == client
            and server in (one.server_node, None)
            and one.accepted is not None
            and one.began <= ended
            and (one.closed is None or one.closed >= began)
        ]


class _Said:
    """The turns of one connection, for what a transaction's own event does not have: when its MAIL
    was sent, what the server answered to it. Both are found by file and frame, since a connection
    seen on several networks has its turns several times.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._mails: dict[tuple[str | None, int | None], Event] = {}
        self._replies: dict[tuple[str | None, int | None], Event] = {}
        self.encrypted = False
        for event in events:
            if event.kind != "turn":
                continue
            data, refs = event.data, event.refs
            self.encrypted |= data.get("what") == "encrypted"
            if data.get("command") == "MAIL":
                self._mails.setdefault((refs.file, refs.frame), event)
            answered = (refs.file, data.get("answers"))
            # A QUIT sent along with the message is answered after it.
            if data.get("what") == "reply" and data.get("answers"):
                self._replies.setdefault(answered, event)

    def mail(self, transaction: Event) -> Event | None:
        """The MAIL command with which a transaction began."""
        return self._mails.get((transaction.refs.file, transaction.refs.frame))

    def began(self, transaction: Event) -> float:
        """When its MAIL was sent."""
        mail = self.mail(transaction)
        return mail.time if mail else transaction.time

    def may_be_same(self, one: Event, other: Event) -> bool:
        """Whether what two captures saw may be the same transaction."""
        pairs = (
            (self.queue_id(one), self.queue_id(other)),
            (one.refs.message_id, other.refs.message_id),
            (one.data.get("mail_from"), other.data.get("mail_from")),
        )
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    def queue_id(self, transaction: Event) -> str | None:
        """What the server called the message in its reply."""
        reply = self.reply(transaction)
        return transaction.refs.queue_id or (reply.refs.queue_id if reply else None)

    def reply(self, transaction: Event) -> Event | None:
        """The answer to the message itself, where it was seen in that capture."""
        end = (transaction.data.get("frames") or {}).get("end_of_data")
        return self._replies.get((transaction.refs.file, end)) if end else None


def _first_file(events: list[Event]) -> str | None:
    """The capture that saw it first."""
    times: dict[str | None, float] = {}
    for event in events:
        times[event.refs.file] = min(event.time, times.get(event.refs.file, event.time))
    return min(times, key=lambda file: (times[file], file or ""))


def _sightings(events: list[Event], said: _Said) -> list[list[Event]]:
    """The transactions on one connection in order, each wherever seen, the first capture first.

    They are counted here: a capture that missed a packet may have missed a message.
    """
    files: dict[str | None, list[Event]] = {_first_file(events): []}
    for event in events:
        if event.kind == "transaction":
            files.setdefault(event.refs.file, []).append(event)
    found: list[list[Event]] = []
    for transactions in files.values():
        known = list(found)
        for event in transactions:
            alike = [those for those in known if said.may_be_same(those[0], event)]
            moment = said.began(event)
            if alike:
                same = min(alike, key=lambda those: abs(said.began(those[0]) - moment))
                same.append(event)
                known.remove(same)
            else:
                found.append([event])
    return sorted(found, key=lambda those: min(said.began(event) for event in those))


def _connection(
    events: list[Event], sightings: list[list[Event]], said: _Said, subjects: Mapping[str, str]
) -> Connection:
    file = _first_file(events)
    here = [event for event in events if event.refs.file == file]
    states = [event for event in here if event.kind == "connection"]
    data = here[0].data

    def first(*what: str) -> Event | None:
        return next((event for event in states if event.data.get("what") in what), None)

    syn, accepted = first("syn"), first("accepted", "established")
    closed, refused = first("fin", "reset"), first("reset", "icmp")
    last: Mapping[str, Any] = (first("over") or (states or here)[-1]).data
    return Connection(
        id=data["connection"],
        protocol=data.get("protocol", "tcp"),
        client=data.get("client", ""),
        server=data.get("server", ""),
        client_node=data.get("client_node"),
        server_node=data.get("server_node"),
        file=file,
        stream=here[0].refs.stream,
        frame=syn.refs.frame if syn else None,
        began=here[0].time,
        # Whoever speaks has been let in, also where the capture began later.
        accepted=accepted.time if accepted else _first_said(here),
        closed=closed.time if closed else None,
        refused=refused.time if refused else None,
        tries=max((event.data.get("tries") or 0 for event in states), default=0),
        state=last.get("state", ""),
        history=tuple(last.get("history") or ()),
        encrypted=said.encrypted or data.get("protocol") == "tls",
        carried=tuple(
            Carried(
                number,
                message_id := _message_id(those),
                _queue_id(those, said),
                subjects.get(message_id or ""),
            )
            for number, those in enumerate(sightings, 1)
        ),
        events=(syn or here[0],),
    )


def _first_said(events: list[Event]) -> float | None:
    return next((event.time for event in events if event.kind == "turn"), None)


def _message_id(those: list[Event]) -> str | None:
    return next((found for event in those if (found := event.refs.message_id)), None)


def _queue_id(those: list[Event], said: _Said) -> str | None:
    return next((found for event in those if (found := said.queue_id(event))), None)


def _transaction(
    connection: Connection, number: int, those: list[Event], said: _Said
) -> Transaction:
    """The transaction that `those` events are, one from each network it was seen on."""
    here = those[0]
    data = here.data
    reply = said.reply(here)
    # What a reader counts as no reply because of a QUIT before it may have been answered after.
    answer = reply.data if data.get("code") is None and reply else data
    code = answer.get("code")
    elsewhere = next(
        (
            said.reply(event) or event
            for event in those[1:]
            if event.data.get("code") is not None or said.reply(event)
        ),
        None,
    )
    return Transaction(
        connection=connection,
        number=number,
        message_id=_message_id(those),
        queue_id=_queue_id(those, said),
        mail_from=data.get("mail_from") or "",
        recipients=tuple(data.get("recipients") or ()),
        accepted=tuple(data.get("accepted") or ()),
        code=code,
        reply=(answer.get("reply") or answer.get("text")) if code is not None else None,
        unheard=elsewhere if code is None else None,
        size=data.get("size") or 0,
        began=said.began(here),
        ended=reply.time if reply else here.time,
        events=(here, *([reply] if reply else [])),
    )
