"""Evidence: where each thing that a scenario claims can be looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Self

from lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from lab.observe.maillog import LogLine

_NUMBERS = ("frame", "line", "event")


@dataclass(frozen=True)
class Evidence:
    """A place to look: a frame of a capture, a line of a log, or an event of the run.

    `kind` is `packet` (file, frame), `log` (node, line), or the kind of an event (node, event):
    `queue`, `mailbox`, `machine`, `cable`. `says` is what is to be found there: words of a packet
    or line as they stand in it, a DNS question as `MX receiver.example?`, what TCP did: `SYN`,
    `SYN-ACK`, `RST`, or what a router or machine complained of: `ICMP port unreachable`.
    """

    kind: str
    node: str | None = None
    file: str | None = None
    frame: int | None = None
    line: int | None = None
    event: int | None = None
    says: str | None = None

    @classmethod
    def of(cls, place: Mapping[str, Any]) -> Self:
        """Evidence as it stands in an event; what keys a later version adds are left out.

        Raises UsageError if it is none.
        """
        if not isinstance(place, Mapping):
            raise UsageError(f"this is no evidence: {place!r}")
        found = {one.name: place[one.name] for one in fields(cls) if one.name in place}
        if not isinstance(found.get("kind"), str) or not all(
            value is None or type(value) is (int if name in _NUMBERS else str)
            for name, value in found.items()
        ):
            raise UsageError(f"this is no evidence: {dict(place)}")
        return cls(**found)

    def as_json(self) -> dict[str, Any]:
        """The evidence as `--json` prints it: only what it has."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        """Short, for behind a sentence: `sender-lan#12`, `sender-mail:9`, `event 38`."""
        if self.kind == "packet":
            return f"{PurePath(self.file or '').stem}#{self.frame}"
        if self.kind == "log":
            return f"{self.node}:{self.line}"
        return f"event\N{NO-BREAK SPACE}{self.event}"


def packet(file: str, frame: int, says: str) -> Evidence:
    """Frame number `frame` of the capture `file` (relative to the run's folder)."""
    return Evidence("packet", file=file, frame=frame, says=says)


def logged(line: LogLine) -> Evidence:
    """A line of a machine's log."""
    return Evidence("log", node=line.node, line=line.number, says=line.text)


def summary(evidence: Iterable[Evidence], at_most: int = 3) -> str:
    """A few places to look, and how many more there are."""
    places = [str(one) for one in evidence]
    more = f" (+{len(places) - at_most})" if len(places) > at_most else ""
    return ", ".join(places[:at_most]) + more


@dataclass(frozen=True)
class Verdict:
    """What was expected, what was observed, whether they agree, and where to look."""

    id: str
    expected: str
    observed: str
    ok: bool
    evidence: tuple[Evidence, ...]

    def __post_init__(self) -> None:
        if self.ok and not self.evidence:
            raise LabError(f"expectation '{self.id}' is said to be met without any evidence")

    def as_json(self) -> dict[str, Any]:
        """The verdict as `lab scenario run --json` prints it."""
        return {**vars(self), "evidence": [one.as_json() for one in self.evidence]}
