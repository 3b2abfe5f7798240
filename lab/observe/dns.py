"""Reads DNS (RFC 1035): over UDP a datagram is a message, over TCP a length leads each.

Answers meet questions by identifier, name and type. Nothing a message says of its own layout is
believed: a compressed name may only point backwards, so it can't run in a circle.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop
from typing import ClassVar

from lab.observe.tcp import Side, Step
from lab.observe.turns import Dialogue, Turn

_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}
_TYPES |= {33: "SRV", 41: "OPT", 43: "DS", 46: "RRSIG", 48: "DNSKEY", 52: "TLSA", 65: "HTTPS"}
_TYPES |= {251: "IXFR", 252: "AXFR", 255: "ANY"}
_OPT = 41
_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_MEANINGS = {
    "FORMERR": "the server did not understand the question",
    "SERVFAIL": "the server could not find out",
    "NXDOMAIN": "there is no such name",
    "NOTIMP": "the server can't do that",
    "REFUSED": "the server will not say",
}
_header = struct.Struct(">HHHHHH")
_record = struct.Struct(">HHIH")


class Malformed(ValueError):
    """Octets that are no DNS message; says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record; `data` in the notation of zone files."""

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Message:
    """A DNS message. `code` is its RCODE, `name` and `type` what is asked; OPT is left out."""

    id: int
    response: bool
    authoritative: bool
    truncated: bool
    code: int
    name: str
    type: str
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]

    @property
    def status(self) -> str:
        """The RCODE's name: NOERROR, NXDOMAIN …"""
        return _CODES[self.code] if self.code < len(_CODES) else f"RCODE{self.code}"

    @property
    def words(self) -> str:
        """The message for people: a line for the question, or one for each record."""
        if not self.response:
            return f"{self.type} {self.name}?"
        lines = [f"{one.name} {one.type} {one.data}" for one in self.answers]
        if self.code:
            lines.insert(0, f"{self.status}: {_MEANINGS.get(self.status, 'an error')}")
        elif not lines:
            lines.append(f"{self.name} has no {self.type}")
        lines += [f"(authority) {one.name} {one.type} {one.data}" for one in self.authority]
        lines += [f"(additional) {one.name} {one.type} {one.data}" for one in self.additional]
        if self.truncated:
            lines.append("(truncated: ask again over TCP)")
        return "\n".join(lines)


def parse(data: bytes) -> Message:
    """The DNS message in `data`. Raises Malformed."""
    try:
        return _message(data)
    except (struct.error, IndexError):
        raise Malformed("it ends too early") from None


def _message(data: bytes) -> Message:
    identity, flags, questions, *counts = _header.unpack_from(data)
    at = _header.size
    asked: list[tuple[str, int]] = []
    for _ in range(questions):
        name, at = _name(data, at)
        asked.append((name, struct.unpack_from(">HH", data, at)[0]))
        at += 4
    answers, at = _records(data, at, counts[0])
    authority, at = _records(data, at, counts[1])
    additional, at = _records(data, at, counts[2])
    name, kind = asked[0] if asked else (".", 0)
    return Message(
        id=identity,
        response=bool(flags & 0x8000),
        authoritative=bool(flags & 0x0400),
        truncated=bool(flags & 0x0200),
        code=flags & 15,
        name=name,
        type=_type(kind),
        answers=answers,
        authority=authority,
        additional=additional,
    )


