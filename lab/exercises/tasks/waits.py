"""A message waits at the sender's server while a cable is out, and is delivered later."""

from __future__ import annotations

from collections.abc import Iterator

from lab.events import Event
from lab.exercises import Item, Proof, exercise, met, missing
from lab.exercises.items import arrived
from lab.exercises.work import Queued, Work
from lab.scenarios.evidence import Evidence


@exercise(number=7, rows=("N4",), items=("queued", "deferred", "cause", "later", "arrived"))
def waits(work: Work) -> Iterator[list[Item]]:
    """Each message of Alice's that her server has taken since: its attempts, and its arrival."""
    for message in work.written(work.cast.alice):
        yield list(_followed(work, message))


def _followed(work: Work, message: Queued) -> Iterator[Item]:
    yield met("queued", message.proof)
    tries = work.attempts(message.node, message.queue_id)
    vain = [one for one in tries if one.data["status"] == "deferred"]
    if not vain:
        if tries:
            yield missing("deferred", work.logged(tries[0]), note="once")
        return
    yield met("deferred", *map(work.logged, vain), note="tried", count=len(vain))
    yield _cause(work, vain[0])
    for one in tries:
        if one.data["status"] == "sent" and one.data["ended"] > vain[0].data["ended"]:
            yield met("later", work.logged(one), note="number", count=len(vain) + 1)
    yield arrived(work, message.node, message.queue_id, work.cast.bob)


def _cause(work: Work, attempt: Event) -> Item:
    """What was on, of what was done to the lab on purpose, as the attempt failed."""
    on: dict[str, Event] = {}
    for event in work.record.of("fault"):
        if event.time > attempt.data["ended"]:
            break
        if event.data["on"]:
            on[event.data["fault"]] = event
        else:
            on.pop(event.data["fault"], None)
    if not on:
        return missing("cause")
    proofs = [
        Proof(Evidence("fault", node=one.node, event=one.seq, says=one.summary), one.time)
        for one in on.values()
    ]
    return met("cause", *proofs, note="fault", title=proofs[-1].evidence.says)
