"""What a message looks like (RFC 5322), and what becomes of one that does not look like that.

The messages are sent by hand, octet by octet as the scenario has them, and what Bob then fetches
from his mailbox is compared with that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe.dialogue import Transaction
from lab.observe.packets import Tcp
from lab.scenarios.byhand import calling
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.handshake import put_into_mailbox, queued_as
from lab.scenarios.looking import at, holding, stored_since
from lab.scenarios.wire import Connection
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

_FIELD = re.compile(rb"[!-9;-~]+:")  # a name and a colon (RFC 5322 §2.2)
_BARE = re.compile(rb"(?<!\r)\n")
_END = b"\r\n.\r\n"


@dataclass(frozen=True)
class Letter:
    """A message offered by hand to `to`'s server: its octets, and how that went on the wire."""

    sender: Person
    to: Person
    octets: bytes
    """As after DATA, without the dot that ends it."""
    call: Connection
    mail: Transaction

    @property
    def words(self) -> str:
        """Its first line."""
        return re.split(rb"\r?\n", self.octets, maxsplit=1)[0].decode()


@dataclass(frozen=True)
class Found:
    """A letter as it was fetched from the mailbox, with CRLF as on the wire."""

    octets: bytes
    evidence: tuple[Evidence, ...]

    @property
    def header(self) -> bytes:
        """The lines above the first empty one."""
        return self.octets.partition(b"\r\n\r\n")[0]

    def names(self) -> list[str]:
        """The names of its fields, from the top."""
        return [line[:-1].decode() for line in re.findall(rb"(?m)^[!-9;-~]+:", self.header)]

    def value(self, name: str) -> str | None:
        """What the field `name` says; None without such a field."""
        found = re.search(rb"(?im)^%s: *(.*?)\r?$" % name.encode(), self.header)
        return found[1].decode() if found else None


def written(fields: Mapping[str, str], body: str, line_end: str = "\r\n") -> bytes:
    """Header lines, an empty line, the body; each line ended with `line_end` but the last."""
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return line_end.join([*lines, "", *body.split("\n")]).encode()


def offered(stage: Stage, sender: Person, to: Person, octets: bytes, about: str) -> Letter:
    """`sender` speaks SMTP to `to`'s server by hand, and sends these octets after DATA."""
    with calling(stage, sender, to.server, about) as server:
        server.say(f"HELO {stage.lab.plan.site.hostname(sender.seat)}")
        server.say(f"MAIL FROM:<{sender}>")
        server.say(f"RCPT TO:<{to}>")
        server.say("DATA")
        server.send(octets + _END)
        server.say("QUIT")
    return Letter(sender, to, octets, server.call, server.call.transactions[0])


def visible(octets: bytes) -> str:
    """Octets with their line ends to be seen: `<CRLF>`, and `<LF>` for a line feed alone."""
    shown = octets.replace(b"\r\n", b"<CRLF>")
    return re.sub(rb"\n", b"<LF>", shown).decode("ascii", "backslashreplace")


def _frame(stage: Stage, letter: Letter) -> tuple[Tcp, Evidence]:
    """The first frame of the letter's content, as it was on the wire."""
    network, number = stage.network(letter.sender.seat), letter.mail.content[0].frame
    found = holding(stage, network, letter.words, after=letter.mail.mail.time)
    frame = next((one for one in found if one.frame.number == number), None)
    if frame is None:
        raise LabError(f'"{letter.words}" is not in frame {number}', hint=f"see {stage.folder}")
    return frame, at(network, frame, letter.words)


def found(stage: Stage, letter: Letter) -> Found:
    """The letter as its receiver fetches it (IMAP). It is known by its queue ID."""
    reply = letter.mail.reply
    queue_id = queued_as(reply) if reply else ""
    if not queue_id:
        raise LabError(f"{letter.to.server} has not taken the message", detail=str(reply))
    attempt = put_into_mailbox(stage, letter.to, queue_id)
    stored, mailbox = stage.mailbox(letter.to.address)
    inbox = [one for one in stored if one.folder == "INBOX"]
    began = time.time()
    reading = letter.to.read(len(inbox))
    mark = f"id {queue_id}"
    if mark.encode() not in reading.content:
        raise LabError(f"the newest message of {letter.to} is not {queue_id}", hint="lab mailbox")
    network = stage.network(letter.to.server)
    frames = stage.until(
        "what was fetched is in the capture", lambda: holding(stage, network, mark, began) or None
    )
    place = at(network, frames[0], mark)
    return Found(reading.content, (logged(attempt.line), mailbox, *reading.evidence, place))


