"""What happened in a sentence, as the story says it on a terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.events import Event
from lab.observe.maillog import LOCAL
from lab.units import LabClock, format_duration

_SUBJECTS = 3  # of a mailbox named


def mailbox(event: Event) -> str:
    """`2 in the mailbox of bob@receiver.example: "Lunch?", "Dinner?"`"""
    found = [f'"{one.get("subject")}"' for one in event.data["messages"]]
    if not found:
        return event.summary
    return f"{event.summary}: {', '.join(found[:_SUBJECTS])}{' …' * (len(found) > _SUBJECTS)}"


def queued(entry: Mapping[str, Any], looked: float, clock: LabClock) -> str:
    """`8024B18C013 deferred; next try in 22m27s`: of a queue `looked` into (lab seconds)."""
    words = f"{entry['queue_id']} {entry['state']}"
    if not entry.get("next_attempt"):
        return words
    left = clock.lab_time(entry["next_attempt"]) - looked
    return f"{words}; next try in {format_duration(max(0, left))}"


def attempt(event: Event, before: Event | None) -> str:
    """An attempt and what came of it; what the one `before` it came to is not told again."""
    data = event.data
    does = f"{event.node} tries {event.refs.queue_id} → {data['recipient']}"
    if data["program"] in LOCAL:
        does = f"{event.node} puts {event.refs.queue_id} into the mailbox of {data['recipient']}"
    again = before is not None and before.data["reason"] == data["reason"]
    return f"{does}: {data['status']} ({'as before' if again else data['reason']})"
