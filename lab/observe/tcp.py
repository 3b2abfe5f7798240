"""Follow TCP connections: who called whom, how it went, and the bytes in order.

A capture is not what either end saw: segments are missing, doubled, late, cut differently the
second time, and it may begin in the middle. Each direction is therefore put in order by sequence
number (RFC 9293 §3.4), the first copy of an octet counts, and what the receiver acknowledged
though the capture never showed it is reported as lost instead of being waited for.

Streams are numbered as Wireshark numbers `tcp.stream`: from 0, in order of first appearance; a
SYN with a new sequence number between the same two ports begins a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Literal, NamedTuple, TypeAlias

from lab.observe.packets import ACK, FIN, RST, SYN, Icmp, Packet, Quoted, Tcp, decode
from lab.observe.pcap import Frame

_MASK = 0xFFFFFFFF
# Octets kept behind a hole that nobody acknowledges (only one direction was captured, say).
_PATIENCE = 4 << 20
_NOT_PLAIN = SYN | FIN | RST
# Below this, ports belong to services; needed only for captures that begin mid-connection.
_SERVICE_PORTS = 1024

Side: TypeAlias = Literal["client", "server"]
Kind: TypeAlias = Literal[
    "syn", "accepted", "established", "data", "lost", "fin", "reset", "icmp", "over"
]


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
    who first sent a FIN and `reset` who first sent an RST. `midstream`: no SYN was captured, so
    who is the client was guessed from the ports.
    """

    number: int
    client: Endpoint
    server: Endpoint
    opened: Mark
    interface: str | None = None
    midstream: bool = False
    syns: list[Mark] = field(default_factory=list)
    accepted: Mark | None = None
    established: Mark | None = None
    fins: dict[Side, Mark] = field(default_factory=dict)
    reset: tuple[Side, Mark] | None = None
    complaints: list[Complaint] = field(default_factory=list)

    @property
    def closed(self) -> tuple[Side, Mark] | None:
        """Who said first that it was done, and where."""
        return min(self.fins.items(), key=lambda fin: fin[1].frame, default=None)

    @property
    def connected(self) -> bool:
        """Whether the server accepted (or the capture begins after it did)."""
        return self.midstream or self.accepted is not None

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


class Step(NamedTuple):
    """Something that happened to a stream.

    `data`: octets of `side`, in order, carried by `frame`; `ready` is the frame with which all
    before them had arrived (the same, unless segments came out of order). `lost`: that many
    octets of `side` are missing here. `over`: the stream will not be heard of again. Of the
    others `side` is who did it, and for `icmp` who is told.
    """

    stream: Stream
    kind: Kind
    side: Side
    frame: int
    time: float
    data: bytes
    ready: int
    lost: int


_step: Callable[[tuple[Stream, Kind, Side, int, float, bytes, int, int]], Step] = partial(
    tuple.__new__, Step
)


class _Half:
    """One direction: `next` is the position expected, unwrapped (its low 32 bits are on the wire).

    `waiting` is a heap of (position, frame, time, payload) beyond a hole; `acked` the highest
    acknowledgement of these bytes by the other side.
    """

    __slots__ = ("acked", "held", "isn", "next", "peer", "side", "stream", "waiting")

    def __init__(self, stream: Stream, side: Side) -> None:
        self.stream = stream
        self.side = side
        self.peer = self
        self.isn: int | None = None
        self.next: int | None = None
        self.acked: int | None = None
        self.waiting: list[tuple[int, int, float, bytes]] = []
        self.held = 0

    def position(self, seq: int) -> int:
        """The unwrapped position of `seq`: the one within 2 GiB of what is expected."""
        assert self.next is not None
        return self.next + ((seq - self.next + 0x80000000) & _MASK) - 0x80000000

    def take(self, seq: int, payload: bytes, frame: int, time: float) -> Iterator[Step]:
        """Put `payload` in its place and yield what is in order now."""
        if self.next is None:
            self.next = seq
        position = self.position(seq)
        if position + len(payload) > self.next:
            heappush(self.waiting, (position, frame, time, payload))
            self.held += len(payload)
        return self.ripe(frame)

    def ripe(self, ready: int, *, give_up: bool = False) -> Iterator[Step]:
        """What waits and is in order, or lies behind a hole that will never be filled."""
        while self.waiting:
            assert self.next is not None
            position, frame, time, payload = self.waiting[0]
            hole = position - self.next
            if hole > 0:
                acked = self.acked is not None and self.position(self.acked) >= position
                if not (acked or give_up or self.held > _PATIENCE):
                    return
                self.next = position
                yield _step((self.stream, "lost", self.side, frame, time, b"", ready, hole))
            heappop(self.waiting)
            self.held -= len(payload)
            fresh = payload[max(-hole, 0) :]
            if fresh:
                self.next += len(fresh)
                yield _step((self.stream, "data", self.side, frame, time, fresh, ready, 0))


_Key: TypeAlias = tuple[str, int, str, int]


