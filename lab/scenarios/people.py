"""The people of a scenario: they write mail at their PC, and read it there."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.events import Refs
from lab.seats.user import UserAgent

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*(<[^>]+>)")


@dataclass(frozen=True)
class Message:
    """A message that its sender's server has taken."""

    subject: str
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    queue_id: str
    server: str
    """The node of the sender's mail server."""


@dataclass(frozen=True)
class Reading:
    """What somebody's mail program fetched, and when (epoch seconds)."""

    protocol: str
    content: bytes
    time: float

    @property
    def message_id(self) -> str | None:
        """The Message-ID of what was fetched."""
        found = _MESSAGE_ID.search(self.content)
        return found[1].decode() if found else None


class Person:
    """A user of the lab, acting at the PC they sit at."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._agent = UserAgent(stage.lab, name)
        self.address = self._agent.address
        self.name = self._agent.login
        self.seat = self._agent.seat
        self.server = self._agent.server

    def __str__(self) -> str:
        return self.address

    def send(self, to: Person | str, subject: str, body: str = "") -> Message:
        """Write to `to` and hand the message to one's own mail server."""
        recipient = to.address if isinstance(to, Person) else to
        began = time.time()
        sent = self._agent.send(recipient, subject, body or f"{subject}\n")
        self._stage.log.add(
            "action",
            f'{self.name} writes "{subject}" to {recipient}; {self.server} queues it as '
            f"{sent.queue_id}",
            node=self.seat,
            when=began,
            data={"from": self.address, "to": [recipient], "subject": subject},
            refs=Refs(message_id=sent.message_id, queue_id=sent.queue_id),
        )
        return Message(
            subject, self.address, (recipient,), sent.message_id, sent.queue_id, self.server
        )

    def read(self, number: int = 1, *, protocol: str = "imap") -> Reading:
        """Fetch message `number` of one's INBOX with curl, by `imap` or `pop3`.

        Name and password come from ~/.netrc. Raises LabError with curl's words if it fails.
        """
        host = self._stage.lab.plan.site.hostname(self.server)
        place = f"INBOX/;MAILINDEX={number}" if protocol == "imap" else str(number)
        argv = ["curl", "--silent", "--show-error", "--netrc", f"{protocol}://{host}/{place}"]
        done = self._stage.lab.run(self.seat, ["bash", "-lc", shlex.join(argv)], user=self.name)
        done.check(f"{self.name}'s curl {protocol}://{host}/{place}")
        if not done.stdout:
            raise LabError(f"{self.name} fetched message {number} by {protocol}: it is empty")
        event = self._stage.log.add(
            "action",
            f"{self.name} fetches message {number} by {protocol.upper()}, with name and password",
            node=self.seat,
            data={"protocol": protocol, "bytes": len(done.stdout)},
        )
        return Reading(protocol, done.stdout, event.time)
