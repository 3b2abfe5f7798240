"""Scenarios, played as users play them, and their record looked up again by other means.

Nothing here reads what a scenario printed, nor asks what its verdicts were made with: raw packets,
log lines, the mailbox's own data.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from lab.events import read
from lab.kinds import DATA
from lab.observe.packets import ACK, RST, SYN, Tcp, decode
from lab.observe.pcap import Frame, read_frames

SENDER_PC, SENDER_MAIL = "198.51.100.10", "198.51.100.25"
RECEIVER_PC, RECEIVER_MAIL = "203.0.113.10", "203.0.113.25"
BACKUP_MAIL, OTHER_MAIL = "198.51.100.153", "198.18.0.25"


@dataclass(frozen=True)
class Run:
    """A finished run: what `--json` said, and the folder with its record."""

    status: int
    said: dict[str, Any]
    stderr: str
    folder: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "events.jsonl").read_bytes().splitlines()
        return [event for line in lines if (event := json.loads(line))["kind"] == kind]

    def frames(self, network: str) -> list[Frame]:
        with (self.folder / "captures" / f"{network}.pcap").open("rb") as stream:
            return list(read_frames(stream))

    def segments(self, network: str) -> list[Tcp]:
        found = (decode(frame) for frame in self.frames(network))
        return [packet for packet in found if isinstance(packet, Tcp)]

    def log(self, node: str) -> list[str]:
        return (self.folder / "logs" / f"{node}.log").read_text().splitlines()

    def last_mailbox(self, user: str) -> list[dict[str, Any]]:
        return [one for one in self.events("mailbox") if one["data"]["user"] == user][-1]["data"][
            "messages"
        ]


Play = Callable[..., Run]


def played(folder: Path, name: str, *options: str) -> Run:
    """Run a scenario as a user does, in a folder of its own."""
    argv = [sys.executable, "-m", "lab", "scenario", "run", name, "--json", *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300)
    said = json.loads(done.stdout) if done.stdout else {}
    folders = sorted((folder / "runs").glob("*")) if (folder / "runs").exists() else []
    return Run(done.returncode, said, done.stderr, folders[-1] if folders else folder)


def calls(segments: list[Tcp], client: str, server: str, port: int) -> list[Tcp]:
    """The SYNs with which `client` opened connections, repeated ones left out."""
    syns = {
        (packet.sport, packet.seq): packet
        for packet in reversed(segments)
        if packet.flags & (SYN | ACK) == SYN
        and (packet.src, packet.dst, packet.dport) == (client, server, port)
    }
    return sorted(syns.values(), key=lambda packet: packet.frame.number)


def said(segments: list[Tcp], sender: str, port: int, words: bytes) -> int:
    """How often `sender` said `words` at the start of a line, to or from `port`."""
    pattern = re.compile(rb"(?m)^" + words)
    return sum(
        len(pattern.findall(packet.payload))
        for packet in segments
        if packet.src == sender and port in (packet.sport, packet.dport)
    )


def replies(segments: list[Tcp], call: Tcp, until: float) -> list[Tcp]:
    """What came back to a call before `until` (epoch seconds)."""
    return [
        packet
        for packet in segments
        if (packet.src, packet.sport, packet.dport) == (call.dst, call.dport, call.sport)
        and packet.frame.time < until
    ]


def octets(segments: list[Tcp], call: Tcp) -> int:
    """How many different octets the caller sent over the connection that `call` opened."""
    ends = [
        (packet.seq + len(packet.payload) - call.seq - 1) & 0xFFFFFFFF
        for packet in segments
        if (packet.src, packet.sport, packet.dport) == (call.src, call.sport, call.dport)
        and packet.payload
    ]
    return max(ends, default=0)


_FLAGS = {"SYN": SYN, "SYN-ACK": SYN | ACK}


class Lookup:
    """Looks up what a run claims, with means other than those the claims were made with."""

    def __init__(self, run: Run) -> None:
        self._run = run
        lines = (run.folder / "events.jsonl").read_bytes().splitlines()
        self._events = {event["seq"]: event for event in map(json.loads, lines)}
        self._frames: dict[str, list[Frame]] = {}

    def claims(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Every sentence of the story, and where it says that it can be looked up."""
        for event in self._events.values():
            if "evidence" in event["data"]:
                yield event["kind"], event["data"]["evidence"]

    def find(self, place: dict[str, Any]) -> None:
        """Fails unless what is said to stand in `place` stands there."""
        says = place["says"]
        if place["kind"] == "packet":
            data = self._frame(place["file"], place["frame"]).data
            if says in ("SYN", "SYN-ACK", "RST"):
                flags = data[47] & 0x3F  # after an IPv4 header without options, as here
                assert flags & RST if says == "RST" else flags == _FLAGS[says], place
            elif question := re.fullmatch(r"(MX|A) (\S+)\?", says):
                labels = [bytes([len(part)]) + part.encode() for part in question[2].split(".")]
                kind = {"A": 1, "MX": 15}[question[1]].to_bytes(2, "big")
                assert b"".join(labels) + b"\0" + kind in data, place
            elif none := re.fullmatch(r"MX \S+: (NXDOMAIN|SERVFAIL|NOERROR)", says):
                code = {"NOERROR": 0, "SERVFAIL": 2, "NXDOMAIN": 3}[none[1]]
                flags = int.from_bytes(data[44:46], "big")  # of an answer, after IPv4 and UDP
                assert flags & 0x8000 and flags & 15 == code, place
            elif answer := re.fullmatch(r"MX \S+: (.+)", says):
                for record in answer[1].split(", "):
                    preference, first = re.fullmatch(r"(\d+) (\w+)\..+", record).groups()
                    label = bytes([len(first)]) + first.encode()
                    assert int(preference).to_bytes(2, "big") + label in data, place
            elif told := re.fullmatch(r"ICMP (time to live exceeded|port unreachable)", says):
                kind = {"time to live exceeded": (11, 0), "port unreachable": (3, 3)}[told[1]]
                assert (data[23], *data[34:36]) == (1, *kind), place  # after an IPv4 header
            else:
                assert says.encode() in data, place
        elif place["kind"] == "log":
            assert self._run.log(place["node"])[place["line"] - 1].endswith(" " + says), place
        else:
            event = self._events[place["event"]]
            assert (event["kind"], event["node"]) == (place["kind"], place["node"]), place
            assert event["summary"] == says, place

    def _frame(self, file: str, number: int) -> Frame:
        if file not in self._frames:
            self._frames[file] = self._run.frames(Path(file).stem)
        return self._frames[file][number - 1]


def all_is_backed(run: Run) -> None:
    """Each sentence of a story has its evidence, and all of it is there and says that."""
    lookup, backed = Lookup(run), set()
    for kind, places in lookup.claims():
        for place in places:
            lookup.find(place)
            backed.add(kind)
    faults = {"fault"} if run.events("fault") else set()
    assert {"verdict", "action", "narration"} | faults <= backed
    for event in [*run.events("verdict"), *run.events("fault")]:
        assert event["data"]["evidence"], event["summary"]
    for event in run.events("action"):  # what is done to Postfix, and waiting, is seen nowhere else
        assert event["data"]["evidence"] or not event["data"].get("by"), event["summary"]


def every_event_is_of_its_type(run: Run) -> None:
    for event in read(run.folder):
        strict = with_config(ConfigDict(extra="forbid"))(DATA[event.kind])
        TypeAdapter(strict).validate_json(json.dumps(event.data))
