"""Mail without a mail server of one's own, from a PC that is not always on.

A program on the PC calls the receiver's server itself, and tries again every half hour, as a mail
server would; for as long as the PC has power.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine.exec import STDERR, Exec
from lab.errors import LabError
from lab.observe.maillog import Attempt
from lab.observe.packets import Arp
from lab.scenarios.evidence import logged
from lab.scenarios.looking import packets, stored_since
from lab.scenarios.wire import Connection
from lab.units import counted, format_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage

_CONNECT = 3  # real seconds for which the program waits for an answer to its call
_AGAIN = 'again=$1; shift; until "$@"; do sleep "$again"; done'


@dataclass(frozen=True)
class Alone:
    """A message that a program on the PC of `by` has for `to`, and offers to `to`'s server itself.

    `call` is its first call, made after `began` (epoch seconds).
    """

    stage: Stage
    by: Person
    to: Person
    subject: str
    began: float
    call: Connection

    def unanswered(self) -> None:
        """The program has called `to`'s server, and nobody was there."""
        stream = self.call.dialogue.stream
        self.stage.check(
            "called in vain",
            f"{self.by.seat} itself calls {self.to.server}, port 25, and nobody answers",
            f"{self.call.dialogue.client} → {self.call.dialogue.server}: "
            f"{counted(len(stream.syns), 'SYN')}, {stream.state}",
            stream.accepted is None,
            [self.call.at(mark.frame, "SYN") for mark in stream.syns],
        )

    def silent(self, since: float) -> None:
        """The PC is off since then, and from then on not a frame has come from it."""
        stage, network = self.stage, self.stage.network(self.by.seat)
        state, evidence = stage.machine(self.by.seat)
        address = stage.address(self.by.seat)
        sent = [
            packet
            for packet in packets(stage, network, after=since)
            if (packet.sender if isinstance(packet, Arp) else packet.src) == address
        ]
        passed = (time.time() - since) * stage.lab.clock.scale
        retry = stage.lab.plan.topology.schedule.retry
        stage.check(
            "nobody tries",
            f"{self.by.seat} is off for longer than {format_duration(retry)}, after which the "
            "program would have tried again, and nothing comes from it",
            f"{self.by.seat} is {state}; {counted(len(sent), 'frame')} from {address} in "
            f"{format_duration(passed)}",
            state == "off" and not sent and passed > retry,
            evidence,
        )

    def nowhere(self, *servers: str) -> None:
        """It is in no queue of these `servers`, and not in the mailbox of `to`."""
        stage = self.stage
        queues = {server: stage.queue(server) for server in servers}
        waiting = [
            entry
            for entries, _ in queues.values()
            for entry in entries
            if (entry.sender, entry.arrived > self.began) == (self.by.address, True)
        ]
        messages, mailbox = stage.mailbox(self.to.address)
        copies = [one for one in stored_since(messages, self.began) if one.subject == self.subject]
        stage.check(
            "never arrived",
            f"it is in no queue, and not in the mailbox of {self.to}: nobody has it",
            f"{len(waiting)} in the queues of {' and '.join(servers)}; {len(copies)} of "
            f'{counted(len(messages), "message")} in the mailbox is "{self.subject}"',
            not waiting and not copies,
            [*(evidence for _, evidence in queues.values()), mailbox],
        )


@contextmanager
def trying(stage: Stage, by: Person, *, to: Person, subject: str) -> Iterator[Alone]:
    """A program on the PC of `by` calls `to`'s server with a message, once and every half hour.

    Its first call has failed when the block begins; it ends with the block, or with the PC's power.
    """
    host = stage.lab.plan.site.hostname
    again = stage.lab.clock.real(stage.lab.plan.topology.schedule.retry)
    argv = ["sh", "-c", _AGAIN, "sh", f"{again:.1f}"]
    argv += ["swaks", "--server", host(to.server), "--port", "25", "--helo", host(by.seat)]
    argv += ["--timeout", str(_CONNECT), "--from", by.address, "--to", to.address]
    argv += ["--header", f"Subject: {subject}"]
    began = time.time()
    with stage.audience.acting():
        program = Exec(stage.lab.container(by.seat), argv)
        _wait_until_failed(program)
        call = stage.until("its call is in the capture", lambda: _first(stage, by, to, began))
        stage.log.add(
            "action",
            f'a program on {by.seat} calls {to.server} itself, with "{subject}" for {to}, and will '
            "again every half hour",
            node=by.seat,
            when=began,
            data={
                "evidence": [call.syn.as_json()],
                "by": by.address,
                "to": [to.address],
                "subject": subject,
            },
        )
    try:
        yield Alone(stage, by, to, subject, began, call)
    finally:
        program.close()


def _wait_until_failed(program: Exec) -> None:
    """Return once swaks has said that it could not connect. Raises LabError if it could."""
    program.socket.settimeout(10 * _CONNECT)
    said = b""
    for stream, data in program.frames():
        said += data if stream == STDERR else b""
        if b"Error connecting" in said:
            return
    raise LabError("the program on the PC did not fail", detail=said.decode(errors="replace"))


def _first(stage: Stage, by: Person, to: Person, since: float) -> Connection | None:
    calls = stage.wire.connections(
        stage.network(by.seat),
        client=stage.address(by.seat),
        server=stage.address(to.server),
        after=since,
    )
    return calls[0] if calls else None


def went_home(stage: Stage, message: Message, delivery: Attempt, since: float) -> None:
    """The PC of its sender was off from `since` on: after its submission, before its `delivery`."""
    sender = stage.person(message.sender)
    call, mail = sender.submission(message.message_id)
    state, evidence = stage.machine(sender.seat)
    assert mail.reply is not None
    scale = stage.lab.clock.scale
    stage.check(
        "without the PC",
        f"{message.server} delivers it when {sender.seat} has long been off",
        f"{sender.seat} handed it over {format_duration((since - mail.reply.time) * scale)} before "
        f"it was switched off, and is {state}; delivered "
        f"{format_duration((delivery.line.time - since) * scale)} after that",
        mail.reply.time < since < delivery.line.time and state == "off",
        [call.turn(mail.reply), *evidence, logged(delivery.line)],
    )
