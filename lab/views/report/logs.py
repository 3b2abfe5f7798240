"""Log lines as a report shows them: each with the lines around it, on both clocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from lab import events
from lab.record import LOGS, Record
from lab.views.report.exhibits import Exhibit
from lab.views.report.text import Moment, moment

_AROUND = 2  # lines before and after
_LINE = 2000  # characters of a line
# What syslog and Dovecot write before what is said: their own clock, and the machine's name
_STAMP = re.compile(r"^\w{3} [ \d]\d [\d:]{8} (?:mail )?")


class Line(NamedTuple):
    """A line of a log; `meant` if it is the one cited."""

    number: int
    when: Moment | None
    text: str
    meant: bool


@dataclass(frozen=True)
class Shown:
    """A place in a log, for the page, read from `source`; `trouble` says why if it can't be."""

    exhibit: Exhibit
    node: str
    source: str
    number: int
    lines: list[Line]
    brief: str
    trouble: str


def shown(record: Record, exhibits: Iterable[Exhibit]) -> list[Shown]:
    """The lines cited, those of a machine together, in their order."""
    books = _Books(record)
    places = sorted(exhibits, key=lambda one: (one.evidence.node or "", one.evidence.line or 0))
    return [_shown(exhibit, books) for exhibit in places]


class _Books:
    """The logs of a run: from its files, and where one is missing or cut, from its events.

    The files have more: also what was logged before the run began.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._files: dict[str, list[str]] = {}

    def file(self, node: str) -> list[str]:
        """The lines of a machine's log; none if there is no file."""
        if node not in self._files:
            folder = self._record.folder / LOGS
            path = folder / f"{node}.log"
            try:
                # Whatever the events say, nothing outside the run's own folder is read, and no
                # pipe or device, of which there may be no end
                octets = path.read_bytes() if path.parent == folder and path.is_file() else b""
            except (OSError, ValueError):
                octets = b""
            lines = octets.decode("utf-8", "backslashreplace").split("\n")
            self._files[node] = lines[:-1] if not lines[-1] else lines
        return self._files[node]

    def trouble(self, node: str) -> str:
        """Why a machine's log does not have all that was logged."""
        path = self._record.folder / LOGS / f"{node}.log"
        if path.parent.is_dir() and path.exists() and not path.is_file():
            return "is not a file"
        return "is not in the run's folder, or cut"

    def line(self, node: str, number: int) -> tuple[Moment | None, str] | None:
        """When a line was written, and what it says."""
        lines = self.file(node)
        if not 1 <= number <= len(lines):
            event = self._record.logged(node, number)
            if event is None:
                return None
            return moment(self._record.clock, event.time), event.summary[:_LINE]
        stamp, _, text = lines[number - 1].partition(" ")
        try:
            return moment(self._record.clock, float(stamp)), text[:_LINE]
        except (ValueError, OverflowError):
            return None, lines[number - 1][:_LINE]


def _shown(exhibit: Exhibit, books: _Books) -> Shown:
    node, number = exhibit.evidence.node or "", exhibit.evidence.line or 0
    lines = []
    for one in range(number - _AROUND, number + _AROUND + 1):
        found = books.line(node, one)
        if found is not None:
            lines.append(Line(one, *found, meant=one == number))
    file = source = f"{LOGS}/{node}.log"
    trouble = ""
    if not 1 <= number <= len(books.file(node)):
        source = f"{events.FILE} ({file} {books.trouble(node)})"
    if not any(line.meant for line in lines):
        trouble = f"neither {file} nor {events.FILE} has line {number}"
        lines = [Line(number, None, text, meant=True) for text in exhibit.says]
    brief = next((_STAMP.sub("", line.text) for line in lines if line.meant), "")
    return Shown(exhibit, node, source, number, lines, brief, trouble)
