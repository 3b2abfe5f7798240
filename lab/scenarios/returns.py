"""A message comes back: refused at once or given up in the end, and its sender is told.

The work of those methods of MessageExpectation, which say what is expected.
"""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

from lab.events import Refs
from lab.observe import maillog
from lab.observe.dialogue import Transaction
from lab.observe.maillog import QueueEvent
from lab.scenarios import tries
from lab.scenarios.evidence import logged
from lab.services import dovecot
from lab.services.dns import exchangers
from lab.units import counted, format_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage


def rejected(stage: Stage, message: Message, code: int) -> None:
    """See MessageExpectation.rejected."""
    [recipient] = message.recipients
    [(_, server), *_] = exchangers(stage.lab.plan.site, recipient.partition("@")[2])

    attempt = tries.made(stage, message)[0]
    call = tries.call_of(stage, message, attempt)

    def refusal() -> Transaction | None:
        for mail in call.transactions:
            if mail.recipients == [recipient] and mail.rcpts[0].reply:
                return mail
        return None

    mail = stage.until(f"the answer to RCPT TO:<{recipient}> is in the capture", refusal)
    asked, reply = mail.rcpts[0], mail.rcpts[0].reply
    assert reply is not None
    status = "bounced" if code >= 500 else "deferred"
    noted = [
        event.line
        for event in maillog.queue_events(stage.look(server), "rejected")
        if f"to=<{recipient}>" in event.value and event.line.time > attempt.began - 1
    ]
    stage.check(
        "rejected",
        f"{server} says {code} to RCPT TO, before any content is sent",
        f"{reply.code} {reply.text}; {attempt.status}",
        reply.code == code and not mail.content and attempt.status == status and bool(noted),
        [call.syn, call.turn(mail.mail), call.turn(asked), call.turn(reply), logged(attempt.line)]
        + [logged(line) for line in noted[:1]],
    )


def returned(stage: Stage, message: Message, to: Person, *, at_once: bool) -> EmailMessage:
    """See MessageExpectation.returned."""
    schedule = stage.lab.plan.topology.schedule

    def given_up() -> tuple[QueueEvent, QueueEvent] | None:
        lines = stage.look(message.server)
        dsn = maillog.queue_events(lines, "dsn", message.queue_id)
        gone = maillog.queue_events(lines, "removed", message.queue_id)
        return (dsn[-1], gone[-1]) if dsn and gone else None

    dsn, gone = stage.until(
        f"{message.queue_id} was given up",
        given_up,
        lab_seconds=0 if at_once else schedule.give_up + 2 * schedule.retry,
    )
    _judge_age(stage, message, gone, at_once=at_once)
    entries, evidence = stage.queue(message.server)
    stage.check(
        "queue empty",
        f"the queue of {message.server} no longer has it",
        f"{len(entries)} in the queue",
        all(entry.queue_id != message.queue_id for entry in entries),
        [evidence],
    )
    return _judge_dsn(stage, message, dsn, to)


def _judge_age(stage: Stage, message: Message, gone: QueueEvent, *, at_once: bool) -> None:
    """It was removed with the first attempt that fails after its time, or with its very first."""
    schedule, scale = stage.lab.plan.topology.schedule, stage.lab.clock.scale
    # By LMTP too: it may be the server with the mailbox that can't deliver it.
    attempts = maillog.attempts(stage.look(message.server), message.queue_id)
    arrived = maillog.queue_events(stage.look(message.server), None, message.queue_id)[0]
    age = (gone.line.time - arrived.line.time) * scale
    early, late = tries.slack(stage)  # Postfix counts whole seconds
    if at_once:
        expected = f"one attempt and no other, not after {format_duration(schedule.retry)} either"
        ok = len(attempts) == 1
    else:
        expected = (
            f"tried until it is {format_duration(schedule.give_up)} old (to "
            f"{format_duration(early * scale)}, which is {early}s of real time), then removed"
        )
        youngest = schedule.give_up - early * scale
        ok = youngest <= age <= schedule.give_up + schedule.retry + late * scale
    stage.check(
        "given up",
        expected,
        f"{counted(len(attempts), 'attempt')}, removed when {format_duration(age)} old",
        ok,
        [logged(arrived.line), logged(attempts[-1].line), logged(gone.line)],
    )


def _judge_dsn(stage: Stage, message: Message, dsn: QueueEvent, to: Person) -> EmailMessage:
    """The report in the sender's mailbox: from nobody, in three parts, about this message."""

    def report() -> tuple[dovecot.StoredMessage, EmailMessage] | None:
        for stored in dovecot.mailbox(stage.lab, to.address):
            raw = dovecot.message(stage.lab, to.address, stored.folder, stored.uid)
            found = email.message_from_bytes(raw, policy=email.policy.default)
            assert isinstance(found, EmailMessage)
            if f"id {dsn.value}" in "".join(found.get_all("Received", [])):
                return stored, found
        return None

    stored, found = stage.until(f"the DSN is in the mailbox of {to}", report)
    _, evidence = stage.mailbox(to.address)
    parts = [part.get_content_type() for part in found.iter_parts()]
    action, status = field(found, "Action"), field(found, "Status")
    stage.check(
        "sender told",
        f"a DSN from the null sender in {to}'s mailbox: three parts, about this message",
        f'"{stored.subject}", Return-Path {found["Return-Path"]}: {", ".join(parts)}; '
        f"Action: {action}, Status: {status}",
        found["Return-Path"] == "<>"
        and action == "failed"
        and parts[:2] == ["text/plain", "message/delivery-status"]
        and len(parts) == 3
        and message.message_id in found.as_string(),
        [logged(dsn.line), evidence],
    )
    stage.log.add(
        "dsn",
        f"what {to.name} finds in the mailbox",
        node=message.server,
        data={
            "parts": [
                {"type": part.get_content_type(), "text": part.as_string()}
                for part in found.iter_parts()
            ]
        },
        refs=Refs(message_id=message.message_id, queue_id=dsn.value),
    )
    return found


def field(report: EmailMessage, name: str) -> str | None:
    """A field of a delivery report about its recipient (RFC 3464 §2.3): `Action`, `Status`, …"""
    for part in report.walk():
        if part.get_content_type() == "message/delivery-status":
            for block in part.get_payload():
                if value := block.get(name):  # type: ignore[union-attr]
                    return str(value)
    return None
