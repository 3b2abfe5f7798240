"""What TLS lets everybody see: that it is there, how much of it, and the name that was asked for.

The client's first message, the ClientHello, travels in the clear, and with it the server's name
(SNI, RFC 6066 §3). Of all that follows only the octets can be counted (RFC 8446).
"""

from __future__ import annotations

import struct
from typing import ClassVar

from lab.observe.tcp import Step
from lab.observe.turns import Dialogue, Turn

HANDSHAKE, APPLICATION = 0x16, 0x17
_CLIENT_HELLO, _SERVER_NAME = 1, 0
_LONGEST_HELLO = 1 << 16


class More(Exception):
    """The message is not complete yet."""


def begins_tls(data: bytes) -> bool:
    """Whether a connection whose first octets are these speaks TLS; no mail protocol does so."""
    return data[:1] in (b"\x16", b"\x17") and data[1:2] in (b"", b"\x03")


def begins_with_hello(data: bytes) -> bool:
    """Whether these are the first octets of a ClientHello, on whatever port."""
    return data[:2] == b"\x16\x03" and data[5:6] == b"\x01"


def server_name(data: bytes) -> str | None:
    """The name in the ClientHello with which `data` begins; None if there is none.

    Raises More where the ClientHello goes on behind `data`.
    """
    try:
        hello = _handshake(data)
        at = 2 + 32  # version, random
        at += 1 + hello[at]  # session
        at += 2 + struct.unpack_from(">H", hello, at)[0]  # ciphers
        at += 1 + hello[at]  # compression
        end = at + 2 + struct.unpack_from(">H", hello, at)[0]
        at += 2
        while at + 4 <= end:
            kind, size = struct.unpack_from(">HH", hello, at)
            if kind == _SERVER_NAME:
                length = struct.unpack_from(">H", hello, at + 7)[0]
                return hello[at + 9 : at + 9 + length].decode("ascii", "backslashreplace") or None
            at += 4 + size
    except (struct.error, IndexError):
        pass
    return None


def _handshake(data: bytes) -> bytes:
    """The ClientHello's body, put together from the records that carry it."""
    message, at = b"", 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if message and message[0] != _CLIENT_HELLO:
            raise IndexError
        if at and at >= _LONGEST_HELLO:
            raise IndexError
        if data[at : at + 1] not in (b"", b"\x16"):
            raise IndexError
        if len(data) < at + 5:
            raise More
        size = struct.unpack_from(">H", data, at + 3)[0]
        if len(data) < at + 5 + size:
            raise More
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
    if message[0] != _CLIENT_HELLO:
        raise IndexError
    return message[4:]


class Secret:
    """Counts what passes once a connection is encrypted.

    The turn that says so is told when the name is known, or when it is clear that none will be.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._hello: bytes | None = b""

    def take(self, step: Step) -> None:
        """Count the octets of a `data` or `lost` step."""
        hidden = self._dialogue.encrypted
        if hidden is None:
            hidden = Turn(step.side, "encrypted", step.frame, step.time, step.ready)
            self._dialogue.encrypted = hidden
        hidden.size += len(step.data) + step.lost
        if self._hello is None:
            return
        if step.side == "server" or step.kind == "lost":
            self.announce()
            return
        self._hello += step.data
        hidden.last_frame = step.ready
        try:
            hidden.argument = server_name(self._hello)
        except More:
            return
        self.announce()

    def announce(self) -> None:
        """Tell of the encryption, if that has not been done: no more is to be learnt."""
        if self._hello is not None and self._dialogue.encrypted:
            self._hello = None
            self._dialogue.turns.append(self._dialogue.encrypted)


class Tls:
    """Reads a connection that is encrypted from its first octet, whatever it is about."""

    protocol: ClassVar[str] = "tls"

    def __init__(self, dialogue: Dialogue) -> None:
        dialogue.protocol = self.protocol
        self._secret = Secret(dialogue)

    def feed(self, step: Step) -> None:
        """Count on."""
        self._secret.take(step)

    def finish(self) -> None:
        """The connection is over."""
        self._secret.announce()
