"""Reads POP3: RFC 1939, CAPA (RFC 2449), AUTH (RFC 5034), STLS (RFC 2595).

Which replies go on until a lone dot depends on what was asked, so commands and replies are
paired before the reply is read; a client may pipeline (RFC 2449 §6.6). A message (RETR, TOP) is
content the server says, after the line that announces it.
"""

from __future__ import annotations

import re

from lab.observe.reader import Reader, Voice
from lab.observe.tcp import Step
from lab.observe.turns import Dialogue, Turn

_VERBS = rb"APOP|AUTH|CAPA|DELE|LIST|NOOP|PASS|QUIT|RETR|RSET|STAT|STLS|TOP|UIDL|USER|UTF8|LANG"
_MESSAGES = ("RETR", "TOP")
# Several lines if nothing was named (or, for CAPA, always).
_LISTINGS = ("LIST", "UIDL", "CAPA", "AUTH", "LANG")


class Pop3(Reader):
    """Reads one POP3 connection. Passwords are shown as sent: that they are readable is a lesson.

    The `phase` of a turn is the state the session was in: authorization, transaction, update.
    """

    protocol = "pop3"
    _commands_look = re.compile(rb"(?i)(%s)( [^\r\n]*)?\r?\n" % _VERBS)
    _replies_look = re.compile(rb"(\+OK|-ERR)\b|\+ ")

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__(dialogue)
        self._phase = None if dialogue.stream.midstream else "authorization"
        self._listing: Turn | None = None  # a reply whose lines go on

    def _command(self, line: bytes, step: Step) -> None:
        turn = self._said(self._client.turn("command", line, step.ready))
        verb, _, rest = line.decode("utf-8", "backslashreplace").strip().partition(" ")
        turn.command, turn.argument = verb.upper(), rest or None
        if not (verb.isascii() and verb.isalnum()):
            turn.kind, turn.command, turn.argument = "garbled", None, None
        if turn.command == "STLS" or (turn.command == "AUTH" and rest):
            self._decider = turn

    def _auth(self, voice: Voice, data: bytes, step: Step) -> bytes:
        line, rest = voice.line(data, step)
        if line is not None:
            self._decider = turn = self._said(voice.turn("auth", line, step.ready))
            turn.argument = turn.text
            voice.read = self._line
        return rest

    def _said(self, turn: Turn) -> Turn:
        turn.phase = self._phase
        self._unanswered.append(turn)
        return self._told(turn)

    def _reply(self, line: bytes, step: Step) -> None:
        turn = self._server.turn("reply" if self._greeted else "greeting", line, step.ready)
        turn.phase = self._phase
        word = line.split(None, 1)[:1]
        if word and word[0] in (b"+OK", b"-ERR", b"+"):
            turn.status = word[0].decode()
        else:
            turn.kind = "garbled"
        asked = None
        if not self._greeted:
            self._greeted = True
        elif turn.status and self._unanswered:
            asked = turn.answers = self._unanswered.popleft()
            asked.reply = turn
        if asked and turn.status == "+OK" and asked.command in _LISTINGS and not asked.argument:
            self._listing = turn
            self._open(turn, line)
            return
        self._told(turn)
        if asked:
            self._answered(asked, turn)

    def _open(self, after: Turn, first: bytes = b"") -> None:
        """Lines follow, the last a lone dot; `first` keeps what announced them."""
        self._server.open(after.time, after.last_frame, first or b"\r\n")
        self._server.read = self._lines

    def _lines(self, voice: Voice, data: bytes, step: Step) -> bytes:
        rest = voice.until_dot(data, step)
        if rest is None:
            return b""
        self._end_lines(complete=True)
        return rest

    def _end_lines(self, *, complete: bool) -> None:
        voice, listing = self._server, self._listing
        body = bytes(voice.body).replace(b"\r\n.", b"\r\n")
        said = voice.close(body if listing else body[2:], complete=complete)
        voice.read = self._line
        if listing:
            listing.data, listing.size = said.data, said.size
            listing.last_frame, listing.complete = said.last_frame, said.complete
            self._listing, said = None, listing
        self._told(said)

    def _answered(self, asked: Turn, turn: Turn) -> None:
        good = turn.status == "+OK"
        if asked is self._decider:
            self._decide(turn.status)
        elif good and asked.command in _MESSAGES:
            self._open(turn)
            assert self._server.content
            self._server.content.answers = asked
            self._server.content.phase = self._phase
        if good and (asked.kind == "auth" or asked.command in ("PASS", "APOP", "AUTH")):
            self._phase = "transaction"
        elif good and asked.command == "QUIT" and self._phase == "transaction":
            self._phase = "update"

    def _decide(self, status: str | None) -> None:
        asked = self._decider
        assert asked
        if asked.command == "STLS":
            if status in (None, "+OK"):
                self._hide()
        elif status in (None, "+"):
            self._client.read = self._auth
        self._release()

    def _agreed(self) -> None:
        # Unless it said a command: then the server had refused, or the exchange was over.
        self._decide("-ERR" if self._goes_on_with_a_command() else None)

    def _cut(self, voice: Voice) -> None:
        if voice.read == self._lines:
            self._end_lines(complete=False)
        else:
            super()._cut(voice)

    def _confused(self, voice: Voice, step: Step) -> None:
        if voice.content and voice.read == self._lines:
            return  # the lines go on behind the hole, up to the dot
        super()._confused(voice, step)
