"""Follow TCP connections: who called whom, how it went, and the bytes in order.

A capture is not what either end saw: segments are missing, doubled, late, cut differently the
second time, and it may begin in the middle. Each direction is therefore put in order by sequence
number (RFC 9293 §3.4), the first copy of an octet in order counts, and what was acknowledged
though the capture never showed it is reported as lost instead of being waited for.

Streams are numbered as Wireshark numbers `tcp.stream`: from 0, in order of first appearance; a
SYN with a new sequence number between the same two ports begins a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Literal, NamedTuple, TypeAlias

from lab.observe.packets import ACK, FIN, RST, SYN, Icmp, Packet, Quoted, Tcp, decode
from lab.observe.pcap import Frame
from lab.observe.stream import Complaint, Endpoint, Mark, Side, Stream

__all__ = [
    "SERVICE_PORTS",
    "Complaint",
    "Endpoint",
    "Kind",
    "Mark",
    "Side",
    "Step",
    "Stream",
    "Tracker",
    "follow",
]

_MASK = 0xFFFFFFFF
# Octets kept behind a hole that nobody acknowledges (only one direction was captured, say).
_PATIENCE = 4 << 20
_TCP = 6
_NOT_PLAIN = SYN | FIN | RST
# Below this, ports belong to services; needed only for captures that begin mid-connection.
SERVICE_PORTS = 1024
# Connections remembered after their end, so that what still comes of them is known as theirs.
_REMEMBERED = 1024

Kind: TypeAlias = Literal[
    "syn", "accepted", "established", "data", "lost", "fin", "reset", "icmp", "over"
]


class Step(NamedTuple):
    """Something that happened to a stream.

    `data`: octets of `side`, in order, carried by `frame`; `ready` is the frame with which all
    before them had arrived (the same, unless segments came out of order). `lost`: that many
    octets of `side` are missing here. `over`: the stream will not be heard of again. Of the
    others `side` is who did it, and for `icmp` who is told.

    A stream is over when both sides closed and all was seen, when one reset it (what comes later
    reaches nobody), when a new one takes its ports, or when the capture ends.
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
    acknowledgement of these bytes by the other side; `fin` where they end. `plain`: the
    connection stands and nothing waits in either direction, so that `next` is known too.
    """

    __slots__ = (
        *("acked", "fin", "held", "isn", "next", "over", "peer", "plain"),
        *("side", "stream", "waiting"),
    )

    def __init__(self, stream: Stream, side: Side) -> None:
        self.stream = stream
        self.side = side
        self.peer = self
        self.isn: int | None = None
        self.next: int | None = None
        self.acked: int | None = None
        self.fin: int | None = None
        self.waiting: list[tuple[int, int, float, bytes]] = []
        self.held = 0
        self.plain = False
        self.over = False

    def restart(self) -> None:
        """Forget where this direction stood."""
        self.isn = self.next = self.acked = None
        self.waiting.clear()
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

    Keeps a small record for each stream that is not over (and for some that are), and of the
    bytes only what is out of order. What is no business of TCP's is passed on to `beside`.
    """

    def __init__(
        self, beside: Callable[[Packet | None], Sequence[Step]] = lambda packet: ()
    ) -> None:
        self._beside = beside
        self._halves: dict[_Key, _Half] = {}
        self._finished: deque[_Half] = deque()
        self._streams = 0

    def feed(self, packet: Packet | None) -> Sequence[Step]:
        """What `packet` did: nothing, unless it is a TCP segment or an ICMP error about one."""
        if isinstance(packet, Tcp):
            frame, src, dst, _, sport, dport, seq, ack, flags, _, _, payload = packet
            half = self._halves.get((src, sport, dst, dport))
            # Nearly every segment: the connection stands, nothing is missing in either direction.
            if (
                half is not None
                and half.plain
                and half.next & _MASK == seq  # type: ignore[operator]
                and not flags & _NOT_PLAIN
            ):
                half.peer.acked = ack
                if not payload:
                    return ()
                half.next += len(payload)  # type: ignore[operator]
                number = frame.number
                time = frame.ns / 1_000_000_000
                return (_step((half.stream, "data", half.side, number, time, payload, number, 0)),)
            return self._segment(packet, half)
        if isinstance(packet, Icmp) and packet.quoted and packet.quoted.protocol == _TCP:
            return self._complaint(packet, packet.quoted)
        return self._beside(packet)

    def finish(self) -> Iterator[Step]:
        """End of the capture: what still waits behind holes, and that each stream is over."""
        for half in self._halves.values():
            if half.side == "client" and not half.over:
                yield from _over(half)
        self._halves.clear()
        self._finished.clear()

    def stream(self, packet: Tcp) -> Stream | None:
        """The stream that a segment belongs to which was fed last."""
        half = self._halves.get((packet.src, packet.sport, packet.dst, packet.dport))
        return half.stream if half else None

    def _segment(self, packet: Tcp, half: _Half | None) -> list[Step]:
        """Any segment, with all that can be wrong about it."""
        steps: list[Step] = []
        mark = Mark(packet.frame.number, packet.frame.time)
        seq, flags = packet.seq, packet.flags
        calling = flags & (SYN | ACK) == SYN
        if half is None:
            half = self._open(packet, mark)
        elif calling and half.isn not in (None, seq):
            if not half.over:
                steps += _over(half)
            half = self._open(packet, mark)
        elif half.over:
            return steps
        if flags & SYN and half.isn not in (None, seq) and not half.stream.connected:
            half.restart()  # what it said before belonged to an older connection
        if half.isn is None:
            half.isn = seq if flags & SYN else seq - 1 & _MASK
        if flags & SYN:
            if calling:
                half.stream.isn = seq
            steps += _handshake(packet, half, mark)
            seq = seq + 1 & _MASK
        if half.next is None and not flags & RST:
            half.next = seq
        if flags & ACK:
            steps += _acknowledged(packet, half, mark)
        if packet.payload and not flags & RST:  # what an RST carries is a diagnosis, not data
            _count_repeated(packet, half, seq)
            steps += half.take(seq, packet.payload, *mark)
        stream, side = half.stream, half.side
        if flags & FIN and side not in stream.fins:
            stream.fins[side] = mark
            if half.next is not None:
                half.fin = half.position(seq + packet.length & _MASK)
            steps.append(_news("fin", half, mark))
        if flags & RST and stream.reset is None:
            stream.reset = (side, mark)
            steps.append(_news("reset", half, mark))
        if _ended(half):
            steps += _over(half)
            self._forget_later(half)
        quiet = stream.established and not (stream.fins or half.waiting or half.peer.waiting)
        for each in (half, half.peer):
            each.plain = bool(quiet) and each.next is not None and not each.over
        return steps

    def _forget_later(self, half: _Half) -> None:
        self._finished.append(half)
        if len(self._finished) > _REMEMBERED:
            stream = self._finished.popleft().stream
            for a, b in ((stream.client, stream.server), (stream.server, stream.client)):
                known = self._halves.get((*a, *b))
                if known and known.stream is stream:
                    del self._halves[*a, *b]

    def _open(self, packet: Tcp, mark: Mark) -> _Half:
        """A new stream begins with `packet`; returns the direction the packet goes."""
        src, dst = Endpoint(packet.src, packet.sport), Endpoint(packet.dst, packet.dport)
        match packet.flags & (SYN | ACK):
            case 0x02:
                forth = True
            case 0x12:
                forth = False
            case _:
                service = min(src.port, dst.port) < SERVICE_PORTS
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
        if half is None or half.over:
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
        stream.reset = None  # see _ended
        yield _news("syn", half, mark)


