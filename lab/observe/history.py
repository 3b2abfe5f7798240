"""What TCP did, in words: called again, closed, reset, sent again, was told by ICMP."""

from __future__ import annotations

from typing import NamedTuple

from lab.observe.tcp import Mark, Side, Stream


class Happening(NamedTuple):
    """Something that happened to a connection besides what was said over it."""

    mark: Mark
    words: str
    bad: bool


def happenings(stream: Stream) -> list[Happening]:
    """All of it so far, in order; grows while the stream is followed.

    A call and its acceptance are not mentioned, nor is a FIN after an RST.
    """
    found: list[Happening] = []
    for syn in stream.syns[1:]:
        waited = syn.time - stream.syns[0].time
        found.append(Happening(syn, f"no answer for {waited:.1f} s: calls again (SYN)", True))
    for complaint in stream.complaints:
        words = f"ICMP from {complaint.by}: {complaint.reason}"
        found.append(Happening(complaint.mark, words, True))
    for index, (side, mark) in enumerate(sorted(stream.fins.items(), key=lambda fin: fin[1].frame)):
        words = f"the {side} closes too (FIN)" if index else f"the {side} closes its side (FIN)"
        found.append(Happening(mark, words, False))
    if stream.reset:
        side, mark = stream.reset
        words = "resets the connection" if stream.connected else "refuses the connection"
        found.append(Happening(mark, f"the {side} {words} (RST)", True))
    return sorted(found, key=lambda happening: happening.mark.frame)


def epilogue(stream: Stream) -> list[str]:
    """What can be said of a connection only at its end."""
    lines = [
        f"the {side} sent {octets} octets more than once (retransmission)"
        for side, octets in stream.repeated.items()
    ]
    if len(stream.fins) == 1 and not stream.reset:
        (side,) = stream.fins
        other: Side = "server" if side == "client" else "client"
        lines.append(f"half-closed: the {other} never closed its side")
    return lines