class Tracker:
    """Turns packets into steps, one packet at a time; see `follow` for a whole capture.

    Keeps a small record for each stream, and of the bytes only what is out of order.
    """

    def __init__(self) -> None:
        self._halves: dict[_Key, _Half] = {}
        self._streams = 0

    def feed(self, packet: Packet | None) -> Sequence[Step]:
        """What `packet` did: nothing, unless it is a TCP segment or an ICMP error about one."""
        if isinstance(packet, Tcp):
            frame, src, dst, _, sport, dport, seq, ack, flags, _, _, payload = packet
            half = self._halves.get((src, sport, dst, dport))
            # Nearly every segment: the connection stands, nothing is missing in either direction.
            if (
                half is not None
                and half.next is not None
                and half.next & _MASK == seq
                and not flags & _NOT_PLAIN
                and half.stream.established is not None
                and not half.waiting
                and not half.peer.waiting
            ):
                half.peer.acked = ack
                if not payload:
                    return ()
                half.next += len(payload)
                number = frame.number
                time = frame.ns / 1_000_000_000
                return (_step((half.stream, "data", half.side, number, time, payload, number, 0)),)
            return self._segment(packet, half)
        if isinstance(packet, Icmp) and packet.quoted is not None:
            return self._complaint(packet, packet.quoted)
        return ()

    def finish(self) -> Iterator[Step]:
        """End of the capture: what still waits behind holes, and that each stream is over."""
        for half in self._halves.values():
            if half.side == "client":
                yield from _over(half)
        self._halves.clear()

    def _segment(self, packet: Tcp, half: _Half | None) -> list[Step]:
        """Any segment, with all that can be wrong about it."""
        steps: list[Step] = []
        mark = Mark(packet.frame.number, packet.frame.time)
        seq, flags = packet.seq, packet.flags
        calling = flags & (SYN | ACK) == SYN
        if half is None:
            half = self._open(packet, mark)
        elif calling and half.isn not in (None, seq):
            steps += _over(half)
            half = self._open(packet, mark)
        if half.isn is None:
            half.isn = seq if flags & SYN else seq - 1 & _MASK
        if flags & SYN:
            steps += _handshake(packet, half, mark)
            seq = seq + 1 & _MASK
        if half.next is None and not flags & RST:
            half.next = seq
        if flags & ACK:
            steps += _acknowledged(packet, half, mark)
        if packet.payload and not flags & RST:  # what an RST carries is a diagnosis, not data
            steps += half.take(seq, packet.payload, *mark)
        stream, side = half.stream, half.side
        if flags & FIN and side not in stream.fins:
            stream.fins[side] = mark
            steps.append(_news("fin", half, mark))
        if flags & RST and stream.reset is None:
            stream.reset = (side, mark)
            steps.append(_news("reset", half, mark))
        return steps

    def _open(self, packet: Tcp, mark: Mark) -> _Half:
        """A new stream begins with `packet`; returns the direction the packet goes."""
        src, dst = Endpoint(packet.src, packet.sport), Endpoint(packet.dst, packet.dport)
        match packet.flags & (SYN | ACK):
            case 0x02:
                forth = True
            case 0x12:
                forth = False
            case _:
                service = min(src.port, dst.port) < _SERVICE_PORTS
                forth = dst.port <= src.port if service else True
        client, server = (src, dst) if forth else (dst, src)
        stream = Stream(self._streams, client, server, mark, packet.frame.interface)
        stream.midstream = not packet.flags & SYN
        self._streams += 1
        near = _Half(stream, "client" if forth else "server")
        far = _Half(stream, "server" if forth else "client")
        near.peer, far.peer = far, near
        self._halves[*src, *dst], self._halves[*dst, *src] = near, far
        return near

    def _complaint(self, packet: Icmp, quoted: Quoted) -> Sequence[Step]:
        if quoted.sport is None or quoted.dport is None:
            return ()
        half = self._halves.get((quoted.src, quoted.sport, quoted.dst, quoted.dport))
        if half is None:
            return ()
        mark = Mark(packet.frame.number, packet.frame.time)
        half.stream.complaints.append(Complaint(mark, packet.src, packet.reason))
        return (_news("icmp", half, mark),)


def _news(kind: Kind, half: _Half, mark: Mark) -> Step:
    return _step((half.stream, kind, half.side, mark.frame, mark.time, b"", mark.frame, 0))


def _handshake(packet: Tcp, half: _Half, mark: Mark) -> Iterator[Step]:
    """A SYN or SYN-ACK, its repetition, or its second sight on another cable."""
    stream = half.stream
    if packet.flags & ACK:
        if stream.accepted is None:
            stream.accepted = mark
            yield _news("accepted", half, mark)
    # Captured on several cables, one SYN is seen several times; only on the same cable is it
    # a repetition.
    elif not stream.syns or packet.frame.interface == stream.interface:
        stream.syns.append(mark)
        yield _news("syn", half, mark)


def _acknowledged(packet: Tcp, half: _Half, mark: Mark) -> Iterator[Step]:
    """What the acknowledgement in `packet` tells of the other direction."""
    stream, peer = half.stream, half.peer
    peer.acked = packet.ack
    if peer.next is None:
        peer.next = packet.ack  # the capture begins mid-stream: all before was before
    if stream.established is None and not packet.flags & (SYN | RST):
        answers = half.side == "client" and stream.accepted is not None
        if answers or stream.midstream:
            stream.established = mark
            yield _news("established", half, mark)
    yield from peer.ripe(mark.frame)


def _over(half: _Half) -> Iterator[Step]:
    """What still waits behind holes, in both directions, and then the end of the stream."""
    for each in (half, half.peer):
        last = max((frame for _, frame, _, _ in each.waiting), default=0)
        yield from each.ripe(last, give_up=True)
    yield _news("over", half, half.stream.opened)


def follow(frames: Iterable[Frame]) -> Iterator[Step]:
    """Everything that happens to TCP connections in a capture, in its order.

    Ends with an `over` for every stream. Raises what `frames` raises.
    """
    tracker = Tracker()
    feed = tracker.feed
    for frame in frames:
        yield from feed(decode(frame))
    yield from tracker.finish()
