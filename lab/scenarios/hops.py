"""Between two mail servers: routers, which pass packets on and know nothing of mail.

A router says of itself that it is there when a packet's time to live ends at it (RFC 792, RFC 1812
§5.3.1); that is how traceroute(8) finds it.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe import maillog
from lab.observe.packets import Icmp
from lab.observe.recorder import nodes_by_address
from lab.scenarios.evidence import Evidence
from lab.scenarios.looking import asked, at, complaint, holding, packets
from lab.scenarios.wire import Connection
from lab.topology.model import Router
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message
    from lab.scenarios.stage import Stage

_HOP = re.compile(r"(?m)^ *\d+ +(\S+)")
_SMTP = 25


def traced(stage: Stage, start: str, end: str) -> list[str]:
    """From `start`, traceroute finds routers and then `end`: those routers."""
    began = time.time()
    goal = stage.lab.plan.site.hostname(end)
    text, answer = asked(stage, start, ["traceroute", "-n", "-q", "1", "-N", "1", goal])
    hops = _HOP.findall(text)
    names = nodes_by_address(stage.lab)
    network = stage.network(start)

    def complaints() -> list[Icmp] | None:
        found = [
            one
            for one in packets(stage, network, after=began)
            if isinstance(one, Icmp) and one.dst == stage.address(start) and one.quoted
        ]
        return found if {one.src for one in found} >= set(hops) else None

    told = stage.until("what traceroute has heard is in the capture", complaints)
    nodes = [names.get(hop, hop) for hop in hops]
    between = nodes[:-1]
    reasons = {one.src: one.reason for one in told}
    kinds = stage.lab.plan.topology.nodes
    stage.check(
        f"from {start}",
        f"on the way from {start} to {end} there are routers, at which a packet's time to live "
        f"ends, and {end} itself",
        ", ".join(
            f"{number}: {hop} ({name}: {reasons[hop]})"
            for number, (hop, name) in enumerate(zip(hops, nodes, strict=True), 1)
        ),
        nodes[-1:] == [end]
        and bool(between)
        and all(name in kinds and isinstance(kinds[name], Router) for name in between)
        and all(reasons[hop] == "time to live exceeded" for hop in hops[:-1]),
        [answer, *(complaint(network, one) for one in told)],
    )
    return between


def only_passes_on(stage: Stage, router: str, *, asked_by: str) -> None:
    """`router` runs no mail software: nothing listens at it, nor has it a log of mail.

    The mail server `asked_by` calls its port 25 to see.
    """
    listening, sockets = asked(stage, router, ["ss", "-Hlntu"])
    running, processes = asked(stage, router, ["ps", "-e", "-o", "comm="])
    lines = maillog.read(stage.lab, router)
    call = _knock(stage, asked_by, router)
    reset = call.dialogue.stream.reset
    stage.check(
        "no mail server",
        f"nothing listens at {router}, which refuses a call to its port 25: there is no program to "
        "keep a message",
        f"{call.dialogue.server}: {call.dialogue.stream.state}; "
        f"{counted(len(listening.splitlines()), 'listener')}; running: "
        f"{', '.join(running.split())}; {counted(len(lines), 'line')} in its log",
        call.dialogue.stream.state == "refused" and not listening and not lines,
        [call.syn, *([call.at(reset[1].frame, "RST")] if reset else []), sockets, processes],
    )


def _knock(stage: Stage, caller: str, router: str) -> Connection:
    """A call from `caller` to port 25 of `router`, on the network they share."""
    network = stage.network(caller)
    interfaces = stage.lab.plan.nodes[router].interfaces
    near = [str(one.address.ip) for one in interfaces if one.network == network]
    if not near:
        raise LabError(f"{router} and {caller} are not on one network", hint="lab status")
    began = time.time()
    stage.lab.run(caller, ["nc", "-z", "-w", "5", near[0], str(_SMTP)])  # how it goes: see the wire

    def known() -> Connection | None:
        calls = stage.wire.connections(
            network, client=stage.address(caller), server=near[0], port=_SMTP, after=began
        )
        return next((one for one in calls if one.dialogue.stream.state != "never answered"), None)

    return stage.until(f"the call to {router} is in the capture", known)


def nowhere_between(stage: Stage, message: Message, routers: list[str]) -> None:
    """It lies in the queue of its server, and no octet of it has gone any further.

    Of its content there is nothing in any capture but the way from its sender's PC to that server.
    """
    entries, queue = stage.queue(message.server)
    waiting = [entry for entry in entries if entry.queue_id == message.queue_id]
    home = stage.network(message.server)
    seat = stage.person(message.sender).seat
    way = (stage.address(seat), stage.address(message.server))
    seen = {
        network: holding(stage, network, message.message_id) for network in stage.lab.plan.networks
    }
    strays = [
        one
        for network, found in seen.items()
        for one in found
        if (network, (one.src, one.dst)) != (home, way)
    ]
    places: list[Evidence] = [at(home, one, message.message_id) for one in seen[home]]
    stage.check(
        "nowhere between",
        f"the message is in the queue of {message.server}, and nothing of it has passed "
        f"{' or '.join(routers)}",
        f"{message.queue_id} {', '.join(entry.state for entry in waiting) or 'not there'}; frames "
        "with its Message-ID: "
        + ", ".join(f"{len(found)} on {network}" for network, found in seen.items())
        + f"; {counted(len(strays), 'frame')} other than from {seat} to {message.server}",
        len(waiting) == 1 and bool(seen[home]) and not strays,
        [queue, *places],
    )
