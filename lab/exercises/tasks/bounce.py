"""A message that can't be delivered, and its sender told."""

from __future__ import annotations

from collections.abc import Iterator

from lab.events import Event
from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import arrived
from lab.exercises.work import Queued, Work
from lab.observe.maillog import GIVEN_UP

_REPORT = "non-delivery notification"  # a notice of delay is none


@exercise(number=3, rows=("N5",), items=("queued", "failed", "reported", "arrived"))
def bounce(work: Work) -> Iterator[list[Item]]:
    """Each message of Alice's that her server has taken since: what became of it, and where."""
    for message in work.written(work.cast.alice):
        yield list(_followed(work, message))


def _followed(work: Work, message: Queued) -> Iterator[Item]:
    yield met("queued", message.proof)
    for node, queue_id in work.stations(message.node, message.queue_id):
        failed = _failures(work, node, queue_id)
        if not failed:
            continue
        yield met("failed", *map(work.logged, failed), reason=failed[-1].summary)
        for event in work.changes("dsn", node, queue_id):
            written = work.logged(event)
            if _REPORT in (written.evidence.says or ""):
                yield met("reported", written)
                yield arrived(work, node, event.data["value"], work.cast.alice)
                return
    if waiting := [
        event
        for event in work.attempts(message.node, message.queue_id)
        if event.data["status"] == "deferred"
    ]:
        yield missing("failed", work.logged(waiting[-1]), note="waiting")


def _failures(work: Work, node: str, queue_id: str) -> list[Event]:
    tries = [one for one in work.attempts(node, queue_id) if one.data["status"] in GIVEN_UP]
    return tries or work.changes("expired", node, queue_id)
