"""Reads IMAP: RFC 9051 and its elder RFC 3501, literals without waiting (RFC 7888).

A command goes from its tag to the end of a line, unless that line announces a literal: so many
octets, after which the command goes on. What follows a literal is a turn of its own (`rest`), so
that the reading shows what crossed the wire in which order. Commands meet the response with
their tag, however many are under way; data in between belong to a command only if it is alone.
"""

from __future__ import annotations

import re

from lab.observe.reader import Reader, Voice
from lab.observe.tcp import Step
from lab.observe.turns import Dialogue, Turn

_LITERAL = re.compile(rb"\{(\d{1,18})(\+?)\}\r?\n\Z")
_TAG = rb'[^\s(){%*"\\+]+'
_VERBS = (
    rb"CAPABILITY|NOOP|LOGOUT|STARTTLS|AUTHENTICATE|LOGIN|ENABLE|SELECT|EXAMINE|CREATE|DELETE"
    rb"|RENAME|SUBSCRIBE|UNSUBSCRIBE|LIST|LSUB|NAMESPACE|STATUS|APPEND|IDLE|CLOSE|UNSELECT|EXPUNGE"
    rb"|SEARCH|FETCH|STORE|COPY|MOVE|UID|CHECK|ID|COMPRESS|GETQUOTAROOT|GETQUOTA|SORT|THREAD"
)
_STATES = ("OK", "NO", "BAD", "BYE", "PREAUTH")
_PHASES = {  # the state after a command that succeeded (RFC 9051 §3)
    "LOGIN": "authenticated",
    "AUTHENTICATE": "authenticated",
    "SELECT": "selected",
    "EXAMINE": "selected",
    "CLOSE": "authenticated",
    "UNSELECT": "authenticated",
    "LOGOUT": "logout",
}


