"""A message is tried again and again: how often, how far apart, and that nobody answered.

The work of those methods of MessageExpectation, which say what is expected. The times between
attempts are measured, not read off a schedule: Postfix logs when an attempt ended and how long it
took.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lab.observe.maillog import Attempt
from lab.scenarios.evidence import logged
from lab.scenarios.wire import Connection
from lab.services.dns import exchangers
from lab.services.mail_server import real_schedule
from lab.units import counted, format_duration

if TYPE_CHECKING:
    from lab.scenarios.people import Message
    from lab.scenarios.stage import Stage


def made(stage: Stage, message: Message, times: int = 1, lab_seconds: float = 0) -> list[Attempt]:
    """The attempts at passing on a message so far, once there are as many as `times`."""

    def enough() -> list[Attempt] | None:
        found = stage.attempts(message.server, message.queue_id)
        return found if len(found) >= times else None

    return stage.until(f"{message.queue_id} was tried {times} times", enough, lab_seconds)


def sent(stage: Stage, message: Message) -> Attempt:
    """The attempt by which its server has passed a message on, waited for."""

    def there() -> Attempt | None:
        found = stage.attempts(message.server, message.queue_id)
        return next((one for one in found if one.status == "sent"), None)

    retry = stage.lab.plan.topology.schedule.retry
    return stage.until(f"{message.queue_id} was passed on", there, lab_seconds=2 * retry)


def calls(stage: Stage, message: Message, after: float = 0) -> list[Connection]:
    """Calls of its server to the one that takes mail for its (one) recipient, on the caller's wire.

    Those made after `after` (epoch seconds).
    """
    domain = message.recipients[0].partition("@")[2]
    [(_, server), *_] = exchangers(stage.lab.plan.site, domain)
    return stage.wire.connections(
        stage.network(message.server),
        client=stage.address(message.server),
        server=stage.address(server),
        after=after,
    )


def call_of(stage: Stage, message: Message, attempt: Attempt) -> Connection:
    """The call that `attempt` made, waited for: the nearest, as others may be about other mail."""

    def nearest() -> Connection | None:
        near = [
            call
            for call in calls(stage, message, after=attempt.began - 1)
            if call.dialogue.opened.time <= attempt.line.time
        ]
        return min(
            near, key=lambda one: abs(one.dialogue.opened.time - attempt.began), default=None
        )

    return stage.until(f"the call about {message.queue_id} is in the capture", nearest)


def slack(stage: Stage) -> tuple[int, int]:
    """By how many real seconds Postfix may be early, and late, at this time scale.

    Early: it cuts off parts of seconds, and takes up what is due within the next one.
    """
    plan = stage.lab.plan
    real = real_schedule(plan.topology.schedule, plan.site.time_scale)
    return 2, real.connect_timeout + real.queue_run + 1


def deferred(stage: Stage, message: Message, times: int) -> list[Attempt]:
    """See MessageExpectation.deferred."""
    retry = stage.lab.plan.topology.schedule.retry
    found = made(stage, message, times, (times + 1) * retry)[:times]
    entries, evidence = stage.queue(message.server)  # now: at the next try it may be gone
    causes = list(dict.fromkeys(attempt.reason for attempt in found))
    stage.check(
        "deferred",
        f"{counted(times, 'attempt')}, all in vain, each with its cause",
        f"{counted(len(found), 'attempt')}, {found[-1].status}: {'; '.join(causes)}",
        all(attempt.status == "deferred" and attempt.reason for attempt in found),
        [logged(attempt.line) for attempt in found],
    )
    if times > 1:
        on_schedule(stage, found)
    waiting = [entry for entry in entries if entry.queue_id == message.queue_id]
    stage.check(
        "waiting",
        f"the message waits in the queue of {message.server}",
        "; ".join(f"{entry.queue_id} {entry.state}" for entry in waiting) or "not there",
        len(waiting) == 1,
        [evidence],
    )
    return found


def on_schedule(stage: Stage, attempts: list[Attempt]) -> None:
    """From one attempt to the next is the schedule's time, to what Postfix can do.

    The next try is due `retry` after the end of the one before, which took a connection
    timeout; Postfix notes times in whole seconds, and looks every queue_run seconds.
    """
    clock = stage.lab.clock
    retry = stage.lab.plan.topology.schedule.retry
    early, late = slack(stage)
    intervals = [
        (later.began - earlier.began) * clock.scale for earlier, later in pairwise(attempts)
    ]
    stage.check(
        "retry",
        f"an attempt every {format_duration(retry)}; Postfix counting whole seconds, at this "
        f"time scale up to {format_duration(early * clock.scale)} sooner or "
        f"{format_duration(late * clock.scale)} later",
        ", ".join(format_duration(round(interval)) for interval in intervals),
        bool(intervals)
        and all(-early <= clock.real(interval - retry) <= late for interval in intervals),
        [logged(attempt.line) for attempt in attempts],
    )


def called_in_vain(stage: Stage, message: Message, attempts: list[Attempt]) -> None:
    """See MessageExpectation.called_in_vain."""
    vain: list[Connection] = []
    answered: list[Connection] = []
    since = attempts[0].began - 1
    found = calls(stage, message, after=since)
    for attempt in attempts:
        ended = attempt.line.time
        of_it = [call for call in found if since < call.dialogue.opened.time <= ended]
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
