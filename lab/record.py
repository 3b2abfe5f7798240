"""The record of a run: the folder that holds everything there is to know of it.

    runs/<run>/events.jsonl    what happened (lab.events)
               captures/       a pcap for each network
               logs/           a log for each machine, each line with its moment
               report.html     for reading

It needs nothing but itself: moved to another machine, every view can be made from it again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lab import events
from lab.errors import LabError, UsageError
from lab.events import Event
from lab.kinds import Kind, OutcomeData, RunData
from lab.units import LabClock

if TYPE_CHECKING:
    from lab.observe.maillog import LogLine

_SUBJECT = re.compile(r"(?im)^subject:[^\n]*(?:\n[ \t][^\n]*)*")
RUNS = Path("runs")
CAPTURES, LOGS, REPORT = "captures", "logs", "report.html"


@dataclass(frozen=True)
class Record:
    """A run's folder and its events, in the order in which they happened."""

    folder: Path
    events: tuple[Event, ...]

    @classmethod
    def load(cls, folder: Path) -> Record:
        """The record in `folder`. Raises UsageError if there is none, or it is damaged."""
        found = events.read(folder)
        if not any(event.kind == "run" for event in found):
            raise UsageError("the record does not say what it is of", where=str(folder))
        for event in found:
            _check_evidence(folder, event)
        return cls(folder, tuple(found))

    @cached_property
    def run(self) -> Event:
        """The event with which it begins."""
        return next(event for event in self.events if event.kind == "run")

    @property
    def about(self) -> RunData:
        """What ran, where, with which clock."""
        return cast(RunData, self.run.data)

    @property
    def title(self) -> str:
        """One line."""
        return self.run.summary

    @cached_property
    def clock(self) -> LabClock:
        """Turns epoch seconds into the run's lab time."""
        return LabClock(self.about["started"], self.about["time_scale"])

    @cached_property
    def outcome(self) -> OutcomeData | None:
        """How it ended; None if it has not, or was killed."""
        found: Any = next((event.data for event in self.events if event.kind == "outcome"), None)
        return cast("OutcomeData | None", found)

    def of(self, *kinds: Kind) -> list[Event]:
        """The events of these kinds."""
        if len(kinds) == 1:
            return list(self._by_kind.get(kinds[0], ()))
        return [event for event in self.events if event.kind in kinds]

    @cached_property
    def _by_kind(self) -> Mapping[Kind, list[Event]]:
        found: dict[Kind, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.kind, []).append(event)
        return found

    @cached_property
    def _logged(self) -> Mapping[tuple[str | None, int], Event]:
        return {(event.node, event.data["line"]): event for event in self.of("log")}

    def logged(self, node: str | None, number: int) -> Event | None:
        """The event of line `number` (from 1) of a machine's log; None if it is not on record."""
        return self._logged.get((node, number))

    def line(self, node: str | None, number: int) -> str | None:
        """What that line says."""
        found = self.logged(node, number)
        return found.summary if found else None

    @cached_property
    def subjects(self) -> Mapping[str, str]:
        """The subject of each Message-ID, as the header on the wire, a sender or a mailbox has it.

        What the sender says they wrote counts most.
        """
        found: dict[str, str] = {}
        for event in self.of("turn", "action", "mailbox"):
            message_id = event.refs.message_id
            if event.kind == "turn" and message_id and event.data.get("what") == "content":
                if subject := _subject(event.data.get("text") or ""):
                    found.setdefault(message_id, subject)
            elif event.kind == "action" and message_id and event.data.get("subject"):
                found[message_id] = event.data["subject"]
            elif event.kind == "mailbox":
                for one in event.data.get("messages") or ():
                    if one.get("message_id") and one.get("subject"):
                        found.setdefault(one["message_id"], one["subject"])
        return found


def _check_evidence(folder: Path, event: Event) -> None:
    from lab.scenarios.evidence import Evidence

    try:
        for place in event.data.get("evidence", ()):
            Evidence.of(place)
    except UsageError as error:
        where = f"{folder / events.FILE}: event {event.seq}"
        raise UsageError(error.what, where=where) from error


def _subject(text: str) -> str | None:
    """The Subject in the header of a message, decoded (RFC 2047)."""
    import email.parser
    import email.policy

    found = _SUBJECT.search(text.partition("\n\n")[0])
    if found is None:
        return None
    parsed = email.parser.Parser(policy=email.policy.default).parsestr(found[0] + "\n\n")
    return str(parsed["Subject"] or "").strip() or None


def names() -> list[str]:
    """The runs in runs/, the newest last."""
    return sorted(path.name for path in RUNS.glob("*") if (path / events.FILE).is_file())


def find(name: str | None) -> Path:
    """The folder of the run `name` (a path, or a name in runs/); the newest if None.

    Raises UsageError if there is none.
    """
    known = names()
    if name is None:
        if known:
            return RUNS / known[-1]
        raise UsageError("there is no run in runs/ yet", hint="lab scenario run delivery")
    for folder in (Path(name), RUNS / name):
        if (folder / events.FILE).is_file():
            return folder
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"the newest is '{known[-1]}'" if known else ""
    raise UsageError(f"there is no run '{name}'", hint=hint or "lab scenario run delivery")


def new(name: str) -> Path:
    """A new folder in runs/, named after the moment and `name`. Raises LabError if none can be."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = RUNS / f"{stamp}-{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise LabError(
                f"can't keep a record of the run: {error.strerror}",
                where=str(folder),
                hint="run it in a folder you can write to",
            ) from error
        return folder
    raise LabError("a hundred runs in one second", where=str(RUNS))


def write_log(folder: Path, node: str, lines: Iterable[LogLine]) -> None:
    """A machine's log as a record keeps it: each line with its moment (epoch seconds)."""
    text = "".join(f"{line.time:.6f} {line.text}\n" for line in lines)
    (folder / LOGS).mkdir(exist_ok=True)
    (folder / LOGS / f"{node}.log").write_text(text, encoding="utf-8")
