"""What passes on the networks while a scenario goes on, asked the way a scenario asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from lab.observe.dialogue import Dialogue, Transaction
from lab.observe.packets import Tcp, decode
from lab.observe.pcap import read_frames
from lab.observe.tap import Tap
from lab.observe.turns import Turn
from lab.scenarios.evidence import Evidence, packet


@dataclass(frozen=True)
class Connection:
    """An SMTP connection, or the attempt at one, and the capture it was seen in."""

    dialogue: Dialogue
    file: str
    lock: Lock
    """Held while reading what is said: more may come at any moment."""

    def at(self, frame: int, says: str) -> Evidence:
        """`frame` of this capture, in which `says` can be read, as evidence."""
        return packet(self.file, frame, says)

    def turn(self, turn: Turn) -> Evidence:
        """The frame with which something was said, and its first words."""
        return self.at(turn.frame, first_words(turn))

    def steps(self, mail: Transaction) -> list[Evidence]:
        """Where a transaction began, and the reply that ended it."""
        return [self.turn(turn) for turn in (mail.mail, mail.reply) if turn]

    @property
    def syn(self) -> Evidence:
        """The frame that opened it."""
        return self.at(self.dialogue.opened.frame, "SYN")

    def said(self, verb: str) -> list[Turn]:
        """What the client said so far that begins with `verb` (MAIL, EHLO, GET, …)."""
        with self.lock:
            return [
                turn
                for turn in self.dialogue.turns
                if turn.kind == "command" and turn.command == verb
            ]

    def commands(self, verb: str) -> list[Evidence]:
        """The frames in which the client said `verb` (MAIL, DATA, QUIT, …)."""
        return [self.turn(turn) for turn in self.said(verb)]

    def moments(self, folder: Path) -> list[float]:
        """When its frames passed (epoch seconds), read from the capture in the run's `folder`."""
        return [packet.frame.time for packet in self.packets(folder)]

    def showing(self, folder: Path, words: str) -> list[Evidence]:
        """The first of its frames in which `words` can be read; none where two share them."""
        for found in self.packets(folder):
            if words.encode() in found.payload:
                return [self.at(found.frame.number, words)]
        return []

    def packets(self, folder: Path) -> Iterator[Tcp]:
        """Its packets, read from the capture in the run's `folder`."""
        ends = {self.dialogue.client, self.dialogue.server}
        with (folder / self.file).open("rb") as capture:
            for frame in read_frames(capture, lambda cut: None):  # it is still being written
                if isinstance(found := decode(frame), Tcp) and (
                    {(found.src, found.sport), (found.dst, found.dport)} == ends
                ):
                    yield found

    @property
    def transactions(self) -> list[Transaction]:
        """The messages, or attempts at one, that it carried so far."""
        with self.lock:
            return self.dialogue.transactions


def carrying(
    connections: list[Connection], message_id: str
) -> tuple[Connection, Transaction] | None:
    """The connection, and the transaction in it, by which a message was passed on."""
    for connection in connections:
        for transaction in connection.transactions:
            if transaction.message_id == message_id and transaction.code is not None:
                return connection, transaction
    return None


def first_words(turn: Turn) -> str:
    """The line that `turn` begins with, as it was sent."""
    return turn.data.split(b"\r\n", 1)[0].decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Lookup:
    """A question to the DNS, when it was seen (epoch seconds), and what came of it."""

    question: Evidence
    time: float
    status: str | None
    """`NOERROR`, `NXDOMAIN`, …; None without an answer."""
    answer: Evidence | None


class Wire:
    """What the taps of a run have heard so far, one tap for each network."""

    def __init__(self, taps: Mapping[str, Tap]) -> None:
        self._taps = taps

    def connections(
        self, network: str, *, client: str, server: str, port: int = 25, after: float = 0
    ) -> list[Connection]:
        """Connections on `network` from one address to another, opened after `after` (epoch s)."""
        return [
            Connection(dialogue, self._taps[network].file, self._taps[network].lock)
            for dialogue in self._calls(network, after)
            if dialogue.client.address == client
            and (dialogue.server.address, dialogue.server.port) == (server, port)
        ]

    def question(self, network: str, name: str, kind: str, after: float = 0) -> Evidence | None:
        """The first DNS question for `name` of type `kind` (`MX`) after `after` (epoch s)."""
        for turn in self._dns(network, name, kind, after):
            if turn.kind == "question":
                return packet(self._taps[network].file, turn.frame, f"{kind} {name}?")
        return None

    def answer(
        self, network: str, name: str, kind: str, after: float = 0
    ) -> tuple[list[str], Evidence] | None:
        """The records of the first DNS answer about `name` (MX: `10 mail.receiver.example`)."""
        for turn in self._dns(network, name, kind, after):
            start = f"{name} {kind} "
            lines = [line for line in turn.text.splitlines() if line.startswith(start)]
            if turn.kind == "answer" and lines:
                records = sorted(line.removeprefix(start) for line in lines)
                said = f"{kind} {name}: {', '.join(records)}"
                return records, packet(self._taps[network].file, turn.frame, said)
        return None

    def lookups(
        self, network: str, name: str, kind: str, *, client: str, after: float = 0
    ) -> list[Lookup]:
        """All questions for `name` that the address `client` asked, each with its answer."""
        file = self._taps[network].file
        found = []
        for turn in self._dns(network, name, kind, after, client):
            if turn.kind == "question":
                status = turn.reply.status if turn.reply else None
                asked = packet(file, turn.frame, f"{kind} {name}?")
                said = f"{kind} {name}: {status}"
                answer = packet(file, turn.reply.frame, said) if turn.reply else None
                found.append(Lookup(asked, turn.time, status, answer))
        return found

    def _dns(
        self, network: str, name: str, kind: str, after: float, client: str | None = None
    ) -> list[Turn]:
        """Questions for `name` of type `kind` (by the address `client`), and their answers."""
        tap = self._taps[network]
        with tap.lock:
            return [
                turn
                for dialogue in tap.dialogues
                if dialogue.protocol == "dns" and client in (None, dialogue.client.address)
                for turn in dialogue.turns
                if (turn.command, (turn.argument or "").lower()) == (kind, name)
                and turn.time > after
            ]

    def calls_to(self, network: str, address: str, after: float = 0) -> list[Evidence]:
        """TCP connections that somebody opened, or tried to open, to `address`."""
        return [
            packet(self._taps[network].file, dialogue.opened.frame, "SYN")
            for dialogue in self._calls(network, after)
            if dialogue.server.address == address
        ]

    def _calls(self, network: str, after: float) -> Iterator[Dialogue]:
        tap = self._taps[network]
        with tap.lock:
            found = [one for one in tap.dialogues if one.stream.transport == "tcp"]
        return (one for one in found if one.opened.time > after)
