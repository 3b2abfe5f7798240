"""A connection as the packets show it: who called whom, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

Side: TypeAlias = Literal["client", "server"]


class Mark(NamedTuple):
    """Where something stands in the capture: frame number, and seconds since the epoch."""

    frame: int
    time: float


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


class Complaint(NamedTuple):
    """An ICMP error about a connection: which frame, who sent it, and its reason in words."""

    mark: Mark
    by: str
    reason: str


@dataclass(slots=True, eq=False)
class Stream:
    """A connection or the attempt at one; filled in while the capture is read.

    `opened` is its first frame, `syns` each SYN the client sent (more than one: it had to
    repeat), `accepted` the server's SYN-ACK, `established` the client's answer to that, `closed`
    who first sent a FIN and `reset` who first sent an RST. `repeated`: octets a side sent more
    than once, seen on the cable the stream was first seen on. `midstream`: no SYN was captured,
    so who is the client was guessed from the ports. `isn`: the client's initial sequence number,
    by which the connection is known on another network too.
    """

    transport: ClassVar[Literal["tcp", "udp"]] = "tcp"

    number: int
    client: Endpoint
    server: Endpoint
    opened: Mark
    interface: str | None = None
    midstream: bool = False
    isn: int | None = None
    syns: list[Mark] = field(default_factory=list)
    accepted: Mark | None = None
    established: Mark | None = None
    fins: dict[Side, Mark] = field(default_factory=dict)
    reset: tuple[Side, Mark] | None = None
    complaints: list[Complaint] = field(default_factory=list)
    repeated: dict[Side, int] = field(default_factory=dict)

    @property
    def closed(self) -> tuple[Side, Mark] | None:
        """Who said first that it was done, and where."""
        return min(self.fins.items(), key=lambda fin: fin[1].frame, default=None)

    @property
    def connected(self) -> bool:
        """Whether the server accepted, seen or not: the client goes on as if it had."""
        return self.midstream or self.accepted is not None or self.established is not None

    @property
    def state(self) -> str:
        """How it stands, in words: `never answered`, `refused`, `reset by server`, `open` …"""
        reason = self.complaints[0].reason if self.complaints else None
        if not self.connected:
            if self.reset and self.reset[0] == "server":
                return "refused"
            if reason and ("port" in reason or "prohibited" in reason):
                return f"refused: ICMP {reason}"
            return f"no route: ICMP {reason}" if reason else "never answered"
        closed, reset = self.closed, self.reset
        # What follows a FIN is only how the ends tidied up.
        if reset and not (closed and closed[1].frame <= reset[1].frame):
            return f"reset by {reset[0]}"
        if closed:
            return f"closed by {closed[0]}"
        if reason:
            return f"cut off: ICMP {self.complaints[-1].reason}"
        return "open" if self.established or self.midstream else "half open"
