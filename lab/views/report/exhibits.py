"""What a report shows as evidence: each place once, and who refers to it.

Whoever claims something cites the places; what they say is laid out in one part of the page, and
each link leads there. Verdicts come first: what only the ladder refers to is taken in as long as
there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.views.report.text import anchor

# Characters of markup: what a packet takes, and how much those may that only the ladder cites.
_PACKET, _OCTET, _DUMPED = 1500, 4.7, 512
_ROOM = 800_000
_OTHERS_NAMED = 6
_LABEL = 48  # characters of a link


class Link(NamedTuple):
    """Leads to evidence: where, in which words, and what is to be seen there."""

    href: str
    label: str
    says: str


class Citation(NamedTuple):
    """A place in the page that refers to evidence."""

    anchor: str
    words: str


LADDER = Citation("ladder", "the ladder")


@dataclass
class Exhibit:
    """A piece of evidence; `says` is what those who cite it have seen there."""

    anchor: str
    evidence: Evidence
    says: list[str] = field(default_factory=list)
    cited: list[Citation] = field(default_factory=list)

    @property
    def shown(self) -> list[Citation]:
        """Those who refer to it, as many as one reads."""
        return self.cited[:_OTHERS_NAMED]

    @property
    def aside(self) -> bool:
        """Whether nothing but the ladder refers to it."""
        return all(one == LADDER for one in self.cited)

    @property
    def more(self) -> int:
        """And how many there are besides."""
        return len(self.cited) - len(self.shown)


class Exhibits:
    """All evidence that a report refers to, in the order in which it was first cited."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._found: dict[tuple[Any, ...], Exhibit] = {}
        self._room = float(_ROOM)
        self.left_out = 0
        self._lengths = {
            (event.refs.file, event.refs.frame): event.data["length"]
            for event in record.of("packet")
        }

    def cite(self, evidence: Evidence, by: Citation) -> Link:
        """A link to `evidence` from the place `by`."""
        exhibit = self._exhibit(evidence)
        if by not in exhibit.cited:
            exhibit.cited.append(by)
        if evidence.says and evidence.says not in exhibit.says:
            exhibit.says.append(evidence.says)
        said = (evidence.says or "") if evidence.kind == "packet" else ""
        return Link(f"#{exhibit.anchor}", label(evidence), said)

    def cite_all(self, places: Iterable[Mapping[str, Any]], by: Citation) -> list[Link]:
        """Links to evidence as it stands in an event."""
        return [self.cite(Evidence.of(place), by) for place in places]

    def cite_from_ladder(self, evidence: Evidence) -> str | None:
        """Where `evidence` stands; None if the page has no room for it."""
        if _key(evidence) not in self._found:
            # Payload and headers; of a snapshot it is not known, and does not matter
            octets = self._lengths.get((evidence.file, evidence.frame), 0) + 66
            cost = _PACKET + _OCTET * min(octets, _DUMPED)
            if cost > self._room:
                self.left_out += 1
                return None
            self._room -= cost
        return self.cite(evidence, LADDER).href

    def of(self, *kinds: str) -> list[Exhibit]:
        """What is shown of these kinds of evidence (any other kind if none is named)."""
        if kinds:
            return [one for one in self._found.values() if one.evidence.kind in kinds]
        named = ("packet", "log")
        return [one for one in self._found.values() if one.evidence.kind not in named]

    def _exhibit(self, evidence: Evidence) -> Exhibit:
        key = _key(evidence)
        if key not in self._found:
            self._found[key] = Exhibit(anchor(*key), evidence)
        return self._found[key]


def label(evidence: Evidence) -> str:
    """A place in few words, as the story on a terminal has it."""
    if evidence.event is not None:
        if evidence.says and len(evidence.says) <= _LABEL:
            return evidence.says
        return f"{evidence.kind} of {evidence.node}" if evidence.node else f"event {evidence.event}"
    return str(evidence)


def _key(evidence: Evidence) -> tuple[Any, ...]:
    match evidence.kind:
        case "packet":
            return ("packet", evidence.file, evidence.frame)
        case "log":
            return ("log", evidence.node, evidence.line)
    return ("event", evidence.event)
