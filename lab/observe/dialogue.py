"""What client and server said to each other, read back from the packets.

`lab.observe.tcp` and `udp` make streams of the packets, the readers in `lab.observe.protocols`
find out what is said in them, `lab.observe.turns` is what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

from lab.observe.packets import Checksums, Packet, Tcp, decode
from lab.observe.pcap import CaptureCut, Frame, read_frames
from lab.observe.protocols import PORTS, READERS, Reads, Unread
from lab.observe.tcp import Step, Stream, Tracker, follow
from lab.observe.tls import begins_with_hello
from lab.observe.turns import Dialogue, Transaction, Turn, TurnKind
from lab.observe.udp import Flows

__all__ = [
    "PORTS",
    "SMTP_PORTS",
    "Conversations",
    "Dialogue",
    "Source",
    "Steps",
    "Transaction",
    "Turn",
    "TurnKind",
    "attempts",
    "dialogues",
    "listen",
]

SMTP_PORTS = frozenset({25, 465, 587})
# Ports, read as what is expected there (SMTP where nothing is), or told what to read as.
Ports: TypeAlias = Iterable[int] | Mapping[int, str]


class Conversations:
    """Dialogues made of steps, one step at a time; see `listen` for a whole capture.

    `ports` are the servers' ports to listen to; unless they are given, whoever begins with TLS is
    heard too. Nothing is kept of a connection that is over.
    """

    def __init__(self, ports: Ports = PORTS) -> None:
        self._guess_tls = ports is PORTS
        self._wanted = (
            ports if isinstance(ports, Mapping) else {p: PORTS.get(p, "smtp") for p in ports}
        )
        self._readers: dict[Stream, tuple[Dialogue, Reads]] = {}

    def take(self, step: Step) -> Sequence[tuple[Dialogue, Turn | None]]:
        """The turns that `step` made complete; None in a turn's place if the connection changed."""
        stream, kind = step.stream, step.kind
        known = self._readers.get(stream) or self._meet(stream, step.data)
        if known is None:
            return ()
        dialogue, reader = known
        turns = dialogue.turns
        told = len(turns)
        if kind == "data" or kind == "lost":
            reader.feed(step)
            if len(turns) == told:
                return ()
            return [(dialogue, turn) for turn in turns[told:]]
        if kind == "over":
            reader.finish()
            dialogue.over = True
            del self._readers[stream]
        return [*((dialogue, turn) for turn in turns[told:]), (dialogue, None)]

    def _meet(self, stream: Stream, data: bytes) -> tuple[Dialogue, Reads] | None:
        protocol = self._wanted.get(stream.server.port)
        if protocol is None and self._guess_tls and begins_with_hello(data):
            protocol = "tls"
        if protocol is None or (stream.transport == "udp") > (protocol == "dns"):
            return None
        dialogue = Dialogue(stream)
        known = self._readers[stream] = dialogue, READERS.get(protocol, Unread)(dialogue)
        return known


def listen(frames: Iterable[Frame], ports: Ports = PORTS) -> Iterator[tuple[Dialogue, Turn | None]]:
    """Each turn as soon as it is complete, with its dialogue.

    A None in a turn's place says that the connection itself changed (called, accepted, closed,
    reset, declared unreachable, over). Raises what `frames` raises.
    """
    steps, take = Steps(), Conversations(ports).take
    feed = steps.feed
    for frame in frames:
        for step in feed(decode(frame)):
            said = take(step)
            if said:
                yield from said
    for step in steps.finish():
        yield from take(step)


class Steps:
    """What happens to TCP connections and UDP flows, one packet at a time."""

    def __init__(self) -> None:
        self._flows = Flows()
        self._tracker = Tracker(self._flows.feed)
        self._is_damaged = Checksums().damaged
        self._track = self._tracker.feed
        self.damaged = False
        """Whether the packet fed last was: nothing was done by it, and it will be sent again."""

    def feed(self, packet: Packet | None) -> Sequence[Step]:
        """What `packet` did to the connection it belongs to."""
        self.damaged = self._is_damaged(packet)
        return () if self.damaged else self._track(packet)

    def stream(self, packet: Tcp) -> Stream | None:
        """The connection of the segment fed last; None if it was damaged."""
        return None if self.damaged else self._tracker.stream(packet)

    def finish(self) -> Iterator[Step]:
        """The end of the capture: every connection is over."""
        yield from self._tracker.finish()
        yield from self._flows.finish()


Source: TypeAlias = str | Path | BinaryIO


def _frames(source: Source, on_cut: Callable[[CaptureCut], None]) -> Iterator[Frame]:
    if isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            yield from read_frames(stream, on_cut)
    else:
        yield from read_frames(source, on_cut)


def _tolerate(cut: CaptureCut) -> None:
    """What a capture still being written looks like; its good part is what was asked for."""


def dialogues(
    source: Source,
    ports: Ports = PORTS,
    on_cut: Callable[[CaptureCut], None] = _tolerate,
    since: float = 0,
) -> list[Dialogue]:
    """Every connection to `ports` in a capture, failed attempts too, in order of first appearance.

    Frames of before `since` (epoch seconds) are passed over; of a connection that was open then it
    has the rest.

    `source` is a path or an open capture. A capture that ends within a record is read up to there
    and `on_cut` is told. Raises CaptureError for what is no capture, OSError for what can't be
    opened.
    """
    frames = (one for one in _frames(source, on_cut) if one.time >= since)
    found = {id(dialogue): dialogue for dialogue, _ in listen(frames, ports)}
    return sorted(found.values(), key=lambda dialogue: dialogue.opened.frame)


def attempts(
    source: Source, port: int = 25, on_cut: Callable[[CaptureCut], None] = _tolerate
) -> list[Stream]:
    """Every attempt to connect to `port`, answered or not, in order of stream number.

    Each knows its SYNs (frame and time), whether it was accepted, and its `state` in words.
    """
    steps = follow(_frames(source, on_cut))
    found = {step.stream.number: step.stream for step in steps if step.stream.server.port == port}
    return [found[number] for number in sorted(found)]
