"""The server's side of SOCKS 5 (RFC 1928), as far as a browser needs it: CONNECT, to a name.

Names are looked up where the connection starts, in the lab: a browser must not ask the DNS of the
machine it runs on.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from lab.seats.ssh import NotReached

_VERSION = 5
_NO_LOGIN, _NONE_FITS = 0x00, 0xFF
_CONNECT = 0x01
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04
_DONE, _UNREACHABLE, _NO_SUCH_COMMAND, _NO_SUCH_KIND = 0x00, 0x04, 0x07, 0x08

_T = TypeVar("_T")


class Refused(Exception):
    """What a caller asked for is not done; they were told so."""


def asked(caller: socket.socket, dial: Callable[[str, int], _T]) -> _T:
    """What `dial(host, port)` gives for the place the caller asks for; they are told how it went.

    Raises Refused if they ask for anything else, NotReached as `dial` does, EOFError if they are
    gone.
    """
    version, count = _exactly(caller, 2)
    methods = _exactly(caller, count) if version == _VERSION else b""
    if _NO_LOGIN not in methods:
        caller.sendall(bytes([_VERSION, _NONE_FITS]))
        raise Refused("a caller of the SOCKS port does not speak SOCKS 5, or wants to log in")
    caller.sendall(bytes([_VERSION, _NO_LOGIN]))
    _, command, _, kind = _exactly(caller, 4)
    if kind == _NAME:
        host = _exactly(caller, _exactly(caller, 1)[0]).decode("ascii", errors="replace")
    elif kind == _IPV4:
        host = str(IPv4Address(_exactly(caller, 4)))
    elif kind == _IPV6:
        host = str(IPv6Address(_exactly(caller, 16)))
    else:
        _answer(caller, _NO_SUCH_KIND)
        raise Refused("a caller of the SOCKS port asked for an address of no known kind")
    port = int.from_bytes(_exactly(caller, 2), "big")
    if command != _CONNECT:
        _answer(caller, _NO_SUCH_COMMAND)
        raise Refused("a caller of the SOCKS port wanted more than a TCP connection")
    try:
        found = dial(host, port)
    except NotReached:
        _answer(caller, _UNREACHABLE)
        raise
    _answer(caller, _DONE)
    return found


def _answer(caller: socket.socket, code: int) -> None:
    caller.sendall(bytes([_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0]))


def _exactly(caller: socket.socket, count: int) -> bytes:
    """The next `count` octets. Raises EOFError if they do not come."""
    data = b""
    while len(data) < count:
        more = caller.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
