"""A header that names somebody else than the envelope does."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.utils import getaddresses

from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import arrived, taken
from lab.exercises.work import Mail, Work, mailbox


@exercise(number=8, rows=("N15",), items=("taken", "header", "arrived"))
def other_name(work: Work) -> Iterator[list[Item]]:
    """Each message whose envelope was for Bob and that came from Alice's PC."""
    bob = work.cast.bob
    for mail in work.mails(to=bob, caller=work.cast.alice.seat):
        got = arrived(work, mail.talk.called, mail.queue_id, bob)
        yield [taken(mail), _header(mail), got]


def _header(mail: Mail) -> Item:
    if not mail.transaction.content:
        return missing("header")
    where = mail.talk.at(mail.transaction.content[0])
    parsed = message_from_bytes(mail.content)
    fields = [str(value) for name in ("to", "cc") for value in parsed.get_all(name, [])]
    named = [mailbox(address) for _, address in getaddresses(fields) if "@" in address]
    if not named:
        return missing("header", where, note="nobody")
    if both := sorted({*named} & set(map(mailbox, mail.transaction.recipients))):
        return missing("header", where, note="same", address=both[0])
    return met("header", where, note="named", address=", ".join(named))
