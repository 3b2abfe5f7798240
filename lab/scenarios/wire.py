"""What a run's captures say, asked the way a scenario asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.observe.dialogue import Dialogue, dialogues
from lab.observe.packets import Udp, decode
from lab.observe.pcap import Frame, read_frames
from lab.observe.tcp import Stream, follow
from lab.scenarios.evidence import Evidence, packet

MX = 15  # the type of a DNS question (RFC 1035 section 3.2.2)


@dataclass(frozen=True)
class Connection:
    """An SMTP connection, or the attempt at one, and the capture it was seen in."""

    dialogue: Dialogue
    file: str

    def at(self, frame: int) -> Evidence:
        """`frame` of this capture as evidence."""
        return packet(self.file, frame)

    @property
    def syn(self) -> Evidence:
        """The frame that opened it."""
        return self.at(self.dialogue.opened.frame)

    def commands(self, verb: str) -> list[Evidence]:
        """The frames in which the client said `verb` (MAIL, DATA, QUIT, …)."""
        return [
            self.at(turn.frame)
            for turn in self.dialogue.turns
            if turn.kind == "command" and turn.command == verb
        ]


class Wire:
    """The captures of a run, one for each network, each as far as it has been written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, network: str) -> str:
        """The capture of `network`, relative to the run's folder."""
        return f"captures/{network}.pcap"

    def frames(self, network: str) -> list[Frame]:
        """All frames seen on `network` so far."""
        with (self._folder / self.file(network)).open("rb") as stream:
            return list(read_frames(stream, on_cut=lambda cut: None))

    def connections(
        self, network: str, *, client: str, server: str, port: int = 25, after: float = 0
    ) -> list[Connection]:
        """Connections on `network` from one address to another, opened after `after` (epoch s)."""
        file = self.file(network)
        return [
            Connection(dialogue, file)
            for dialogue in dialogues(self._folder / file, ports=(port,))
            if dialogue.client.address == client
            and (dialogue.server.address, dialogue.server.port) == (server, port)
            and dialogue.opened.time > after
        ]

    def question(self, network: str, name: str, kind: int, after: float = 0) -> Evidence | None:
        """The first DNS question for `name` of type `kind` (15: MX) after `after` (epoch s)."""
        # RFC 1035 section 4.1.2: labels with their lengths, a zero, the type.
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        wanted = labels.lower() + b"\0" + kind.to_bytes(2, "big")
        for frame in self.frames(network):
            found = decode(frame)
            if (
                frame.time > after
                and isinstance(found, Udp)
                and found.dport == 53
                and wanted in found.payload.lower()
            ):
                return packet(self.file(network), frame.number)
        return None

    def calls_to(self, network: str, address: str, after: float = 0) -> list[Evidence]:
        """TCP connections that somebody opened, or tried to open, to `address`."""
        return [
            packet(self.file(network), stream.opened.frame)
            for stream in self._streams(network)
            if stream.server.address == address and stream.opened.time > after
        ]

    def first_call(
        self, network: str, *, client: str, server: str, port: int, after: float = 0
    ) -> Evidence | None:
        """The SYN of the first connection from one address to a port of another."""
        for stream in self._streams(network):
            if (
                stream.client.address == client
                and (stream.server.address, stream.server.port) == (server, port)
                and stream.opened.time > after
            ):
                return packet(self.file(network), stream.opened.frame)
        return None

    def _streams(self, network: str) -> list[Stream]:
        found = {step.stream.number: step.stream for step in follow(self.frames(network))}
        return [found[number] for number in sorted(found)]
