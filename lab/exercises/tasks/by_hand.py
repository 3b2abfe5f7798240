"""A message with nc alone: the student is the mail program."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import arrived, taken, typed
from lab.exercises.work import Mail, Work

# What mail programs write into the header of what they send.
_MARK = re.compile(rb"(?im)^(?:X-Mailer|User-Agent):[^\r\n]*")


@exercise(number=1, rows=("N3", "N10"), items=("taken", "typed", "plain", "arrived"))
def by_hand(work: Work) -> Iterator[list[Item]]:
    """Each message for Bob that came from Alice's PC, to whichever server."""
    bob = work.cast.bob
    for mail in work.mails(to=bob, caller=work.cast.alice.seat):
        got = arrived(work, mail.talk.called, mail.queue_id, bob)
        yield [taken(mail), typed(mail.talk), _plain(mail), got]


def _plain(mail: Mail) -> Item:
    if not mail.transaction.content:
        return missing("plain")
    where = mail.talk.at(mail.transaction.content[0])
    if found := _MARK.search(mail.content):
        return missing("plain", where, note="marked", mark=found[0].decode(errors="replace"))
    return met("plain", where)
