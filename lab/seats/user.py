"""A person at their computer who writes mail, with the mail program that is installed there."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from typing import TYPE_CHECKING, cast

from lab.errors import LabError, UsageError
from lab.services.dovecot import user_address
from lab.services.pc import seat_of, server_of
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_PATIENCE_SECONDS = 30.0  # real time in which a server answers a command
_QUEUED = re.compile(r"^<- +250 .*\bqueued as (?P<id>\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Sent:
    """A message that the sender's server has taken: its identities, and what was said."""

    message_id: str
    queue_id: str
    server: str
    """The node that took it."""
    transcript: str


class UserAgent:
    """`address` at the PC where they sit. Raises UsageError if they sit nowhere."""

    def __init__(self, lab: Lab, user: str) -> None:
        self.lab = lab
        self.address = user_address(lab, user)
        self.login = self.address.partition("@")[0]
        self.server = server_of(lab.plan.site, self.address)
        seat = seat_of(lab.plan.site, self.address)
        if seat is None:
            raise UsageError(
                f"{self.address} has a mailbox but sits at no PC",
                hint="add them to the users of a pc in the topology",
            )
        self.seat = seat

    def compose(self, to: tuple[str, ...], subject: str, body: str) -> EmailMessage:
        """A message as a mail program writes it: 7-bit whatever is in it (RFC 2045, 2047).

        Its lines have at most 76 characters, as encoded ones must (RFC 2045 §6.7, RFC 2047 §2).
        """
        server = cast(MailServer, self.lab.plan.topology.nodes[self.server])
        message = EmailMessage(policy=SMTP.clone(cte_type="7bit", max_line_length=76))
        message["Date"] = format_datetime(datetime.now(UTC))
        message["From"] = formataddr((server.users[self.login].name or self.login, self.address))
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        message["Message-ID"] = (
            f"<{uuid.uuid4().hex[:16]}@{self.lab.plan.site.hostname(self.seat)}>"
        )
        message.set_content(body if body.endswith("\n") else body + "\n")
        return message

    def send(self, to: str | tuple[str, ...], subject: str, body: str = "") -> Sent:
        """Write a message and submit it to one's own server (port 587, with a password).

        Raises LabError with the dialogue's end if the server does not take it.
        """
        recipients = (to,) if isinstance(to, str) else to
        return self.submit(self.compose(recipients, subject, body), recipients)

    def submit(self, message: EmailMessage, recipients: tuple[str, ...]) -> Sent:
        """Submit `message` to one's own server, for `recipients` (the envelope's)."""
        data = _dot_stuffed(message.as_bytes())
        # ~/.swaksrc knows server, port and password, so that none stands in the process list.
        argv = ["swaks", "--to", ",".join(recipients), "--no-data-fixup", "--data", "-"]
        done = self.lab.run(self.seat, argv, stdin=data, user=self.login)
        queued = _QUEUED.search(done.text)
        if done.status != 0 or queued is None:
            said = [line for line in done.text.splitlines() if line.startswith(("<", "***", "=="))]
            raise LabError(
                f"{self.lab.plan.site.hostname(self.server)} did not take the message",
                where=self.address,
                detail="\n".join(said[-4:]) or done.stderr.decode(errors="replace"),
                hint=f"lab logs {self.server}",
            )
        return Sent(message["Message-ID"], queued["id"], self.server, done.text)

    def submit_eight_bit(self, message: EmailMessage, recipients: tuple[str, ...]) -> None:
        """The same, announced as text of 8 bits (BODY=8BITMIME, RFC 6152), which swaks can't.

        Raises LabError if the server does not take it.
        """
        import smtplib

        from lab.seats import call

        server = cast(MailServer, self.lab.plan.topology.nodes[self.server])
        host = self.lab.plan.site.hostname(self.server)
        try:
            with call.SMTP(self.lab, self.seat, host, 587, _PATIENCE_SECONDS) as client:
                client.login(self.address, server.users[self.login].password)
                client.sendmail(
                    self.address, recipients, message.as_bytes(), mail_options=["BODY=8BITMIME"]
                )
        except (OSError, smtplib.SMTPException) as error:
            raise LabError(
                f"{host} did not take the message",
                where=self.address,
                detail=str(error),
                hint=f"lab logs {self.server}",
            ) from error


def _dot_stuffed(message: bytes) -> bytes:
    """`message` as DATA carries it: leading dots doubled, a dot to end it (RFC 5321 §4.5.2).

    Without the last line's CRLF, which swaks adds.
    """
    lines = message.removesuffix(b"\r\n").split(b"\r\n")
    return (
        b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b"."
    )
