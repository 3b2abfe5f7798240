"""What can be expected of a message. Each expectation waits until it can be judged, then judges.

The times between attempts are measured, not read off a schedule: Postfix logs when an attempt
ended and how long it took.
"""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from itertools import pairwise
from typing import TYPE_CHECKING

from lab.events import Refs
from lab.observe import maillog
from lab.observe.maillog import Attempt
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import Connection, carrying
from lab.services import dovecot
from lab.services.mail_server import real_schedule
from lab.units import format_duration, parse_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage


class MessageExpectation:
    """See Stage.expect."""

    def __init__(self, stage: Stage, message: Message) -> None:
        self._stage = stage
        self._message = message

    def _attempts(self) -> list[Attempt]:
        return self._stage.attempts(self._message.server, self._message.queue_id)

    def deferred(self, *, times: int) -> list[Attempt]:
        """At least `times` attempts fail, as far apart as the schedule says; it stays queued."""
        stage, message = self._stage, self._message
        schedule = stage.lab.plan.topology.schedule

        def enough() -> list[Attempt] | None:
            found = self._attempts()
            return found if len(found) >= times else None

        found = stage.until(
            f"{message.queue_id} was tried {times} times",
            enough,
            lab_seconds=(times + 1) * schedule.retry,
        )[:times]
        causes = list(dict.fromkeys(attempt.reason for attempt in found))
        stage.check(
            "deferred",
            f"{times} attempts, all in vain, each with its cause",
            f"{len(found)} attempts, {found[-1].status}: {'; '.join(causes)}",
            all(attempt.status == "deferred" and attempt.reason for attempt in found),
            [logged(attempt.line) for attempt in found],
        )
        self._judge_intervals(found)
        entries, evidence = stage.queue(message.server)
        waiting = [entry for entry in entries if entry.queue_id == message.queue_id]
        stage.check(
            "waiting",
            f"the message waits in the queue of {message.server}",
            "; ".join(f"{entry.queue_id} {entry.state}" for entry in waiting) or "not there",
            len(waiting) == 1,
            [evidence],
        )
        return found

    def _judge_intervals(self, attempts: list[Attempt]) -> None:
        """From one attempt to the next is the schedule's time, to what Postfix can do.

        The next try is due `retry` after the end of the one before, which took a connection
        timeout; Postfix notes times in whole seconds, and looks every queue_run seconds.
        """
        lab = self._stage.lab
        retry = lab.plan.topology.schedule.retry
        early, late = self._slack()
        intervals = [
            (later.began - earlier.began) * lab.clock.scale for earlier, later in pairwise(attempts)
        ]
        if not intervals:
            return
        self._stage.check(
            "retry",
            f"an attempt every {format_duration(retry)}; Postfix counting whole seconds, at this "
            f"time scale up to {format_duration(early * lab.clock.scale)} sooner or "
            f"{format_duration(late * lab.clock.scale)} later",
            ", ".join(format_duration(round(interval)) for interval in intervals),
            all(-early <= lab.clock.real(interval - retry) <= late for interval in intervals),
            [logged(attempt.line) for attempt in attempts],
        )

    def _slack(self) -> tuple[int, int]:
        """By how many real seconds Postfix may be early, and late, at this time scale."""
        plan = self._stage.lab.plan
        real = real_schedule(plan.topology.schedule, plan.site.time_scale)
        return 1, real.connect_timeout + real.queue_run + 1

    def called_in_vain(self, attempts: list[Attempt]) -> None:
        """Each failed attempt was a call that nobody answered, seen on the sender's wire.

        Answered means: before the caller gave up. A router may hold a SYN for a machine that is
        off, and deliver it when that has come back.
        """
        stage, message = self._stage, self._message
        calls = self._calls(after=attempts[0].began - 1)
        vain: list[Connection] = []
        answered: list[Connection] = []
        since = attempts[0].began - 1
        for attempt in attempts:
            ended = attempt.line.time
            of_it = [call for call in calls if since < call.dialogue.opened.time <= ended]
            since = ended
            # Others may be about other messages, and a busy machine notes a line late.
            nearest = min(
                of_it, key=lambda one: abs(one.dialogue.opened.time - attempt.began), default=None
            )
            if nearest is not None:
                accepted = nearest.dialogue.stream.accepted
                late = accepted is None or accepted.time > ended
                (vain if late else answered).append(nearest)
        stage.check(
            "unanswered",
            f"{len(attempts)} calls from {message.server} to port 25, none answered",
            f"{len(vain)} calls without an answer, {len(answered)} with one",
            len(vain) == len(attempts) and not answered,
            [one.syn for one in vain + answered],
        )

    def submitted(self) -> None:
        """The sender's mail program gave it to the sender's server (port 587), which queued it."""
        stage, message = self._stage, self._message
        sender = stage.person(message.sender)
        connection, found = sender.submission(message.message_id)
        dialogue = connection.dialogue
        stage.check(
            "submission",
            f"{sender.name}'s PC calls {message.server}, port 587, and hands the message over",
            f"{dialogue.client} → {dialogue.server}: MAIL FROM <{found.mail_from}>, RCPT TO "
            f"<{', '.join(found.recipients)}>, DATA: {found.code} "
            f"{found.reply.text if found.reply else ''}",
            found.code == 250 and found.mail_from == message.sender,
            [connection.syn, *connection.steps(found)],
        )
        taken = stage.until("it is in the queue's log", self._active)
        stage.check(
            "in the queue",
            f"the message enters the queue of {message.server}",
            f"{taken.queue_id}: from {taken.value}, queue active",
            True,
            [logged(taken.line)],
        )

    def _active(self) -> maillog.QueueEvent | None:
        lines = self._stage.look(self._message.server)
        return next(iter(maillog.queue_events(lines, "queued", self._message.queue_id)), None)

    def relayed(self, *, to: Person) -> None:
        """The sender's server finds the receiver's by its MX record and calls it on port 25."""
        stage, message = self._stage, self._message
        domain = to.address.partition("@")[2]
        network = stage.network(message.server)
        asked = stage.until(
            "the MX question is in the capture",
            lambda: stage.wire.question(network, domain, "MX", after=stage.opened),
        )
        stage.check(
            "MX question",
            f"{message.server} asks the DNS who takes mail for {domain}",
            f"the question MX {domain} is on the wire",
            True,
            [asked],
        )

        connection, found = stage.until(
            "the relaying is in the capture", lambda: carrying(self._calls(), message.message_id)
        )
        dialogue = connection.dialogue
        stage.check(
            "relay",
            f"{message.server} ({stage.address(message.server)}) sends the SYN, to port 25 of "
            f"{to.server} ({stage.address(to.server)})",
            f"{dialogue.client} → {dialogue.server}: {found.code} "
            f"{found.reply.text if found.reply else ''}",
            found.code == 250 and not dialogue.stream.midstream,
            [connection.syn, *connection.steps(found)],
        )

    def _calls(self, after: float = 0) -> list[Connection]:
        """Calls of the sender's server to the (one) receiver's, as seen on the sender's wire."""
        stage, message = self._stage, self._message
        receiver = stage.person(message.recipients[0])
        return stage.wire.connections(
            stage.network(message.server),
            client=stage.address(message.server),
            server=stage.address(receiver.server),
            after=after,
        )

    def reached_without(self, node: str) -> None:
        """Its way to the mailbox needed nothing of `node`, which is off and which nobody called."""
        stage = self._stage
        state, evidence = stage.machine(node)
        called = stage.wire.calls_to(stage.network(node), stage.address(node), stage.opened)
        stage.check(
            "receiver absent",
            f"{node} is off, and nobody calls it",
            f"{node} is {state}; {len(called)} calls",
            state == "off" and not called,
            [*evidence, *called],
        )

    def read(self, *, by: Person, not_before: str) -> None:
        """`by` fetches it by IMAP, at least so much lab time after it was stored."""
        stage, message = self._stage, self._message
        stored, evidence = stage.mailbox(by.address)
        position, found = next(
            (number, one)
            for number, one in enumerate(stored, 1)
            if one.message_id == message.message_id
        )
        reading = by.read(position)
        waited = (reading.time - found.received) * stage.lab.clock.scale
        stage.check(
            "read later",
            f"{by.name} fetches it from {by.server} (IMAP, port 143), {not_before} or more later",
            f"fetched {format_duration(waited)} after it was stored: {reading.message_id}",
            reading.message_id == message.message_id and waited >= parse_duration(not_before),
            [evidence, *reading.evidence],
        )

    def delivered(
        self, *, to: Person, before: list[dovecot.StoredMessage] | None = None
    ) -> Attempt:
        """It is passed on, once, and lies in the mailbox of `to`, once (and not `before`)."""
        stage, message = self._stage, self._message

        def sent() -> Attempt | None:
            return next((one for one in self._attempts() if one.status == "sent"), None)

        schedule = stage.lab.plan.topology.schedule
        attempt = stage.until(
            f"{message.queue_id} was delivered", sent, lab_seconds=2 * schedule.retry
        )
        copies, evidence = stage.until(
            f"it is in the mailbox of {to}", lambda: self._copies(to.address)
        )
        early = any(one.message_id == message.message_id for one in before or ())
        stage.check(
            "delivered",
            f"the message is in the mailbox of {to}, once",
            f"{copies} there; {attempt.relay} said: {attempt.reason}",
            copies == 1 and not early,
            [logged(attempt.line), evidence],
        )
        return attempt

    def _copies(self, address: str) -> tuple[int, Evidence] | None:
        # Looked at without an event first: looking for it is no event, finding it is.
        wanted = self._message.message_id
        if all(one.message_id != wanted for one in dovecot.mailbox(self._stage.lab, address)):
            return None
        messages, evidence = self._stage.mailbox(address)
        return sum(one.message_id == wanted for one in messages), evidence

    def returned(self, *, to: Person) -> EmailMessage:
        """It is given up: out of the queue, and a DSN (RFC 3464) tells `to`, its sender."""
        stage, message = self._stage, self._message
        schedule = stage.lab.plan.topology.schedule

        def given_up() -> tuple[maillog.QueueEvent, maillog.QueueEvent] | None:
            lines = stage.look(message.server)
            dsn = maillog.queue_events(lines, "dsn", message.queue_id)
            gone = maillog.queue_events(lines, "removed", message.queue_id)
            return (dsn[-1], gone[-1]) if dsn and gone else None

        dsn, gone = stage.until(
            f"{message.queue_id} was given up",
            given_up,
            lab_seconds=schedule.give_up + 2 * schedule.retry,
        )
        attempts = self._attempts()
        arrived = maillog.queue_events(stage.look(message.server), None, message.queue_id)[0]
        age = (gone.line.time - arrived.line.time) * stage.lab.clock.scale
        # Given up with the first attempt that fails after its time; Postfix counts whole seconds.
        early, late = self._slack()
        stage.check(
            "given up",
            f"tried until it is {format_duration(schedule.give_up)} old (to "
            f"{format_duration(early * stage.lab.clock.scale)}, which is {early}s of real time), "
            "then removed",
            f"{len(attempts)} attempts, removed when {format_duration(age)} old",
            schedule.give_up - early * stage.lab.clock.scale
            <= age
            <= schedule.give_up + schedule.retry + late * stage.lab.clock.scale,
            [logged(arrived.line), logged(attempts[-1].line), logged(gone.line)],
        )
        entries, evidence = stage.queue(message.server)
        stage.check(
            "queue empty",
            f"the queue of {message.server} no longer has it",
            f"{len(entries)} in the queue",
            all(entry.queue_id != message.queue_id for entry in entries),
            [evidence],
        )
        return self._judge_dsn(dsn, to)

    def _judge_dsn(self, dsn: maillog.QueueEvent, to: Person) -> EmailMessage:
        """The report in the sender's mailbox: from nobody, in three parts, about this message."""
        stage, message = self._stage, self._message

        def report() -> tuple[dovecot.StoredMessage, EmailMessage] | None:
            for stored in dovecot.mailbox(stage.lab, to.address):
                raw = dovecot.message(stage.lab, to.address, stored.folder, stored.uid)
                found = email.message_from_bytes(raw, policy=email.policy.default)
                assert isinstance(found, EmailMessage)
                if f"id {dsn.value}" in "".join(found.get_all("Received", [])) or (
                    found.get_content_type() == "multipart/report" and _action(found) == "failed"
                ):
                    return stored, found
            return None

        stored, found = stage.until(f"the DSN is in the mailbox of {to}", report)
        _, evidence = stage.mailbox(to.address)
        parts = [part.get_content_type() for part in found.iter_parts()]
        about = message.message_id in found.as_string()
        stage.check(
            "sender told",
            f"a DSN from the null sender in {to}'s mailbox: three parts, about this message",
            f'"{stored.subject}", Return-Path {found["Return-Path"]}: {", ".join(parts)}',
            found["Return-Path"] == "<>"
            and parts[:2] == ["text/plain", "message/delivery-status"]
            and len(parts) == 3
            and about,
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


def _action(report: EmailMessage) -> str | None:
    """The Action of a delivery report's recipient (RFC 3464 §2.3.3): `failed`, `delayed`, …"""
    for part in report.walk():
        if part.get_content_type() == "message/delivery-status":
            for block in part.get_payload():
                if action := block.get("Action"):  # type: ignore[union-attr]
                    return str(action).lower()
    return None
