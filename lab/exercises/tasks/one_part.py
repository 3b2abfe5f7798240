"""One MIME part of a message fetched by IMAP, and not the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from typing import NamedTuple

from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import taken
from lab.exercises.work import Mail, Talk, Work
from lab.observe.dialogue import Turn

# The data of a FETCH response (RFC 9051 §7.5.2, RFC 3501 §7.4.2) that are of a message's content.
_SECTION = re.compile(
    rb"(?P<name>(?P<item>BODY|BINARY)\[(?P<part>[^\]]*)\]|RFC822(?:\.TEXT|\.HEADER)?)(?:<\d+>)? "
    rb"(?:~?\{(?P<size>\d+)\}\r\n|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|NIL)"
)
_HEADER = re.compile(r"(?:[\d.]+\.)?(?:HEADER\b.*|MIME)|RFC822\.HEADER", re.DOTALL)


class _Fetched(NamedTuple):
    """What a server has given of message `number`: `section` is `2` or `TEXT`, `` for all of it.

    `item` is BODY, or BINARY for what is decoded. Of a section a piece may be given.
    """

    turn: Turn
    number: str
    item: str
    section: str
    octets: bytes


@exercise(number=5, rows=("N8", "N18"), items=("parts", "fetched", "alone"))
def one_part(work: Work) -> Iterator[list[Item]]:
    """Each message of several parts that Bob has got, in each of his PC's IMAP sessions."""
    bob = work.cast.bob
    for mail in work.mails(to=bob, called=bob.server):
        parts = _parts(message_from_string(mail.content.decode("latin-1")))
        if not mail.taken or len(parts) < 2:
            continue
        known = met("parts", *taken(mail).proofs, note="sizes", count=len(parts))
        yield [known]
        for talk in work.talks("imap", caller=bob.seat, called=bob.server):
            yield [known, *_read(talk, mail, parts)]


def _read(talk: Talk, mail: Mail, parts: dict[str, dict[str, bytes]]) -> Iterator[Item]:
    given = [one for turn in talk.dialogue.turns for one in _fetched(turn)]
    wanted = [one for one in given if _is_whole(one, parts)]
    if not wanted:
        return
    part = wanted[-1]
    rest = [
        one
        for one in given
        if one.number == part.number
        and one.section != part.section
        and not _HEADER.fullmatch(one.section)
    ]
    size = {"octets": len(part.octets), "whole": len(mail.content)}
    asked = [part.turn.answers] if part.turn.answers else []
    yield met("fetched", *(talk.at(turn) for turn in (*asked, part.turn)), note="octets", **size)
    if rest:
        more = {"section": rest[0].section, "more": len(rest[0].octets)}
        yield missing("alone", talk.at(rest[0].turn), note="more", **more)
    else:
        yield met("alone", talk.syn, talk.at(part.turn))


def _fetched(turn: Turn) -> Iterator[_Fetched]:
    if turn.side != "server" or turn.command != "FETCH":
        return
    number = (turn.argument or "").partition(" ")[0]
    at = 0
    while found := _SECTION.search(turn.data, at):
        at = found.end()
        octets = found["quoted"] or b""
        if found["size"]:
            octets = turn.data[at : at + int(found["size"])]
            at += len(octets)
        name = found["part"] if found["part"] is not None else found["name"]
        section = name.decode("ascii", "replace").upper()
        yield _Fetched(turn, number, (found["item"] or b"").decode(), section, octets)


def _is_whole(given: _Fetched, parts: dict[str, dict[str, bytes]]) -> bool:
    """Whether this is a part, as it was sent or decoded, from its first octet to its last."""
    return parts.get(given.section, {}).get(given.item) == _plain(given.octets)


def _parts(message: Message, before: str = "") -> dict[str, dict[str, bytes]]:
    """The parts of a message that have no parts themselves, numbered as IMAP does.

    Each as BODY gives it, and as BINARY does. The message's letters stand for octets (latin-1).
    """
    found: dict[str, dict[str, bytes]] = {}
    pieces = message.get_payload() if message.is_multipart() else []
    for number, piece in enumerate(pieces, 1):
        if not isinstance(piece, Message):
            continue
        name = f"{before}{number}"
        if piece.get_content_maintype() == "multipart":
            found |= _parts(piece, f"{name}.")
        elif not piece.is_multipart():
            sent, decoded = piece.get_payload(), piece.get_payload(decode=True)
            found[name] = {"BODY": _plain(str(sent).encode("latin-1"))}
            if isinstance(decoded, bytes):
                found[name]["BINARY"] = _plain(decoded)
    return found


def _plain(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")
