"""The way a message takes: past a server that is down to the next best, past older messages.

The work of those methods of MessageExpectation, which say what is expected.
"""

from __future__ import annotations

import email
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe import maillog
from lab.observe.maillog import Attempt, QueueEvent
from lab.scenarios import tries
from lab.scenarios.evidence import logged
from lab.scenarios.wire import Connection, carrying
from lab.services.dns import exchangers
from lab.units import counted, format_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Reading
    from lab.scenarios.stage import Stage

_BY = re.compile(r"\bby (\S+)")


def taken_by(stage: Stage, message: Message, backup: str, instead_of: str) -> Message:
    """See MessageExpectation.taken_by."""
    _judge_exchangers(stage, message)
    attempt = tries.sent(stage, message)
    _judge_calls(stage, message, attempt, backup, instead_of)
    return handed_over(stage, message, backup)


def handed_over(stage: Stage, message: Message, server: str) -> Message:
    """See MessageExpectation.handed_over."""
    attempt = tries.sent(stage, message)
    there = replace(message, server=server, queue_id=_name_there(attempt))
    taken, removed = _noted(stage, there, "queued"), _noted(stage, message, "removed")
    entries, evidence = stage.queue(message.server)
    left = [entry for entry in entries if entry.queue_id == message.queue_id]
    stage.check(
        "handed over",
        f"it is {server}'s to deliver now, and {message.server} no longer has it",
        f"{message.queue_id} at {message.server} has become {there.queue_id} at {server}; "
        f"{len(left)} left behind",
        not left,
        [logged(taken.line), logged(removed.line), evidence],
    )
    return there


def _judge_exchangers(stage: Stage, message: Message) -> None:
    """The DNS has told the sender's server of every server, and which is preferred."""
    domain = message.recipients[0].partition("@")[2]
    network, site = stage.network(message.server), stage.lab.plan.site
    records, answer = stage.until(
        "the answer to the MX question is in the capture",
        lambda: stage.wire.answer(network, domain, "MX", after=stage.opened),
    )
    known = [f"{number} {site.hostname(node)}" for number, node in exchangers(site, domain)]
    stage.check(
        "MX answer",
        f"the DNS names {counted(len(known), 'server')} for {domain}, the preferred with the "
        f"lowest number: {', '.join(known)}",
        ", ".join(records),
        sorted(records) == sorted(known),
        [answer],
    )


def _judge_calls(
    stage: Stage, message: Message, attempt: Attempt, backup: str, instead_of: str
) -> None:
    """In one attempt: calls to `instead_of` that nobody answers, then one to `backup`."""

    def calls(node: str) -> list[Connection]:
        return stage.wire.connections(
            stage.network(message.server),
            client=stage.address(message.server),
            server=stage.address(node),
            after=attempt.began - 1,
        )

    connection, found = stage.until(
        f"the message to {backup} is in the capture",
        lambda: carrying(calls(backup), message.message_id),
    )
    opened = connection.dialogue.opened.time
    before = [call for call in calls(instead_of) if call.dialogue.opened.time < opened]
    vain = [call for call in before if call.dialogue.stream.accepted is None]
    reply = found.reply.text if found.reply else ""
    stage.check(
        "next server",
        f"{message.server} calls {instead_of} first, which does not answer, and in the same "
        f"attempt {backup}, which takes the message",
        f"{counted(len(vain), 'call')} in vain, then {connection.dialogue.server}: {found.code} "
        f"{reply}",
        bool(vain)
        and vain == before
        and found.code == 250
        and f"[{stage.address(backup)}]" in attempt.relay,
        [one.syn for one in [*before, connection]]
        + [*connection.steps(found), logged(attempt.line)],
    )


def passed_through(
    stage: Stage, message: Message, servers: Sequence[str], reading: Reading
) -> None:
    """See MessageExpectation.passed_through."""
    received = email.message_from_bytes(reading.content).get_all("Received", [])
    # Each server writes above those before it; the last once more as it fills the mailbox.
    by = [found[1] for line in reversed(received) if (found := _BY.search(line))]
    names = [stage.lab.plan.site.hostname(server) for server in servers]
    noted = [
        logged(event.line)
        for server in servers
        for event in maillog.queue_events(stage.look(server), "message-id")
        if event.value == message.message_id
    ]
    stage.check(
        "Received lines",
        f"{len(servers)} servers have written on it, in this order: {', '.join(names)}",
        ", ".join(dict.fromkeys(by)),
        list(dict.fromkeys(by)) == names and len(noted) == len(servers),
        [*reading.evidence, *noted],
    )


def overtook(stage: Stage, message: Message, older: Sequence[Message]) -> None:
    """See MessageExpectation.overtook."""
    attempt = tries.sent(stage, message)
    count = len(tries.made(stage, message))
    came = [_noted(stage, one, "client").line for one in (*older, message)]
    entries, evidence = stage.queue(message.server)
    still = {entry.queue_id for entry in entries} & {one.queue_id for one in older}
    took = (attempt.line.time - came[-1].time) * stage.lab.clock.scale
    stage.check(
        "not held up",
        f"its first attempt delivers it, past {counted(len(older), 'older message')} in the same "
        "queue, which go on waiting",
        f"attempt {count} delivered it, {format_duration(took)} after it came; {len(still)} "
        f"of {counted(len(older), 'older message')} still there",
        count == 1
        and len(still) == len(older)
        and came == sorted(came, key=lambda line: line.time),
        [*map(logged, came), logged(attempt.line), evidence],
    )


def _name_there(attempt: Attempt) -> str:
    """The queue ID by which the server that took a message says that it has it."""
    found = maillog.QUEUED_AS.search(attempt.reason)
    if found is None:
        raise LabError(f"{attempt.relay} did not say as what it has queued {attempt.queue_id}")
    return found[1]


def _noted(stage: Stage, message: Message, what: str) -> QueueEvent:
    """The log line in which its server says `what` of a message (see maillog)."""

    def noted() -> QueueEvent | None:
        lines = stage.look(message.server)
        return next(iter(maillog.queue_events(lines, what, message.queue_id)), None)

    return stage.until(f"{message.server} has noted {what}: {message.queue_id}", noted)
