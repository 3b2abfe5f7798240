"""SMTP's own dialogue: each command with its reply, both addresses, and whose the message is when.

What EHLO tells a client that HELO does not (RFC 5321 §4.1.1.1), and what the client makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.maillog import Attempt
from lab.observe.turns import Turn
from lab.scenarios import tries
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import Connection, carrying
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage
    from lab.services.dovecot import StoredMessage

# What the client says, and the code that the server answers with if all is well.
DIALOGUE = (
    ("HELO", 250),
    ("MAIL", 250),
    ("RCPT", 250),
    ("DATA", 354),
    ("the text and a dot", 250),
    ("QUIT", 221),
)
_LOST = re.compile(r": (?P<id>\w+): lost connection after DATA \(\d+ bytes\) from ")


def said(call: Connection) -> list[Turn]:
    """What the client said, in order; each has its reply."""
    with call.lock:
        return [turn for turn in call.dialogue.turns if turn.side == "client"]


def each_answered(stage: Stage, call: Connection) -> None:
    """HELO, MAIL FROM, RCPT TO, DATA, the text, QUIT: each gets its reply before the next is said.

    The server has the first word.
    """
    with call.lock:
        turns = list(call.dialogue.turns)
    found = [
        (one.command or "the text and a dot", one.reply.code if one.reply else None)
        for one in said(call)
    ]
    greeting = turns[0]
    stage.check(
        "word by word",
        "220, unasked; then " + _in_words(DIALOGUE),
        f"{greeting.code}; then {_in_words(found)}",
        (greeting.kind, greeting.code) == ("greeting", 220)
        and found == list(DIALOGUE)
        and [turn.side for turn in turns] == ["server", *["client", "server"] * len(DIALOGUE)],
        [call.turn(turn) for turn in turns],
    )


def _in_words(dialogue: Sequence[tuple[str, int | None]]) -> str:
    return ", ".join(f"{what}: {code}" for what, code in dialogue)


def names_both(stage: Stage, call: Connection, sender: Person, receiver: Person) -> None:
    """Before anything of the message is sent, both addresses are named."""
    mail = call.transactions[0]
    stage.check(
        "both addresses",
        f"MAIL FROM names {sender}, RCPT TO names {receiver}, and both come before the text",
        f"MAIL {mail.mail.argument}; RCPT {', '.join(turn.argument or '' for turn in mail.rcpts)}",
        mail.mail_from == sender.address
        and mail.recipients == [receiver.address]
        and max(mail.mail.last_frame, mail.rcpts[0].last_frame) < mail.content[0].frame,
        [call.turn(turn) for turn in (mail.mail, *mail.rcpts)],
    )


def changes_hands(
    stage: Stage, call: Connection, to: Person, before: list[StoredMessage]
) -> Attempt:
    """The 250 after the final dot says as what `to`'s server has it now, and that delivers it.

    `before` is the mailbox as it was. Gives the delivery into the mailbox.
    """
    mail = call.transactions[0]
    content, reply = mail.content[-1], mail.reply
    assert reply is not None
    queue_id = queued_as(reply)
    taken = stage.until(
        f"{queue_id} is in the log of {to.server}",
        lambda: next(iter(maillog.queue_events(stage.look(to.server), "queued", queue_id)), None),
    )
    stage.check(
        "whose it is",
        f"the reply to the final dot is 250: from that frame on {to.server} has to deliver it, or "
        "to say that it could not",
        f"the dot in frame {content.last_frame}, in frame {reply.frame} {reply.code} {reply.text}; "
        f"{to.server} notes: {taken.queue_id} from {taken.value}, queue active",
        reply.code == 250 and content.complete and content.last_frame < reply.frame,
        [call.at(content.last_frame, "."), call.turn(reply), logged(taken.line)],
    )
    attempt = put_into_mailbox(stage, to, queue_id)
    messages, evidence = stage.mailbox(to.address)
    stage.check(
        "delivered",
        f"one message more in the mailbox of {to}",
        f"{len(before)} before, {len(messages)} now; {attempt.reason}",
        len(messages) == len(before) + 1 and attempt.status == "sent",
        [logged(attempt.line), evidence],
    )
    return attempt


def queued_as(reply: Turn) -> str:
    """The queue ID that the reply to a message names; empty if it names none."""
    found = maillog.QUEUED_AS.search(reply.text)
    return found[1] if found else ""


def put_into_mailbox(stage: Stage, to: Person, queue_id: str) -> Attempt:
    """The delivery of `queue_id` into the mailbox of `to`, waited for."""

    def there() -> Attempt | None:
        found = maillog.attempts(stage.look(to.server), queue_id)
        return next((one for one in found if one.program in maillog.LOCAL), None)

    return stage.until(f"{queue_id} is in the mailbox of {to}", there)


def nothing_owed(stage: Stage, call: Connection, to: Person, before: list[StoredMessage]) -> None:
    """Whose text ends without the dot gets no 250, and `to`'s server keeps nothing of it."""
    mail = call.transactions[0]

    def lost() -> tuple[str, Evidence] | None:
        for line in stage.look(to.server):
            if line.time > mail.mail.time and (found := _LOST.search(line.text)):
                return found["id"], logged(line)
        return None

    queue_id, noted = stage.until(f"{to.server} has noted the loss", lost)
    entries, queue = stage.queue(to.server)
    kept = [entry for entry in entries if entry.queue_id == queue_id]
    messages, mailbox = stage.mailbox(to.address)
    stage.check(
        "no dot, no duty",
        f"without the dot there is no 250, and {to.server} drops what it has heard",
        f"{sum(turn.size for turn in mail.content)} octets of text, no dot, "
        f"{'no reply' if mail.code is None else mail.code}; {queue_id} is dropped: {len(kept)} in "
        f"the queue, {len(messages) - len(before)} more in the mailbox",
        bool(mail.content)
        and not mail.content[-1].complete
        and mail.code is None
        and not kept
        and len(messages) == len(before),
        [*map(call.turn, (mail.mail, *mail.content)), noted, queue, mailbox],
    )


