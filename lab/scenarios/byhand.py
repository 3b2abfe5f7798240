"""SMTP spoken by hand: somebody at a PC types it, with netcat, at another's mail server (port 25).

What is typed is in the scenario, word for word; what the server says to it is on the wire.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.scenarios.wire import Connection
from lab.seats.call import Call

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

_PORT = 25
_PATIENCE = 20.0  # real seconds for a word of the server's


class Hand:
    """A call that `who` makes from their PC to the mail server `server`."""

    call: Connection
    """How it was seen on the PC's wire; known when the call is over."""

    def __init__(self, stage: Stage, who: Person, server: str) -> None:
        self._server = server
        host = stage.lab.plan.site.hostname(server)
        self._line = Call(stage.lab, who.seat, host, _PORT, _PATIENCE)
        self._heard = self._line.makefile("rb")
        self._reply()

    def say(self, *lines: str) -> str:
        """Type these lines, and hear the server's reply to them."""
        self.type(*lines)
        return self._reply()

    def type(self, *lines: str) -> None:
        """Type these lines, each ended as Enter does at `nc -C`: with CR LF."""
        for line in lines:
            self._line.sendall(f"{line}\r\n".encode())

    def send(self, octets: bytes) -> str:
        """Send these octets, in one piece and as they are, and hear the server's reply."""
        self._line.sendall(octets)
        return self._reply()

    def hang_up(self) -> None:
        """Say no more, and end the connection."""
        self._line.close()

    def _reply(self) -> str:
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            try:
                line = self._heard.readline()
            except OSError:
                line = b""
            if not line:
                raise LabError(f"{self._server} says nothing more", hint=f"lab logs {self._server}")
            lines.append(line.decode(errors="replace"))
        return "".join(lines)


@contextmanager
def calling(stage: Stage, who: Person, server: str, about: str) -> Iterator[Hand]:
    """`who` calls `server` by hand; the call is over with the block. `about` is for the record."""
    with stage.audience.acting():
        began = time.time()
        hand = Hand(stage, who, server)
        try:
            yield hand
        finally:
            hand.hang_up()
        hand.call = _seen(stage, who, server, began)
        stage.log.add(
            "action",
            f"{who.name} calls {server} by hand (nc, port {_PORT}): {about}",
            node=who.seat,
            when=began,
            data={
                "evidence": [one.as_json() for one in (hand.call.syn, *hand.call.commands("MAIL"))],
                "by": who.address,
            },
        )


def _seen(stage: Stage, who: Person, server: str, since: float) -> Connection:
    """The call, once both sides have closed it."""

    def over() -> Connection | None:
        for call in stage.wire.connections(
            stage.network(who.seat),
            client=stage.address(who.seat),
            server=stage.address(server),
            after=since,
        ):
            with call.lock:
                if len(call.dialogue.stream.fins) == 2 or call.dialogue.stream.reset:
                    return call
        return None

    return stage.until("the end of the call is in the capture", over)
