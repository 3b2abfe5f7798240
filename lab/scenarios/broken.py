"""Connections that break while a message passes: in the middle of it, or just after its end.

The work of those methods of MessageExpectation, which say what is expected. Who is responsible for
a message changes hands with the reply to the end of its content (RFC 5321 §4.2.5, §6.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.dialogue import Transaction
from lab.observe.maillog import QueueEvent
from lab.scenarios import tries
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import Connection
from lab.services import dovecot

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage

_SIZE = re.compile(r"SIZE=(\d+)")
_LOST = re.compile(r": (?P<id>\w+): lost connection after DATA \((?P<octets>\d+) bytes\) from ")


def cut_off(stage: Stage, message: Message, to: Person) -> None:
    """See MessageExpectation.cut_off."""
    attempt = tries.made(stage, message)[0]
    call, mail = _broken(stage, message)
    size = int(found[1]) if (found := _SIZE.search(mail.mail.argument or "")) else 0
    sent = sum(turn.size for turn in mail.content)
    stage.check(
        "cut off",
        "the connection is reset before all of the content was sent",
        f"RST after {sent:,} of {size:,} octets; {message.server} notes: {attempt.reason}",
        sent < size and "lost connection" in attempt.reason and attempt.status == "deferred",
        [call.syn, call.turn(mail.mail), _reset(call), logged(attempt.line)],
    )

    def dropped() -> tuple[re.Match[str], Evidence] | None:
        for line in stage.look(to.server):
            if line.time > attempt.began - 1 and (found := _LOST.search(line.text)):
                return found, logged(line)
        return None

    lost, noted = stage.until(f"{to.server} has noted the loss", dropped)
    entries, queue = stage.queue(to.server)
    messages, mailbox = stage.mailbox(to.address)
    copies = sum(one.message_id == message.message_id for one in messages)
    stage.check(
        "half a message",
        f"{to.server} throws away what it has of it: it had not said 250 yet",
        f"{int(lost['octets']):,} octets came, {lost['id']} is dropped: {len(entries)} in the "
        f"queue, {copies} in the mailbox",
        int(lost["octets"]) < size
        and all(entry.queue_id != lost["id"] for entry in entries)
        and not copies,
        [noted, queue, mailbox],
    )


def unconfirmed(stage: Stage, message: Message, to: Person) -> None:
    """See MessageExpectation.unconfirmed."""
    attempt = tries.made(stage, message)[0]
    call, mail = _broken(stage, message)
    content = mail.content[-1]
    stage.check(
        "no reply",
        f"{message.server} has sent all of it, and does not hear what became of it",
        f"{content.size:,} octets and the final dot, then RST instead of a reply; {message.server} "
        f"notes: {attempt.reason}",
        content.complete and mail.code is None and "may be sent more than once" in attempt.reason,
        [call.turn(content), _reset(call), logged(attempt.line)],
    )

    def there() -> list[dovecot.StoredMessage] | None:
        found = dovecot.mailbox(stage.lab, to.address)
        return [one for one in found if one.message_id == message.message_id] or None

    stage.until(f"it is in the mailbox of {to}", there)
    known = _known_as(stage, message, to)
    messages, evidence = stage.mailbox(to.address)
    copies = sum(one.message_id == message.message_id for one in messages)
    stage.check(
        "taken all the same",
        f"{to.server} has accepted it and delivered it to {to}",
        f"{', '.join(one.queue_id for one in known)} at {to.server}; {copies} in the mailbox",
        len(known) == copies == 1,
        [*(logged(one.line) for one in known), evidence],
    )


def doubled(stage: Stage, message: Message, to: Person) -> None:
    """See MessageExpectation.doubled."""
    attempt = tries.sent(stage, message)

    def both() -> bool | None:
        found = dovecot.mailbox(stage.lab, to.address)
        return True if sum(one.message_id == message.message_id for one in found) > 1 else None

    stage.until(f"a second copy is in the mailbox of {to}", both)
    messages, evidence = stage.mailbox(to.address)
    copies = [one for one in messages if one.message_id == message.message_id]
    known = _known_as(stage, message, to)
    stage.check(
        "delivered twice",
        f"two copies in the mailbox of {to}: one Message-ID, two queue IDs at {to.server}",
        f"{len(copies)} copies of {message.message_id}, which were "
        f"{' and '.join(one.queue_id for one in known)}; {attempt.relay} said: {attempt.reason}",
        len(copies) == 2 and len({one.queue_id for one in known}) == 2,
        [*(logged(one.line) for one in known), logged(attempt.line), evidence],
    )


def _broken(stage: Stage, message: Message) -> tuple[Connection, Transaction]:
    """The connection that was reset while, or after, a message passed, and the message in it."""

    def found() -> tuple[Connection, Transaction] | None:
        for call in tries.calls(stage, message, after=stage.opened):
            for mail in call.transactions if call.dialogue.stream.reset else ():
                if mail.message_id == message.message_id and mail.code is None:
                    return call, mail
        return None

    return stage.until("the broken connection is in the capture", found)


def _reset(call: Connection) -> Evidence:
    reset = call.dialogue.stream.reset
    assert reset is not None
    return call.at(reset[1].frame, "RST")


def _known_as(stage: Stage, message: Message, to: Person) -> list[QueueEvent]:
    """By which queue IDs `to`'s server has had it, each with the line that says so."""
    return [
        event
        for event in maillog.queue_events(stage.look(to.server), "message-id")
        if event.value == message.message_id
    ]
