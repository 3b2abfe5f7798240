"""A password, on the wire."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Collection, Iterator

from lab.exercises import Item, exercise, met, missing
from lab.exercises.answers import Frame
from lab.exercises.items import right_frame
from lab.exercises.work import Talk, Work
from lab.observe.dialogue import Turn

_LOGINS = ("PASS", "LOGIN", "AUTH", "AUTHENTICATE")


@exercise(number=10, rows=("N7",), items=("login", "frame"), answer="frame")
def password(work: Work) -> Iterator[list[Item]]:
    """Any login with a password of somebody's, to read or to send, seen on any network."""
    told = [
        (talk, turn)
        for talk in work.everywhere
        for turn in talk.dialogue.turns
        if _tells(turn, work.cast.passwords)
    ]
    # Where it began only: the frame of the password is what is asked for.
    login = met("login", told[-1][0].syn, note="by", **_by(told[-1][0])) if told else None
    right = {
        Frame(talk.network, frame, 0)
        for talk, turn in told
        for frame in (turn.frame, turn.last_frame)
    }
    yield [login or missing("login"), right_frame(work, right)]


def _by(talk: Talk) -> dict[str, object]:
    return {"caller": talk.caller, "protocol": talk.dialogue.protocol.upper()}


def _tells(turn: Turn, passwords: Collection[str]) -> bool:
    """Whether somebody logs in with this turn, and one of `passwords` can be read in it."""
    if turn.side != "client" or not (turn.kind == "auth" or turn.command in _LOGINS):
        return False
    words = turn.text.split()
    readings = [turn.text]
    for word in words:
        try:
            readings.append(b64decode(word, validate=True).decode("utf-8", "replace"))
        except (ValueError, binascii.Error):
            continue
    return any(one in reading for one in passwords for reading in readings)
