"""Which protocols can be read, and on which ports they are expected.

A protocol is one module with a reader (see `lab.observe.reader`) and a line in the tables here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from lab.errors import UsageError
from lab.observe.dns import Dns
from lab.observe.http import Http
from lab.observe.imap import Imap
from lab.observe.pop3 import Pop3
from lab.observe.smtp import Lmtp, Smtp
from lab.observe.tcp import Step
from lab.observe.tls import Tls
from lab.observe.turns import Dialogue


class Reads(Protocol):
    """Reads one connection: feed it its `data` and `lost` steps, then `finish`.

    Made with the dialogue it shall write to; appends each turn when it is complete. Whatever the
    octets are, it raises nothing.
    """

    protocol: ClassVar[str]

    def __init__(self, dialogue: Dialogue) -> None: ...

    def feed(self, step: Step) -> None:
        """Read on."""

    def finish(self) -> None:
        """The connection is over: what was begun and never completed becomes a turn too."""


class Unread:
    """A connection that is only followed: what is said over it is nobody's to read."""

    protocol: ClassVar[str] = "tcp"

    def __init__(self, dialogue: Dialogue) -> None:
        dialogue.protocol = self.protocol

    def feed(self, step: Step) -> None:
        """Pass over it."""

    def finish(self) -> None:
        """The connection is over."""


READERS: Mapping[str, type[Reads]] = {
    reader.protocol: reader for reader in (Smtp, Lmtp, Pop3, Imap, Http, Dns, Tls)
}
# The server's port, as IANA assigns them; behind 465, 993, 995 and 443 all is TLS.
PORTS: Mapping[int, str] = {
    **{25: "smtp", 587: "smtp", 465: "smtp", 24: "lmtp"},
    **{110: "pop3", 995: "pop3", 143: "imap", 993: "imap"},
    **{80: "http", 443: "http", 53: "dns"},
}


class _Every(dict[int, str]):
    """Every port there is: what nobody can read is followed at least."""

    def get(self, port: int, default: object = None) -> str:
        return PORTS.get(port, Unread.protocol)


EVERY: Mapping[int, str] = _Every()


def chosen(words: Iterable[str]) -> dict[int, str]:
    """Which ports to read as what, from words like `imap` (at its own ports) and `imap=1143`.

    Raises UsageError for a protocol nobody can read, or no port.
    """
    found: dict[int, str] = {}
    for word in words:
        name, equals, port = word.partition("=")
        if name not in READERS:
            raise UsageError(
                f"there is no reader for the protocol '{name}'",
                hint="one of: " + ", ".join(READERS),
            )
        if not equals:
            found |= {port: known for port, known in PORTS.items() if known == name}
        elif port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            found[int(port)] = name
        else:
            raise UsageError(f"'{port}' is no port", hint=f"write it like {name}=1143")
    return found
