"""What client and server said to each other over SMTP, read back from the packets.

`lab.observe.tcp` makes streams of the packets, `lab.observe.smtp` reads what is said in them,
`lab.observe.turns` is what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from lab.observe.pcap import CaptureCut, Frame, read_frames
from lab.observe.smtp import Smtp
from lab.observe.tcp import Stream, follow
from lab.observe.turns import Dialogue, Transaction, Turn, TurnKind

__all__ = [
    "SMTP_PORTS",
    "Dialogue",
    "Smtp",
    "Source",
    "Transaction",
    "Turn",
    "TurnKind",
    "attempts",
    "dialogues",
    "listen",
]

SMTP_PORTS = frozenset({25, 465, 587})


def listen(
    frames: Iterable[Frame], ports: Iterable[int] = SMTP_PORTS
) -> Iterator[tuple[Dialogue, Turn | None]]:
    """Each turn as soon as it is complete, with its dialogue.

    A None in a turn's place says that the connection itself changed (called, accepted, closed,
    reset, declared unreachable, over). `ports` are the servers' ports to listen to. Raises what
    `frames` raises.
    """
    wanted = frozenset(ports)
    readers: dict[int, tuple[Dialogue, Smtp]] = {}
    for step in follow(frames):
        number = step.stream.number
        if number not in readers:
            if step.stream.server.port not in wanted:
                continue
            dialogue = Dialogue(step.stream)
            readers[number] = dialogue, Smtp(dialogue)
        dialogue, reader = readers[number]
        told = len(dialogue.turns)
        if step.kind == "data" or step.kind == "lost":
            reader.feed(step)
        elif step.kind == "over":
            reader.finish()
            del readers[number]
        for turn in dialogue.turns[told:]:
            yield dialogue, turn
        if step.kind != "data" and step.kind != "lost":
            yield dialogue, None


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
    ports: Iterable[int] = SMTP_PORTS,
    on_cut: Callable[[CaptureCut], None] = _tolerate,
) -> list[Dialogue]:
    """Every connection to `ports` in a capture, failed attempts too, in order of stream number.

    `source` is a path or an open capture. A capture that ends within a record is read up to there
    and `on_cut` is told. Raises CaptureError for what is no capture, OSError for what can't be
    opened.
    """
    found: dict[int, Dialogue] = {}
    for dialogue, _ in listen(_frames(source, on_cut), ports):
        found.setdefault(dialogue.stream.number, dialogue)
    return [found[number] for number in sorted(found)]


def attempts(
    source: Source, port: int = 25, on_cut: Callable[[CaptureCut], None] = _tolerate
) -> list[Stream]:
    """Every attempt to connect to `port`, answered or not, in order of stream number.

    Each knows its SYNs (frame and time), whether it was accepted, and its `state` in words.
    """
    steps = follow(_frames(source, on_cut))
    found = {step.stream.number: step.stream for step in steps if step.stream.server.port == port}
    return [found[number] for number in sorted(found)]
