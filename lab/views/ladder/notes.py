"""What stands on the lifelines: what people did, what became of messages in queues and mailboxes,
outages. It comes from logs and from who acted, not from the wires.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.events import Event
from lab.observe.maillog import LOCAL
from lab.units import LabClock, format_duration
from lab.views.ladder import words
from lab.views.ladder.marks import Mark, Sighting, sighting
from lab.views.ladder.model import What

_CHANGES = {"delete": "deleted", "expunge": "expunged", "copy": "copied", "rename": "renamed"}


@dataclass(eq=False, slots=True)
class Stay:
    """A message in a queue: since when, until when, and the attempts to pass it on.

    `began` is when each of the attempts did, `tried` how many there were for each recipient.
    """

    host: str
    queue_id: str
    since: float
    until: float | None = None
    attempts: list[Mark] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Outage:
    """A fault that is on, from `since` until `until`."""

    title: str
    host: str | None
    since: float
    until: float | None = None


class Notes:
    """Takes the events of logs and actions as they come."""

    def __init__(self, clock: LabClock) -> None:
        self.marks: dict[Mark, None] = {}  # in order; some are taken out again
        self.told: list[Mark] = []
        self.stays: dict[tuple[str, str], Stay] = {}
        self.outages: list[Outage] = []
        self.queue_ids: dict[str, set[str]] = defaultdict(set)  # by Message-ID
        self.message_ids: dict[str, str] = {}  # by queue ID
        self.subjects: dict[str, str] = {}  # by Message-ID
        self._clock = clock

    def add(self, event: Event) -> None:
        """Take an event, if it is none of the wires."""
        message, queued = event.refs.message_id, event.refs.queue_id
        if message and queued:
            self.queue_ids[message].add(queued)
            self.message_ids[queued] = message
        take = _TAKEN.get(event.kind)
        if take is not None:
            take(self, event)

    def identities(self, ids: set[str]) -> set[str]:
        """All that the messages known by `ids` are known by."""
        messages = {self.message_ids.get(one, one) for one in ids}
        queued = {one for message in messages for one in self.queue_ids.get(message, ())}
        subjects = {self.subjects[message] for message in messages if message in self.subjects}
        return ids | messages | queued | subjects

    def _note(self, event: Event, what: What, label: str, *alike: object) -> Mark:
        seen = [sighting(event)]
        mark = Mark(what, label, event.summary, seen, event.node, ids=event.refs.names)
        # What is about the same message is alike to what is about another.
        mark.unit = (alike, event.refs.queue_id or event.refs.message_id or event.seq)
        mark.alike = (what, event.node, *alike) if alike else ()
        if event.node and "line" in event.data:
            mark.log = (event.node, event.data["line"])
        self.marks[mark] = None
        return mark

    # People, outages ----------------------------------------------------------------------------

    def _action(self, event: Event) -> None:
        if "subject" in event.data and event.refs.message_id:
            self.subjects[event.refs.message_id] = event.data["subject"]
        if "lab_seconds" in event.data:
            return  # that time passes is seen, too
        label = event.summary.partition(";")[0]  # what becomes of it is seen
        self._note(event, "note", label, "action", event.data.get("by", event.seq))

    def _fault(self, event: Event) -> None:
        data = event.data
        if data["on"]:
            self.outages.append(Outage(data["title"], event.node, event.time))
        else:
            for outage in self.outages:
                same = (outage.title, outage.host) == (data["title"], event.node)
                if same and outage.until is None:
                    outage.until = event.time
        mark = self._note(event, "fault", event.summary)
        mark.mood = "bad" if data["on"] else "good"

    def _narration(self, event: Event) -> None:
        self._tell(event, " ".join(event.summary.split()))

    def _verdict(self, event: Event) -> None:
        mark = self._tell(event, f"{'✓' if event.data['ok'] else '✗'} {event.summary}")
        mark.mood = "good" if event.data["ok"] else "bad"

    def _tell(self, event: Event, label: str) -> Mark:
        mark = Mark("narration", label, label, [sighting(event)])
        self.told.append(mark)
        return mark

    # Queues -------------------------------------------------------------------------------------

    def _queue_change(self, event: Event) -> None:
        what, queue_id, node = event.data["what"], event.refs.queue_id, event.node
        if node is None or queue_id is None:
            return
        stay = self.stays.get((node, queue_id))
        match what:
            case "queued" if stay is None:
                self.stays[node, queue_id] = Stay(node, queue_id, event.time)
                bounce = "" if event.data["value"] else ", from <>: a report"
                self._note(event, "note", f"in the queue: {queue_id}{bounce}", "queued")
            case "queued" if stay is not None:
                self._taken_up(event, stay)
            case "removed":
                self._removed(event, stay)
            case "expired":
                mark = self._note(event, "note", "too old: given up", "expired")
                mark.mood = "bad"
            case "dsn":
                label = f"writes to the sender: report {event.data['value']}"
                self._note(event, "note", label, "dsn").mood = "bad"
            case "rejected":
                self._note(event, "note", event.summary, "rejected").mood = "bad"

    def _taken_up(self, event: Event, stay: Stay) -> None:
        """A message that waited is tried once more: how long after the last attempt began?"""
        if stay.began:
            waited = format_duration(round((event.time - stay.began[-1]) * self._clock.scale))
            label = f"tries again, {waited} after attempt {max(stay.tried.values())}"
            mark = self._note(event, "note", label, "again")
            mark.shape = "tries again"

    def _removed(self, event: Event, stay: Stay | None) -> None:
        last = stay.attempts[-1] if stay and stay.attempts else None
        if stay is not None:
            stay.until = event.time
        mark = self._note(event, "note", f"leaves the queue: {event.refs.queue_id}", "removed")
        if last is not None and last.mood == "good":
            # Passed on, and so removed: one thing to whoever looks at the queue.
            mark.label = f"{last.label}, leaves the queue"
            mark.mood = "good"
            mark.sightings.append(last.first)
            self.marks.pop(last, None)

    def _attempt(self, event: Event) -> None:
        data, node, queue_id = event.data, event.node, event.refs.queue_id
        if node is None or queue_id is None:
            return
        stay = self.stays.setdefault((node, queue_id), Stay(node, queue_id, data["began"]))
        number = stay.tried[data["recipient"]] = stay.tried.get(data["recipient"], 0) + 1
        status, why = data["status"], words.reason(data["reason"])
        local = data["program"] in LOCAL
        if status == "sent":
            label = "into the mailbox" if local else f"attempt {number}: accepted"
        elif status == "deferred":
            label = f"attempt {number} in vain: {why}"
        else:
            label = f"attempt {number}, {status}: {why}"
        mark = self._note(event, "note", label, "attempt", status, why)
        mark.text = f"{data['status']}: {data['reason']}"
        mark.mood = {"sent": "good", "deferred": "wait"}.get(status, "bad")  # type: ignore[assignment]
        mark.protocol = data["program"] if local else "smtp"
        # It is told once it has ended; when it began, the packets say.
        mark.sightings = [Sighting(data["ended"], event.seq, None, None, None)]
        mark.shape = f"{status} {why}"
        stay.attempts.append(mark)
        stay.began.append(data["began"])

    # Mailboxes ----------------------------------------------------------------------------------

    def _mailbox_change(self, event: Event) -> None:
        data = event.data
        if data["uid"] is None:
            return
        user, which = data["user"], f"message {data['uid']} in {data['folder']} of {data['user']}"
        match data["what"]:
            case "save":
                label, mood = f"saved in the mailbox of {user}", "good"
            case "flag_change":
                label, mood = f"{which}: {' '.join(data['flags']) or 'no flags'}", "plain"
            case what:
                label, mood = f"{which}: {_CHANGES.get(what, what)}", "plain"
        mark = self._note(event, "note", label, data["what"], user)
        mark.mood = mood  # type: ignore[assignment]

    def _session(self, event: Event) -> None:
        data = event.data
        if data["what"] == "logout":
            return
        done = "logs in" if data["what"] == "login" else "is refused"
        label = f"{data['user']} {done} ({data['protocol'].upper()})"
        mark = self._note(event, "note", label, data["what"], data["user"])
        mark.unit = ("session", event.seq)
        mark.protocol = data["protocol"]
        mark.mood = "good" if data["what"] == "login" else "bad"


_TAKEN: dict[str, Callable[[Notes, Event], None]] = {
    "action": Notes._action,
    "fault": Notes._fault,
    "narration": Notes._narration,
    "verdict": Notes._verdict,
    "queue_change": Notes._queue_change,
    "attempt": Notes._attempt,
    "mailbox_change": Notes._mailbox_change,
    "session": Notes._session,
}
