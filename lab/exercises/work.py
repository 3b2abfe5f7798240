"""What was done in a lab since an exercise was started: calls, messages, what servers logged.

All of it is read from the record of the lab. What was typed in a shell is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import unquote
from functools import cached_property
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.events import Event
from lab.exercises import Proof
from lab.exercises.answers import Answer, Frame
from lab.observe import pcap as captured
from lab.observe.dialogue import Dialogue, Transaction, Turn, dialogues
from lab.observe.maillog import LOCAL, QUEUED_AS
from lab.observe.tap import Tap, identity
from lab.record import CAPTURES
from lab.scenarios.evidence import Evidence, packet
from lab.scenarios.wire import first_words

if TYPE_CHECKING:
    from lab.exercises.cast import Cast, Person
    from lab.record import Record


def mailbox(address: str) -> str:
    """The mailbox that an address names: its local part unquoted, and no matter in which case."""
    local, at, domain = address.strip().rpartition("@")
    return f"{unquote(local)}{at}{domain}".lower()


_RELAY = re.compile(r"\[([^\]]+)\]:\d+$")


@dataclass(frozen=True)
class Talk:
    """A TCP connection as it was seen on a network: which nodes, and what they said."""

    dialogue: Dialogue
    network: str
    caller: str | None
    called: str | None

    def at(self, turn: Turn) -> Proof:
        """Where something was said, and its first words."""
        return self._frame(turn.frame, first_words(turn), turn.time)

    @property
    def syn(self) -> Proof:
        """Where it began."""
        return self._frame(*self.dialogue.opened[:1], "SYN", self.dialogue.opened.time)

    def commands(self, *verbs: str) -> list[Turn]:
        """What the client said that begins with one of these."""
        return [
            turn
            for turn in self.dialogue.turns
            if turn.side == "client" and turn.kind == "command" and turn.command in verbs
        ]

    @property
    def mails(self) -> list[Mail]:
        """The messages it carried, or was to carry."""
        return [Mail(self, one) for one in self.dialogue.transactions]

    def _frame(self, frame: int, says: str, time: float) -> Proof:
        return Proof(packet(f"{CAPTURES}/{self.network}.pcap", frame, says), time)


@dataclass(frozen=True)
class Mail:
    """A message on its way through an SMTP connection."""

    talk: Talk
    transaction: Transaction

    @property
    def content(self) -> bytes:
        """Header and body, as they passed."""
        return b"".join(turn.data for turn in self.transaction.content)

    @property
    def taken(self) -> Turn | None:
        """The 250 after its last octet: from then on it is the server's."""
        reply = self.transaction.reply
        return reply if self.transaction.content and reply and reply.code == 250 else None

    @property
    def queue_id(self) -> str:
        """What the server calls it; empty if it has not said so."""
        found = QUEUED_AS.search(self.taken.text) if self.taken else None
        return found[1] if found else ""


@dataclass(frozen=True)
class Queued:
    """A message that somebody's server has in its queue, or had."""

    node: str
    queue_id: str
    proof: Proof


