"""Joins what logs and packets say of a message into its trace.

Events are joined by machine and queue ID and by what servers say of each other (`queued as`), then
by Message-ID; where a log does not say on which connection something happened, its address and
moment do, and `candidates` says how sure that is. Evidence is the events themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from lab.events import Event
from lab.observe.retries import Retries
from lab.observe.trace import arrivals
from lab.observe.trace.connections import Connection, Connections, Transaction
from lab.observe.trace.journey import Attempt, Duplicate, Hop, Saved, Trace
from lab.observe.trace.readings import Mailboxes, duplicates
from lab.observe.trace.stays import Stay, Stays, real_id
from lab.record import Record

_CALLED = re.compile(r"\bconnect to \S*?\[([0-9a-fA-F.:]+)\]:(\d+)")
_RELAY = re.compile(r"\[([0-9a-fA-F.:]+)\](?::(\d+))?")
_SMTP = ("25", "587", "465")
_SUSPENDED = "delivery temporarily suspended"  # not tried itself: another message was, in vain


class Tracer:
    """Traces messages of one record."""

    def __init__(self, record: Record) -> None:
        self._clock = record.clock
        self.stays = Stays(record)
        self.subjects = record.subjects
        self.connections = Connections(record.events, record.subjects)
        self._mailboxes = Mailboxes(record, self.connections)
        self._about = {
            told: (what, stay.message_id or stay.queue_id)
            for stay in self.stays.all
            for told, what in self._reports(stay)
        }
        self._until = record.events[-1].time
        self._into: dict[Stay, list[Transaction]] = defaultdict(list)
        self._came: dict[tuple[str, int] | None, Stay] = {}
        for offer in self.connections.transactions:
            if stay := self.stays.named_by(offer):
                self._into[stay].append(offer)
                self._came[_name(offer)] = stay

    def came_to(self, offer: Transaction) -> Stay | None:
        """The stay that an offered message came to, by what the server called it."""
        return self._came.get(_name(offer))

    def message_ids(self, stays: Iterable[Stay]) -> dict[str, None]:
        """The Message-IDs of one message, in logs and on the wire, in this order.

        They may differ: a log has the last of several, without what is not printable, and cut.
        """
        stays = list(stays)
        logged = {one.message_id: None for one in stays if one.message_id}
        offered = (offer.message_id for stay in stays for offer in self._into.get(stay, ()))
        # Whatever another message is called in a log is that one.
        return logged | {
            named: None for one in offered if (named := real_id(one)) and not self.stays.of(named)
        }

    def of_message_id(self, message_id: str) -> Trace:
        """The message of that Message-ID; without a hop if no server ever took it."""
        return self._trace(message_id, self.stays.of(message_id), frozenset())

    def of_stay(self, stay: Stay) -> Trace:
        """The message that was at one server under a queue ID."""
        return self._child(stay, frozenset())

    def _child(self, stay: Stay, above: frozenset[Stay]) -> Trace:
        start = self.stays.of(stay.message_id) if stay.message_id else [stay]
        return self._trace(stay.message_id, start, above)

    def _trace(self, message_id: str | None, start: list[Stay], above: frozenset[Stay]) -> Trace:
        stays = self.stays.linked(start)
        named = self.message_ids(stays)
        message_id = message_id or next(iter(named), None)
        named = ({message_id: None} if message_id else {}) | named
        previous = self._previous(stays)
        hops = tuple(self._hop(stay, previous.get(stay, [])) for stay in stays)
        attempts = [attempt for hop in hops for attempt in hop.attempts]
        lmtp = [one.reason for one in attempts if one.next is None and one.outcome == "sent"]
        saved = self._mailboxes.saved(named, lmtp)
        seen = above | frozenset(stays)
        reports = [told for stay in stays for told, _ in self._reports(stay) if told not in seen]
        kind, about = next(filter(None, map(self._about.get, stays)), ("message", None))
        refused = self._refused(named, stays, hops)
        came = arrivals.of(hops, self._returned(stays), saved)
        return Trace(
            message_id=message_id,
            kind=kind,
            about=about,
            subject=next(filter(None, map(self.subjects.get, named)), None),
            sender=self._sender(hops, refused),
            hops=hops,
            arrivals=came,
            saved=tuple(saved),
            readings=tuple(self._mailboxes.readings(named, saved)),
            duplicates=tuple(Duplicate(again, *_cause(again, hops)) for again in duplicates(saved)),
            refused=refused,
            children=tuple(self._child(told, seen) for told in reports),
            outcome=arrivals.overall(came, hops, refused),
            until=self._until,
            started=self._clock.started,
            time_scale=self._clock.scale,
        )

    # Hops ---------------------------------------------------------------------------------------

    def _previous(self, stays: Iterable[Stay]) -> dict[Stay, list[tuple[str, str]]]:
        """The hops before each, by what the servers there say."""
        found: dict[Stay, list[tuple[str, str]]] = {}
        for stay in stays:
            for attempt in stay.attempts:
                after = self.stays.after(stay, attempt)
                key = (stay.node, stay.queue_id)
                if after and key not in found.setdefault(after, []):
                    found[after].append(key)
        return found

    def _reports(self, stay: Stay) -> Iterator[tuple[Stay, str]]:
        """The reports written about a stay, and what they are."""
        for queue_id, what, event in stay.reports:
            if told := self.stays.at(stay.node, queue_id, event.time):
                yield told, what

    def _returned(self, stays: Iterable[Stay]) -> dict[tuple[str, str], str]:
        """What the report of non-delivery about a hop is called."""
        return {
            (stay.node, stay.queue_id): told.message_id or told.queue_id
            for stay in stays
            for told, what in self._reports(stay)
            if what.startswith("non-delivery")
        }

    def _sender(self, hops: tuple[Hop, ...], refused: tuple[Transaction, ...]) -> str | None:
        known = [hop.sender for hop in hops if hop.sender is not None]
        return next(iter(known + [one.mail_from for one in refused]), None)

    def _hop(self, stay: Stay, previous: list[tuple[str, str]]) -> Hop:
        into = self._into.get(stay, ())
        transaction = min(into, key=lambda one: abs(one.ended - stay.began), default=None)
        source = transaction.connection.client_node if transaction else None
        source = source or self.stays.node_in(stay.client, stay.node)
        if not previous and source and (before := self._unheard(stay, source)):
            previous = [before]
        ended = stay.left if stay.left is not None else self._until
        waited = None if stay.arrived is None or stay.not_taken else ended - stay.arrived
        retries = Retries()
        attempts = [
            self._attempt(stay, event, retries.before(event))
            for event in sorted(stay.attempts, key=lambda one: one.data.get("ended", one.time))
        ]
        return Hop(
            node=stay.node,
            queue_id=stay.queue_id,
            message_id=stay.message_id,
            sender=stay.sender,
            client=stay.client,
            source=source,
            login=stay.login,
            arrived=stay.arrived,
            left=stay.left,
            waited=None if waited is None else waited * self._clock.scale,
            expired=stay.expired,
            not_taken=stay.not_taken.data.get("value") if stay.not_taken else None,
            recipients=tuple(
                dict.fromkeys((*(transaction.accepted if transaction else ()), *stay.recipients))
            ),
            next_attempt=stay.next_attempt if stay.left is None else None,
            attempts=tuple(attempts),
            connection=transaction.connection if transaction else self._brought_by(stay, source),
            transaction=transaction,
            previous=tuple(previous),
            events=tuple(one for one in stay.events if one.kind != "attempt"),
        )

    def _brought_by(self, stay: Stay, source: str | None) -> Connection | None:
        """The encrypted connection it must have come in by, if there was one only."""
        moment = stay.arrived
        if source is None or moment is None:
            return None
        found = [
            one
            for one in self.connections.standing(source, stay.node, moment, moment)
            if one.encrypted and one.port in _SMTP
        ]
        return found[0] if len(found) == 1 else None

    def _unheard(self, stay: Stay, source: str) -> tuple[str, str] | None:
        """The hop before, at `source`, if that did not hear that the message was taken from it.

        It had the message in its queue when it came in here, and its log names no successor.
        """
        for other in self.stays.of(stay.message_id) if stay.message_id else ():
            left = self._until if other.left is None else other.left
            if other.node == source and other is not stay and other.began <= stay.began <= left:
                return other.node, other.queue_id
        return None

    def _refused(
        self, named: Collection[str], stays: list[Stay], hops: Iterable[Hop]
    ) -> tuple[Transaction, ...]:
        """Offers of the message that are part of no hop and of no server's attempt."""
        told = {_name(hop.transaction) for hop in hops}
        told |= {_name(attempt.transaction) for hop in hops for attempt in hop.attempts}
        return tuple(
            one
            for one in self.connections.transactions
            if one.message_id in named
            and _name(one) not in told
            and ((came := self.came_to(one)) is None or came in stays)
        )

    # Attempts -----------------------------------------------------------------------------------

    def _attempt(self, stay: Stay, event: Event, before: Event | None) -> Attempt:
        data = event.data
        began, ended = data.get("began", event.time), data.get("ended", event.time)
        after = self.stays.after(stay, event)
        # Postfix gives two digits of how long it took (postconf(5), delay_logging_resolution_limit)
        slack = 0.1 + 0.06 * (ended - began)
        transaction, candidates = self._transaction(stay, event, began - slack, ended + slack)
        connection = transaction.connection if transaction else None
        if connection is None:
            connection, candidates = self._spoken_to(stay, event, began - slack, ended)
        calls: tuple[Connection, ...] = ()
        if _SUSPENDED not in data.get("reason", ""):
            calls, most = self._calls(stay, event, began - slack, ended)
            candidates = candidates if connection else most
        evidence = [event, *(transaction.events if transaction else ())]
        evidence += [one for call in calls for one in call.events]
        return Attempt(
            program=data.get("program") or "",
            recipient=data.get("recipient") or "",
            original=self.stays.original(event),
            relay=data.get("relay") or "",
            outcome=data.get("status") or "",
            dsn=data.get("dsn") or "",
            reason=data.get("reason") or "",
            began=began,
            ended=ended,
            wait=(event.time - before.time) * self._clock.scale if before else None,
            next=(after.node, after.queue_id) if after else None,
            connection=connection,
            transaction=transaction,
            calls=calls,
            candidates=candidates,
            events=tuple(evidence),
        )

    def _transaction(
        self, stay: Stay, event: Event, began: float, ended: float
    ) -> tuple[Transaction | None, int]:
        """The transaction of an attempt, out of how many that may be it."""
        data = event.data
        server = _RELAY.search(data.get("relay") or "")
        if server is None:
            return None, 0  # nobody was spoken to, or by a socket within the machine
        found = [
            one
            for one in self.connections.transactions
            if one.connection.client_node in (stay.node, None)
            and one.connection.server.rpartition(":")[0] == server[1]
        ]
        remote = data.get("remote_id")
        named = [one for one in found if remote and one.queue_id == remote]
        found = named or [
            one
            for one in found
            if began <= one.began <= ended
            and (one.queue_id is None or remote is None)
            and self._is(one, stay, data.get("recipient") or "")
        ]
        near = data.get("began", event.time)
        best = min(found, key=lambda one: abs(one.began - near), default=None)
        return best, len(found)

    def _is(self, one: Transaction, stay: Stay, recipient: str) -> bool:
        """Whether a transaction is about the message of `stay`, as far as can be told."""
        if one.message_id and stay.message_id:
            return one.message_id in self.message_ids(self.stays.linked([stay]))
        return recipient in one.recipients and stay.sender in (one.mail_from, None)

    def _spoken_to(
        self, stay: Stay, event: Event, began: float, ended: float
    ) -> tuple[Connection | None, int]:
        """The connection of an attempt whose transaction can't be read: encrypted, or none yet."""
        server = _RELAY.search(event.data.get("relay") or "")
        if server is None or not server[2]:
            return None, 0
        found = self.connections.standing(stay.node, None, began, ended)
        name = f"{server[1]}:{server[2]}"
        found = [one for one in found if one.server == name and (one.encrypted or not one.carried)]
        return (found[-1] if found else None), len(found)

    def _calls(
        self, stay: Stay, event: Event, began: float, ended: float
    ) -> tuple[tuple[Connection, ...], int]:
        """The calls of an attempt that nobody answered in time, and out of how many alike."""
        said = [event.data.get("reason") or "", *self.stays.said_by_the_same(event, began)]
        servers = dict.fromkeys(
            f"{found[1]}:{found[2]}" for text in said for found in _CALLED.finditer(text)
        )
        calls, most = [], 0
        for server in servers:
            found = [
                one
                for one in self.connections.calls(stay.node, server, began, ended)
                # A router may hold a SYN for a machine that is off until that is back.
                if one.accepted is None or one.accepted > ended
            ]
            most = max(most, len(found))
            near = event.data.get("began", event.time)
            calls += sorted(found, key=lambda one: abs(one.began - near))[:1]
        return tuple(calls), most


