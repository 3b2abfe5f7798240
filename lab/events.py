"""Everything that happens in a run is an event, and every view is made from events alone.

A run's folder holds them as `events.jsonl`, one JSON object a line, in the order in which they
were noticed; `time` says when each happened.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.units import LabClock


@dataclass(frozen=True)
class Refs:
    """What joins an event to others: identities of a message, and a place in a capture."""

    message_id: str | None = None
    queue_id: str | None = None
    stream: int | None = None
    file: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Event:
    """Something observed, done or said.

    `time` is in epoch seconds, `lab_time` in lab seconds since the lab began. `kind` is one of
    run, narration, action, fault, log, attempt, queue, mailbox, machine, dsn, verdict.
    """

    seq: int
    time: float
    lab_time: float
    node: str | None
    kind: str
    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    refs: Refs = Refs()

    def as_json(self) -> str:
        """The event as its line in `events.jsonl`."""
        return json.dumps(asdict(self), ensure_ascii=False)


class EventLog:
    """Appends events to a file and tells listeners, in order. Threads may share it."""

    def __init__(self, path: Path, clock: LabClock) -> None:
        self._clock = clock
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._seq = 0
        self.listeners: list[Callable[[Event], None]] = []

    def add(
        self,
        kind: str,
        summary: str,
        *,
        node: str | None = None,
        when: float | None = None,
        data: Mapping[str, Any] | None = None,
        refs: Refs | None = None,
    ) -> Event:
        """Record what happened at `when` (epoch seconds; default: now) and return it."""
        moment = time.time() if when is None else when
        with self._lock:
            event = Event(
                seq=self._seq + 1,
                time=round(moment, 6),
                lab_time=round(self._clock.lab_time(moment), 3),
                node=node,
                kind=kind,
                summary=summary,
                data=dict(data or {}),
                refs=refs or Refs(),
            )
            line = event.as_json()  # raises for data that is no JSON, before it has a number
            self._seq = event.seq
            self._file.write(line + "\n")
            self._file.flush()
            for listener in self.listeners:
                listener(event)
        return event

    def close(self) -> None:
        """No more events."""
        self._file.close()
