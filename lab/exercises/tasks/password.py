"""A password, on the wire."""

from __future__ import annotations

from collections.abc import Iterator

from lab.exercises import Item, exercise, met, missing
from lab.exercises.answers import Frame
from lab.exercises.items import right_frame
from lab.exercises.logins import Login, logins
from lab.exercises.work import Talk, Work


@exercise(number=10, rows=("N7",), items=("login", "frame"), answer="frame")
def password(work: Work) -> Iterator[list[Item]]:
    """Any login of somebody's, to read or to send, that has succeeded, seen on any network."""
    told = [
        (talk, one) for talk in work.everywhere for one in logins(talk) if _is_their_own(work, one)
    ]
    # Where it began only: the frame of the password is what is asked for.
    login = met("login", told[-1][0].syn, note="by", **_by(told[-1][0])) if told else None
    right = {
        Frame(talk.network, frame, 0)
        for talk, one in told
        for frame in (one.turn.frame, one.turn.last_frame)
    }
    yield [login or missing("login"), right_frame(work, right)]


def _by(talk: Talk) -> dict[str, object]:
    return {"caller": talk.caller, "protocol": talk.dialogue.protocol.upper()}


def _is_their_own(work: Work, login: Login) -> bool:
    """Whether the password is that of whoever has logged in."""
    known = work.cast.passwords.items()
    return any(login.is_of(address) and login.password == secret for address, secret in known)
