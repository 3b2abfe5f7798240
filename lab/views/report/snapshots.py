"""Queues, mailboxes, machines and cables as they were found at a moment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.events import Event
from lab.record import Record
from lab.units import LabClock
from lab.views.report.exhibits import Exhibit
from lab.views.report.text import Moment, moment

_TEXT = 4000  # characters of what has no form of its own


@dataclass(frozen=True)
class Shown:
    """What was found, as a table (`rows` under `headers`) or as `text`."""

    exhibit: Exhibit
    kind: str
    number: int
    when: Moment | None
    summary: str
    headers: list[str]
    rows: list[list[Any]]
    text: str
    trouble: str = ""


def shown(record: Record, exhibits: Iterable[Exhibit]) -> list[Shown]:
    """The snapshots cited, as they came."""
    events = {event.seq: event for event in record.events}
    found = [_shown(record, one, events.get(one.evidence.event or 0)) for one in exhibits]
    return sorted(found, key=lambda one: one.number)


def _shown(record: Record, exhibit: Exhibit, event: Event | None) -> Shown:
    number = exhibit.evidence.event or 0
    kind = exhibit.evidence.kind
    if event is None:
        says = "; ".join(exhibit.says)
        lost = f"event {number} is not in the record"
        return Shown(exhibit, kind, number, None, says, [], [], "", lost)
    headers, rows, text = table(event, record.clock)
    when = moment(record.clock, event.time)
    return Shown(exhibit, event.kind, number, when, event.summary, headers, rows, text)


def table(event: Event, clock: LabClock) -> tuple[list[str], list[list[Any]], str]:
    """Headers, rows, and text where a table would not say it."""
    data = event.data
    match event.kind:
        case "queue":
            headers = ["queue ID", "state", "from", "to", "arrived", "attempts", "next", "reason"]
            return headers, [_queued(entry, clock) for entry in data["entries"]], ""
        case "mailbox":
            headers = ["folder", "uid", "from", "to", "subject", "octets", "flags", "received"]
            return headers, [_stored(message, clock) for message in data["messages"]], ""
        case "machine":
            row = [data.get(key) for key in ("name", "kind", "state", "container")]
            addresses = ", ".join(data.get("addresses", ()))
            headers = ["machine", "kind", "state", "container", "addresses"]
            return headers, [[*row, addresses]], ""
        case "cable":
            links = data["links"].items()
            return ["network", "cable"], [[network, state] for network, state in links], ""
    return [], [], json.dumps(dict(data), ensure_ascii=False, indent=2)[:_TEXT]


def _queued(entry: Mapping[str, Any], clock: LabClock) -> list[Any]:
    return [
        entry.get("queue_id"),
        entry.get("state"),
        f"<{entry.get('sender', '')}>",
        ", ".join(entry.get("recipients", ())),
        _when(entry.get("arrived"), clock),
        entry.get("attempts"),
        _when(entry.get("next_attempt"), clock),
        entry.get("reason"),
    ]


def _stored(message: Mapping[str, Any], clock: LabClock) -> list[Any]:
    return [
        message.get("folder"),
        message.get("uid"),
        message.get("sender", message.get("from")),
        message.get("to"),
        message.get("subject"),
        message.get("size"),
        " ".join(message.get("flags", ())),
        _when(message.get("received"), clock),
    ]


def _when(epoch: float | None, clock: LabClock) -> Moment | None:
    return moment(clock, epoch) if epoch else None
