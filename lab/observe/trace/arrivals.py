"""What became of a message for each of its recipients: followed from server to server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from lab.observe.maillog import GIVEN_UP, LOCAL
from lab.observe.trace.connections import Transaction
from lab.observe.trace.journey import Arrival, Attempt, Hop, Saved

Key = tuple[str, str]
_WAITING = ("deferred", "queued")


def of(
    hops: Iterable[Hop], reports: Mapping[Key, str], saved: Iterable[Saved]
) -> tuple[Arrival, ...]:
    """What became of it, for each recipient; `reports` are those of non-delivery, by hop.

    Where a server that did not hear the answer has sent it again, the last attempt counts, but
    whoever had it had it from the first copy on.
    """
    by_key = {hop.key: hop for hop in hops}
    found: dict[tuple[str, str], Arrival] = {}
    for hop in by_key.values():
        if hop.previous:
            continue
        for recipient in _named(hop):
            for one in _follow(hop, recipient, recipient, by_key, reports, ()):
                if hop.not_taken is None or (one.recipient, one.final) not in found:
                    found[one.recipient, one.final] = one
    had: dict[str, float] = {}
    for copy in saved:
        if copy.delivered:
            had[copy.user] = min(copy.time, had.get(copy.user, copy.time))
    return tuple(
        replace(one, time=had.get(one.final, one.time)) if one.outcome == "delivered" else one
        for one in found.values()
    )


def _named(hop: Hop) -> list[str]:
    """Who the message is for, as it came to a server."""
    tried = [attempt.original or attempt.recipient for attempt in hop.attempts]
    return list({one.casefold(): one for one in [*tried, *hop.recipients]}.values())


def _follow(
    hop: Hop,
    recipient: str,
    first: str,
    hops: Mapping[Key, Hop],
    reports: Mapping[Key, str],
    above: tuple[Key, ...],
) -> Iterator[Arrival]:
    """What became of it for `recipient` from `hop` on; `first` is who the sender named."""
    last: dict[str, Attempt] = {}
    for attempt in hop.attempts:
        if recipient.casefold() in (attempt.original.casefold(), attempt.recipient.casefold()):
            last[attempt.recipient] = attempt
    if not last:
        yield Arrival(
            recipient=first,
            final=recipient,
            outcome="queued" if hop.in_queue else "unknown",
            reason=hop.not_taken,
            node=hop.node,
            queue_id=hop.queue_id,
            time=hop.arrived,
            told=None,
            events=hop.events[-1:],
        )
    for final, attempt in last.items():
        beyond = hops.get(attempt.next) if attempt.next else None
        if attempt.outcome == "sent" and beyond and beyond.key not in (*above, hop.key):
            yield from _follow(beyond, final, first, hops, reports, (*above, hop.key))
            continue
        outcome = _outcome(hop, attempt)
        yield Arrival(
            recipient=first,
            final=final,
            outcome=outcome,
            reason=attempt.reason or None,
            node=hop.node,
            queue_id=hop.queue_id,
            time=attempt.ended,
            told=reports.get(hop.key) if outcome == "bounced" else None,
            events=attempt.events,
        )


def _outcome(hop: Hop, attempt: Attempt) -> str:
    match attempt.outcome:
        case "sent":
            return "delivered" if attempt.program in LOCAL else "relayed"
        case "deferred":
            if hop.expired is not None:
                return "bounced"
            return "deferred" if hop.left is None else "unknown"
        case status if status in GIVEN_UP:
            return "bounced"
    return "unknown"


def overall(found: Iterable[Arrival], hops: Iterable[Hop], refused: Iterable[Transaction]) -> str:
    """One word for all recipients: the same for all, or where it still waits, or in part."""
    outcomes = {one.outcome for one in found}
    if not outcomes and any(hop.in_queue for hop in hops):
        return "queued"
    if not outcomes:
        offers = list(refused)
        taken = any(one.taken for one in offers)
        in_vain = any((one.code or 0) >= 400 for one in offers)
        return "refused" if in_vain and not taken else "unknown"
    if len(outcomes) == 1:
        return outcomes.pop()
    for waiting in _WAITING:
        if waiting in outcomes:
            return waiting
    return "partly delivered" if "delivered" in outcomes else sorted(outcomes)[0]
