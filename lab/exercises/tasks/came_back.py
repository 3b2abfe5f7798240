"""A message that was deleted by POP3, and came back."""

from __future__ import annotations

from collections.abc import Iterator

from lab.exercises import Item, exercise, met, missing
from lab.exercises.answers import Choice
from lab.exercises.logins import logins
from lab.exercises.work import Talk, Work, mailbox
from lab.observe.dialogue import Turn

_RIGHT = "c"  # see the texts


@exercise(number=6, rows=("N17",), items=("marked", "broken", "again", "why"), answer="choice")
def came_back(work: Work) -> Iterator[list[Item]]:
    """Each message that Bob has marked in a POP3 session, and his sessions after that."""
    bob = work.cast.bob
    sessions = [
        talk
        for talk in work.talks("pop3", caller=bob.seat, called=bob.server)
        if any(login.is_of(bob.address) for login in logins(talk))
    ]
    yield [_why(work)]
    for index, talk in enumerate(sessions):
        for dele in talk.commands("DELE"):
            if _succeeded(dele) and not _taken_back(talk, dele):
                later = sessions[index + 1 :]
                yield [*_judged(work, talk, dele, later), _why(work)]


def _succeeded(turn: Turn) -> bool:
    return turn.reply is not None and turn.reply.status == "+OK"


def _taken_back(talk: Talk, dele: Turn) -> bool:
    """Whether RSET has undone it (RFC 1939 §5): then nothing was marked any more."""
    turns = talk.dialogue.turns
    later = turns[turns.index(dele) :]
    return any(turn in later and _succeeded(turn) for turn in talk.commands("RSET"))


def _number(argument: str | None) -> str:
    """The number of the message that a command is about: `01` is 1."""
    word = (argument or "").split()[:1]
    return str(int(word[0])) if word and word[0].isdecimal() else "".join(word)


def _judged(work: Work, talk: Talk, dele: Turn, later: list[Talk]) -> Iterator[Item]:
    number = _number(dele.argument)
    marked = (talk.at(turn) for turn in (dele, dele.reply) if turn)
    yield met("marked", *marked, note="number", number=number)
    if quits := talk.commands("QUIT"):
        yield missing("broken", talk.at(quits[-1]), note="quit")
        return
    stream = talk.dialogue.stream
    ends = [*stream.fins.values(), *([stream.reset[1]] if stream.reset else [])]
    if not ends:
        yield missing("broken", note="open")
        return
    end = min(ends, key=lambda mark: mark.frame)
    yield met("broken", talk.at(talk.dialogue.turns[-1]), note="ended", frame=end.frame)
    for other in later:
        if other.dialogue.opened.time < end.time:
            continue
        seen = next(_shows(other, number), None)
        if seen and not _expunged(work, dele.time, seen.time):
            yield met("again", other.at(seen))
            return


def _shows(talk: Talk, number: str) -> Iterator[Turn]:
    """The replies of a later session that have message `number` in the mailbox."""
    for turn in talk.dialogue.turns:
        asked = turn.answers
        if turn.kind != "reply" or turn.status != "+OK" or asked is None:
            continue
        words = turn.text.split()
        listed = asked.command in ("LIST", "UIDL") and not asked.argument
        if (
            (listed and any(line.split()[:1] == [number] for line in turn.text.split("\n")[1:]))
            or (asked.command == "STAT" and words[1:2] and int(words[1]) >= int(number))
            or (
                asked.command in ("RETR", "TOP", "LIST", "UIDL")
                and _number(asked.argument) == number
            )
        ):
            yield turn


def _expunged(work: Work, after: float, before: float) -> bool:
    """Whether any message of Bob's was removed meanwhile: then numbers mean others than before."""
    return any(
        event.data["what"] == "expunge"
        and mailbox(event.data["user"]) == mailbox(work.cast.bob.address)
        and after <= event.time <= before
        for event in work.record.of("mailbox_change")
    )


def _why(work: Work) -> Item:
    answer = work.answer
    if not isinstance(answer, Choice):
        return missing("why", note="unanswered")
    if answer.letter != _RIGHT:
        return missing("why", note="wrong", answer=answer)
    return Item("why", True, note="right", values={"answer": answer}, since=answer.given)
