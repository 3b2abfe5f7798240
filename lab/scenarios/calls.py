"""How a call to another mail server goes: refused, unanswered, ungreeted, or slowly.

The work of those methods of MessageExpectation, which say what is expected. The captures are the
caller's: what happens there is all that it can know.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lab.observe.dialogue import Transaction
from lab.observe.stream import Stream
from lab.scenarios import tries
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.wire import Connection, carrying
from lab.services.mail_server import real_patience, real_schedule
from lab.units import counted, format_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message
    from lab.scenarios.stage import Stage

AT_ONCE = 1.0  # real seconds in which a machine that is there answers, also a busy one
_EARLY, _LATE = 0.5, 3.0  # real seconds by which Postfix, on a busy machine, may miss its time


@dataclass(frozen=True)
class Failure:
    """A call that failed: how many lab seconds after its SYN the caller noted it, and where."""

    lab_seconds: float
    evidence: tuple[Evidence, ...]

    def __str__(self) -> str:
        return format_duration(self.lab_seconds)


def refused(stage: Stage, message: Message) -> Failure:
    """See MessageExpectation.refused_at_once."""
    return _failed(
        stage,
        message,
        "refused",
        "the SYN is answered by a RST, at once",
        lambda call: call.dialogue.stream.state == "refused",
        (0, AT_ONCE),
    )


def unanswered(stage: Stage, message: Message) -> Failure:
    """See MessageExpectation.unanswered."""
    plan = stage.lab.plan
    limit = real_schedule(plan.topology.schedule, plan.site.time_scale).connect_timeout
    return _failed(
        stage,
        message,
        "no answer",
        f"nobody answers the SYN; the caller gives up after {_lab(stage, limit)} at the latest",
        lambda call: not call.dialogue.stream.connected,
        (AT_ONCE - _EARLY, limit + _LATE),
    )


def ungreeted(stage: Stage, message: Message) -> Failure:
    """See MessageExpectation.ungreeted."""
    limit = real_patience(stage.lab.clock.scale)["helo"]
    return _failed(
        stage,
        message,
        "no greeting",
        f"the SYN is accepted, and then nobody says a word; the caller gives up after "
        f"{_lab(stage, limit)}",
        lambda call: call.dialogue.stream.connected and not call.dialogue.turns,
        (limit - _EARLY, limit + _LATE),
    )


def _lab(stage: Stage, real: float) -> str:
    return format_duration(real * stage.lab.clock.scale)


def _failed(
    stage: Stage,
    message: Message,
    id: str,
    expected: str,
    so: Callable[[Connection], bool],
    within: tuple[float, float],
) -> Failure:
    """The first attempt failed, within so many real seconds from its SYN, and the call looks so."""
    attempt = tries.made(stage, message, lab_seconds=stage.lab.clock.scale * within[1])[0]
    call = tries.call_of(stage, message, attempt)

    def seen_through() -> bool | None:  # a capture is read a little later than a log
        return True if so(call) or time.time() > attempt.line.time + _LATE else None

    stage.until("its end is in the capture", seen_through)
    real = attempt.line.time - call.dialogue.opened.time
    seen = _marks(call)
    failure = Failure(real * stage.lab.clock.scale, (*seen, logged(attempt.line)))
    stage.check(
        id,
        expected,
        f"{', '.join(str(one.says) for one in seen)}; {failure} after the SYN ({real:.2f}s of real "
        f"time) {message.server} notes: {attempt.reason}",
        so(call) and within[0] <= real <= within[1] and attempt.status == "deferred",
        list(failure.evidence),
    )
    return failure


def _marks(call: Connection) -> list[Evidence]:
    """What TCP did: each SYN, its acceptance, its refusal."""
    stream: Stream = call.dialogue.stream
    marks = [(mark.frame, "SYN") for mark in stream.syns]
    marks += [(stream.accepted.frame, "SYN-ACK")] if stream.accepted else []
    marks += [(stream.reset[1].frame, "RST")] if stream.reset else []
    return [call.at(frame, says) for frame, says in marks]


# --- Slowly ----------------------------------------------------------------------------------


def paced(stage: Stage, message: Message, bits: int) -> None:
    """See MessageExpectation.paced."""
    attempt = tries.sent(stage, message)
    call, mail = _carried(stage, message)
    content, reply = mail.content[0], mail.reply
    assert reply is not None
    took = reply.time - content.time
    pace = 8 * content.size / took
    stage.check(
        "the line's pace",
        f"no more than the {bits:,} bits a second of the line, and not much less",
        f"{content.size:,} octets of content in {took:.1f}s of real time: {pace:,.0f} bit/s",
        bits / 2 <= pace <= bits,
        [call.turn(content), call.turn(reply)],
    )
    limit = real_patience(stage.lab.clock.scale)["data_xfer"]
    moments = [one for one in call.moments(stage.folder) if content.time <= one <= reply.time]
    pause = max(later - earlier for earlier, later in pairwise(moments))
    attempts = tries.made(stage, message)
    stage.check(
        "slow, not broken",
        f"one attempt; however long it takes, there is no pause of {_lab(stage, limit)}, after "
        "which the sender would give up",
        f"{counted(len(attempts), 'attempt')}, {attempt.status}: {_lab(stage, took)} in all, the "
        f"longest pause {_lab(stage, pause)}",
        len(attempts) == 1 and attempt.status == "sent" and pause < limit,
        [call.turn(content), call.turn(reply), logged(attempt.line)],
    )


def beside(stage: Stage, message: Message, other: Message) -> None:
    """See MessageExpectation.beside."""
    attempt = tries.sent(stage, message)
    call, mail = _carried(stage, message)
    their_call, theirs = _carried(stage, other)
    assert mail.reply is not None and theirs.reply is not None
    began, ended = their_call.dialogue.opened.time, theirs.reply.time
    opened, ahead = call.dialogue.opened.time, ended - mail.reply.time
    stage.check(
        "side by side",
        "a second connection beside the first, not a place behind it",
        f"opened {_lab(stage, opened - began)} after the other's; through "
        f"{_lab(stage, abs(ahead))} {'before' if ahead > 0 else 'after'} it",
        began < opened < ended and len(tries.made(stage, message)) == 1 and mail.code == 250,
        [
            *(their_call.syn, call.syn, call.turn(mail.reply), their_call.turn(theirs.reply)),
            logged(attempt.line),
        ],
    )


def _carried(stage: Stage, message: Message) -> tuple[Connection, Transaction]:
    """The connection, and the transaction in it, that carried a message onwards."""
    return stage.until(
        f"the way of {message.queue_id} is in the capture",
        lambda: carrying(tries.calls(stage, message), message.message_id),
    )
