"""Mail without a server of one's own: a PC calls the receiver's server itself, and has no queue.

So does software that sends spam, and so could anybody's mail program. What is refused, even if only
for now, is gone: nobody is there to try again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.dialogue import Transaction
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import Connection
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage


@dataclass(frozen=True)
class Direct:
    """A message that was offered to `to`'s server straight from the PC `seat`."""

    stage: Stage
    seat: str
    to: Person
    subject: str
    began: float
    call: Connection
    mail: Transaction

    def refused(self, *, code: int) -> None:
        """`to`'s server says `code` to RCPT TO, and no content is sent."""
        asked = self.mail.rcpts[0]
        reply = asked.reply
        assert reply is not None
        noted = [
            logged(event.line)
            for event in maillog.queue_events(self.stage.look(self.to.server), "rejected")
            if f"from=<{self.mail.mail_from}> to=<{self.to}>" in event.value
        ]
        self.stage.check(
            "refused the program",
            f"{self.to.server} says {code} to RCPT TO of a caller without a queue",
            f"{self.call.dialogue.client} → {self.call.dialogue.server}: {reply.code} {reply.text}",
            reply.code == code and not self.mail.content,
            [*(self.call.turn(turn) for turn in (self.mail.mail, asked, reply)), *noted],
        )

    def never_came(self) -> None:
        """The PC has called once and no more, and there is nothing of it in `to`'s mailbox."""
        stage = self.stage
        calls = _calls(stage, self.seat, self.to, self.began)
        messages, evidence = stage.mailbox(self.to.address)
        copies = sum(one.subject == self.subject for one in messages)
        passed = (time.time() - self.began) * stage.lab.clock.scale
        stage.check(
            "never tried again",
            f"one call from {self.seat} and no other: the mailbox of {self.to} has nothing of it",
            f"{counted(len(calls), 'call')} in {passed / 60:.0f} minutes of lab time; {copies} of "
            f"{counted(len(messages), 'message')} there",
            len(calls) == 1 and not copies,
            [*(call.syn for call in calls), evidence],
        )


def send(stage: Stage, seat: str, *, to: Person, mail_from: str, subject: str) -> Direct:
    """A program on the PC `seat` calls `to`'s server, port 25, and offers it a message, once."""
    host = stage.lab.plan.site.hostname
    argv = ["swaks", "--server", host(to.server), "--port", "25", "--helo", host(seat)]
    argv += ["--from", mail_from, "--to", to.address, "--header", f"Subject: {subject}"]
    with stage.audience.acting():
        began = time.time()
        stage.lab.run(seat, argv)  # that it is refused is its own affair: see the wire
        call, mail = stage.until(
            f"the call from {seat} is in the capture", lambda: _offer(stage, seat, to, began)
        )
        evidence: list[Evidence] = [call.syn, *call.steps(mail)]
        stage.log.add(
            "action",
            f'a program on {seat} calls {to.server} itself, with "{subject}" for {to}',
            node=seat,
            when=began,
            data={
                "evidence": [one.as_json() for one in evidence],
                "to": [to.address],
                "subject": subject,
            },
        )
    return Direct(stage, seat, to, subject, began, call, mail)


def _offer(
    stage: Stage, seat: str, to: Person, since: float
) -> tuple[Connection, Transaction] | None:
    for call in _calls(stage, seat, to, since):
        for mail in call.transactions:
            if mail.rcpts and mail.rcpts[0].reply:
                return call, mail
    return None


def _calls(stage: Stage, seat: str, to: Person, since: float) -> list[Connection]:
    return stage.wire.connections(
        stage.network(seat),
        client=stage.address(seat),
        server=stage.address(to.server),
        after=since,
    )
