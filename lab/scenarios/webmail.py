"""Mail from browser to browser: what is to be seen on each of the three legs, and that there is no
fourth.

Letters are written and read with `lab.scenarios.browser`. From server to server they go as all mail
does: `stage.expect(letter.message)` has what else is said of that.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from lab.errors import LabError
from lab.events import Refs
from lab.observe import maillog
from lab.scenarios import tries
from lab.scenarios.browser import Browser
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.people import Message, Person
from lab.scenarios.webwire import HTTP, MAIL, body_with, http, line_in, mail_calls, requests
from lab.scenarios.wire import carrying
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

_LOGIN = "imap-login: Info: Logged in:"
_PICTURE = "picture.png"
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Letter:
    """A message that `by` wrote in a browser: its text, its picture, and what mail makes of it."""

    stage: Stage
    by: Person
    to: Person
    text: str
    picture: bytes
    began: float
    message: Message
    noted: Evidence
    """The line in which the server notes that its own web mail has submitted it."""

    def posted(self) -> None:
        """It went from PC to server by HTTP: the text in a form, the picture octet by octet."""
        calls = http(self.stage, self.by, self.began)
        text = line_in(self.stage, calls, map(quote_plus, self.text.splitlines()))
        picture = body_with(calls, self.picture, "client")
        self.stage.check(
            "browser to server",
            f"{self.by.seat} calls {self.by.server}, port {HTTP}, and sends the letter by POST: "
            "the text in a form, the picture octet by octet",
            f"{counted(len(calls), 'connection')} to port {HTTP}; the text is "
            f"{'' if text else 'not '}in one, the picture of {len(self.picture):,} octets is "
            f"{'' if picture else 'not '}in one as it is",
            bool(text and picture),
            [calls[0].syn, *requests(calls, "POST"), *filter(None, (text, picture))],
        )

    def submitted_at_home(self) -> None:
        """The web mail, a mail program on the server itself, submitted it there: on no wire."""
        message = self.message
        called = mail_calls(self.stage, self.by)
        self.stage.check(
            "into the queue",
            f"the web mail hands it to {message.server} by SMTP inside that machine, logged in as "
            f"{self.by}; {self.by.seat} speaks no SMTP",
            f"{message.queue_id} from localhost, logged in as {self.by}; "
            f"{counted(len(called), 'call')} of {self.by.seat} to a port of mail",
            not called,
            [self.noted, *called],
        )

    def encoded(self) -> None:
        """From server to server it is mail: seven bits to the octet, text and picture encoded."""
        stage, message = self.stage, self.message
        call, mail = stage.until(
            "the relaying is in the capture",
            lambda: carrying(tries.calls(stage, message), message.message_id),
        )
        octets = b"".join(turn.data for turn in mail.content)
        whole = message_from_bytes(octets, policy=policy.default)
        parts = [part for part in whole.walk() if not part.is_multipart()]
        encodings = [str(part["Content-Transfer-Encoding"]) for part in parts]
        text, picture = (part.get_content() for part in parts)
        same = text.strip().splitlines() == self.text.splitlines() and picture == self.picture
        high = sum(octet > 127 for octet in octets)
        heads = [
            line_in(stage, [call], [f"Content-Transfer-Encoding: {encoding}"])
            for encoding in encodings
        ]
        stage.check(
            "in seven bits",
            "between the servers (SMTP, port 25) text and picture are encoded: no octet above 127; "
            "decoded they are what was written",
            f"{len(octets):,} octets, {high} above 127; {', '.join(encodings)}; decoded "
            f"{'' if same else 'not '}the same",
            same and not high,
            [*call.steps(mail), *filter(None, heads)],
        )

    def shown(self) -> None:
        """`to` opens it in a browser: list, page and picture come by HTTP, when asked for."""
        stage, began = self.stage, time.time()
        with stage.audience.acting():
            browser = Browser(stage, self.to)
            browser.log_in()
            listed = browser.inbox()
            uid = next((row.uid for row in listed if row.subject == self.message.subject), None)
            if uid is None:
                raise LabError(f'the web mail of {self.to} does not list "{self.message.subject}"')
            opened = browser.open(uid)
            browser.log_out()
            calls = http(stage, self.to, began)
            asked = requests(calls, "GET", "_action=list", "_action=show", "_action=get")
            self._read(began, len(opened.page.encode()) + len(opened.picture), asked)
        text = line_in(stage, calls, self.text.splitlines())
        picture = body_with(calls, self.picture, "server")
        there = all(line in opened.page for line in self.text.splitlines())
        same = opened.picture == self.picture
        stage.check(
            "server to browser",
            f"{self.to.seat} calls {self.to.server}, port {HTTP}, and is answered with the list, "
            "the letter and its picture, all of them as they are",
            f"{counted(len(listed), 'message')} listed; the text is {'' if there else 'not '}on "
            f"the page, the picture of {len(opened.picture):,} octets is {'' if same else 'not '}"
            "the same",
            there and same and bool(text and picture),
            [calls[0].syn, *asked, *filter(None, (text, picture))],
        )

    def _read(self, began: float, octets: int, asked: list[Evidence]) -> None:
        self.stage.log.add(
            "action",
            f'{self.to.name} logs in to web mail, and opens "{self.message.subject}"',
            node=self.to.seat,
            when=began,
            data={
                "evidence": [one.as_json() for one in asked],
                "by": self.to.address,
                "protocol": "http",
                "bytes": octets,
            },
            refs=Refs(message_id=self.message.message_id),
        )

    def fetched_at_home(self) -> None:
        """The web mail, a mail program on the server itself, fetched it there: on no wire."""
        stage, to = self.stage, self.to
        logins = [
            logged(line)
            for line in stage.look(to.server)
            if line.time > self.began and _LOGIN in line.text and f"user=<{to}>" in line.text
        ]
        here = [one for one in logins if "rip=127.0.0.1," in (one.says or "")]
        stage.check(
            "out of the mailbox",
            f"the web mail reads the mailbox by IMAP inside {to.server}, logged in as {to}, and "
            "nobody else does",
            f"{counted(len(here), 'login')} of {to} from that machine itself, "
            f"{len(logins) - len(here)} from elsewhere",
            here == logins,
            here,
        )

    def nothing_else(self) -> None:
        """Neither PC has spoken a mail protocol, and nobody has called either of them."""
        stage, both = self.stage, (self.by, self.to)
        mail = [call for one in both for call in mail_calls(stage, one)]
        pages = [call.syn for one in both for call in http(stage, one, self.began)]
        called = [
            call
            for one in both
            for call in stage.wire.calls_to(
                stage.network(one.seat), stage.address(one.seat), stage.opened
            )
        ]
        stage.check(
            "HTTP and nothing else",
            f"the PCs call their servers at port {HTTP}, never at a port of mail, and nobody calls "
            "them",
            f"{counted(len(pages), 'connection')} to port {HTTP}, {len(mail)} to the ports of "
            f"{', '.join(MAIL.values())}; {len(called)} to the PCs",
            not mail and not called,
            [*mail, *called, *pages],
        )


def write(stage: Stage, by: Person, *, to: Person, subject: str, text: str, octets: int) -> Letter:
    """`by` writes `text` to `to` in a browser, with a picture of `octets` and a few more."""
    picture = drawing(octets)
    with stage.audience.acting():
        began = time.time()
        browser = Browser(stage, by)
        browser.log_in()
        browser.write(to.address, subject, text, picture, _PICTURE)
        browser.log_out()
        message, noted = stage.until(
            "the server notes what its web mail submitted",
            lambda: _submitted(stage, by, to, subject, began),
        )
        calls = http(stage, by, began)
        evidence = [calls[0].syn, *requests(calls, "POST"), noted]
        stage.log.add(
            "action",
            f'{by.name} writes "{subject}" to {to} in a browser; {by.server} queues it as '
            f"{message.queue_id}",
            node=by.seat,
            when=began,
            data={
                "evidence": [one.as_json() for one in evidence],
                "by": by.address,
                "to": [to.address],
                "subject": subject,
                "protocol": "http",
            },
            refs=Refs(message_id=message.message_id, queue_id=message.queue_id),
        )
    return Letter(stage, by, to, text, picture, began, message, noted)


def drawing(octets: int) -> bytes:
    """A PNG (RFC 2083) of `octets` and a few more: random greys, which do not get smaller."""
    side = max(1, round(octets**0.5))
    rows = b"".join(b"\0" + os.urandom(side) for _ in range(side))
    chunks = (
        (b"IHDR", struct.pack("!2I5B", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return _PNG + b"".join(
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _submitted(
    stage: Stage, by: Person, to: Person, subject: str, since: float
) -> tuple[Message, Evidence] | None:
    """The message that the web mail of `by`'s server has submitted for them, from the log."""
    lines = [line for line in stage.look(by.server) if line.time > since]
    ids = {one.queue_id: one.value for one in maillog.queue_events(lines, "message-id")}
    for event in maillog.queue_events(lines, "client"):
        ours = event.value.startswith("localhost[") and f"sasl_username={by}" in event.line.text
        if ours and event.queue_id in ids:
            there = (ids[event.queue_id], event.queue_id, by.server)
            return Message(subject, by.address, (to.address,), *there), logged(event.line)
    return None
