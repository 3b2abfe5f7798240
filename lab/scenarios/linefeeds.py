"""A line feed without its carriage return, which in SMTP ends no line (RFC 5321 §2.3.8, §4.1.1.4).

If two servers do not agree on that, one message of the first can be two for the second: "SMTP
smuggling". See smtpd_forbid_bare_newline in postconf(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.maillog import LogLine
from lab.scenarios import form
from lab.scenarios.evidence import logged
from lab.scenarios.form import Letter
from lab.scenarios.looking import asked, at, holding, stored_since
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

PARAMETER = "smtpd_forbid_bare_newline"


def setting(stage: Stage, server: str) -> str:
    """How `server` is set for bare line feeds, and how Postfix is by default."""
    now, _ = asked(stage, server, ["postconf", "-h", PARAMETER])
    default, _ = asked(stage, server, ["postconf", "-d", "-h", PARAMETER])
    return f"{now} (default: {default})"


def mended(stage: Stage, letter: Letter, trap: str) -> None:
    """Bare line feeds are taken as if they were CRLF, but a dot between two of them ends nothing.

    `trap` is the line behind such a dot, a command that must not be obeyed.
    """
    reply, log = letter.mail.reply, _disconnect(stage, letter)
    assert reply is not None
    there = form.found(stage, letter)
    network = stage.network(letter.sender.seat)
    [frame, *_] = holding(stage, network, trap, after=letter.mail.mail.time)
    bare = frame.payload.count(b"\n") - frame.payload.count(b"\r\n")
    left = there.octets.count(b"\n") - there.octets.count(b"\r\n")
    stage.check(
        "bare LF",
        f"{letter.to.server} takes it, and makes CRLF of each bare LF",
        f"{bare} bare LF on the wire: {form.visible(frame.payload)}; {reply.code}; {left} in what "
        f"{letter.to} gets",
        bare > 0 and not left and reply.code == 250,
        [at(network, frame, trap), letter.call.turn(reply), *there.evidence],
    )
    body = there.octets.partition(b"\r\n\r\n")[2]
    stage.check(
        "no end",
        "a dot between bare LFs does not end a message: what comes after it is text, not commands",
        f"{counted(len(letter.call.transactions), 'message')} in the call, where the server notes "
        f"{log.text.rpartition('] ')[2]}; below the header Bob reads {form.visible(body)}",
        len(letter.call.transactions) == 1
        and " mail=1 " in log.text
        and f"\r\n{trap}\r\n".encode() in body,
        [at(network, frame, trap), logged(log), *there.evidence],
    )


def refused(stage: Stage, letter: Letter, code: int = 550) -> None:
    """The same message is refused at its end, and nothing of it is delivered."""
    reply = letter.mail.reply
    assert reply is not None
    noted = [
        event.line
        for event in maillog.queue_events(stage.look(letter.to.server), "rejected")
        if "bare <LF>" in event.value and event.line.time > letter.mail.mail.time
    ]
    messages, mailbox = stage.mailbox(letter.to.address)
    copies = stored_since(messages, letter.mail.mail.time)
    stage.check(
        "bare LF refused",
        f"{letter.to.server}, set to be strict, says {code} to it",
        f"{reply.code} {reply.text}; {counted(len(copies), 'new message')} in the mailbox",
        reply.code == code and bool(noted) and not copies,
        [letter.call.turn(reply), *map(logged, noted), mailbox],
    )


def _disconnect(stage: Stage, letter: Letter) -> LogLine:
    """What the server has counted in the call: how many of each command."""

    def counts() -> LogLine | None:
        return next(
            (
                line
                for line in stage.look(letter.to.server)
                if line.time > letter.mail.mail.time and ": disconnect from " in line.text
            ),
            None,
        )

    return stage.until(f"{letter.to.server} has noted the end of the call", counts)
