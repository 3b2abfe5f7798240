"""Ports of this machine that lead into the lab, by way of a seat.

Whoever connects to one (on 127.0.0.1, and nowhere else) speaks to a machine of the lab, which sees
a connection from the seat's machine. Either the port stands for one place, or the caller says
where to (SOCKS).
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError, UsageError
from lab.seats import socks
from lab.seats.ssh import Connection, NotReached
from lab.views.visible import in_line

if TYPE_CHECKING:
    import paramiko

LOCALHOST = "127.0.0.1"
_CHUNK = 65536
_BACKLOG = 128
# The caller has gone again, or there are too many at a time: there will be others.
_PASSING = (errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_AGAIN_SECONDS = 0.1

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """Port `port` of this machine (0: any that is free) leads to host:to; without `host`, SOCKS."""

    port: int
    host: str = ""
    to: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.to}" if self.host else "wherever it is told (SOCKS 5)"


def wanted(said: str) -> Wanted:
    """What `8080:mail.receiver.example:80` or `mail.receiver.example:80` asks for.

    Raises UsageError for anything else.
    """
    *ours, host, theirs = said.split(":") if ":" in said else ["", said]
    port, to = _port(ours[0] if ours else "0", zero=True), _port(theirs)
    if len(ours) > 1 or not _HOST.fullmatch(host) or port is None or to is None:
        raise UsageError(
            f"'{said}' is not [PORT:]HOST:PORT", hint="8080:mail.receiver.example:80, say"
        )
    return Wanted(port, host, to)


def _port(said: str, *, zero: bool = False) -> int | None:
    if not (said.isascii() and said.isdigit() and len(said) <= len("65535")):
        return None
    return int(said) if (0 if zero else 1) <= int(said) <= 65535 else None


class Listening:
    """A port of this machine that is open: `port` leads to `to`."""

    def __init__(self, wanted: Wanted, listener: socket.socket) -> None:
        self.to = wanted
        self.listener = listener
        self.port: int = listener.getsockname()[1]


@contextmanager
def forwarding(
    connection: Connection, all_wanted: list[Wanted], tell: Tell = lambda line: None
) -> Iterator[list[Listening]]:
    """The ports are open while the block runs. `tell` is told, in a line, what does not work.

    Raises LabError if a port can't be opened; then none is.
    """
    with contextlib.ExitStack() as stack:
        opened = [Listening(one, stack.enter_context(_listener(one.port))) for one in all_wanted]
        for one in opened:
            threading.Thread(target=_accept, args=(connection, one, tell), daemon=True).start()
        yield opened


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOCALHOST, port))
        except OSError as error:
            raise LabError(
                f"port {port} of this machine can't be opened: {error.strerror}",
                hint="another port; or leave it out, and a free one is taken",
            ) from error
        listener.listen(_BACKLOG)
        yield listener
    finally:
        with contextlib.suppress(OSError):  # wakes who waits in accept()
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(connection: Connection, port: Listening, tell: Tell) -> None:
    """Serve each caller in a thread, until the port is closed."""
    while True:
        try:
            caller, _ = port.listener.accept()
        except OSError as error:
            if error.errno not in _PASSING:  # it was closed
                return
            time.sleep(_AGAIN_SECONDS)
            continue
        threading.Thread(target=_serve, args=(connection, port, caller, tell), daemon=True).start()


def _serve(connection: Connection, port: Listening, caller: socket.socket, tell: Tell) -> None:
    with caller, contextlib.suppress(OSError, EOFError):
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if port.to.host:
                channel = connection.dial(port.to.host, port.to.to)
            else:
                channel = socks.asked(caller, connection.dial)
        except (NotReached, socks.Refused) as error:
            tell(in_line(str(error)))
            return
        with contextlib.closing(channel):
            there = threading.Thread(target=_copy, args=(caller, channel), daemon=True)
            there.start()
            _back(channel, caller)
            there.join()


def _copy(caller: socket.socket, channel: paramiko.Channel) -> None:
    """What the caller says goes there, until they have said all."""
    with contextlib.suppress(OSError, EOFError):
        while data := caller.recv(_CHUNK):
            channel.sendall(data)
        channel.shutdown_write()
        return
    channel.close()


def _back(channel: paramiko.Channel, caller: socket.socket) -> None:
    """And what is said there comes back."""
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(_CHUNK):
            caller.sendall(data)
        caller.shutdown(socket.SHUT_WR)
        return
    with contextlib.suppress(OSError):
        caller.shutdown(socket.SHUT_RDWR)
