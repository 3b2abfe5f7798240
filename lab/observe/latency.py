"""How long after it happened an event is in the log, measured on a lab made for the purpose.

A packet's time is the kernel's, at the moment in which it passed; a log line's is the engine's, at
the moment in which it read the line. Against both stands the clock when the event has been written.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import events
from lab.engine.lifecycle import down, up
from lab.engine.plan import plan
from lab.events import Event, EventLog
from lab.observe.recorder import Recorder
from lab.seats.user import UserAgent
from lab.services import dovecot
from lab.topology.check_mail import mailboxes_of
from lab.topology.model import Topology

_MEASURED = ("packet", "turn", "dns", "log")
_ARRIVE_SECONDS = 30.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Delays:
    """Real seconds between something and its event."""

    kind: str
    seconds: tuple[float, ...]

    def share(self, percent: int) -> float:
        """The delay that `percent` of the events do not exceed."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[percent - 1]


def bench_events(
    topology: Topology, messages: int, progress: Callable[[str], None] = lambda line: None
) -> list[Delays]:
    """The delays of each kind of event while the first person writes to the last, again and
    again.
    """
    name = f"bench-{os.urandom(2).hex()}"
    noticed: dict[str, list[float]] = {kind: [] for kind in _MEASURED}

    def note(event: Event) -> None:
        if event.kind in noticed:
            noticed[event.kind].append(time.time() - event.time)

    progress("putting a lab up")
    try:
        lab = up(plan(topology, name))
        with (
            tempfile.TemporaryDirectory(prefix="lab-bench-") as folder,
            EventLog(Path(folder) / events.FILE, lab.clock) as log,
            Recorder(lab, log, Path(folder)),
        ):
            log.listeners.append(note)
            people = list(mailboxes_of(topology))
            writer = UserAgent(lab, people[0])
            for number in range(1, messages + 1):
                progress(f"message {number} of {messages}")
                writer.send(people[-1], f"Note {number}")
            deadline = time.monotonic() + _ARRIVE_SECONDS
            while len(dovecot.mailbox(lab, people[-1])) < messages and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)  # seldom: each look makes the machine busier
    finally:
        down(name)
    return [Delays(kind, tuple(found)) for kind, found in noticed.items() if len(found) > 1]
