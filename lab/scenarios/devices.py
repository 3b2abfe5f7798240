"""Somebody's devices: mail programs whose every command is said by hand.

What a device says leaves the PC where its owner sits and crosses the lab's wires. What comes of it
is read from the capture there: it is what anybody who listened has heard.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from lab.errors import LabError
from lab.observe.turns import Turn
from lab.scenarios.exchanges import Exchange
from lab.scenarios.wire import Connection
from lab.seats.call import Call
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from types import TracebackType

    from lab.observe.maillog import LogLine
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

PORTS = {"pop3": 110, "imap": 143}
_PATIENCE_SECONDS = 30.0  # after wrong passwords Dovecot lets its client wait for up to 17
_MESSAGES = ("RETR", "TOP")
_LISTINGS = ("LIST", "UIDL", "CAPA")
_ATOM = re.compile(r"[\w.@-]+")


class Device:
    """A connection from the PC of `person` to their server, by `protocol` (pop3, imap).

    It ends when nothing is said for a minute: let no class think meanwhile. Raises LabError if the
    server does not answer.
    """

    def __init__(self, stage: Stage, person: Person, name: str, protocol: str) -> None:
        self.stage, self.person, self.name, self.protocol = stage, person, name, protocol
        self.opened = time.time()
        host = stage.lab.plan.site.hostname(person.server)
        self._line = Call(stage.lab, person.seat, host, PORTS[protocol], _PATIENCE_SECONDS)
        self._ear = self._line.makefile("rb")
        self._commands = 0
        self._hear()
        self.call = stage.until(f"the call of the {name} is in the capture", self._greeted)

    def __str__(self) -> str:
        return f"{self.person.name}'s {self.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection without another word."""
        self._line.close()

    # --- Speaking ------------------------------------------------------------------------

    def log_in(self, password: str | None = None) -> Exchange:
        """Give name and `password`, the right one unless another is given; the last reply."""
        person = self.person
        if password is None:
            password = password_of(self.stage, person)
        with self.stage.audience.acting():
            began = time.time()
            if self.protocol == "pop3":
                self.say(f"USER {person.name}")
                done = self.say(f"PASS {password}")
            else:
                done = self.say(f"LOGIN {_string(person.name)} {_string(password)}")
            self.stage.log.add(
                "action",
                f"{self} calls {person.server} by {self.protocol.upper()}, with a name and a "
                f"password: {done.words}",
                node=person.seat,
                when=began,
                data={
                    "evidence": [one.as_json() for one in (self.call.syn, *done.evidence)],
                    "by": person.address,
                    "protocol": self.protocol,
                },
            )
        return done

    def say(self, words: str) -> Exchange:
        """Say a command (IMAP: without a tag, which it is given); what came of it."""
        tag = self._speak(words)
        verb, _, argument = words.partition(" ")
        line = self._hear()
        if self.protocol == "imap":
            while not line.startswith(tag + b" "):
                line = self._hear()
        elif line.startswith(b"+OK") and (
            verb in _MESSAGES or (verb in _LISTINGS and not argument)
        ):
            while line != b".\r\n":
                line = self._hear()
        number = self._commands
        return self.stage.until(f"'{words}' is answered", lambda: self._exchange(number))

    def idle(self) -> Idle:
        """Listen, and say nothing, until `done` (RFC 2177)."""
        tag = self._speak("IDLE")
        while not self._hear().startswith(b"+"):
            pass
        number = self._commands
        told = self.stage.until("IDLE is answered", lambda: self._exchange(number, begun=True))
        return Idle(self, number, told, tag)

    def _speak(self, words: str) -> bytes:
        """Say it; the tag it was given, if any."""
        self._commands += 1
        tag = f"{self.name[:1]}{self._commands}" if self.protocol == "imap" else ""
        self.send(f"{tag} {words}" if tag else words)
        return tag.encode()

    def send(self, line: str) -> None:
        """Say a line as it is."""
        self._line.sendall(line.encode() + b"\r\n")

    def end(self, idle: Idle) -> Exchange:
        """See Idle.done."""
        self._commands += 1
        self.send("DONE")
        while not self._hear().startswith(idle.tag + b" "):
            pass
        return self.stage.until("IDLE is over", lambda: self._exchange(idle.number))

    def _hear(self) -> bytes:
        try:
            line = self._ear.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise LabError(
                f"{self.person.server} does not answer {self}",
                hint=f"lab logs {self.person.server}",
            )
        return line

    # --- What was said, as it is in the capture ------------------------------------------

    def commands(self) -> list[Turn]:
        """All that it has said so far."""
        with self.call.lock:
            return [turn for turn in self.call.dialogue.turns if turn.kind == "command"]

    def noted(self, pattern: str) -> tuple[LogLine, re.Match[str]]:
        """What its server has written into its log since it called: the first line like that."""

        def found() -> tuple[LogLine, re.Match[str]] | None:
            for line in self.stage.look(self.person.server):
                if line.time > self.opened and (said := re.search(pattern, line.text)):
                    return line, said
            return None

        return self.stage.until(f"{self.person.server} has noted {pattern}", found)

    def ended(self) -> tuple[LogLine, re.Match[str]]:
        """The line with which its server has noted the end of its session, once it has."""
        name = re.escape(self.person.address)
        _, login = self.noted(
            rf"{self.protocol}-login: Info: Logged in: user=<{name}>.*session=(<.*>)"
        )
        return self.noted(re.escape(login[1]) + ": Info: Disconnected: (?P<said>.*)")

    def _greeted(self) -> Connection | None:
        stage, person = self.stage, self.person
        for call in stage.wire.connections(
            stage.network(person.server),
            client=stage.address(person.seat),
            server=stage.address(person.server),
            port=PORTS[self.protocol],
            after=self.opened,
        ):
            with call.lock:
                if call.dialogue.turns:
                    return call
        return None

    def _exchange(self, number: int, *, begun: bool = False) -> Exchange | None:
        """What came of its command `number` (from 1), once it is complete, or (IDLE) `begun`."""
        commands = self.commands()
        if len(commands) < number:
            return None
        said = commands[number - 1]
        with self.call.lock:
            turns = self.call.dialogue.turns
            heard = [turn for turn in turns if turn.answers is said]
        reply = next((one for one in heard if begun and one.status == "+"), said.reply)
        more = tuple(turn for turn in heard if turn is not reply)
        if reply not in heard or (said.command in _MESSAGES and not reply.failed and not more):
            return None
        return Exchange(self.call, said, reply, more)


