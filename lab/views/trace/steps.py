"""The steps of a trace in the order in which they began: what both table and waterfall show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from lab.events import Event
from lab.observe.maillog import LOCAL
from lab.observe.trace.connections import Transaction
from lab.observe.trace.journey import Attempt, Hop, Reading, Saved, Trace
from lab.units import LabClock, counted, format_clock, format_duration

Mood = Literal["good", "bad", "waits", "plain"]
# A moment has no length; a stay is waiting; the rest is work.
Shape = Literal["moment", "stay", "work"]


@dataclass(frozen=True)
class Step:
    """One thing that happened at `node`, `depth` reports deep; times are epoch seconds.

    `label` and `note` are short, for the waterfall; `text` is the sentence. `wait` is in lab
    seconds. `spans` are when it went on; the end is None if it still does.
    """

    depth: int
    node: str
    label: str
    note: str
    text: str
    spans: tuple[tuple[float, float | None], ...]
    shape: Shape
    mood: Mood
    wait: float | None = None
    events: tuple[Event, ...] = ()
    vain: bool = False
    """An attempt in vain: the middle ones of many can be told together."""

    @property
    def began(self) -> float:
        """When it began."""
        return self.spans[0][0]


def steps(trace: Trace, depth: int = 0) -> list[Step]:
    """Everything in `trace`, and below what they are about, the reports."""
    blocks = [[step] for step in _Told(trace, depth).steps()]
    for child in trace.children:
        inner = steps(child, depth + 1)
        if inner:
            first = inner[0]
            head = Step(
                depth=depth,
                node=first.node,
                label=f"↳ {child.kind}",
                note=f"to {', '.join(child.recipients)}",
                text=f"↳ {child.kind} to {', '.join(child.recipients) or '?'}",
                spans=((first.began, first.began),),
                shape="moment",
                mood="plain",
                events=_about(trace, child),
            )
            blocks.append([head, *inner])
    return [step for block in sorted(blocks, key=lambda those: those[0].began) for step in block]


def _about(trace: Trace, child: Trace) -> tuple[Event, ...]:
    """The lines in which a server says that it wrote a report."""
    ids = {hop.queue_id for hop in child.hops}
    return tuple(
        event
        for hop in trace.hops
        for event in hop.events
        if event.data.get("what") == "dsn" and event.data.get("value") in ids
    )


class _Told:
    """Puts into words what happened to one message, as steps; its reports are told by another.

    A copy in a mailbox is told once: with the attempt that put it there, or else by itself.
    """

    def __init__(self, trace: Trace, depth: int) -> None:
        self._trace = trace
        self._depth = depth
        self._many = len({one.recipient for hop in trace.hops for one in hop.attempts}) > 1
        self._again = [one.saved for one in trace.duplicates]

    def steps(self) -> list[Step]:
        """All of them, a server's stay after what brought the message there."""
        found = [self._offer(one) for one in self._trace.refused]
        arrived: dict[tuple[str, str], float] = {}
        told: list[Saved] = []
        for hop in self._trace.hops:
            if not hop.previous:
                found += self._submission(hop)
            stay = self._stay(hop)
            if (after := arrived.get(hop.key)) and after > stay.began:
                # Postfix tells how long an attempt took in two digits: not after what it led to.
                stay = replace(stay, spans=((after, stay.spans[0][1]),))
            found.append(stay)
            for step, attempts in self._attempts(hop, told):
                found.append(step)
                for attempt in attempts:
                    if attempt.next:
                        arrived[attempt.next] = step.began
            if hop.expired is not None:
                found.append(self._given_up(hop, hop.expired))
        found += [self._kept(one) for one in self._trace.saved if one not in told]
        found += [self._reading(one) for one in self._trace.readings]
        return sorted(found, key=lambda step: step.began)

    def _step(
        self,
        node: str | None,
        label: str,
        note: str,
        text: str,
        span: tuple[float, float | None],
        *,
        shape: Shape = "moment",
        mood: Mood = "plain",
        wait: float | None = None,
        events: tuple[Event, ...] = (),
    ) -> Step:
        return Step(self._depth, node or "?", label, note, text, (span,), shape, mood, wait, events)

    # On its way ---------------------------------------------------------------------------------

    def _offer(self, offer: Transaction) -> Step:
        connection = offer.connection
        answer = f"{offer.code} {_first(offer.reply)}" if offer.code else "no answer"
        server = connection.server_node or connection.server
        return self._step(
            connection.client_node,
            connection.client_node or "?",
            answer,
            f"offers it to {server} (port {connection.port}): {answer}",
            (offer.began, offer.ended),
            shape="work",
            mood="good" if offer.taken else "bad",
            events=offer.events,
        )

    def _submission(self, hop: Hop) -> Iterator[Step]:
        came, wire = hop.transaction, hop.connection
        if came is None and hop.client is None:
            return
        secret = ", encrypted" if wire and wire.encrypted else ""
        port = f" (port {wire.port}{secret})" if wire else ""
        login = f", logged in as {hop.login}" if hop.login else ""
        began = came.began if came else hop.arrived
        if began is None:
            return
        source = hop.source or hop.client or "?"
        yield self._step(
            source,
            source,
            f"→ {hop.node}",
            f"hands it to {hop.node} by SMTP{port}{login}",
            (began, came.ended if came else began),
            shape="work" if came else "moment",
            mood="good",
            events=came.events if came else (*hop.events[:1], *(wire.events if wire else ())),
        )

    def _stay(self, hop: Hop) -> Step:
        began = hop.arrived if hop.arrived is not None else _earliest(hop)
        since = "" if hop.arrived is not None else ", since before the record begins"
        still = "; still there" if hop.left is None else ""
        if hop.next_attempt is not None:
            clock = LabClock(self._trace.started, self._trace.time_scale)
            still += f"; next try at {format_clock(clock.lab_time(hop.next_attempt))}"
        wait = format_duration(hop.waited) if hop.waited is not None else "?"
        note, text = wait, f"has it in its queue as {hop.queue_id}{since}{still}"
        if hop.left is None:
            note += ", still there"
        events = tuple(e for e in hop.events if e.data.get("what") in ("client", "removed"))
        if hop.not_taken is not None:
            note, text = "not taken", f"does not take it, as {hop.queue_id}: {hop.not_taken}"
            events = tuple(e for e in hop.events if e.data.get("value") == hop.not_taken)
        return self._step(
            hop.node,
            f"{hop.node} queue",
            note,
            text,
            (began, began if hop.not_taken is not None else hop.left),
            shape="moment" if hop.not_taken is not None else "stay",
            mood="bad" if hop.not_taken is not None else "waits",
            wait=hop.waited,
            events=events or hop.events[:1],
        )

    def _given_up(self, hop: Hop, moment: float) -> Step:
        events = tuple(one for one in hop.events if one.data.get("what") == "expired")
        text = "gives it up: it has waited too long"
        span = (moment, moment)
        return self._step(hop.node, "  given up", "", text, span, mood="bad", events=events)

    def _attempts(self, hop: Hop, told: list[Saved]) -> Iterator[tuple[Step, list[Attempt]]]:
        """Attempts, those for several recipients at once together."""
        before: Attempt | None = None
        tried: Counter[str] = Counter()
        for _, group in groupby(hop.attempts, _once):
            attempts = list(group)
            tried.update(one.recipient for one in attempts)
            number = tried[attempts[0].recipient]
            yield self._attempt(hop, attempts, number, before, told), attempts
            before = attempts[-1]

    def _attempt(
        self,
        hop: Hop,
        attempts: list[Attempt],
        number: int,
        before: Attempt | None,
        told: list[Saved],
    ) -> Step:
        first = attempts[0]
        whom = "".join(f" for {one.recipient}" for one in attempts) if self._many else ""
        before_this = len(told)
        for attempt in attempts:
            told += [one for one in self._copies(hop, attempt) if one not in told]
        copies = told[before_this:]
        sent = first.outcome == "sent"
        if copies or (sent and first.next is None and first.program in LOCAL):
            how = "LMTP" if first.program == "lmtp" else first.program
            into = ", ".join(_place(one) for one in copies)
            label, note = f"  {how}", into or "saved"
            text = f"puts it by {how} into {into or 'a mailbox'}{whom}"
            text += " (again: a duplicate)" if any(one in self._again for one in copies) else ""
        else:
            names = ", ".join(one.recipient.partition("@")[0] for one in attempts)
            label = f"  attempt {number}" + (f" {names}" if self._many else "")
            note = _note(first)
            text = f"attempt {number}{whom}: {_told(first, before)}"
        transaction = first.transaction
        began = min(first.began, transaction.began) if transaction else first.began
        step = self._step(
            hop.node,
            label,
            note,
            text,
            (began, max(one.ended for one in attempts)),
            shape="work",
            mood="good" if sent else "bad",
            wait=first.wait,
            events=tuple(event for one in attempts for event in _proof(one)),
        )
        return replace(step, vain=first.outcome == "deferred")

    def _copies(self, hop: Hop, attempt: Attempt) -> list[Saved]:
        """What an attempt put into a mailbox, by the session that Dovecot names in its reply."""
        words = attempt.reason.split()
        return [
            one
            for one in self._trace.saved
            if attempt.next is None
            and one.node == hop.node
            and (
                one.session in words
                or (one.session is None and attempt.began - 1 <= one.time <= attempt.ended + 1)
            )
        ]

    # In mailboxes -------------------------------------------------------------------------------

    def _kept(self, one: Saved) -> Step:
        how = f" by {one.by.upper()}" if one.by else ""
        text = f"keeps a copy{how}: {_place(one)}"
        return self._step(
            one.node,
            f"{one.node} mailbox",
            _place(one),
            text,
            (one.time, one.time),
            events=one.events,
        )

    def _reading(self, one: Reading) -> Step:
        who, protocol = one.user or "somebody", (one.protocol or "?").upper()
        size = f", {one.octets} octets" if one.octets else ""
        what, note = {
            "fetched": (f"fetches it by {protocol}{size}", f"reads it: {protocol}"),
            "header fetched": (f"fetches its header by {protocol}{size}", f"header: {protocol}"),
            "part fetched": (f"fetches a part of it by {protocol}{size}", f"a part: {protocol}"),
            "flags set": (
                f"sets its flags by {protocol}: {' '.join(one.flags) or 'none'}",
                f"flags: {protocol}",
            ),
            "session": (
                f"has an encrypted {protocol} session: what was read can't be seen",
                f"{protocol}, encrypted",
            ),
        }.get(one.what, (f"{one.what} by {protocol}", f"{one.what}: {protocol}"))
        return self._step(
            one.node or one.server,
            one.node or one.server or "?",
            f"{who.partition('@')[0]} {note}",
            f"{who} {what}",
            (one.time, one.time),
            mood="good" if one.what == "fetched" else "plain",
            events=one.events,
        )


