"""Evidence: where each thing that a scenario claims can be looked up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError


@dataclass(frozen=True)
class Evidence:
    """A place to look: a frame of a capture, a line of a log, or an event of the run.

    `kind` is `packet` (file, frame), `log` (node, line), or the kind of an event (node, event):
    `queue`, `mailbox`, `machine`.
    """

    kind: str
    node: str | None = None
    file: str | None = None
    frame: int | None = None
    line: int | None = None
    event: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The evidence as `--json` prints it: only what it has."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        if self.kind == "packet":
            return f"{(self.file or '').rpartition('/')[2]} #{self.frame}"
        if self.kind == "log":
            return f"log {self.node}:{self.line}"
        return f"{self.kind} {self.node} (event {self.event})"


def packet(file: str, frame: int) -> Evidence:
    """Frame number `frame` of the capture `file` (relative to the run's folder)."""
    return Evidence("packet", file=file, frame=frame)


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