def _records(data: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    found: list[Record] = []
    for _ in range(count):
        name, at = _name(data, at)
        kind, _, ttl, size = _record.unpack_from(data, at)
        at += _record.size
        if at + size > len(data):
            raise Malformed("a record is longer than the message")
        if kind != _OPT:  # says how to talk, not what about (RFC 6891)
            found.append(Record(name, _type(kind), ttl, _data(data, at, size, _type(kind))))
        at += size
    return tuple(found), at


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at`, and where what follows it begins (RFC 1035 §4.1.4)."""
    labels: list[str] = []
    after = None
    limit, size = at, 0
    while length := data[at]:
        if length & 0xC0 == 0xC0:
            after = after or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            if at >= limit:
                raise Malformed("a name points forwards, or at itself")
            limit = at
            continue
        if length & 0xC0:
            raise Malformed("a label of an unknown kind")
        label = data[at + 1 : at + 1 + length]
        size += length + 1
        if len(label) < length or size > 254:
            raise Malformed("a name is too long")
        labels.append(_text(label, "."))
        at += 1 + length
    return ".".join(labels) or ".", after or at + 1


def _text(octets: bytes, special: str) -> str:
    """Octets as zone files write them: the unprintable, and what would mislead, as \\DDD."""
    return "".join(
        chr(octet) if 32 < octet < 127 and chr(octet) not in special + "\\" else f"\\{octet:03}"
        for octet in octets
    )


def _type(kind: int) -> str:
    return _TYPES.get(kind) or f"TYPE{kind}"


def _data(data: bytes, at: int, size: int, kind: str) -> str:
    part = data[at : at + size]
    match kind:
        case "A" if size == 4:
            return inet_ntop(AF_INET, part)
        case "AAAA" if size == 16:
            return inet_ntop(AF_INET6, part)
        case "NS" | "CNAME" | "PTR":
            return _name(data, at)[0]
        case "MX":
            return f"{int.from_bytes(part[:2], 'big')} {_name(data, at + 2)[0]}"
        case "SOA":
            primary, at = _name(data, at)
            mailbox, at = _name(data, at)
            return " ".join([primary, mailbox, *map(str, struct.unpack_from(">IIIII", data, at))])
        case "TXT":
            return " ".join(_strings(part))
    return f"\\# {size} {part.hex()}"  # RFC 3597


def _strings(part: bytes) -> list[str]:
    found, at = [], 0
    while at < len(part):
        octets = part[at + 1 : at + 1 + part[at]]
        found.append('"' + _text(octets.replace(b" ", b"\0"), '"').replace("\\000", " ") + '"')
        at += 1 + part[at]
    return found


class Dns:
    """Reads what one socket asked, and what it was told. See Reader for the interface."""

    protocol: ClassVar[str] = "dns"

    def __init__(self, dialogue: Dialogue) -> None:
        dialogue.protocol = self.protocol
        self._dialogue = dialogue
        self._open: dict[tuple[int, str, str], Turn] = {}
        self._begun: dict[Side, bytearray] = {"client": bytearray(), "server": bytearray()}
        self._began: dict[Side, tuple[int, float]] = {}
        self._datagrams = dialogue.stream.transport == "udp"

    def feed(self, step: Step) -> None:
        """Read on."""
        if self._datagrams:
            self._message(step.side, step.data, (step.frame, step.time), step.ready)
        else:
            self._segment(step)

    def finish(self) -> None:
        """The connection is over."""
        for side in self._begun:
            self._tear(side)

    def _segment(self, step: Step) -> None:
        """RFC 1035 §4.2.2: two octets of length before each message."""
        side, begun = step.side, self._begun[step.side]
        if step.kind == "lost":  # the next segment, one may hope, begins with a message
            self._tear(side)
            missing = Turn(side, "lost", step.frame, step.time, step.ready, size=step.lost)
            missing.complete = False
            self._dialogue.turns.append(missing)
            return
        if not begun:
            self._began[side] = step.frame, step.time
        begun += step.data
        while len(begun) > 1 and len(begun) >= 2 + (size := begun[0] << 8 | begun[1]):
            message = bytes(begun[2 : 2 + size])
            del begun[: 2 + size]
            self._message(side, message, self._began[side], step.ready)
            self._began[side] = step.frame, step.time

    def _tear(self, side: Side) -> None:
        """A message that was begun will not be completed."""
        if begun := self._begun[side]:
            self._garbled(side, bytes(begun), self._began[side], self._began[side][0], "cut off")
            begun.clear()

    def _garbled(
        self, side: Side, data: bytes, began: tuple[int, float], ready: int, why: str
    ) -> None:
        turn = Turn(side, "garbled", *began, ready, data, size=len(data))
        turn.complete, turn.words = False, f"no DNS message: {why}"
        self._dialogue.turns.append(turn)

    def _message(self, side: Side, data: bytes, began: tuple[int, float], ready: int) -> None:
        try:
            message = parse(data)
        except Malformed as error:
            self._garbled(side, data, began, ready, str(error))
            return
        turn = Turn(side, "question", *began, ready, data, message.type, message.name)
        turn.size, turn.words = len(data), message.words
        key = message.id, message.name.lower(), message.type
        asked = self._open.get(key)
        if message.response:
            turn.kind, turn.code, turn.status = "answer", message.code, message.status
            if asked:
                turn.answers, asked.reply = asked, turn
                del self._open[key]
        else:
            turn.status = "again" if asked else None
            self._open[key] = turn
        self._dialogue.turns.append(turn)