class Imap(Reader):
    """Reads one IMAP connection. `phase` is the state it was in when a turn was said.

    `literals` of an untagged response are the octets of its literals: what a FETCH really brought.
    """

    protocol = "imap"
    _commands_look = re.compile(rb"(?i)(%s (%s)\b|DONE\r?\n)" % (_TAG, _VERBS))
    _replies_look = re.compile(rb"(\*|\+|%s (OK|NO|BAD)) " % _TAG)

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__(dialogue)
        self._phase = None if dialogue.stream.midstream else "not authenticated"
        self._flying: dict[str, Turn] = {}  # commands not completed, by tag
        self._current: Turn | None = None  # the command whose literals are being read
        self._announced = 0  # octets of a literal that waits for the server's consent
        self._response = bytearray()  # of several lines, as literals make them
        self._literals = 0
        self._whole = True
        self._response_began = 0, 0.0

    # The client ---------------------------------------------------------------------------------

    def _command(self, line: bytes, step: Step) -> None:
        turn = self._said(self._client.turn("command", line, step.ready))
        words = line.decode("utf-8", "backslashreplace").strip().split(" ", 2)
        if len(words) == 1:  # DONE, which ends IDLE, has no tag
            turn.command = words[0].upper()
            turn.kind = "command" if turn.command == "DONE" else "garbled"
            return
        turn.tag, turn.command, *rest = words[0], words[1].upper(), *words[2:]
        if turn.command == "UID" and rest:
            verb, _, argument = rest[0].partition(" ")
            turn.command, rest = f"UID {verb.upper()}", [argument] if argument else []
        turn.argument = rest[0] if rest else None
        self._flying[turn.tag] = self._current = turn
        if turn.command in ("AUTHENTICATE", "STARTTLS", "COMPRESS"):
            self._decider = turn
        else:
            self._maybe_literal(line)

    def _said(self, turn: Turn) -> Turn:
        turn.phase = self._phase
        return self._told(turn)

    def _maybe_literal(self, line: bytes) -> None:
        """If `line` announces a literal: the server must agree first, unless {n+} is said."""
        self._client.read = self._line
        if found := _LITERAL.search(line):
            self._announced = int(found[1])
            if found[2]:
                self._begin_literal()
            else:
                self._decider = self._current

    def _begin_literal(self) -> None:
        voice, self._client.left = self._client, self._announced
        if voice.left:
            voice.open(voice.time, voice.frame)
            voice.read = self._literal
        else:
            voice.read = self._rest
        self._announced = 0

    def _literal(self, voice: Voice, data: bytes, step: Step) -> bytes:
        part = data[: voice.left]
        voice.add(part, step)
        voice.left -= len(part)
        if not voice.left:
            self._said(voice.close())
            voice.read = self._rest
        return data[len(part) :]

    def _rest(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """The line behind a literal; most often it is empty, and ends the command."""
        line, rest = voice.line(data, step)
        if line is not None:
            if line.strip():
                self._said(voice.turn("rest", line, step.ready))
            self._maybe_literal(line)
        return rest

    def _auth(self, voice: Voice, data: bytes, step: Step) -> bytes:
        line, rest = voice.line(data, step)
        if line is not None:
            turn = self._said(voice.turn("auth", line, step.ready))
            turn.argument = turn.text
            self._decider = self._current
            self._client.read = self._line
        return rest

    # The server ---------------------------------------------------------------------------------

    def _reply(self, line: bytes, step: Step) -> None:
        voice = self._server
        if not self._response:
            self._response_began = voice.frame, voice.time
            first = line
        else:
            first = bytes(self._response[: self._response.find(b"\n") + 1])
        self._response += line
        words = first.split(None, 2)
        plain = len(words) > 1 and (
            words[0] == b"+" or words[1].upper().decode("latin-1") in _STATES
        )
        found = None if plain else _LITERAL.search(line)
        if found:  # these words are text in a status response, and a literal elsewhere
            voice.left = int(found[1])
            self._literals += voice.left
            voice.read = self._inner if voice.left else self._line
        else:
            voice.read = self._line
            self._replied(first, step.ready)

    def _inner(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """Octets of a literal in a response."""
        part = data[: voice.left]
        self._response += part
        voice.left -= len(part)
        if not voice.left:
            voice.read = self._line
        return data[len(part) :]

    def _replied(self, first: bytes, ready: int) -> None:
        data, self._response = bytes(self._response), bytearray()
        turn = Turn("server", "reply", *self._response_began, ready, data, size=len(data))
        turn.phase, turn.literals, turn.complete = self._phase, self._literals, self._whole
        self._literals, self._whole = 0, True
        words = first.decode("utf-8", "backslashreplace").strip().split(" ", 2)
        tag, word = words[0], words[1].upper() if len(words) > 1 else ""
        if tag == "+":
            turn.status = "+"
        elif tag != "*":
            turn.tag, turn.status = tag, word if word in _STATES else None
            turn.kind = "reply" if turn.status else "garbled"
        elif word in _STATES:
            turn.status = word
            turn.kind = "untagged" if self._greeted else "greeting"
        else:
            self._untagged(turn, words)
        self._greeted = True
        self._told(turn)
        self._pair(turn)

    def _untagged(self, turn: Turn, words: list[str]) -> None:
        """`* SEARCH 1 2`, `* 5 EXISTS`, `* 1 FETCH (…)`: a number goes to the argument."""
        turn.kind = "untagged"
        number, rest = words[1] if len(words) > 1 else "", words[2:]
        if number.isdigit() and rest:
            verb, _, more = rest[0].partition(" ")
            turn.command, turn.argument = verb.upper(), f"{number} {more}".rstrip()
        else:
            turn.command, turn.argument = number.upper(), rest[0] if rest else None

    def _pair(self, turn: Turn) -> None:
        if turn.kind == "untagged":
            if len(self._flying) == 1:
                (turn.answers,) = self._flying.values()
        elif turn.status == "+":
            turn.answers = self._decider or (
                next(iter(self._flying.values())) if len(self._flying) == 1 else None
            )
            if self._decider:
                self._decide(consent=True)
        elif turn.tag is not None and turn.status and (asked := self._flying.pop(turn.tag, None)):
            turn.answers, asked.reply = asked, turn
            self._completed(asked, good=turn.status == "OK")

    def _completed(self, asked: Turn, *, good: bool) -> None:
        if good:
            self._phase = _PHASES.get(asked.command or "", self._phase)
        if asked is self._decider:
            self._decide(consent=False, good=good)

    def _decide(self, *, consent: bool, good: bool = False) -> None:
        """A `+` asks for more, the end of the command allows what it asked for, or refuses it."""
        asked = self._decider
        assert asked
        if asked.command == "STARTTLS" and good:
            self._hide()
        elif asked.command == "COMPRESS" and good:
            self._client.read = self._server.read = self._mute
        elif self._announced:
            if consent:
                self._begin_literal()
        elif consent and asked.command == "AUTHENTICATE":
            self._client.read = self._auth
        self._announced = 0
        self._release()

    def _agreed(self) -> None:
        assert self._decider
        # Unless it said a command: then the server had refused.
        consent = not self._goes_on_with_a_command()
        self._decide(consent=consent, good=self._decider.command in ("STARTTLS", "COMPRESS"))

    # Where octets are missing -------------------------------------------------------------------

    def _lost(self, voice: Voice, step: Step) -> None:
        if voice is self._server and self._response:
            self._whole = False
        super()._lost(voice, step)

    def _confused(self, voice: Voice, step: Step) -> None:
        if voice is self._server:
            self._end_response()
        super()._confused(voice, step)

    def _end_response(self) -> None:
        """A response that was begun will not be completed."""
        if self._response:
            data, self._response = bytes(self._response), bytearray()
            turn = Turn("server", "untagged", *self._response_began, self._response_began[0], data)
            turn.size, turn.complete = len(data), False
            self._literals, self._whole = 0, True
            self._told(turn)

    def finish(self) -> None:
        """The connection is over."""
        super().finish()
        self._end_response()
