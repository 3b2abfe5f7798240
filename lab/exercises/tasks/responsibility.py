"""The frame from which on a message is the receiver's server's to deliver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.exercises import Item, exercise, met, missing
from lab.exercises.answers import Frame
from lab.exercises.items import right_frame
from lab.exercises.work import Work, mailbox


@exercise(number=2, rows=("N3", "N4", "N10"), items=("passed", "frame"), answer="frame")
def responsibility(work: Work) -> Iterator[list[Item]]:
    """Any message that Bob's server has taken; the frame counts on each network that it crossed."""
    bob = work.cast.bob
    mails = [one for one in work.mails(to=bob, called=bob.server) if one.taken]
    right = {
        Frame(talk.network, reply.last_frame, 0): mail
        for talk in work.everywhere
        if talk.dialogue.protocol == "smtp" and talk.called == bob.server
        for mail in talk.mails
        if mailbox(bob.address) in map(mailbox, mail.transaction.accepted) and (reply := mail.taken)
    }
    if isinstance(work.answer, Frame):  # if it is right, it is this message that has passed
        named = right.get(replace(work.answer, given=0))
        mails += [named] if named else []
    passed = missing("passed")
    if mails and (reply := mails[-1].taken):
        # Where it began only: the frame of the reply is what is asked for.
        passed = met("passed", mails[-1].talk.syn, reply=reply.code)
    yield [passed, right_frame(work, set(right))]
