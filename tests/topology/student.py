"""A student at a PC with nc, who asks how far the exercise is; and whoever looks that up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import ALICE, BOB, run_lab, until

from lab.engine.lab import Lab
from lab.exercises import grade, named
from lab.observe import maillog
from lab.observe.packets import SYN, Tcp, decode
from lab.observe.pcap import Frame, read_frames
from lab.seats.call import Call

BOBS, ALICES = "mail.receiver.example", "mail.sender.example"
ENDS = {
    "smtp": rb"(?m)^\d{3} [^\n]*\n\Z",
    "pop3": rb"\A(-ERR|\+OK)[^\n]*\n(.*\r\n\.\r\n)?\Z",
    "imap": rb"(?m)^(\* OK|\w OK|\w NO|\w BAD)[^\n]*\n\Z",
}
LISTS = ("LIST", "UIDL", "RETR 1")


class Typist:
    """Somebody at `node` with nc, who takes as long to type a line as they are told to."""

    def __init__(self, lab: Lab, node: str, host: str, port: int, pause: float = 0.12) -> None:
        self._call = Call(lab, node, host, port, 20)
        self._protocol = {110: "pop3", 143: "imap"}.get(port, "smtp")
        self._pause = pause
        self.heard = self._listen(b"")

    def say(self, *lines: str) -> bytes:
        """Type lines, each once the one before is answered; text of several is typed as one."""
        for line in lines:
            time.sleep(self._pause)  # it is what is judged, and waits for nothing
            self._call.sendall(line.replace("\n", "\r\n").encode() + b"\r\n")
            self.heard = self._listen(line.encode())
        return self.heard

    def _listen(self, said: bytes) -> bytes:
        heard = b""
        several = self._protocol == "pop3" and said.decode() in LISTS
        while not re.search(ENDS[self._protocol], heard, re.DOTALL) or (
            several and heard.startswith(b"+OK") and not heard.endswith(b"\r\n.\r\n")
        ):
            more = self._call.heard()
            if not more:
                break
            heard += more
        return heard

    def hang_up(self) -> None:
        """Ctrl-C."""
        self._call.close()


@contextmanager
def typing(
    lab: Lab, node: str, host: str, port: int, pause: float = 0.12
) -> Iterator[Callable[..., bytes]]:
    """Sit down at `node` with nc, and hang up afterwards."""
    typist = Typist(lab, node, host, port, pause)
    try:
        yield typist.say
    finally:
        typist.hang_up()


def letter(subject: str, text: str, *, to: str = BOB, more: str = "") -> str:
    """What is typed after DATA."""
    return f"From: {ALICE}\nTo: {to}\nSubject: {subject}\n{more}\n{text}\n."


def envelope(to: str = BOB) -> tuple[str, ...]:
    return f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{to}>", "DATA"


class Student:
    """Does an exercise in a lab, and asks how far it is."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.exercise = lab, named(name)
        self.said: dict[str, Any] = {}
        grade.begin(lab, self.exercise)

    def check(self, answer: str | None = None) -> set[str]:
        """The items that are met."""
        self.said = grade.check(self.lab, self.exercise, answer).as_json("en")
        met = {item["item"] for item in self.said["items"] if item["met"]}
        assert (self.said["met"], self.said["total"]) == (len(met), len(self.said["items"]))
        assert self.said["done"] == (len(met) == len(self.said["items"]))
        return met

    def becomes(self, *items: str) -> None:
        """Once what happens by itself has happened, these are met, and no others."""
        until(f"{items} are met, not only {self.check()}", lambda: self.check() == set(items))

    def ends(self, answer: str | None = None) -> None:
        """Once what happens by itself has happened, all is met."""
        until(f"{self.exercise.name} is done", lambda: self.check(answer) and self.said["done"])

    def notes(self) -> dict[str, str]:
        return {item["item"]: item["note"] for item in self.said["items"]}

    def is_done(self, folder: Path, answer: str | None = None) -> None:
        """All is met, and all evidence is there and says that."""
        self.ends(answer)
        assert self.said["when"] >= self.said["started"]
        looked_up(self.lab, self.said, folder)


def past(lab: Lab, network: str, folder: Path) -> list[Frame]:
    """All frames of a network, as the lab hands out its record."""
    file = folder / f"{network}.pcap"
    done = run_lab(lab.name, "capture", network, "--past", "-w", str(file))
    assert done.returncode == 0, done.stderr
    with file.open("rb") as stream:
        return list(read_frames(stream))


def looked_up(lab: Lab, said: dict[str, Any], folder: Path) -> None:
    """Fails unless each place that is named holds what it is said to hold."""
    frames: dict[str, list[Frame]] = {}
    places = [place for item in said["items"] for place in item["evidence"]]
    assert places
    for place in places:
        if place["kind"] == "packet":
            network = Path(place["file"]).stem
            if network not in frames:
                frames[network] = past(lab, network, folder)
            frame = frames[network][place["frame"] - 1]
            packet = decode(frame)
            assert isinstance(packet, Tcp)
            if place["says"] == "SYN":
                assert packet.flags == SYN
            else:
                assert place["says"].encode() in frame.data, place
        elif place["kind"] == "log":
            line = maillog.read(lab, place["node"])[place["line"] - 1]
            assert line.text == place["says"]
        else:
            with lab.fabric() as fabric:
                assert place["says"] in {one["title"] for one in fabric.told()}


def frames_with(lab: Lab, network: str, words: str, folder: Path) -> list[int]:
    """The frames of the record in which `words` stand."""
    return [one.number for one in past(lab, network, folder) if words.encode() in one.data]