@dataclass(frozen=True)
class Idle:
    """A device that listens."""

    device: Device
    number: int
    begun: Exchange
    tag: bytes

    def told(self, word: str) -> Turn:
        """What the server says unasked: the first `* … word`."""
        device = self.device

        def found() -> Turn | None:
            with device.call.lock:
                for turn in device.call.dialogue.turns:
                    if turn.answers is self.begun.said and turn.command == word:
                        return turn
            return None

        return device.stage.until(f"{device} is told {word}", found)

    def done(self) -> Exchange:
        """Say DONE, and hear the end of it."""
        return self.device.end(self)


def pop3(stage: Stage, person: Person, name: str) -> Device:
    """A device of somebody's that reads by POP3 (RFC 1939), connected and not logged in."""
    return Device(stage, person, name, "pop3")


def imap(stage: Stage, person: Person, name: str) -> Device:
    """A device of somebody's that reads by IMAP (RFC 9051), connected and not logged in."""
    return Device(stage, person, name, "imap")


def _string(words: str) -> str:
    """`words` as an argument of an IMAP command."""
    if _ATOM.fullmatch(words):
        return words
    return '"' + re.sub(r'(["\\])', r"\\\1", words) + '"'


def password_of(stage: Stage, person: Person) -> str:
    """The password of somebody, as the topology has it."""
    node = cast(MailServer, stage.lab.plan.topology.nodes[person.server])
    return node.users[person.name].password
