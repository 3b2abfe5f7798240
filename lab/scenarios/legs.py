"""The legs of a message's way, from the PC to its server and on to the receiver's: what DATA
carried on each, octet by octet as the captures have it, and the parts it consists of (RFC 2045).
"""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message as Part
from typing import TYPE_CHECKING, cast

from lab.errors import LabError
from lab.observe.dialogue import Transaction
from lab.scenarios import tries
from lab.scenarios.evidence import Evidence
from lab.scenarios.wire import Connection, carrying

if TYPE_CHECKING:
    from lab.scenarios.people import Message
    from lab.scenarios.stage import Stage

HIGH = 0x80
"""The first value of an octet that is no ASCII."""


@dataclass(frozen=True)
class Leg:
    """One hop of a message: the connection, and the transaction in it, that carried it."""

    words: str
    """`sender-pc → sender-mail`."""
    call: Connection
    mail: Transaction

    @property
    def content(self) -> bytes:
        """All that DATA carried, the dots of transparency taken out."""
        return b"".join(turn.data for turn in self.mail.content)

    @property
    def high(self) -> int:
        """How many of its octets are 0x80 or more."""
        return high(self.content)

    @property
    def agreed(self) -> bool:
        """Whether the client announced that the body has 8 bits (RFC 6152 §3)."""
        return "BODY=8BITMIME" in (self.mail.mail.argument or "").upper()

    @property
    def evidence(self) -> list[Evidence]:
        """Where it was announced, where the content begins, and what was said at its end."""
        turns = [self.mail.mail, *self.mail.content, self.mail.reply]
        return [self.call.turn(turn) for turn in turns if turn]

    def offers(self, keyword: str) -> tuple[bool, list[Evidence]]:
        """Whether `keyword` is in the server's reply to EHLO, and where that stands."""
        for turn in self.call.said("EHLO"):
            if turn.reply:
                lines = turn.reply.data.decode("ascii", "replace").splitlines()
                found = [line for line in lines if line[4:].upper() == keyword]
                return bool(found), [self.call.at(turn.reply.frame, (found or lines)[0])]
        return False, []


def high(octets: bytes) -> int:
    """How many of `octets` are 0x80 or more: no ASCII."""
    return sum(octet >= HIGH for octet in octets)


def legs(stage: Stage, message: Message) -> tuple[Leg, Leg]:
    """The two hops of a message, from its PC to its server and on to the receiver's; waited for."""
    sender = stage.person(message.sender)
    to = stage.person(message.recipients[0])
    handed_in = sender.submission(message.message_id)
    passed_on = stage.until(
        f"{message.queue_id} on its way to {to.server} is in the capture",
        lambda: carrying(tries.calls(stage, message), message.message_id),
    )
    return (
        Leg(f"{sender.seat} → {sender.server}", *handed_in),
        Leg(f"{sender.server} → {to.server}", *passed_on),
    )


# --- Taking apart -------------------------------------------------------------------------------


def leaves(content: bytes) -> list[Part]:
    """The parts of a message that consist of no parts themselves, as they were sent."""
    return [part for part in email.message_from_bytes(content).walk() if not part.is_multipart()]


def part(content: bytes, kind: str) -> Part:
    """The (first) part of type `kind` in a message."""
    for one in leaves(content):
        if one.get_content_type() == kind:
            return one
    raise LabError(f"there is no {kind} in the message")


def encoding_of(part: Part) -> str:
    """How its octets are encoded (RFC 2045 §6)."""
    return str(part.get("Content-Transfer-Encoding", "7bit")).lower()


def decoded(part: Part) -> bytes:
    """Its octets, the encoding undone."""
    return cast(bytes, part.get_payload(decode=True))