def extended(stage: Stage, by_hand: Connection, message: Message) -> list[str]:
    """What the server lists after EHLO, to `message`'s server, and did not after HELO, `by_hand`.

    Gives the keywords.
    """
    relay, _ = relayed(stage, message)
    helo, ehlo = said(by_hand)[0], said(relay)[0]
    assert helo.reply is not None and ehlo.reply is not None
    listed = ehlo.reply.text.splitlines()[1:]
    keywords = [line.split()[0] for line in listed]
    to_helo = len(helo.reply.text.splitlines())
    stage.check(
        "HELO and EHLO",
        "one line in reply to HELO; to EHLO the same, and then a line for each extension",
        f"{counted(to_helo, 'line')} to {helo.command}; {1 + len(listed)} to {ehlo.command}: "
        + ", ".join(listed),
        (helo.command, ehlo.command) == ("HELO", "EHLO") and to_helo == 1 and bool(listed),
        [by_hand.turn(helo), by_hand.turn(helo.reply), relay.turn(ehlo), relay.turn(ehlo.reply)]
        + [relay.at(ehlo.reply.last_frame, line) for line in listed],
    )
    return keywords


def makes_use(stage: Stage, message: Message, keywords: list[str]) -> None:
    """The sender's server, knowing them, says more at a time, and how big the message is."""
    relay, frames = relayed(stage, message)
    mail = relay.transactions[0]
    together = len(frames) < len(mail.rcpts) + 2
    size = "SIZE=" in (mail.mail.argument or "")
    stage.check(
        "made use of",
        "where PIPELINING and SIZE are offered: MAIL, RCPT and DATA without waiting for replies, "
        "and the size ahead of the message",
        f"MAIL {mail.mail.argument}; MAIL, RCPT and DATA in {counted(len(frames), 'frame')}",
        together and size and {"PIPELINING", "SIZE"} <= set(keywords),
        [relay.turn(turn) for turn in (mail.mail, *mail.rcpts, *mail.data)],
    )


def relayed(stage: Stage, message: Message) -> tuple[Connection, set[int]]:
    """The call that passed `message` on; and the frames that held MAIL, RCPT and DATA."""
    relay, mail = stage.until(
        "the relaying is in the capture",
        lambda: carrying(tries.calls(stage, message), message.message_id),
    )
    return relay, {turn.last_frame for turn in (mail.mail, *mail.rcpts, *mail.data)}
