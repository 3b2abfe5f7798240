"""Three messages over one TCP connection, by hand."""

from __future__ import annotations

from collections.abc import Iterator

from lab.exercises import Item, exercise, met, missing
from lab.exercises.items import typed
from lab.exercises.work import Talk, Work

_MESSAGES = 3


@exercise(number=4, rows=("N12",), items=("called", "begun", "acknowledged", "quit", "typed"))
def one_connection(work: Work) -> Iterator[list[Item]]:
    """Each call to a mail server from Alice's PC."""
    for talk in work.talks("smtp", caller=work.cast.alice.seat):
        if talk.dialogue.stream.connected:
            yield [met("called", talk.syn), *_messages(talk), _quit(talk), typed(talk)]


def _messages(talk: Talk) -> Iterator[Item]:
    begun = talk.commands("MAIL")
    taken = [mail.taken for mail in talk.mails if mail.taken]
    for key, turns in (("begun", begun), ("acknowledged", taken)):
        proofs = [talk.at(turn) for turn in turns]
        enough = len(turns) >= _MESSAGES
        yield (met if enough else missing)(key, *proofs, note="count", count=len(turns))


def _quit(talk: Talk) -> Item:
    said = talk.commands("QUIT")
    if not said:
        return missing("quit")
    reply = said[-1].reply
    return met("quit", talk.at(said[-1]), *([talk.at(reply)] if reply else []))
