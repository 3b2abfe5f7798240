"""What can be expected of a message. Each expectation waits until it can be judged, then judges.

Its families are in modules of their own: tries.py, calls.py, lookups.py, broken.py,
returns.py, telling.py, route.py.
"""

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.maillog import Attempt
from lab.scenarios import broken, calls, lookups, returns, route, telling, tries
from lab.scenarios.calls import Failure
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import carrying
from lab.services import dovecot
from lab.units import format_duration, parse_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person, Reading
    from lab.scenarios.stage import Stage


class MessageExpectation:
    """See Stage.expect."""

    def __init__(self, stage: Stage, message: Message) -> None:
        self._stage = stage
        self._message = message

    def deferred(self, *, times: int = 1) -> list[Attempt]:
        """At least `times` attempts fail, as far apart as the schedule says; it stays queued."""
        return tries.deferred(self._stage, self._message, times)

    def on_schedule(self) -> None:
        """Its attempts so far, the last included, are as far apart as the schedule says."""
        tries.on_schedule(self._stage, tries.made(self._stage, self._message, 2))

    def called_in_vain(self, attempts: list[Attempt]) -> None:
        """Each failed attempt was a call that nobody answered, seen on the sender's wire.

        Answered means: before the caller gave up. A router may hold a SYN for a machine that is
        off, and deliver it when that has come back.
        """
        tries.called_in_vain(self._stage, self._message, attempts)

    def refused_at_once(self) -> Failure:
        """Its first attempt is a call that is answered by a RST, within a (real) second."""
        return calls.refused(self._stage, self._message)

    def unanswered(self) -> Failure:
        """Its first attempt is a call that nobody answers, until the caller gives up."""
        return calls.unanswered(self._stage, self._message)

    def ungreeted(self) -> Failure:
        """Its first attempt is a call that TCP accepts, after which nobody says a word."""
        return calls.ungreeted(self._stage, self._message)

    def cut_off(self, *, to: Person) -> None:
        """A connection is reset in the middle of its content, and `to`'s server keeps no half."""
        broken.cut_off(self._stage, self._message, to)

    def unconfirmed(self, *, to: Person) -> None:
        """It is in `to`'s mailbox, but the reply that says so never reached its server."""
        broken.unconfirmed(self._stage, self._message, to)

    def doubled(self, *, to: Person) -> None:
        """It was delivered, twice: two queue IDs at `to`'s server, one Message-ID."""
        broken.doubled(self._stage, self._message, to)

    def paced(self, *, bits: int) -> None:
        """Its content takes as long as a line of so many bits a second needs, and never pauses."""
        calls.paced(self._stage, self._message, bits)

    def beside(self, other: Message) -> None:
        """It is passed on over a second connection while `other` is still on its way."""
        calls.beside(self._stage, self._message, other)

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
            "the relaying is in the capture",
            lambda: carrying(tries.calls(stage, message), message.message_id),
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

    def taken_by(self, backup: str, *, instead_of: str) -> Message:
        """Past `instead_of`, which does not answer, its server hands it to `backup`, another MX.

        That is the message as it is there, of which more can be expected.
        """
        return route.taken_by(self._stage, self._message, backup, instead_of)

    def handed_over(self, *, to: Person) -> Message:
        """`to`'s server has said 250, and its own has it no longer: what it is called there.

        Of that more can be expected.
        """
        return route.handed_over(self._stage, self._message, to.server)

    def looked_up(self, *, answer: str | None, since: float = 0) -> None:
        """An attempt ends with what the DNS answers to the MX question: `NXDOMAIN`, `SERVFAIL`.

        Without `answer`, nobody answers it. The attempt is the first that began after `since`
        (epoch seconds), and with `NOERROR` the one that passes it on.
        """
        lookups.looked_up(self._stage, self._message, answer, since)

    def overtook(self, *older: Message) -> None:
        """It is passed on while `older` ones, in the same queue before it, go on waiting."""
        route.overtook(self._stage, self._message, older)

    def passed_through(self, *servers: str, read_by: Person) -> None:
        """`read_by` fetches it, and its Received lines (RFC 5321 §4.4) name these `servers`."""
        reading, _, _ = self._read(read_by)
        route.passed_through(self._stage, self._message, servers, reading)

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
        reading, found, evidence = self._read(by)
        waited = (reading.time - found.received) * stage.lab.clock.scale
        stage.check(
            "read later",
            f"{by.name} fetches it from {by.server} (IMAP, port 143), {not_before} or more later",
            f"fetched {format_duration(waited)} after it was stored: {reading.message_id}",
            reading.message_id == message.message_id and waited >= parse_duration(not_before),
            [evidence, *reading.evidence],
        )

    def _read(self, by: Person) -> tuple[Reading, dovecot.StoredMessage, Evidence]:
        """`by` fetches it by IMAP: what comes, what lay there, and where that was seen."""
        stored, evidence = self._stage.mailbox(by.address)
        position, found = next(
            (number, one)
            for number, one in enumerate(stored, 1)
            if one.message_id == self._message.message_id
        )
        return by.read(position), found, evidence

    def delivered(
        self, *, to: Person, before: list[dovecot.StoredMessage] | None = None
    ) -> Attempt:
        """It is passed on, once, and lies in the mailbox of `to`, once (and not `before`)."""
        stage, message = self._stage, self._message
        attempt = tries.sent(stage, message)
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

    def rejected(self, *, code: int = 550) -> None:
        """The receiver's server refuses its recipient at RCPT TO: for good (5..), for now (4..)."""
        returns.rejected(self._stage, self._message, code)

    def returned(self, *, to: Person, at_once: bool = False) -> EmailMessage:
        """It is given up, in the end or `at_once`: out of the queue, and a DSN tells `to` so.

        The DSN (RFC 3464), as `to`, its sender, finds it.
        """
        return returns.returned(self._stage, self._message, to, at_once=at_once)

    def told_by(self, server: str, *, to: Person) -> None:
        """The DSN that `to`, its sender, reads was written by `server`, and came from there."""
        telling.told_by(self._stage, self._message, server, to)
