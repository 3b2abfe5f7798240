"""What became of a message in mailboxes: who has it, and who read it by which protocol.

Packets show what was fetched, if they can be read. Dovecot's log shows flags set and copies made,
each in a session whose login says from where; what was read without a trace in either, nobody can
tell, and an encrypted session is told as just that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lab.events import Event
from lab.observe.trace.connections import Connection, Connections
from lab.observe.trace.journey import Reading, Saved
from lab.record import Record

_BY = re.compile(r"\b([\w-]+)\([^()\s]*\)<\d+><([^>]*)>: ")
_SESSION = re.compile(r"\bsession=<([^>]*)>")
_TLS = re.compile(r", TLS\b")
_HEADER = re.compile(r"\b(?:BODY(?:\.PEEK)?\[HEADER\b|RFC822\.HEADER\b)", re.IGNORECASE)
_WHOLE = re.compile(r"\b(?:BODY(?:\.PEEK)?\[\](?!<)|RFC822(?:\.PEEK)? )", re.IGNORECASE)
_OCTETS = re.compile(r"\{(\d+)\}")
_SLACK_SECONDS = 1.0  # by which a log line may be later than the packet it is about


@dataclass(frozen=True)
class _Login:
    """Somebody logged in to a mailbox: from which address, and whether over TLS."""

    event: Event
    session: str | None
    node: str | None
    encrypted: bool

    @property
    def client(self) -> str | None:
        found: str | None = self.event.data.get("client")
        return found


class Mailboxes:
    """What happened in the mailboxes."""

    def __init__(self, record: Record, connections: Connections) -> None:
        self._record = record
        self._connections = connections
        self._changes: list[Event] = []
        self._logins: list[_Login] = []
        self._turns: list[Event] = []
        self._commands: dict[tuple[str | None, int | None], str] = {}
        logins: list[Event] = []
        for event in record.events:
            match event.kind:
                case "mailbox_change":
                    self._changes.append(event)
                case "session" if event.data.get("what") == "login":
                    logins.append(event)
                case "turn" if event.data.get("protocol") in ("imap", "pop3"):
                    self._turn(event)
        for event in logins:
            text = self._text(event)
            found = _SESSION.search(text)
            node = record.about["addresses"].get(event.data.get("client") or "")
            self._logins.append(
                _Login(event, found[1] if found else None, node, bool(_TLS.search(text)))
            )

    def _turn(self, event: Event) -> None:
        if event.data.get("side") == "server":
            self._turns.append(event)
        elif event.data.get("command"):
            self._commands[event.refs.file, event.data.get("last_frame")] = event.data["command"]

    def _text(self, event: Event) -> str:
        return self._record.line(event.node, event.data.get("line", 0)) or ""

    def _by(self, event: Event) -> tuple[str | None, str | None]:
        """The program and session in which a mailbox was changed."""
        found = _BY.search(self._text(event))
        return (found[1], found[2]) if found else (None, None)

    # Copies -------------------------------------------------------------------------------------

    def saved(self, named: Collection[str], replies: Iterable[str]) -> list[Saved]:
        """Every copy of the message that was saved.

        It is known by its Message-IDs and by the session that Dovecot names in its reply to LMTP
        (`replies`).
        """
        words = {word for reply in replies for word in reply.split()}
        found = []
        for event in self._changes:
            if event.data.get("what") != "save":
                continue
            by, session = self._by(event)
            if event.refs.message_id in named or session in words:
                data = event.data
                found.append(
                    Saved(
                        node=event.node or "?",
                        user=data.get("user", "?"),
                        folder=data.get("folder", "?"),
                        uid=data.get("uid"),
                        time=event.time,
                        by=by,
                        session=session,
                        events=(event,),
                    )
                )
        return found

    # Reading ------------------------------------------------------------------------------------

    def readings(self, named: Collection[str], copies: Iterable[Saved]) -> list[Reading]:
        """What was done with the message once it was there, in order."""
        copies = list(copies)
        named = {*named, *(event.refs.message_id or "" for one in copies for event in one.events)}
        named.discard("")
        fetched = self._fetched(named)
        found = fetched + self._changed(named, copies, fetched)
        found += self._unseen(copies, found)
        return sorted(found, key=lambda one: one.time)

    def _fetched(self, named: Collection[str]) -> list[Reading]:
        """What the packets show to have been sent to somebody's mail program."""
        found = []
        for event in self._turns:
            connection = self._connections.named(event.data.get("connection"))
            if event.refs.message_id not in named or connection is None:
                continue
            if event.refs.file != connection.file:
                continue  # the same, seen on another network
            login = self._login(connection, event.time)
            argument = event.data.get("argument") or ""
            octets = _OCTETS.search(argument)
            found.append(
                Reading(
                    what=self._what(event, argument),
                    user=login.event.data.get("user") if login else None,
                    protocol=event.data["protocol"],
                    node=connection.client_node,
                    server=connection.server_node,
                    time=event.time,
                    login=login.event.time if login else None,
                    encrypted=False,
                    octets=int(octets[1]) if octets else event.data.get("size"),
                    flags=(),
                    known="packets",
                    connection=connection,
                    events=(event, *([login.event] if login else [])),
                )
            )
        return found

    def _what(self, event: Event, argument: str) -> str:
        if event.data["protocol"] == "pop3":
            asked = self._commands.get((event.refs.file, event.data.get("answers")))
            return "header fetched" if asked == "TOP" else "fetched"
        if _WHOLE.search(argument):
            return "fetched"
        return "header fetched" if _HEADER.search(argument) else "part fetched"

    def _login(self, connection: Connection, before: float) -> _Login | None:
        """Who logged in over `connection`: the last to do so from there in its time."""
        address = connection.client.rpartition(":")[0]
        found = [
            one
            for one in self._logins
            if one.client == address
            and one.event.node in (connection.server_node, None)
            and one.event.data.get("protocol") == connection.protocol
            and connection.began <= one.event.time <= before + _SLACK_SECONDS
            and (connection.closed is None or one.event.time <= connection.closed + _SLACK_SECONDS)
        ]
        return found[-1] if found else None

    def _changed(
        self, named: Collection[str], copies: list[Saved], fetched: list[Reading]
    ) -> list[Reading]:
        """What the log shows to have been done in a session, besides saving it."""
        places = {(one.node, one.user, one.folder, one.uid) for one in copies if one.uid}
        readings = {
            one.events[1].seq: one
            for one in fetched
            if len(one.events) > 1 and one.what != "header fetched"
        }
        found = []
        for event in self._changes:
            data = event.data
            place = (event.node, data.get("user"), data.get("folder"), data.get("uid"))
            same = event.refs.message_id in named if named else place in places
            if data.get("what") == "save" or not same:
                continue
            by, session = self._by(event)
            login = next(
                (
                    one
                    for one in self._logins
                    if session and one.session == session and one.event.node == event.node
                ),
                None,
            )
            seen = data.get("what") == "flag_change" and "\\Seen" in data.get("flags", ())
            if seen and login and login.event.seq in readings:
                continue  # it was read, which is already told
            found.append(
                Reading(
                    what="flags set" if data.get("what") == "flag_change" else data.get("what", ""),
                    user=data.get("user"),
                    protocol=by,
                    node=login.node if login else None,
                    server=event.node,
                    time=event.time,
                    login=login.event.time if login else None,
                    encrypted=login.encrypted if login else False,
                    octets=None,
                    flags=tuple(data.get("flags") or ()),
                    known="log",
                    connection=None,
                    events=(event, *([login.event] if login else [])),
                )
            )
        return found

    def _unseen(self, copies: list[Saved], known: list[Reading]) -> list[Reading]:
        """Encrypted sessions of those who have it, in which nobody can tell what was read."""
        told = {event.seq for one in known for event in one.events}
        found = []
        for login in self._logins:
            event = login.event
            user = event.data.get("user")
            has = any(
                (one.node, one.user) == (event.node, user) and one.time <= event.time
                for one in copies
            )
            if not (login.encrypted and has) or event.seq in told:
                continue
            found.append(
                Reading(
                    what="session",
                    user=user,
                    protocol=event.data.get("protocol"),
                    node=login.node,
                    server=event.node,
                    time=event.time,
                    login=event.time,
                    encrypted=True,
                    octets=None,
                    flags=(),
                    known="log",
                    connection=None,
                    events=(event,),
                )
            )
        return found


def duplicates(copies: Iterable[Saved]) -> list[Saved]:
    """Each copy that was delivered to somebody who had it already."""
    first: dict[tuple[str, str], Saved] = {}
    return [
        one
        for one in sorted(copies, key=lambda copy: copy.time)
        if one.delivered and first.setdefault((one.node, one.user), one) is not one
    ]
