"""A TCP connection that begins at somebody's PC: netcat there, its standard streams here.

What speaks over it are Python's own clients (smtplib takes one as its socket), and yet every packet
leaves the PC's interface and crosses the lab's wires.
"""

from __future__ import annotations

import http.client
import io
import smtplib
import time
from typing import TYPE_CHECKING, Any, cast

from lab.engine.exec import STDOUT, Exec

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from lab.engine.lab import Lab


class Call:
    """A connection from `node` to `host`:`port`; what of a socket Python's mail clients need.

    `patience` is how many real seconds may pass without a word from the other side: then, and when
    the connection can't be made or breaks, what is asked for next raises OSError or is empty.
    """

    def __init__(self, lab: Lab, node: str, host: str, port: int, patience: float) -> None:
        # -N: the end of our words is told to the other side; -w: so that it ends should we be
        # killed and nobody over there say anything either.
        argv = ["nc", "-N", "-w", f"{2 * patience:.0f}", host, str(port)]
        self._program = Exec(lab.container(node), argv)
        self._frames = self._program.frames()
        self._patience = patience

    def sendall(self, data: bytes) -> None:
        """Say `data`."""
        self._program.socket.settimeout(self._patience)
        self._program.write(data)

    def heard(self) -> bytes:
        """What is said next; empty when the connection is over. Raises TimeoutError."""
        until = time.monotonic() + self._patience
        while True:
            self._program.socket.settimeout(max(0.001, until - time.monotonic()))
            stream, data = next(self._frames, (STDOUT, b""))
            if stream == STDOUT:
                return data

    def makefile(self, mode: str) -> io.BufferedReader:
        """A file to read from (socket.makefile)."""
        return io.BufferedReader(_Heard(self))

    def close(self) -> None:
        """Hang up."""
        self._program.close()


class _Heard(io.RawIOBase):
    def __init__(self, call: Call) -> None:
        self._call = call
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        self._left = self._left or self._call.heard()
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class SMTP(smtplib.SMTP):
    """smtplib's client at a PC of the lab. Raises what smtplib does."""

    def __init__(self, lab: Lab, node: str, host: str, port: int, patience: float) -> None:
        self._where = (lab, node, host, port, patience)
        super().__init__(host, port, local_hostname=lab.plan.site.hostname(node))

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return Call(*self._where)


class HTTP(http.client.HTTPConnection):
    """http.client's, at a PC of the lab. It asks for more over the same connection while it can."""

    def __init__(self, lab: Lab, node: str, host: str, port: int, patience: float) -> None:
        self._where = (lab, node, host, port, patience)
        super().__init__(host, port)

    def connect(self) -> None:
        """Have netcat connect, there."""
        self.sock = cast(Any, Call(*self._where))