def _once(attempt: Attempt) -> tuple[object, ...]:
    """What attempts for several recipients of one message have in common."""
    named = None if attempt.outcome == "sent" and attempt.next is None else attempt.reason
    wire = attempt.transaction or attempt.connection
    return (
        attempt.program,
        attempt.relay,
        attempt.outcome,
        named,
        wire.events[0].seq if wire else None,
        round(attempt.ended, 1) if not wire else None,
    )


def _proof(attempt: Attempt) -> Iterator[Event]:
    """The log line; the first packet of the transaction, or of the call."""
    yield from attempt.events[:1]
    if attempt.transaction:
        yield from attempt.transaction.events[:1]
    elif attempt.connection:
        yield from attempt.connection.events
    for call in attempt.calls:
        yield from call.events


def _told(attempt: Attempt, before: Attempt | None) -> str:
    """What came of it, in a sentence; a reason that was told before is not told again."""
    wire = _wire(attempt)
    if attempt.outcome == "sent" and attempt.next:
        node, queue_id = attempt.next
        return f"{node} takes it as {queue_id}{wire}"
    again = before is not None and before.reason == attempt.reason
    return f"{attempt.outcome} ({'as before' if again else attempt.reason}){wire}"


def _wire(attempt: Attempt) -> str:
    """What the packets add."""
    connection, transaction = attempt.connection, attempt.transaction
    if connection is None:
        one_of = f", one of {attempt.candidates} calls alike" if attempt.candidates > 1 else ""
        return (
            f"; {counted(attempt.tries, 'SYN')}, {attempt.answer}{one_of}" if attempt.calls else ""
        )
    said = f"; connection {connection.stream}"
    if connection.encrypted and transaction is None:
        or_one = f" (or one of {attempt.candidates})" if attempt.candidates > 1 else ""
        return f"{said}, encrypted{or_one}"
    many = len(connection.carried)
    return said + (f", message {transaction.number} of {many}" if transaction and many > 1 else "")


def _note(attempt: Attempt) -> str:
    if attempt.outcome == "sent":
        many = len(attempt.connection.carried) if attempt.connection else 0
        if attempt.transaction and many > 1:
            return f"sent, {attempt.transaction.number} of {many}"
        return "sent"
    if attempt.calls:
        return f"{attempt.outcome}: {attempt.answer}"
    if attempt.transaction and attempt.transaction.code:
        return f"{attempt.outcome}: {attempt.transaction.code}"
    return attempt.outcome


def _place(one: Saved) -> str:
    return f"{one.user.partition('@')[0]}'s {one.folder}" + (f" #{one.uid}" if one.uid else "")


def _first(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _earliest(hop: Hop) -> float:
    times = [event.time for event in hop.events] + [one.began for one in hop.attempts]
    return min(times, default=0.0)