class Work:
    """What the record has of the time since `since` (epoch seconds), and the student's `answer`."""

    def __init__(self, record: Record, since: float, cast: Cast, answer: Answer | None) -> None:
        self.record = record
        self.since = since
        self.cast = cast
        self.answer = answer

    # On the wires -------------------------------------------------------------------------------

    @cached_property
    def everywhere(self) -> list[Talk]:
        """The connections that were opened, on every network that they crossed."""
        nodes = self.record.about["addresses"]
        return [
            Talk(one, path.stem, nodes.get(one.client.address), nodes.get(one.server.address))
            for path in sorted((self.record.folder / CAPTURES).glob("*.pcap"))
            if path.stat().st_size
            for one in dialogues(path, since=self.since)
            if one.stream.syns  # what was open already is older
        ]

    def talks(
        self, protocol: str, *, caller: str | None = None, called: str | None = None
    ) -> list[Talk]:
        """The connections in which `protocol` was spoken, each once: where it was seen first."""
        found: dict[str, Talk] = {}
        for talk in sorted(self.everywhere, key=lambda one: one.dialogue.opened.time):
            if (
                talk.dialogue.protocol == protocol
                and caller in (None, talk.caller)
                and called in (None, talk.called)
            ):
                found.setdefault(identity(talk.dialogue.stream), talk)
        return list(found.values())

    def mails(
        self, *, to: Person, caller: str | None = None, called: str | None = None
    ) -> list[Mail]:
        """The messages for `to` that were offered to a server, taken or not."""
        return [
            mail
            for talk in self.talks("smtp", caller=caller, called=called)
            for mail in talk.mails
            if mailbox(to.address) in map(mailbox, mail.transaction.recipients)
        ]

    def said_in(self, frame: Frame) -> Iterator[tuple[Talk, Turn]]:
        """What was said in a frame of the record, in connections since the start.

        Raises UsageError if the record has no such frame.
        """
        self._check(frame)
        for talk in self.everywhere:
            if talk.network == frame.network:
                for turn in talk.dialogue.turns:
                    if turn.frame <= frame.number <= turn.last_frame:
                        yield talk, turn

    def _check(self, frame: Frame) -> None:
        last = sum(1 for _ in self._frames(frame.network))
        if not 1 <= frame.number <= last:
            raise UsageError(
                f"there is no frame {frame.number} on record: {frame.network} has {last} so far",
                hint="frames are counted as lab trace and lab capture --past do",
            )

    def frame(self, frame: Frame) -> str:
        """What a frame of the record is, on one line."""
        tap = Tap(frame.network, "", {})
        found = (one for one in self._frames(frame.network) if one.number == frame.number)
        return tap.feed(next(found))[0].summary

    def _frames(self, network: str) -> Iterator[captured.Frame]:
        with (self.record.folder / CAPTURES / f"{network}.pcap").open("rb") as capture:
            yield from captured.read_frames(capture, on_cut=lambda cut: None)

    # In the logs --------------------------------------------------------------------------------

    def logged(self, event: Event) -> Proof:
        """The line of a log that an event was read in."""
        number = event.data["line"]
        says = self.record.line(event.node, number)
        when = event.data.get("ended", event.time)
        return Proof(Evidence("log", node=event.node, line=number, says=says), when)

    def changes(self, what: str, node: str | None = None, queue_id: str = "") -> list[Event]:
        """What has happened in queues (see QueueChangeData) since the start."""
        return [
            event
            for event in self.record.of("queue_change")
            if event.time >= self.since
            and event.data["what"] == what
            and node in (None, event.node)
            and queue_id in ("", event.refs.queue_id)
        ]

    def written(self, person: Person) -> list[Queued]:
        """The messages by `person` that their server has taken since the start."""
        new = {event.refs.queue_id or "" for event in self.changes("message-id", person.server)}
        queued: dict[str, Event] = {}
        wanted = mailbox(person.address)
        for event in self.changes("queued", person.server):
            if event.refs.queue_id in new and mailbox(event.data["value"]) == wanted:
                queued.setdefault(event.refs.queue_id, event)  # it is said again at each attempt
        return [Queued(person.server, name, self.logged(one)) for name, one in queued.items()]

    def attempts(self, node: str | None, queue_id: str) -> list[Event]:
        """How a server has tried to pass a message on since the start."""
        return [
            event
            for event in self.record.of("attempt")
            if event.data["ended"] >= self.since
            and (event.node, event.refs.queue_id) == (node, queue_id)
        ]

    def stations(self, node: str | None, queue_id: str) -> Iterator[tuple[str, str]]:
        """The servers that a message was on, each with its queue ID there, from `node` on."""
        waiting, known = [(node, queue_id)], set()
        while waiting:
            here = waiting.pop(0)
            if here in known or not (here[0] and here[1]):
                continue
            known.add(here)
            yield here[0], here[1]
            for event in self.attempts(*here):
                relay = _RELAY.search(event.data["relay"])
                if event.data["remote_id"] and relay:
                    next_node = self.record.about["addresses"].get(relay[1])
                    waiting.append((next_node, event.data["remote_id"]))

    def arrival(self, node: str | None, queue_id: str, address: str) -> Proof | None:
        """The line of a log that says that a message was put into the mailbox of `address`."""
        for station in self.stations(node, queue_id):
            for event in self.attempts(*station):
                data = event.data
                saved = (data["program"], data["status"]) in _SAVED
                if saved and mailbox(data["recipient"]) == mailbox(address):
                    return self.logged(event)
        return None


_SAVED = {(program, "sent") for program in LOCAL}
