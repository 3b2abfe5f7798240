"""Who tells the sender that a message could not be delivered: whoever has accepted it.

The work of MessageExpectation.told_by. A server that refuses a message has told the other server,
which then has to write to the sender; one that has said 250 must write itself (RFC 5321 §6.1).
"""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.dialogue import Transaction
from lab.observe.maillog import QueueEvent
from lab.scenarios.evidence import logged
from lab.scenarios.returns import field
from lab.scenarios.wire import Connection
from lab.services import dovecot

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person, Reading
    from lab.scenarios.stage import Stage


def told_by(stage: Stage, message: Message, server: str, to: Person) -> None:
    """See MessageExpectation.told_by."""
    noted = maillog.queue_events(stage.look(message.server), "dsn", message.queue_id)
    if not noted:
        stage.check(
            "who has to tell",
            f"{server} writes the report about {message.queue_id}",
            f"{message.server} has written none",
            False,
            [],
        )
        return
    reading, report = _read(stage, noted[-1], to)
    author = field(report, "Reporting-MTA") or "nobody"
    came = _handed_in(stage, to, noted[-1])
    name = stage.lab.plan.site.hostname(server)
    if server == to.server:
        way = f"it has no way to go: no server calls {to.server} with it"
        as_expected = not came
    else:
        way = f"it goes the other way, from {server} to port 25 of {to.server}"
        callers = [call.dialogue.client.address for call, _ in came]
        as_expected = callers == [stage.address(server)]
    stage.check(
        "who has to tell",
        f"{server} writes the report; {way}",
        f"{message.queue_id} at {message.server} becomes the report {noted[-1].value}, From: "
        f"{report['From']}, Reporting-MTA: {author}; {_words(came)}",
        message.server == server
        and as_expected
        and re.fullmatch(rf"dns; *{re.escape(name)}", author) is not None,
        [
            logged(noted[-1].line),
            *(place for call, mail in came for place in (call.syn, *call.steps(mail))),
            *reading.evidence,
        ],
    )


def _read(stage: Stage, dsn: QueueEvent, to: Person) -> tuple[Reading, EmailMessage]:
    """`to` fetches the report `dsn`: how, and what it says."""

    def there() -> int | None:
        for position, stored in enumerate(dovecot.mailbox(stage.lab, to.address), 1):
            raw = dovecot.message(stage.lab, to.address, stored.folder, stored.uid)
            if f"id {dsn.value}\r\n".encode() in raw.replace(b";", b"\r\n"):
                return position
        return None

    reading = to.read(stage.until(f"the DSN is in the mailbox of {to}", there))
    report = email.message_from_bytes(reading.content, policy=email.policy.default)
    assert isinstance(report, EmailMessage)
    return reading, report


def _handed_in(stage: Stage, to: Person, dsn: QueueEvent) -> list[tuple[Connection, Transaction]]:
    """By which connections, from another server, a report came to `to`'s."""
    nodes = [node for node in stage.lab.plan.site.of_kind("mail-server") if node != to.server]
    return [
        (call, mail)
        for node in nodes
        for call in stage.wire.connections(
            stage.network(to.server),
            client=stage.address(node),
            server=stage.address(to.server),
            after=dsn.line.time - 1,
        )
        for mail in call.transactions
        if mail.mail_from == "" and mail.recipients == [to.address]
    ]


def _words(came: list[tuple[Connection, Transaction]]) -> str:
    """How a report came, for people."""
    if not came:
        return "no server has called with it"
    return "; ".join(
        f"{call.dialogue.client} → {call.dialogue.server}: MAIL FROM:<{mail.mail_from}>, "
        f"{mail.code}"
        for call, mail in came
    )