def _name(one: Transaction | None) -> tuple[str, int] | None:
    return (one.connection.id, one.number) if one else None


def _cause(again: Saved, hops: tuple[Hop, ...]) -> tuple[str, tuple[Event, ...]]:
    """Why there is a second copy, as far as servers and wire tell; and where they do."""
    for hop in hops:
        for attempt in hop.attempts:
            if "may be sent more than once" in attempt.reason:
                return _unanswered(hop, attempt), attempt.events
    roots = [hop for hop in hops if not hop.previous]
    if len(roots) > 1:
        names = " and ".join(f"{hop.queue_id} on {hop.node}" for hop in roots)
        return f"it was submitted {len(roots)} times: {names}", _arrived(roots)
    to_them = [one for hop in hops for one in hop.attempts if one.recipient == again.user]
    originals = dict.fromkeys(one.original for one in to_them)
    if len(originals) > 1:
        words = f"several of its addresses are theirs: {', '.join(originals)}"
        return words, to_them[-1].events
    return "the record does not say why", ()


def _unanswered(hop: Hop, attempt: Attempt) -> str:
    cause = f"{hop.node} did not hear that it had been taken ({attempt.reason}), and sent it again"
    unheard = attempt.transaction.unheard if attempt.transaction else None
    if unheard is not None:
        frames = unheard.data.get("frames") or {}
        frame = frames.get("reply") or unheard.refs.frame
        place = (unheard.refs.file or "").rpartition("/")[2]
        cause += f"; the answer, {unheard.data.get('code')}, is frame {frame} of {place}"
    return cause


def _arrived(hops: Iterable[Hop]) -> tuple[Event, ...]:
    return tuple(event for hop in hops for event in hop.events[:1])
