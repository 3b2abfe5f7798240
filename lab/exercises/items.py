"""Items that several exercises have: a message is taken, typed by a person, put into a mailbox."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from lab.exercises import Item, Proof, met, missing
from lab.exercises.answers import Frame
from lab.scenarios.wire import first_words

if TYPE_CHECKING:
    from lab.exercises.cast import Person
    from lab.exercises.work import Mail, Talk, Work
    from lab.observe.dialogue import Turn

PACE = 0.1
"""Real seconds. Nobody reads a reply and types a line in less; programs take some milliseconds."""


def taken(mail: Mail) -> Item:
    """The server has said 250 to all of it."""
    if reply := mail.taken:
        return met("taken", *(mail.talk.at(turn) for turn in (mail.transaction.mail, reply)))
    said = _last_word(mail)
    if said is None:
        return missing("taken", mail.talk.at(mail.transaction.mail), note="unfinished")
    return missing("taken", mail.talk.at(said), note="refused", said=first_words(said))


def _last_word(mail: Mail) -> Turn | None:
    """The reply that refused it: to RCPT, whatever was said afterwards, or the last one."""
    replies = [*(turn.reply for turn in mail.transaction.rcpts), mail.transaction.reply]
    return next((one for one in replies if one and one.failed), None)


def typed(talk: Talk) -> Item:
    """Whoever spoke took their time: a line, a reply, a pause in which a person types the next.

    The pause was seen somewhere on the cable: how long a reply and its answer travel between
    there and the client is no part of it. What is said before the reply to the line before was
    not typed one by one. A script that waits as long looks the same: fingers are on no record.
    """
    pauses: list[float] = []
    away = _round_trip(talk)
    heard: Turn | None = None
    said: Turn | None = None
    proofs: list[Proof] = []
    for turn in talk.dialogue.turns:
        if turn.side == "server":
            heard = turn
        elif heard is not None and turn.kind in ("command", "auth", "content"):
            if said and turn.kind != "content" and not _is_answered(said, turn):
                return missing("typed", talk.at(turn), note="ahead", line=first_words(turn))
            pauses.append(turn.time - heard.time - away)
            proofs.append(talk.at(turn))
            said = turn
    if not pauses:
        return missing("typed")
    usual = median(pauses)
    ends = (proofs[0], proofs[-1])
    if usual < PACE:
        return missing("typed", *ends, note="fast", seconds=f"{max(usual, 0):.3f}")
    return met("typed", *ends, note="pace", seconds=f"{usual:.1f}")


def _round_trip(talk: Talk) -> float:
    """From where it was seen to the client and back (s): how long that took its SYN-ACK."""
    stream = talk.dialogue.stream
    if stream.accepted is None or stream.established is None:
        return 0.0
    return stream.established.time - stream.accepted.time


def _is_answered(said: Turn, turn: Turn) -> bool:
    """Whether the reply to `said` was there before `turn`."""
    return said.reply is not None and said.reply.last_frame < turn.frame


def arrived(work: Work, node: str | None, queue_id: str, person: Person) -> Item:
    """It was put into the mailbox of `person`."""
    found = work.arrival(node, queue_id, person.address)
    return met("arrived", found) if found else missing("arrived")


def right_frame(work: Work, right: set[Frame]) -> Item:
    """The student has named one of the `right` frames (which were `given` at no time: 0)."""
    answer = work.answer
    if not isinstance(answer, Frame):
        return missing("frame", note="unanswered")
    said = list(work.said_in(answer))
    if Frame(answer.network, answer.number, 0) in right:
        proofs = tuple(talk.at(turn) for talk, turn in said)
        return Item("frame", True, proofs, since=answer.given)
    words = "; ".join(
        f"{turn.side[0].upper()}: {first_words(turn)}" for _, turn in said if turn.data
    )
    return missing("frame", note="other", answer=answer, says=words or work.frame(answer))
