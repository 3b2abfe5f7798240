"""The story of a run, in order: what was told, what was done, what was seen, what was judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from lab.events import Event
from lab.kinds import Kind
from lab.observe.retries import Retries
from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.views import sentences
from lab.views.report.exhibits import Citation, Exhibits, Link
from lab.views.report.text import Moment, language, moment, paragraphs

_ROLES = {"predict": "Predict", "explain": "Why"}
_SHOWN_ALIKE = 3  # lines about as many messages tell the story of twenty
_KINDS: tuple[Kind, ...] = (
    "narration",
    "action",
    "fault",
    "machine",
    "cable",
    "queue",
    "mailbox",
    "attempt",
    "dsn",
    "verdict",
)


@dataclass(frozen=True)
class Item:
    """A piece of the story. `kind` is `told`, `line`, `report`, `judged` or `folded`.

    `sign` and `tone` say at a glance what a line is; `inner` are lines below it, or folded away.
    """

    kind: str
    anchor: str = ""
    when: Moment | None = None
    sign: str = ""
    tone: str = "plain"
    text: str = ""
    title: str = ""
    language: str | None = None
    paragraphs: list[str] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    inner: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """An expectation and its verdict."""

    anchor: str
    id: str
    expected: str
    observed: str
    ok: bool
    when: Moment
    links: list[Link]


def verdicts(record: Record, exhibits: Exhibits) -> list[Judged]:
    """The expectations, in the order in which they were judged."""
    found = []
    for number, event in enumerate(record.of("verdict"), 1):
        data, place = event.data, f"expectation-{number}"
        links = exhibits.cite_all(data["evidence"], Citation(place, f"expectation: {data['id']}"))
        when = moment(record.clock, event.time)
        one = Judged(
            place, data["id"], data["expected"], data["observed"], data["ok"], when, links
        )  # fmt: skip
        found.append(one)
    return found


def story(record: Record, exhibits: Exhibits) -> list[Item]:
    """What happened, in order; of many lines alike about different messages, the first few."""
    return list(_folded(_Teller(record, exhibits).items()))


def anchors(items: Iterable[Item]) -> set[str]:
    """The places in the story."""
    found = set()
    for item in items:
        folded = item.inner if item.kind == "folded" else []
        found |= anchors(folded) if folded else {item.anchor}
    return found


class _Teller:
    def __init__(self, record: Record, exhibits: Exhibits) -> None:
        self._record = record
        self._exhibits = exhibits
        self._retries = Retries()
        self._verdicts = 0
        # What proves that a fault has its effect stands with the fault
        self._shown_elsewhere = {
            place.get("event") for event in record.of("fault") for place in event.data["evidence"]
        }

    def items(self) -> Iterable[tuple[Event, Item]]:
        for event in self._record.of(*_KINDS):
            if event.seq not in self._shown_elsewhere:
                yield event, getattr(self, f"_{event.kind}")(event)

    def _line(
        self, event: Event, sign: str, tone: str, text: str, places: Iterable[Any] = ()
    ) -> Item:
        by = self._by(event)
        when = moment(self._record.clock, event.time)
        links = self._exhibits.cite_all(places, by)
        return Item("line", by.anchor, when, sign, tone, text, links=links)

    def _by(self, event: Event) -> Citation:
        when = moment(self._record.clock, event.time)
        return Citation(f"story-{event.seq}", f"story at {when.lab} ({when.real})")

    def _itself(self, event: Event) -> list[dict[str, Any]]:
        return [Evidence(event.kind, node=event.node, event=event.seq).as_json()]

    def _narration(self, event: Event) -> Item:
        by = self._by(event)
        return Item(
            "told",
            by.anchor,
            title=_ROLES.get(event.data["role"], ""),
            tone=event.data["role"],
            language=language(event.summary),
            paragraphs=paragraphs(event.summary),
            links=self._exhibits.cite_all(event.data["evidence"], by),
        )

    def _action(self, event: Event) -> Item:
        return self._line(event, "→", "done", event.summary, event.data.get("evidence", ()))

    def _fault(self, event: Event) -> Item:
        sign, tone = ("✗", "bad") if event.data["on"] else ("✓", "good")
        return self._line(event, sign, tone, event.summary, event.data["evidence"])

    def _machine(self, event: Event) -> Item:
        return self._line(event, "·", "plain", event.summary, self._itself(event))

    _cable = _machine

    def _mailbox(self, event: Event) -> Item:
        return self._line(event, "·", "plain", sentences.mailbox(event), self._itself(event))

    def _queue(self, event: Event) -> Item:
        line = self._line(event, "·", "plain", event.summary, self._itself(event))
        waits = []
        for entry in event.data["entries"][:_SHOWN_ALIKE]:
            wait = sentences.queued(entry, event.lab_time, self._record.clock)
            if entry.get("next_attempt"):
                when = moment(self._record.clock, entry["next_attempt"])
                wait += f", at {when.lab} ({when.real})"
            waits.append(wait)
        more = len(event.data["entries"]) - len(waits)
        return replace(line, inner=waits + ([f"… and {more} more"] if more else []))

    def _attempt(self, event: Event) -> Item:
        text = sentences.attempt(event, self._retries.before(event))
        sign, tone = ("✓", "good") if event.data["status"] == "sent" else ("✗", "warn")
        place = Evidence("log", node=event.node, line=event.data["line"]).as_json()
        return self._line(event, sign, tone, text, [place])

    def _dsn(self, event: Event) -> Item:
        parts = event.data["parts"]
        inner = [
            {"title": f"part {number} of {len(parts)}: {part['type']}", "text": part["text"]}
            for number, part in enumerate(parts, 1)
        ]
        line = self._line(event, "·", "plain", event.summary)
        return replace(line, kind="report", inner=inner)

    def _verdict(self, event: Event) -> Item:
        """Its evidence stands with the expectation it judges."""
        self._verdicts += 1
        sign, tone = ("✓", "good") if event.data["ok"] else ("✗", "bad")
        link = Link(f"#expectation-{self._verdicts}", event.data["id"], "")
        return Item(
            "judged", f"story-{event.seq}", moment(self._record.clock, event.time),
            sign, tone, event.data["observed"], links=[link],
        )  # fmt: skip


def _folded(items: Iterable[tuple[Event, Item]]) -> Iterable[Item]:
    """Lines alike about many messages are shown for the first few; the others are folded away.

    Where something else happens the counting begins anew.
    """
    stretch: list[tuple[Event, Item]] = []
    for event, item in items:
        if event.kind in ("action", "attempt"):
            stretch.append((event, item))
            continue
        yield from _shortened(stretch)
        stretch = []
        yield item
    yield from _shortened(stretch)


def _shortened(stretch: list[tuple[Event, Item]]) -> Iterable[Item]:
    messages: dict[str, dict[str, int]] = {}
    folds: dict[str, list[Item]] = {}
    for event, item in stretch:
        alike, message = _alike(event), event.refs.queue_id or str(event.seq)
        known = messages.setdefault(alike, {})
        if known.setdefault(message, len(known)) < _SHOWN_ALIKE:
            yield item
        else:
            folds.setdefault(alike, []).append(item)
    for folded in folds.values():
        if len(folded) == 1:
            yield folded[0]
        else:
            text = f"and {len(folded)} more like this"
            yield Item("folded", text=text, title=folded[0].text, inner=folded)


def _alike(event: Event) -> str:
    if event.refs.queue_id is None:
        return f"{event.seq}"  # about no message: like nothing else
    data = event.data
    return f"{event.kind} {event.node} {data.get('status')} {data.get('by')} {data.get('program')}"
