"""Who has logged in over a connection, and with which password, where that can be read."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lab.exercises.work import Talk
    from lab.observe.dialogue import Turn

_VERBS = ("PASS", "LOGIN", "AUTH", "AUTHENTICATE")
_WORD = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|[^\s"]+')
_LITERAL = re.compile(r"\{\d+\+?\}\s*\Z")  # announces one, which is a turn of its own


class Login(NamedTuple):
    """A login that succeeded; the password stands in `turn`."""

    user: str
    password: str
    turn: Turn

    def is_of(self, address: str) -> bool:
        """Whether it was as the user who has this address: by all of it, or its local part."""
        return self.user.lower() in (address.lower(), address.partition("@")[0].lower())


def logins(talk: Talk) -> Iterator[Login]:
    """The logins over a connection that the server has agreed to."""
    said = [turn for turn in talk.dialogue.turns if turn.side == "client"]
    user = ""
    for index, turn in enumerate(said):
        if turn.kind != "command":
            continue
        if turn.command == "USER":
            user = turn.argument or ""
        more = takewhile(lambda one: one.kind in ("auth", "content", "rest"), said[index + 1 :])
        exchange = [turn, *more]
        if turn.command in _VERBS and any(_agreed(one.reply) for one in exchange):
            yield from _read(user, exchange)


def _agreed(reply: Turn | None) -> bool:
    return reply is not None and (reply.code == 235 or reply.status in ("+OK", "OK"))


def _read(user: str, exchange: list[Turn]) -> Iterator[Login]:
    command = exchange[0]
    if command.command == "PASS":
        yield Login(user, command.argument or "", command)
        return
    words = list(_words(exchange))
    if command.command == "LOGIN":  # IMAP
        if len(words) > 1:
            yield Login(words[0][0], *words[1])
        return
    mechanism = words[0][0].upper() if words else ""
    told = [(_decoded(word), turn) for word, turn in words[1:]]
    if mechanism == "LOGIN" and len(told) > 1:
        yield Login(told[0][0], *told[1])
    elif mechanism == "PLAIN":  # RFC 4616
        for text, turn in told:
            if text.count("\0") == 2:
                _, name, password = text.split("\0")
                yield Login(name, password, turn)


def _words(exchange: Iterable[Turn]) -> Iterator[tuple[str, Turn]]:
    """The words of a command and of what belongs to it, their quotes undone."""
    for turn in exchange:
        if turn.kind == "content":
            yield turn.text, turn
            continue
        for found in _WORD.finditer(_LITERAL.sub("", turn.argument or turn.text)):
            quoted = found["quoted"]
            word = found[0] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            yield word, turn


def _decoded(word: str) -> str:
    try:
        return b64decode(word, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""
