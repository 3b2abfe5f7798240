"""How a mail server looks for another: what it asks the DNS, and what comes back, or does not.

The work of MessageExpectation.looked_up. A name server that says nothing, or that it could not find
out, has said nothing about the domain; one that says NXDOMAIN has (RFC 1035 §4.1.1, RFC 5321 §5.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lab.observe.maillog import Attempt
from lab.scenarios import tries
from lab.scenarios.evidence import logged
from lab.scenarios.wire import Lookup
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message
    from lab.scenarios.stage import Stage

# What the answer is, what the sender's server makes of it, and says to programs (RFC 3463 §3.5).
_ANSWERS = {
    "NXDOMAIN": ("that there is no such name", "bounced", "5.4.4"),
    "SERVFAIL": ("that the name server could not find out", "deferred", "4.4.3"),
    "NOERROR": ("the name of a server", "sent", "2.0.0"),
    None: ("none: nobody says a word", "deferred", "4.4.3"),
}
_CONSEQUENCES = {
    "bounced": ("for good", "there is nobody to call: given up at once, 5.4.4"),
    "deferred": ("for now", "there is nobody to call: kept for the next attempt, 4.4.3"),
    "sent": ("found", "there is somebody to call, and that goes well, 2.0.0"),
}
_EARLY = 0.1  # real seconds by which Postfix's account of when an attempt began may be late


def looked_up(stage: Stage, message: Message, answer: str | None, since: float) -> None:
    """See MessageExpectation.looked_up."""
    found = answer == "NOERROR"
    attempt = tries.sent(stage, message) if found else _attempt(stage, message, since)
    domain = message.recipients[0].partition("@")[2]
    networks = dict.fromkeys([stage.network(message.server), *map(stage.network, _servers(stage))])

    def asked() -> list[list[Lookup]] | None:
        seen = [_lookups(stage, message, attempt, network) for network in networks]
        return seen if all(seen) else None

    seen = stage.until(f"the question MX {domain} is in the captures", asked)
    near = seen[0]
    said = [one.status or "no answer" for one in near]
    pauses = [f"{later.time - earlier.time:.1f}s" for earlier, later in pairwise(near)]
    words, status, dsn = _ANSWERS[answer]
    stage.check(
        "answer of the DNS" if answer else "no answer of the DNS",
        f"{message.server} asks for the MX of {domain}; the answer is {words}",
        f"{counted(len(near), 'question')}"
        + (f", {' and '.join(pauses)} of real time apart" if pauses and not answer else "")
        + f", on {' and '.join(networks)}: {', '.join(said)}",
        # Who finds the way may have asked in vain before: a question that was lost is asked again.
        all(
            one.status == answer for lookups in seen for one in (lookups[-1:] if found else lookups)
        ),
        [
            place
            for lookups in seen
            for one in lookups
            for place in (one.question, one.answer)
            if place
        ],
    )
    called = [
        call
        for call in tries.calls(stage, message, after=attempt.began - _EARLY)
        if call.dialogue.opened.time <= attempt.line.time
    ]
    stage.check(
        *_CONSEQUENCES[status],
        f"{counted(len(called), 'call')} to port 25; {attempt.status}, {attempt.dsn}: "
        f"{attempt.reason}",
        len(called) == found and (attempt.status, attempt.dsn) == (status, dsn),
        [logged(attempt.line), *(call.syn for call in called)],
    )


def _attempt(stage: Stage, message: Message, since: float) -> Attempt:
    """The first attempt that began after `since` (epoch seconds), waited for."""
    retry = stage.lab.plan.topology.schedule.retry

    def made() -> Attempt | None:
        found = stage.attempts(message.server, message.queue_id)
        return next((one for one in found if one.began > since), None)

    return stage.until(f"{message.queue_id} is tried", made, lab_seconds=2 * retry)


def _servers(stage: Stage) -> tuple[str, ...]:
    """The name servers."""
    return stage.lab.plan.site.of_kind("dns")


def _lookups(stage: Stage, message: Message, attempt: Attempt, network: str) -> list[Lookup]:
    """What was asked about a message's domain during an attempt, as seen on `network`."""
    found = stage.wire.lookups(
        network,
        message.recipients[0].partition("@")[2],
        "MX",
        client=stage.address(message.server),
        after=attempt.began - _EARLY,
    )
    return [one for one in found if one.time <= attempt.line.time]
