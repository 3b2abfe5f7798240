"""What can be expected of many messages together: that they wait, and what carried them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.scenarios.evidence import logged
from lab.scenarios.wire import Connection
from lab.services import dovecot, postfix

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage


class BatchExpectation:
    """See Stage.expect_all. The messages are those of one sender's server."""

    def __init__(self, stage: Stage, messages: list[Message]) -> None:
        self._stage = stage
        self._messages = messages
        self._server = messages[0].server
        self._ids = {message.queue_id for message in messages}

    def queued(self) -> None:
        """All of them have been tried, or put off, and wait."""
        stage = self._stage

        def all_deferred() -> bool | None:
            waiting = postfix.queue(stage.lab, self._server)
            deferred = {entry.queue_id for entry in waiting if entry.state == "deferred"}
            return True if deferred >= self._ids else None

        stage.until(f"{len(self._ids)} messages wait", all_deferred)
        entries, evidence = stage.queue(self._server)
        waiting = len(self._ids & {entry.queue_id for entry in entries})
        stage.check(
            "queued",
            f"all {len(self._ids)} messages wait in the queue of {self._server}",
            f"{waiting} wait",
            waiting == len(self._ids),
            [evidence],
        )

    def delivered_over(self, *, connections: int, to: Person) -> None:
        """The queue is flushed; all arrive, once, over so many TCP connections, counted."""
        stage = self._stage
        flushed = time.time()
        stage.flush(self._server)
        self._arrive(to)
        found = self._finished(to, flushed)
        carried = [one for one in found if any(item.code == 250 for item in one.transactions)]
        mails = [evidence for one in carried for evidence in one.commands("MAIL")]
        quits = [evidence for one in carried for evidence in one.commands("QUIT")]
        stage.check(
            f"{connections} TCP connection{'s' if connections > 1 else ''}",
            f"{_count(connections, 'SYN')}, {len(self._messages)} MAIL FROM, "
            f"{_count(connections, 'QUIT')}",
            f"{_count(len(found), 'SYN')}, {len(mails)} MAIL FROM, {_count(len(quits), 'QUIT')}",
            len(found) == len(quits) == connections and len(mails) == len(self._messages),
            [one.syn for one in found] + quits + mails,
        )

    def _arrive(self, to: Person) -> None:
        stage = self._stage
        wanted = {message.message_id for message in self._messages}

        def all_there() -> bool | None:
            there = {one.message_id for one in dovecot.mailbox(stage.lab, to.address)}
            return True if wanted <= there else None

        stage.until(f"{len(wanted)} messages are in the mailbox of {to}", all_there)
        messages, evidence = stage.mailbox(to.address)
        arrived = [one.message_id for one in messages if one.message_id in wanted]
        sent = [one for one in stage.attempts(self._server) if one.queue_id in self._ids]
        lines = [logged(one.line) for one in sent if one.status == "sent"]
        stage.check(
            "delivered",
            f"each of the {len(wanted)} messages is in the mailbox of {to}, once",
            f"{len(arrived)} there, {len(set(arrived))} different",
            len(arrived) == len(set(arrived)) == len(wanted),
            [evidence, *lines],
        )

    def _finished(self, to: Person, since: float) -> list[Connection]:
        """The connections between the two servers opened after `since`, once all have closed."""
        stage = self._stage
        network = stage.network(self._server)

        def closed() -> list[Connection] | None:
            found = stage.wire.connections(
                network,
                client=stage.address(self._server),
                server=stage.address(to.server),
                after=since,
            )
            over = all(len(one.dialogue.stream.fins) == 2 for one in found)
            return found if found and over else None

        return stage.until("the connections are closed", closed)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
