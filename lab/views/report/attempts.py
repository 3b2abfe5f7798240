"""The attempts of a run, message by message, and what the schedule says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.events import Event
from lab.observe.maillog import GIVEN_UP, LOCAL
from lab.observe.retries import Retries
from lab.observe.trace.stays import Stay, Stays
from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.units import format_duration, parse_duration
from lab.views.report.exhibits import Citation, Exhibits, Link
from lab.views.report.text import Moment, moment


class Sign(NamedTuple):
    """Stands for how an attempt can end: its class in the page, its mark, and what it means."""

    name: str
    mark: str
    means: str


PASSED_ON = Sign("passed", "●", "passed on to the next server")
SAVED = Sign("saved", "■", "saved in the mailbox")
DEFERRED = Sign("deferred", "▲", "in vain, and tried again later")
BOUNCED = Sign("bounced", "✕", "in vain, and given up")
SIGNS = (DEFERRED, PASSED_ON, SAVED, BOUNCED)


@dataclass(frozen=True)
class Attempt:
    """An attempt to pass a message on; `since` is lab time since the one before, for the same
    recipient."""

    began: float
    ended: float
    when: Moment
    node: str
    queue_id: str
    recipient: str
    sign: Sign
    status: str
    reason: str
    since: str
    link: Link


@dataclass(frozen=True)
class Message:
    """A message's time with the servers, in lab seconds; `left` is None if it is still there."""

    name: str
    entered: float
    left: float | None
    attempts: list[Attempt]


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
    found: dict[str | Stay, list[Stay]] = {}
    stays = Stays(record)
    for stay in stays.all:
        # Without a Message-ID it is known by the first server that had it.
        found.setdefault(stay.message_id or stays.linked([stay])[0], []).append(stay)
    tried = [those for those in found.values() if any(stay.attempts for stay in those)]
    told = [_message(record, those, exhibits) for those in tried]
    return sorted(told, key=lambda message: message.attempts[0].began)


def _message(record: Record, stays: list[Stay], exhibits: Exhibits) -> Message:
    attempts = list(_attempts(record, stays, exhibits))
    subject = record.subjects.get(stays[0].message_id or "")
    left = [stay.left for stay in stays if stay.not_taken is None]
    gone = None if None in left else max(filter(None, left), default=None)
    return Message(
        name=f"{attempts[0].queue_id} {subject}" if subject else attempts[0].queue_id,
        entered=min(record.clock.lab_time(min(stay.began for stay in stays)), attempts[0].began),
        left=record.clock.lab_time(gone) if gone is not None else None,
        attempts=attempts,
    )


def _attempts(record: Record, stays: Iterable[Stay], exhibits: Exhibits) -> Iterator[Attempt]:
    tried = [(event, stay) for stay in stays for event in stay.attempts]
    retries = Retries()  # of this message alone: a queue ID can be used again
    for event, stay in sorted(tried, key=lambda one: (one[0].time, one[0].seq)):
        data, before = event.data, retries.before(event)
        place = Evidence("log", node=event.node, line=data["line"])
        yield Attempt(
            began=event.lab_time,
            ended=record.clock.lab_time(data["ended"]),
            when=moment(record.clock, event.time),
            node=stay.node,
            queue_id=stay.queue_id,
            recipient=data["recipient"],
            sign=sign(event),
            status=data["status"],
            reason=data["reason"],
            since=format_duration(round(event.lab_time - before.lab_time)) if before else "",
            link=exhibits.cite(place, Citation("attempts", "attempts")),
        )


def sign(attempt: Event) -> Sign:
    """How an attempt ended."""
    if attempt.data["status"] == "sent":
        return SAVED if attempt.data["program"] in LOCAL else PASSED_ON
    return BOUNCED if attempt.data["status"] in GIVEN_UP else DEFERRED
