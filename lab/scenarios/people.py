"""The people of a scenario: they write mail at their PC, and read it there."""

from __future__ import annotations

import email
import os
import re
import shlex
import time
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from typing import TYPE_CHECKING, TypeAlias

from lab.errors import LabError
from lab.events import Refs
from lab.observe import maillog
from lab.observe.dialogue import Transaction
from lab.scenarios.evidence import Evidence
from lab.scenarios.wire import Connection, carrying
from lab.seats.user import UserAgent
from lab.services import dovecot

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

To: TypeAlias = "Person | str | tuple[Person, ...]"

_AS_IT_CAME = policy.SMTP.clone(cte_type="7bit", refold_source="none")
_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*(<[^>]+>)")


@dataclass(frozen=True)
class Message:
    """A message that a mail server has taken: its sender's, unless it was passed on to another."""

    subject: str
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    queue_id: str
    server: str
    """The node of that mail server."""


@dataclass(frozen=True)
class Reading:
    """What somebody's mail program fetched, and when (epoch seconds)."""

    protocol: str
    content: bytes
    time: float
    evidence: tuple[Evidence, ...]

    @property
    def message_id(self) -> str | None:
        """The Message-ID of what was fetched."""
        found = _MESSAGE_ID.search(self.content)
        return found[1].decode() if found else None

    @property
    def message(self) -> EmailMessage:
        """What was fetched, taken apart: encodings undone."""
        return email.message_from_bytes(self.content, policy=policy.default)


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

    def send(self, to: To, subject: str, body: str = "", *, attached: int = 0) -> Message:
        """Write to `to` and hand the message to one's own mail server.

        A picture of so many octets is `attached` to it; on its way it is a third larger (base64).
        """
        written = self.compose(to, subject, body)
        if attached:
            picture = os.urandom(attached)
            written.add_attachment(picture, "image", "jpeg", filename="picture.jpg")
        return self.submit(written)

    def compose(self, to: To, subject: str, body: str = "") -> EmailMessage:
        """A message to `to` as one's mail program writes it, to be submitted."""
        whom = to if isinstance(to, tuple) else (to,)
        return self._agent.compose(tuple(map(str, whom)), subject, body or f"{subject}\n")

    def reply(self, to: Message, body: str) -> Message:
        """Answer `to`, which is fetched first: to its author, in its thread (RFC 5322 §3.6.4)."""
        letter = self.fetch(to).message
        text = letter.get_body(("plain",))
        quoted = str(text.get_content()).splitlines() if text else []
        written = self.compose(
            parseaddr(str(letter["From"]))[1],
            f"Re: {to.subject}",
            "\n".join([body, "", *(f"> {line}" for line in quoted)]),
        )
        written["In-Reply-To"] = str(letter["Message-ID"])
        written["References"] = str(letter["Message-ID"])
        return self.submit(written)

    def forward(self, letter: Message, to: Person, body: str) -> Message:
        """Hand `letter` on to `to` as it came, in a message of one's own (RFC 2046 §5.2.1)."""
        came = email.message_from_bytes(self.fetch(letter).content, policy=_AS_IT_CAME)
        written = self.compose(to, f"Fwd: {letter.subject}", body)
        written.add_attachment(came)
        return self.submit(written)

    def submit(self, written: EmailMessage, *, eight_bit: bool = False) -> Message:
        """Hand `written` to one's own mail server, announced as 8-bit text if it is `eight_bit`.

        Raises LabError if the server does not take it.
        """
        subject, recipient, message_id = (
            str(written[name]) for name in ("Subject", "To", "Message-ID")
        )
        recipients = tuple(address for _, address in getaddresses([recipient]))
        with self._stage.audience.acting():
            began = time.time()
            hand_in = self._agent.submit_eight_bit if eight_bit else self._agent.submit
            hand_in(written, recipients)
            connection, mail = self.submission(message_id)
            evidence = connection.steps(mail)
            queued = maillog.QUEUED_AS.search(mail.reply.text) if mail.reply else None
            if queued is None:
                raise LabError(f"{self.server} has not queued {message_id}")
            self._stage.log.add(
                "action",
                f'{self.name} writes "{subject}" to {recipient}; {self.server} queues it as '
                f"{queued[1]}",
                node=self.seat,
                when=began,
                data={
                    "evidence": [one.as_json() for one in evidence],
                    "by": self.address,
                    "to": list(recipients),
                    "subject": subject,
                },
                refs=Refs(message_id=message_id, queue_id=queued[1]),
            )
        return Message(subject, self.address, recipients, message_id, queued[1], self.server)

    def submission(self, message_id: str) -> tuple[Connection, Transaction]:
        """How a message went from one's PC to one's server, as it was seen on the wire."""
        stage = self._stage
        network = stage.network(self.server)
        client, server = stage.address(self.seat), stage.address(self.server)

        def found() -> tuple[Connection, Transaction] | None:
            calls = stage.wire.connections(network, client=client, server=server, port=587)
            return carrying(calls, message_id)

        return stage.until("the submission is in the capture", found)

    def fetch(self, message: Message, *, protocol: str = "imap") -> Reading:
        """Fetch `message` from one's INBOX: see `read`. Raises LabError if it is not there."""
        inbox = [
            one for one in dovecot.mailbox(self._stage.lab, self.address) if one.folder == "INBOX"
        ]
        for number, one in enumerate(inbox, 1):
            if one.message_id == message.message_id:
                return self.read(number, protocol=protocol)
        raise LabError(f"{message.message_id} is not in the INBOX of {self}")

    def read(self, number: int = 1, *, protocol: str = "imap") -> Reading:
        """Fetch message `number` of one's INBOX with curl, by `imap` or `pop3`.

        Name and password come from ~/.netrc. Raises LabError with curl's words if it fails.
        """
        began = time.time()
        host = self._stage.lab.plan.site.hostname(self.server)
        place = f"INBOX/;MAILINDEX={number}" if protocol == "imap" else str(number)
        argv = ["curl", "--silent", "--show-error", "--netrc", f"{protocol}://{host}/{place}"]
        done = self._stage.lab.run(self.seat, ["bash", "-lc", shlex.join(argv)], user=self.name)
        done.check(f"{self.name}'s curl {protocol}://{host}/{place}")
        if not done.stdout:
            raise LabError(f"{self.name} fetched message {number} by {protocol}: it is empty")
        moment = time.time()
        evidence = self._fetched(protocol, began)
        self._stage.log.add(
            "action",
            f"{self.name} fetches message {number} by {protocol.upper()}, with name and password",
            node=self.seat,
            when=moment,
            data={
                "evidence": [one.as_json() for one in evidence],
                "by": self.address,
                "protocol": protocol,
                "bytes": len(done.stdout),
            },
        )
        return Reading(protocol, done.stdout, moment, evidence)

    def _fetched(self, protocol: str, after: float) -> tuple[Evidence, ...]:
        """The call to one's server, and the command that fetched, seen on the server's wire."""
        stage = self._stage
        port, verb = {"imap": (143, "FETCH"), "pop3": (110, "RETR")}[protocol]

        def found() -> tuple[Evidence, ...] | None:
            for call in stage.wire.connections(
                stage.network(self.server),
                client=stage.address(self.seat),
                server=stage.address(self.server),
                port=port,
                after=after,
            ):
                if asked := call.commands(verb) or call.commands("UID FETCH"):
                    return (call.syn, *asked)
            return None

        return stage.until("the fetching is in the capture", found)
