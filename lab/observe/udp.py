"""Follow UDP: who sent what to whom, as far as that can be said of something without connections.

A flow is what passes between two sockets. Flows are numbered as Wireshark numbers `udp.stream`:
from 0, in order of first appearance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lab.observe.packets import Icmp, Packet, Udp
from lab.observe.tcp import (
    SERVICE_PORTS,
    Complaint,
    Endpoint,
    Kind,
    Mark,
    Side,
    Step,
    Stream,
)

_UDP = 17
_OPEN = 1024  # flows that are not yet taken to be over


@dataclass(slots=True, eq=False)
class Flow(Stream):
    """What passes between two sockets; the client is who spoke first. Never closed, only silent."""

    transport: ClassVar[Literal["tcp", "udp"]] = "udp"

    @property
    def connected(self) -> bool:
        """Whether there was an answer."""
        return self.accepted is not None

    @property
    def state(self) -> str:
        """How it went, in words."""
        if self.accepted:
            return "answered"
        reason = self.complaints[0].reason if self.complaints else None
        if reason is None:
            return "never answered"
        refused = "port" in reason or "prohibited" in reason
        return f"{'refused' if refused else 'no route'}: ICMP {reason}"


class Flows:
    """Turns datagrams into steps, as Tracker does with segments; each datagram is a `data` step.

    The flow that has been silent longest is over when there are very many. Of a capture of
    several cables only that counts on which a flow was first seen, or each datagram would count
    several times.
    """

    def __init__(self) -> None:
        self._flows: dict[tuple[Endpoint, Endpoint], Flow] = {}
        self._numbers: dict[tuple[Endpoint, Endpoint], int] = {}

    def feed(self, packet: Packet | None) -> Sequence[Step]:
        """What `packet` did: nothing, unless it is UDP or an ICMP error about it."""
        if isinstance(packet, Udp):
            return self._datagram(packet)
        quoted = packet.quoted if isinstance(packet, Icmp) else None
        if quoted is None or quoted.protocol != _UDP or quoted.sport is None:
            return ()
        assert isinstance(packet, Icmp) and quoted.dport is not None
        src, dst = Endpoint(quoted.src, quoted.sport), Endpoint(quoted.dst, quoted.dport)
        flow = self._flows.get((min(src, dst), max(src, dst)))
        if flow is None or packet.frame.interface != flow.interface:
            return ()
        mark = Mark(packet.frame.number, packet.frame.time)
        flow.complaints.append(Complaint(mark, packet.src, packet.reason))
        return (_step(flow, "icmp", "client" if src == flow.client else "server", mark),)

    def finish(self) -> Iterator[Step]:
        """The end of the capture."""
        for flow in self._flows.values():
            yield _step(flow, "over", "client", flow.opened)
        self._flows.clear()

    def _datagram(self, packet: Udp) -> Sequence[Step]:
        src, dst = Endpoint(packet.src, packet.sport), Endpoint(packet.dst, packet.dport)
        key = min(src, dst), max(src, dst)
        mark = Mark(packet.frame.number, packet.frame.time)
        steps: list[Step] = []
        flow = self._flows.pop(key, None)
        if flow is None:
            service = min(src.port, dst.port) < SERVICE_PORTS
            ends = (src, dst) if dst.port <= src.port or not service else (dst, src)
            number = self._numbers.setdefault(key, len(self._numbers))
            flow = Flow(number, *ends, mark, packet.frame.interface)
            if len(self._flows) >= _OPEN:
                silent = self._flows.pop(next(iter(self._flows)))
                steps.append(_step(silent, "over", "client", silent.opened))
        self._flows[key] = flow
        if packet.frame.interface != flow.interface:
            return steps
        side: Side = "client" if src == flow.client else "server"
        if side == "server" and flow.accepted is None:
            flow.accepted = mark
        steps.append(_step(flow, "data", side, mark, packet.payload))
        return steps


def _step(flow: Flow, kind: Kind, side: Side, mark: Mark, data: bytes = b"") -> Step:
    return Step(flow, kind, side, mark.frame, mark.time, data, mark.frame, 0)