# --- Header, empty line, body -----------------------------------------------------------------


def three_parts(stage: Stage, letter: Letter) -> None:
    """On the wire: lines of `name: value`, an empty line, the body; each line ends with CRLF."""
    frame, evidence = _frame(stage, letter)
    header, empty, body = frame.payload.partition(b"\r\n\r\n")
    lines = header.split(b"\r\n")
    stage.check(
        "three parts",
        "header lines, an empty line, the body; CRLF at the end of each; a dot after all",
        visible(frame.payload),
        all(map(_FIELD.match, lines))
        and bool(empty)
        and body.endswith(_END)
        and not _BARE.search(frame.payload),
        [evidence],
    )


def kept(stage: Stage, letter: Letter) -> None:
    """Its receiver gets it octet by octet as it was sent, below lines that servers have added."""
    there = found(stage, letter)
    above = there.octets.removesuffix(letter.octets + b"\r\n")
    added = [line[:-1].decode() for line in re.findall(rb"(?m)^[!-9;-~]+:", above)]
    stage.check(
        "only added to",
        f"{letter.to} gets what was sent, octet by octet; above it, lines of the server's",
        f"{', '.join(added)}; below them "
        + (
            f"the {len(letter.octets)} octets as they were sent"
            if len(above) < len(there.octets)
            else "something else than was sent"
        ),
        len(above) < len(there.octets) and bool(added),
        [_frame(stage, letter)[1], *there.evidence],
    )


# --- What is missing --------------------------------------------------------------------------


def taken_without(stage: Stage, letter: Letter, *missing: str) -> None:
    """A message that lacks these fields is taken all the same, and nobody puts them in."""
    there = found(stage, letter)
    reply = letter.mail.reply
    assert reply is not None
    lacking = [name for name in missing if there.value(name) is None]
    stage.check(
        f"without {' and '.join(missing)}",
        f"{letter.to.server} takes it and delivers it, and adds no {' or '.join(missing)}",
        f"{reply.code} {reply.text}; in the mailbox: {', '.join(there.names())}",
        reply.code == 250 and lacking == list(missing),
        [_frame(stage, letter)[1], letter.call.turn(reply), *there.evidence],
    )


def completed(stage: Stage, letter: Letter, *wanted: str) -> None:
    """A message that lacks these fields gets them from the server that takes it."""
    there = found(stage, letter)
    put_in = {name: value for name in wanted if (value := there.value(name)) is not None}
    sent = letter.octets.decode()
    stage.check(
        "completed",
        f"now {letter.to.server} puts in {', '.join(wanted)}; the sender it takes from MAIL FROM",
        "; ".join(f"{name}: {value}" for name, value in put_in.items()) or "nothing put in",
        list(put_in) == list(wanted)
        and not any(f"{name}:" in sent for name in wanted)
        and letter.mail.mail_from in put_in["From"],
        [_frame(stage, letter)[1], *there.evidence],
    )


# --- The envelope is not the header -----------------------------------------------------------


def envelope_decides(stage: Stage, letter: Letter, *, not_to: Person) -> None:
    """It goes to whom RCPT TO names, whomever `To:` names; `From:` may say what it likes.

    Who was named by MAIL FROM stands in Return-Path (RFC 5321 §4.4).
    """
    there = found(stage, letter)
    others, mailbox = stage.mailbox(not_to.address)
    copies = stored_since(others, letter.mail.mail.time)
    to, sender, path = (there.value(name) or "" for name in ("To", "From", "Return-Path"))
    stage.check(
        "who gets it",
        f"RCPT TO decides: it is in the mailbox of {letter.to}, and not of {not_to}",
        f"RCPT {letter.mail.rcpts[0].argument}, To: {to}; there for {letter.to}; "
        f"{counted(len(copies), 'new message')} for {not_to}",
        letter.mail.recipients == [letter.to.address]
        and not_to.address in to
        and letter.to.address not in to
        and not copies,
        [letter.call.turn(letter.mail.rcpts[0]), *there.evidence, mailbox],
    )
    stage.check(
        "whose it is said to be",
        "nobody compares From with MAIL FROM: Bob reads the one, and Return-Path keeps the other",
        f"From: {sender}; Return-Path: {path}; MAIL {letter.mail.mail.argument}",
        path == f"<{letter.sender}>" and letter.sender.address not in sender,
        [letter.call.turn(letter.mail.mail), _frame(stage, letter)[1], *there.evidence],
    )
