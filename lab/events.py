"""Everything that happens in a run is an event, and every view is made from events alone.

A run's folder holds them as `events.jsonl`, one JSON object a line, in the order in which they
were noticed; `time` says when each happened, on the one clock that packets, logs and actions of
a lab share (of the machine it runs on; a remote engine's clock should agree with this one's).
What `data` holds is fixed for each kind by the types in lab.kinds.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self, TextIO

from lab.errors import UsageError
from lab.kinds import DATA, Kind, checker
from lab.units import LabClock

FILE = "events.jsonl"
_LATEST = 1e11  # seconds: after the year 5000


@dataclass(frozen=True)
class Refs:
    """What joins an event to others: identities of a message, and a place in a capture.

    `stream` numbers TCP connections as Wireshark does (`tcp.stream`) in the capture `file`, a
    path within the run's folder; `frame` counts from 1.
    """

    message_id: str | None = None
    queue_id: str | None = None
    stream: int | None = None
    file: str | None = None
    frame: int | None = None

    @property
    def names(self) -> set[str]:
        """The identities of a message that are known: its Message-ID, its queue ID."""
        return {name for name in (self.message_id, self.queue_id) if name}


class Observation(NamedTuple):
    """What will be an event once it has its number in a log; `time` in epoch seconds."""

    kind: Kind
    summary: str
    time: float
    node: str | None
    data: Mapping[str, Any]
    refs: Refs = Refs()


@dataclass(frozen=True)
class Event:
    """Something observed, done or said.

    `time` is in epoch seconds, `lab_time` in lab seconds since the lab began, `node` the machine
    that did or said it, where it is one.
    """

    seq: int
    time: float
    lab_time: float
    node: str | None
    kind: Kind
    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    refs: Refs = Refs()

    def as_json(self) -> str:
        """The event as its line in `events.jsonl`."""
        return json.dumps({**vars(self), "refs": vars(self.refs)}, ensure_ascii=False)


class EventLog:
    """Appends events to a file and tells listeners, in order. Threads may share it.

    The file is locked (flock) as long as it is being written, whatever becomes of the writer, so
    that whoever reads along knows whether more can come. Without a `path` there are listeners only.
    """

    def __init__(self, path: Path | None, clock: LabClock) -> None:
        self.clock = clock
        self._file: TextIO | None = None
        if path:
            # Half a surrogate pair, which is no letter, is written as JSON writes it: \udc80.
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._lock = threading.Lock()
        self._seq = 0
        self.listeners: list[Callable[[Event], None]] = []

    def add(
        self,
        kind: Kind,
        summary: str,
        *,
        node: str | None = None,
        when: float | None = None,
        data: Mapping[str, Any] | None = None,
        refs: Refs | None = None,
    ) -> Event:
        """Record what happened at `when` (epoch seconds; default: now) and return it."""
        moment = time.time() if when is None else when
        return self.record(Observation(kind, summary, moment, node, data or {}, refs or Refs()))

    def record(self, seen: Observation) -> Event:
        """Give what was seen its number."""
        with self._lock:
            event = Event(
                seq=self._seq + 1,
                time=round(seen.time, 6),
                lab_time=round(self.clock.lab_time(seen.time), 3),
                node=seen.node,
                kind=seen.kind,
                summary=seen.summary,
                data=dict(seen.data),
                refs=seen.refs,
            )
            line = event.as_json()  # raises for data that is no JSON, before it has a number
            self._seq = event.seq
            if self._file:
                self._file.write(line + "\n")
                self._file.flush()
            for listener in self.listeners:
                listener(event)
        return event

    def close(self) -> None:
        """No more events."""
        with self._lock:
            if self._file:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def parse(line: str | bytes) -> Event | None:
    """An event from its line; None if it is of a kind that is not known here (yet).

    Keys that are not known are left out. Raises ValueError if it is no event.
    """
    try:
        found = _decoder.decode(line if isinstance(line, str) else line.decode())
        if isinstance(found["kind"], str) and found["kind"] not in DATA:
            return None
        checker(found["kind"]).validate_python(found["data"])
        event = Event(
            **{key: found[key] for key in Event.__dataclass_fields__ if key != "refs"},
            refs=Refs(**{key: found["refs"].get(key) for key in Refs.__dataclass_fields__}),
        )
        shown = 0 <= event.time < _LATEST and abs(event.lab_time) < _LATEST  # by any clock
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    words = (event.node, event.refs.message_id, event.refs.queue_id, event.refs.file)
    numbers = (event.refs.stream, event.refs.frame)
    if not (
        shown
        and isinstance(event.seq, int)
        and isinstance(event.summary, str)
        and all(one is None or isinstance(one, str) for one in words)
        and all(one is None or isinstance(one, int) for one in numbers)
    ):
        raise ValueError("something of it is not of its type")
    return event


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


_decoder = json.JSONDecoder(parse_constant=_no_number)


def read(folder: Path) -> list[Event]:
    """All events of a run, in the order in which they happened.

    A last line that was cut off (its writer was killed) is left out. Raises UsageError for a
    folder without a record, or with a damaged one.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().split(b"\n")  # the last one may be cut within a letter
    except OSError as error:
        raise UsageError(
            f"there is no record of a run: {error.strerror}",
            where=str(path),
            hint="lab report --list shows the runs there are",
        ) from error
    found = [_event(path, number, line) for number, line in enumerate(lines[:-1], 1)]
    return in_order([event for event in found if event is not None])


def _event(path: Path, number: int, line: bytes) -> Event | None:
    try:
        return parse(line)
    except ValueError as error:
        raise UsageError("this is no event", where=f"{path}:{number}:1") from error


def in_order(events: list[Event]) -> list[Event]:
    """Events as they happened, not as they were noticed."""
    return sorted(events, key=lambda event: (event.time, event.seq))


def follow(path: Path, poll_seconds: float = 0.02) -> Iterator[Event | None]:
    """The events of a run as they are written; None whenever there are no more for now.

    Ends when nobody writes the file any more. Raises UsageError for a damaged one.
    """
    pending, number = b"", 0
    with path.open("rb") as file:
        while True:
            over = not being_written(path)  # asked first: what came before the end is still read
            pending += file.read()
            *lines, pending = pending.split(b"\n")
            for number, line in enumerate(lines, number + 1):  # noqa: B020  goes on counting
                if event := _event(path, number, line):
                    yield event
            if not lines:
                if over:
                    return
                yield None
                time.sleep(poll_seconds)


def being_written(path: Path) -> bool:
    """Whether somebody holds the lock of an event log."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
