"""What a student did, by hand: packets in captures with their moments, lines in logs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packetbuilder import ACK, SYN, Talk, ethernet
from recording import ADDRESSES, ALICE, BOB, STARTED, Recording

from lab.events import Observation
from lab.exercises import Item, named
from lab.exercises.answers import Answer, Choice, Frame
from lab.exercises.cast import Cast, Person
from lab.exercises.work import Work
from lab.record import Record

CAST = Cast(
    Person(ALICE, "wonderland", "sender-pc", "sender-mail", "mail.sender.example", "sender-lan"),
    Person(BOB, "builder", "receiver-pc", "receiver-mail", "mail.receiver.example", "receiver-lan"),
    {ALICE: "wonderland", BOB: "builder"},
)
_NODES = {node: address for address, node in ADDRESSES.items()}


@dataclass
class Bench:
    """A record that is being made; moments are seconds since the exercise was begun."""

    folder: Path
    recording: Recording = field(default_factory=Recording)
    _frames: dict[str, list[tuple[float, bytes]]] = field(default_factory=dict)
    _ports: int = 40000

    def talks(
        self,
        caller: str,
        called: str,
        port: int,
        script: Iterable[tuple[str, str]],
        *,
        at: float = 1.0,
        pause: float = 0.5,
        networks: tuple[str, ...] = ("sender-lan",),
        end: str | None = "C",
        trip: float = 0.0,
    ) -> None:
        """A conversation; the client says each line `pause` seconds after the server's last.

        It is seen where it takes `trip` seconds to the client and back.
        """
        self._ports += 1
        talk = Talk((_NODES[caller], self._ports), (_NODES[called], port))
        talk.send("C", SYN).send("S", SYN | ACK).send("C", ACK)
        moments, now = [at, at, at + trip], at + trip
        for who, text in script:
            now += pause + trip if who == "C" else 0.002
            talk.say(who, text.replace("\n", "\r\n") + "\r\n")
            moments += [now] * (len(talk.packets) - len(moments))
        if end:
            talk.close(end)
            moments += [now] * (len(talk.packets) - len(moments))
        for network in networks:
            frames = self._frames.setdefault(network, [])
            frames += zip(moments, talk.packets, strict=True)

    def count(self, network: str) -> int:
        """How many frames have passed on a network."""
        return len(self._frames[network])

    def frames_with(self, network: str, words: bytes) -> list[int]:
        """The numbers of those in which `words` stand."""
        frames = enumerate(self._frames[network], 1)
        return [number for number, (_, packet) in frames if words in packet]

    def fault(self, at: float, title: str, *, on: bool) -> None:
        """Somebody does something bad to the lab, or undoes it."""
        data = {"on": on, "fault": "f1", "what": "cable-pulled", "title": title, "evidence": []}
        self.recording.add(Observation("fault", title, STARTED + at, "receiver-mail", data))

    def judged(self, name: str, answer: str | None = None, since: float = 0.0) -> dict[str, Item]:
        """The items of exercise `name`, begun at `since`."""
        (self.folder / "captures").mkdir(exist_ok=True)
        for network, frames in self._frames.items():
            self._write(network, frames)
        events = tuple(self.recording.record.events)
        work = Work(Record(self.folder, events), STARTED + since, CAST, _answer(answer))
        return {item.key: item for item in named(name).judge(work)}

    def met(self, name: str, answer: str | None = None, since: float = 0.0) -> set[str]:
        """Which of them are met."""
        return {key for key, item in self.judged(name, answer, since).items() if item.met}

    def _write(self, network: str, frames: list[tuple[float, bytes]]) -> None:
        """The capture."""
        file = f"captures/{network}.pcap"
        out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
        for at, packet in frames:
            data, moment = ethernet(packet), STARTED + at
            seconds = int(moment)
            micro = round((moment - seconds) * 1e6)
            out.append(struct.pack("<IIII", seconds, micro, len(data), len(data)) + data)
        (self.folder / file).write_bytes(b"".join(out))


def _answer(text: str | None) -> Answer | None:
    if text is None:
        return None
    network, sign, number = text.partition("#")
    given = STARTED + 1000
    return Frame(network, int(number), given) if sign else Choice(text, given)
