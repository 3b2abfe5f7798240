"""Further places to look: what stands in which frame, and what a machine says when it is asked."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lab.observe.packets import Icmp, Packet, Tcp, decode
from lab.observe.pcap import read_frames
from lab.record import CAPTURES
from lab.scenarios.evidence import Evidence, packet

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.services.dovecot import StoredMessage


def packets(stage: Stage, network: str, after: float = 0) -> list[Packet]:
    """All that has passed on `network` after `after` (epoch seconds), as its capture has it."""
    with (stage.folder / CAPTURES / f"{network}.pcap").open("rb") as capture:
        found = [decode(one) for one in read_frames(capture, lambda cut: None) if one.time > after]
    return [one for one in found if one]


def holding(stage: Stage, network: str, words: str, after: float = 0) -> list[Tcp]:
    """The segments on `network` in which `words` can be read."""
    return [
        one
        for one in packets(stage, network, after)
        if isinstance(one, Tcp) and words.encode() in one.payload
    ]


def stored_since(messages: Iterable[StoredMessage], since: float) -> list[StoredMessage]:
    """Those of a mailbox's `messages` that came after `since` (epoch seconds).

    What a server stored while its clock was ahead has a date that is still to come: it is older.
    """
    now = time.time()
    return [one for one in messages if since < one.received <= now]


def at(network: str, found: Packet, says: str) -> Evidence:
    """A packet on `network`, in which `says` can be read, as evidence."""
    return packet(f"{CAPTURES}/{network}.pcap", found.frame.number, says)


def complaint(network: str, found: Icmp) -> Evidence:
    """An ICMP error on `network` as evidence."""
    return at(network, found, f"ICMP {found.reason}")


def asked(stage: Stage, node: str, argv: Sequence[str]) -> tuple[str, Evidence]:
    """What a program prints on `node`, which is put on record. Raises LabError if it fails."""
    typed = shlex.join(argv)
    text = stage.lab.run(node, argv).check(f"{typed} on {node}").text.strip()
    answer = "; ".join(" ".join(line.split()) for line in text.splitlines()) or "nothing"
    event = stage.log.add(
        "action", f"on {node}, {typed} prints: {answer}", node=node, data={"evidence": []}
    )
    return text, Evidence("action", node=node, event=event.seq, says=event.summary)
