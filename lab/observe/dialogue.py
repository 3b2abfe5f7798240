"""What client and server said to each other, read back from the packets.

`lab.observe.tcp` and `udp` make streams of the packets, the readers in `lab.observe.protocols`
find out what is said in them, `lab.observe.turns` is what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from lab.observe.packets import Tcp, decode
from lab.observe.pcap import CaptureCut, Frame, read_frames
from lab.observe.protocols import PORTS, READERS, Reads
from lab.observe.tcp import Step, Stream, Tracker, follow
from lab.observe.tls import begins_with_hello
from lab.observe.turns import Dialogue, Transaction, Turn, TurnKind
from lab.observe.udp import Flows

__all__ = [
    "PORTS",
    "SMTP_PORTS",
    "Dialogue",
    "Source",
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


def listen(frames: Iterable[Frame], ports: Ports = PORTS) -> Iterator[tuple[Dialogue, Turn | None]]:
    """Each turn as soon as it is complete, with its dialogue.

    A None in a turn's place says that the connection itself changed (called, accepted, closed,
    reset, declared unreachable, over). `ports` are the servers' ports to listen to; unless they
    are given, whoever begins with TLS is heard too. Nothing is kept of a connection that is over.
    Raises what `frames` raises.
    """
    wanted = ports if isinstance(ports, Mapping) else {p: PORTS.get(p, "smtp") for p in ports}
    readers: dict[Stream, tuple[Dialogue, Reads]] = {}
    for step in _steps(frames):
        stream, kind, _, _, _, data, _, _ = step
        known = readers.get(stream)
        if known is None:
            protocol = wanted.get(stream.server.port)
            if ports is PORTS and protocol is None and begins_with_hello(data):
                protocol = "tls"
            if protocol is None or (stream.transport == "udp") > (protocol == "dns"):
                continue
            dialogue = Dialogue(stream)
            known = readers[stream] = dialogue, READERS[protocol](dialogue)
        dialogue, reader = known
        told = len(dialogue.turns)
        if kind == "data" or kind == "lost":
            reader.feed(step)
        elif kind == "over":
            reader.finish()
            dialogue.over = True
            del readers[stream]
        if len(dialogue.turns) > told:
            for turn in dialogue.turns[told:]:
                yield dialogue, turn
        if kind != "data" and kind != "lost":
            yield dialogue, None


def _steps(frames: Iterable[Frame]) -> Iterator[Step]:
    """What happens to TCP connections and UDP flows."""
    tracker, flows = Tracker(), Flows()
    follow_tcp, follow_udp = tracker.feed, flows.feed
    for frame in frames:
        packet = decode(frame)
        steps = follow_tcp(packet)
        if steps:
            yield from steps
        elif not isinstance(packet, Tcp):
            yield from follow_udp(packet)
    yield from tracker.finish()
    yield from flows.finish()


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
) -> list[Dialogue]:
    """Every connection to `ports` in a capture, failed attempts too, in order of first appearance.

    `source` is a path or an open capture. A capture that ends within a record is read up to there
    and `on_cut` is told. Raises CaptureError for what is no capture, OSError for what can't be
    opened.
    """
    found = {id(dialogue): dialogue for dialogue, _ in listen(_frames(source, on_cut), ports)}
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