def _acknowledged(packet: Tcp, half: _Half, mark: Mark) -> Iterator[Step]:
    """What the acknowledgement in `packet` tells of the other direction."""
    stream, peer = half.stream, half.peer
    peer.acked = packet.ack
    if peer.next is None:
        peer.next = packet.ack  # the capture begins mid-stream: all before was before
    # That the server accepted the capture may have missed, or all that the client said.
    goes_on = half.side == "client" or packet.payload or stream.midstream
    if stream.established is None and goes_on and not packet.flags & (SYN | RST):
        stream.established = mark
        yield _news("established", half, mark)
    yield from peer.ripe(mark.frame)


def _count_repeated(packet: Tcp, half: _Half, seq: int) -> None:
    stream = half.stream
    if half.next is not None and packet.frame.interface == stream.interface:
        again = min(half.next - half.position(seq), len(packet.payload))
        if again > 0:
            stream.repeated[half.side] = stream.repeated.get(half.side, 0) + again


def _ended(half: _Half) -> bool:
    """Nothing can follow: both directions came to their FIN, or one side reset the connection.

    A client's RST before the server accepted is no end: so it answers a server that believes in
    an older connection between the same ports, and then calls again (RFC 9293 §3.5.1).
    """
    stream = half.stream
    if stream.reset is not None:
        return stream.connected or stream.reset[0] == "server"
    return len(stream.fins) == 2 and half.next == half.fin and half.peer.next == half.peer.fin


def _over(half: _Half) -> Iterator[Step]:
    """What still waits behind holes, in both directions, and then the end of the stream."""
    stream = half.stream
    for each in (half, half.peer):
        last = max((frame for _, frame, _, _ in each.waiting), default=0)
        yield from each.ripe(last, give_up=True)
        if each.fin is not None and each.next is not None and (hole := each.fin - each.next) > 0:
            frame, time = stream.fins[each.side]
            yield _step((stream, "lost", each.side, frame, time, b"", frame, hole))
        each.over, each.plain = True, False
    yield _news("over", half, stream.opened)


def follow(frames: Iterable[Frame]) -> Iterator[Step]:
    """Everything that happens to TCP connections in a capture, in its order.

    Ends with an `over` for every stream. Raises what `frames` raises.
    """
    tracker = Tracker()
    feed = tracker.feed
    for frame in frames:
        yield from feed(decode(frame))
    yield from tracker.finish()
