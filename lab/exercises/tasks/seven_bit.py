"""Korean text of which nothing but 7-bit octets pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import arrived
from lab.exercises.work import Mail, Work

_HANGUL = re.compile("[가-힣]")


@exercise(number=9, rows=("N8",), items=("korean", "seven", "arrived"))
def seven_bit(work: Work) -> Iterator[list[Item]]:
    """Each message for Bob that was taken of Alice's PC, as a mail program would show it."""
    bob = work.cast.bob
    for mail in work.mails(to=bob, caller=work.cast.alice.seat):
        if mail.taken:
            yield [*_read(mail), arrived(work, mail.talk.called, mail.queue_id, bob)]


def _read(mail: Mail) -> Iterator[Item]:
    where = mail.talk.at(mail.transaction.content[0])
    text = _text(mail.content)
    letters = "".join(_HANGUL.findall(text))
    if not letters:
        yield missing("korean", where, note="none")
        return
    yield met("korean", where, note="letters", text=letters[:20])
    high = sum(octet > 127 for octet in mail.content)
    if high:
        yield missing("seven", where, note="high", count=high)
    else:
        yield met("seven", where, note="octets", count=len(mail.content), letters=len(letters))


def _read_part(part: Message) -> str:
    """What is to be read in a part. Raises ValueError if its charset can't be one."""
    octets = part.get_payload(decode=True)
    if part.get_content_maintype() != "text" or not isinstance(octets, bytes):
        return ""
    try:
        return octets.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeDecodeError):  # declared wrongly, or not at all
        return octets.decode("utf-8", "replace")


def _text(content: bytes) -> str:
    """What is to be read in a message: its texts, their encodings undone as they are declared."""
    found = []
    for part in message_from_bytes(content).walk():
        try:
            found.append(_read_part(part))
        except ValueError:  # `undefined`, or no name at all: nobody can read it
            continue
    return "\n".join(found)
