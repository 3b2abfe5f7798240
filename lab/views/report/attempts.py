"""The attempts of a run, message by message, and what the schedule says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lab.events import Event
from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.units import format_duration, parse_duration
from lab.views.report.exhibits import Citation, Exhibits, Link
from lab.views.report.text import Moment, moment


class Outcome(NamedTuple):
    """How an attempt can end: its class in the page, its sign, and what it means."""

    name: str
    sign: str
    means: str


PASSED_ON = Outcome("passed", "●", "passed on to the next server")
SAVED = Outcome("saved", "■", "saved in the mailbox")
DEFERRED = Outcome("deferred", "▲", "in vain, and tried again later")
BOUNCED = Outcome("bounced", "✕", "in vain, and given up")
OUTCOMES = (DEFERRED, PASSED_ON, SAVED, BOUNCED)


@dataclass(frozen=True)
class Attempt:
    """An attempt to pass a message on; `since` is lab time since the one before it."""

    began: float
    ended: float
    when: Moment
    node: str
    queue_id: str
    recipient: str
    outcome: Outcome
    status: str
    reason: str
    since: str
    link: Link


@dataclass
class Message:
    """A message's time with the servers, in lab seconds; `left` is None if it is still there."""

    name: str
    entered: float
    left: float | None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """How long, in lab seconds, until a message is tried again, and given up; None: not said."""

    retry: int | None
    give_up: int | None


def schedule(record: Record) -> Schedule:
    """The schedule that the servers were configured with."""
    stated: dict[str, Any] = record.about["topology"].get("schedule") or {}
    return Schedule(_seconds(stated.get("retry")), _seconds(stated.get("give_up")))


def _seconds(stated: Any) -> int | None:
    try:
        return parse_duration(str(stated))
    except ValueError:
        return None


def messages(record: Record, exhibits: Exhibits) -> list[Message]:
    """Each message for which there was an attempt, in the order of the first ones."""
    subjects = {
        event.refs.message_id: event.data["subject"]
        for event in record.of("action")
        if event.data.get("subject")
    }
    entered, left = _stays(record)
    grouped: dict[str, list[Event]] = {}
    for event in record.of("attempt"):
        grouped.setdefault(_key(event), []).append(event)
    found = []
    for events in grouped.values():
        ids = {event.refs.queue_id or "" for event in events}
        first = events[0].refs.queue_id or "?"
        subject = subjects.get(events[0].refs.message_id)
        came = min((entered[one] for one in ids if one in entered), default=events[0].lab_time)
        gone = [left.get(one) for one in ids]
        message = Message(
            name=f"{first} {subject}" if subject else first,
            entered=min(came, events[0].lab_time),
            left=None if None in gone else max(one for one in gone if one is not None),
        )
        message.attempts = list(_attempts(record, events, exhibits))
        found.append(message)
    return found


def _key(event: Event) -> str:
    return event.refs.message_id or event.refs.queue_id or str(event.seq)


def _stays(record: Record) -> tuple[dict[str, float], dict[str, float]]:
    """When each queue ID entered a queue, and when it left it, in lab seconds."""
    entered: dict[str, float] = {}
    left: dict[str, float] = {}
    for event in record.of("queue_change"):
        queue_id = event.refs.queue_id or ""
        entered.setdefault(queue_id, event.lab_time)
        if event.data["what"] == "removed":
            left[queue_id] = event.lab_time
    return entered, left


def _attempts(record: Record, events: Iterable[Event], exhibits: Exhibits) -> Iterable[Attempt]:
    before: dict[tuple[str | None, str], float] = {}
    for event in events:
        data = event.data
        same = event.refs.queue_id, data["recipient"]
        pause = event.lab_time - before[same] if same in before else None
        before[same] = event.lab_time
        place = Evidence("log", node=event.node, line=data["line"], says=None)
        yield Attempt(
            began=event.lab_time,
            ended=record.clock.lab_time(data["ended"]),
            when=moment(record.clock, event.time),
            node=event.node or "?",
            queue_id=event.refs.queue_id or "?",
            recipient=data["recipient"],
            outcome=outcome(event),
            status=data["status"],
            reason=data["reason"],
            since=format_duration(round(pause)) if pause is not None else "",
            link=exhibits.cite(place, Citation("attempts", "attempts")),
        )


def outcome(event: Event) -> Outcome:
    """How an attempt ended."""
    if event.data["status"] == "sent":
        return SAVED if event.data.get("program") == "lmtp" else PASSED_ON
    return BOUNCED if event.data["status"] in ("bounced", "expired", "undeliverable") else DEFERRED
