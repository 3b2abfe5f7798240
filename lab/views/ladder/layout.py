"""The layout of a ladder: what is drawn, in which order, at whose lifelines. Pure: events in,
items out, for whoever renders them.

Events may come in any order and at any time (a capture tells of a packet a moment after another
has told of the reply); the layout is made from all that have come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.events import Event
from lab.units import LabClock, format_duration
from lab.views.ladder import fold
from lab.views.ladder.boxes import bands, boxes
from lab.views.ladder.columns import columns, networks
from lab.views.ladder.levels import at_level, untagged_joined
from lab.views.ladder.marks import Mark
from lab.views.ladder.model import EVERYTHING, Fate, Item, Layout, Mood, View
from lab.views.ladder.notes import Notes, Stay
from lab.views.ladder.wire import Wire

_EXPECTED = ("mail-server", "dns")
_GRACE_SECONDS = 0.5  # before what was not seen to arrive is said to be lost
_BACKLOG_SECONDS = 15.0  # where the other network has not been heard since
_LATE_SECONDS = 0.25  # more than any way through the lab takes


class Ladder:
    """Takes the events of a run, of which `about` is the first's data, and lays them out."""

    def __init__(self, about: Mapping[str, Any], title: str = "") -> None:
        self.title = title
        self.clock = LabClock(about["started"], about["time_scale"])
        self.topology: Mapping[str, Any] = about["topology"]
        self.now = 0.0
        self.ended = False
        self.wire = Wire(networks(self.topology), about["addresses"])
        self.notes = Notes(self.clock)

    @classmethod
    def of(cls, run: Event, events: Iterable[Event] = (), *, ended: bool = False) -> Ladder:
        """The one of a run that begins with the event `run`."""
        ladder = cls(run.data, run.summary)
        for event in events:
            ladder.add(event)
        ladder.ended = ladder.ended or ended
        return ladder

    def add(self, event: Event) -> None:
        """One more event."""
        self.now = max(self.now, event.time)
        self.ended = self.ended or event.kind == "outcome"
        self.wire.add(event)
        self.notes.add(event)

    def layout(self, view: View = EVERYTHING, now: float | None = None) -> Layout:
        """All of it, as `view` wants it; `now` (epoch seconds) decides what is still on its way."""
        self.now = max(self.now, now or 0)
        marks = at_level(self.wire, self.notes, view, ended=self.ended)
        hosts = columns(self.topology, self._taking_part())
        wanted = [mark for mark in marks if self._wanted(mark, view.words)]
        wanted.sort(key=lambda mark: (mark.time, mark.first.seq))
        items = self._items(untagged_joined(wanted))
        moments = [item.time for item in items]
        names = {host.name for host in hosts}
        on_their_way = [one.time for one in items if one.fate == "pending" and one.what != "mail"]
        return Layout(
            self.title,
            hosts,
            tuple(items),
            boxes(self._stays(view.words), moments),
            bands(self.notes.outages, moments, names),
            view.level,
            self.ended,
            self.clock.scale,
            min(map(self._settles, on_their_way), default=None),
        )

    def _settles(self, moment: float) -> float:
        """When what was sent at `moment`, and is on its way, is given up."""
        patience = _GRACE_SECONDS if self.now - moment < _GRACE_SECONDS else _BACKLOG_SECONDS
        return moment + patience

    # What is wanted -----------------------------------------------------------------------------

    def _taking_part(self) -> set[str]:
        hosts = {host for mark in self.wire.marks for host in (mark.source, mark.target)}
        hosts |= {mark.source for mark in self.notes.marks}
        if not self.ended:  # a column that comes later would push the others aside
            nodes = self.topology.get("nodes", {})
            hosts |= {name for name, node in nodes.items() if node["kind"] in _EXPECTED}
        return {host for host in hosts if host is not None}

    def _wanted(self, mark: Mark, words: Sequence[str]) -> bool:
        """Whether it has to do with each of `words`; what is for all, always."""
        if not words or mark.what in ("fault", "narration"):
            return True
        exact = {mark.source, mark.target, mark.protocol}
        hosts = self.topology.get("nodes", {})
        ids = mark.ids | (mark.mail.ids if mark.mail else set())
        if not mark.mail and mark.connection:  # a greeting is about all that is said after it
            ids |= {one for mail in mark.connection.mails for one in mail.ids}
        ids = self.notes.identities(ids) | self._called_for(mark)
        said = " ".join([mark.label, mark.text, *ids]).lower()
        return all(word in exact or (word not in hosts and word.lower() in said) for word in words)

    def _called_for(self, mark: Mark) -> set[str]:
        """The messages that a call in vain was made for: their attempt ended with it."""
        if mark.what != "call" or mark.connection is None or mark.connection.mails:
            return set()
        found: set[str] = set()
        for stay in self.notes.stays.values():
            times = zip(stay.began, stay.attempts, strict=True)
            if stay.host == mark.source and any(
                began - 0.1 <= mark.time <= attempt.time for began, attempt in times
            ):
                found |= self.notes.identities({stay.queue_id})
        return found

    def _stays(self, words: Sequence[str]) -> list[Stay]:
        """The stays in queues of the messages that are meant: those that no word tells apart."""
        known = " ".join([*self.notes.message_ids, *self.notes.queue_ids]).lower()
        naming = [word.lower() for word in words if word.lower() in known]
        return [
            stay
            for stay in self.notes.stays.values()
            if not naming or self._is_named(stay.queue_id, naming)
        ]

    def _is_named(self, queue_id: str, words: Sequence[str]) -> bool:
        own = " ".join(self.notes.identities({queue_id})).lower()
        return all(word in own for word in words)

    # Items --------------------------------------------------------------------------------------

    def _items(self, marks: Sequence[Mark]) -> list[Item]:
        arrivals = self._belated(marks)
        late = {sent: arrival.time - sent.time for arrival, sent in arrivals.items()}
        if arrivals:
            marks = sorted({*marks, *arrivals}, key=lambda mark: (mark.time, mark.first.seq))
        found = fold.repeated(
            [fold.folded(stretch) for stretch in fold.stretches(marks, self.clock)], self.clock
        )
        items: list[Item] = []
        before: Mark | None = None
        for stretch in found:
            if before is not None and stretch[0].what != "fold" and before.what != "fold":
                items.append(self._break(before, stretch[0]))
            for mark in stretch:
                item = self._item(mark)
                if mark in arrivals:
                    item = self._late(item, mark.time - arrivals[mark].time, arrives=True)
                elif mark in late:
                    item = self._late(item, late[mark], arrives=False)
                items.append(item)
            before = stretch[-1]
        return items

    def _belated(self, marks: Sequence[Mark]) -> dict[Mark, Mark]:
        """The arrivals, each with what arrives, where that is long after it was sent."""
        apart = self.wire.belated()
        shown = set(marks)
        found = {arrival: sent for arrival, sent in apart.items() if arrival in shown}
        for mark in marks:
            if not mark.in_time and self.wire.crosses(mark) and mark not in found:
                seen = self.wire.arrived(mark)
                if seen is not None and seen.time - mark.time > _LATE_SECONDS:
                    found[replace(mark, sightings=[seen])] = mark
                mark.in_time = seen is not None and seen.time - mark.time <= _LATE_SECONDS
        return found

    def _late(self, item: Item, real: float, *, arrives: bool) -> Item:
        """Half of an arrow: the sending of what arrives `real` seconds later, or its arrival."""
        lab = real * self.clock.scale
        return replace(
            item,
            fate="belated" if arrives else "delayed",
            mood="plain" if arrives else "bad",
            label=f"{item.label}, {format_duration(round(lab))} late" if arrives else item.label,
            lab_seconds=lab,
            real_seconds=real,
        )

    def _item(self, mark: Mark) -> Item:
        """The row of a mark: the one there was, if nothing about it has changed."""
        fate = self._fate(mark)
        label = f"{mark.label}: no answer" if self._never_answered(mark) else mark.label
        mood: Mood = "bad" if fate in ("lost", "unanswered") else mark.mood
        now, was = (label, fate, mood, len(mark.sightings)), mark.item
        if was is None or now != (was.label, was.fate, was.mood, len(was.seqs)):
            mark.item = was = self._drawn(mark, label, fate, mood)
        return was

    def _drawn(self, mark: Mark, label: str, fate: Fate, mood: Mood) -> Item:
        first = mark.first
        return Item(
            what=mark.what,
            time=first.time,
            lab_time=self.clock.lab_time(first.time),
            label=label,
            text=mark.text,
            source=mark.source,
            target=mark.target,
            fate=fate,
            mood=mood,
            protocol=mark.protocol,
            connection=mark.connection.name if mark.connection else "",
            seqs=() if mark.what == "fold" else tuple(one.seq for one in mark.sightings),
            file=first.file,
            frame=first.frame,
            log=mark.log,
            more=int(str(mark.unit[0])) if mark.what == "fold" else 0,
        )

    def _never_answered(self, mark: Mark) -> bool:
        """Whether a command was the last that was heard of a connection that is over."""
        connection = mark.connection
        if mark.what not in ("command", "content") or mark.answered or connection is None:
            return False
        if not (self.ended or connection.over):
            return False
        return not any(one.time > mark.time for one in connection.said["server"])

    def _fate(self, mark: Mark) -> Fate:
        """What became of an arrow."""
        if mark.target is None or mark.what == "fold":
            return "arrives"
        if mark.what == "mail" and not mark.answered:
            return "pending"  # however long it takes
        gone: Fate = "arrives"
        if not mark.in_time and self.wire.crosses(mark) and self.wire.arrived(mark) is None:
            gone = "lost"
        elif not self._answered(mark):
            gone = "unanswered"
        patience = _GRACE_SECONDS
        if gone == "lost" and self.wire.may_come(mark, _LATE_SECONDS):
            patience = _BACKLOG_SECONDS
        patient = not self.ended and self.now - mark.time < patience
        return "pending" if gone != "arrives" and patient else gone

    def _answered(self, mark: Mark) -> bool:
        """Whether a call or a question was; nothing else needs to be."""
        if mark.what == "call" and mark.connection is not None:
            return mark.connection.answered
        return mark.what != "question" or mark.answered

    def _break(self, before: Mark, after: Mark) -> Item:
        real = after.time - before.time
        return replace(
            self._item(fold.pause(before, after, self.clock)),
            seqs=(),
            lab_seconds=real * self.clock.scale,
            real_seconds=real,
        )
