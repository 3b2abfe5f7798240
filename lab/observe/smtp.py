"""Reads SMTP and LMTP.

The grammar is RFC 5321's, with pipelining (RFC 2920), AUTH (RFC 4954), CHUNKING (RFC 3030) and
STARTTLS (RFC 3207). Whether the octets after DATA are a message or further commands is for the
server to say, so whatever the client sends there is held until the reply is known; and commands
meet their replies in the order they were sent, however many share a packet.
"""

from __future__ import annotations

import re
from collections import deque

from lab.observe.reader import Reader, Reading, Voice
from lab.observe.tcp import Step
from lab.observe.turns import Dialogue, Turn, TurnKind, path

_COMMAND = re.compile(
    rb"(?i)((EHLO|HELO|LHLO) \S+|MAIL FROM:.*|RCPT TO:.*|AUTH \S+.*|BDAT \d+.*"
    rb"|(VRFY|EXPN|XCLIENT) .+|DATA|RSET|QUIT|NOOP.*|HELP.*|STARTTLS)\s*$"
)
_REPLY = re.compile(rb"([2-5]\d\d)(?:([ -])|\s*$)")
_BARE_END = re.compile(rb"\n\.\r?\n")
_SIZE = re.compile(r"[0-9]{1,18}\b")


class Smtp(Reader):
    """Reads one SMTP connection: a relay's (port 25) or a submission (587, 465)."""

    protocol = "smtp"
    _commands_look = _COMMAND
    _replies_look = _REPLY

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__(dialogue)
        self._lines: list[bytes] = []  # of a reply that is not complete
        self._reply_began = 0, 0.0
        self._latest: Step  # what the client sent last of a message

    def _command(self, line: bytes, step: Step) -> None:
        turn = self._said("command", line, step)
        words = line.decode("utf-8", "backslashreplace").split(None, 1)
        verb = turn.command = words[0].upper() if words else ""
        turn.argument = words[1].rstrip() if len(words) > 1 else None
        if not (verb.isascii() and verb.isalnum()):
            turn.kind, turn.command, turn.argument = "garbled", None, None
        if verb in ("DATA", "AUTH", "STARTTLS"):
            self._decider = turn
        elif verb == "BDAT" and (size := _SIZE.match(turn.argument or "")):
            self._unanswered.pop()  # the reply comes after the chunk, and belongs to that
            self._begin_content(turn, self._chunk)
            self._client.left = int(size[0])
            if not self._client.left:
                self._end_content(b"")

    def _auth(self, voice: Voice, data: bytes, step: Step) -> bytes:
        line, rest = voice.line(data, step)
        if line is not None:
            self._decider = turn = self._said("auth", line, step)
            turn.argument = turn.text
            self._client.read = self._line
        return rest

    def _said(self, kind: TurnKind, line: bytes, step: Step) -> Turn:
        turn = self._told(self._client.turn(kind, line, step.ready))
        self._unanswered.append(turn)
        return turn

    def _begin_content(self, after: Turn, read: Reading) -> None:
        body = b"\r\n" if read == self._message else b""
        self._unanswered.append(self._client.open(after.time, after.last_frame, body))
        self._client.read = read

    def _end_content(self, data: bytes, *, complete: bool = True) -> None:
        self._told(self._client.close(data, complete=complete))
        self._client.read = self._line

    def _message(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """Octets after DATA, up to the line with a lone dot (RFC 5321 §4.5.2)."""
        self._latest = step
        rest = voice.until_dot(data, step)
        if rest is None:
            return b""
        self._end_content(_plain(voice.body))
        return rest

    def _chunk(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """Octets after BDAT, as many as it said (RFC 3030)."""
        chunk = data[: voice.left]
        voice.add(chunk, step)
        voice.left -= len(chunk)
        if not voice.left:
            self._end_content(bytes(voice.body))
        return data[len(chunk) :]

    def _adrift(self, voice: Voice, data: bytes, step: Step) -> bytes:
        rest = super()._adrift(voice, data, step)
        if voice is self._client and voice.content:
            self._latest = step
            if (b"\n" + voice.body[-4:]).endswith((b"\n.\r\n", b"\n.\n")):
                body = self._stuffed()
                self._end_content(_plain(body[: body.rindex(b".")]), complete=False)
        return rest

    def _strange(self, voice: Voice, step: Step) -> None:
        super()._strange(voice, step)
        if voice is self._client and voice.content:  # a message, as it seems
            self._unanswered.append(voice.content)

    def _cut(self, voice: Voice) -> None:
        if voice is self._server or voice.content is None:
            return super()._cut(voice)
        if voice.read == self._adrift and voice.content in self._unanswered:
            # It was the rest of a command, then, and of no message.
            self._unanswered.remove(voice.content)
        return self._end_content(self._unstuffed(), complete=False)

    def _stuffed(self) -> bytes:
        """The message as it came, behind a line end."""
        body = bytes(self._client.body)
        return body if self._client.read == self._message else b"\r\n" + body

    def _unstuffed(self) -> bytes:
        chunk = self._client.read == self._chunk
        return bytes(self._client.body) if chunk else _plain(self._stuffed())

    def _confused(self, voice: Voice, step: Step) -> None:
        if voice is self._client and voice.content:
            if not voice.content.reply and voice.read != self._chunk:
                return  # it goes on behind the hole
            self._end_content(self._unstuffed())
        super()._confused(voice, step)

    def _forget_questions(self) -> None:
        self._lines = []
        super()._forget_questions()

    def _reply(self, line: bytes, step: Step) -> None:
        if not self._lines:
            self._reply_began = self._server.frame, self._server.time
        self._lines.append(line)
        shape = _REPLY.match(line)
        if shape is None or shape[2] != b"-":
            self._replied(int(shape[1]) if shape else None, step.ready)

    def _replied(self, code: int | None, ready: int) -> None:
        data, self._lines = b"".join(self._lines), []
        kind: TurnKind = "reply" if self._greeted else "greeting"
        turn = Turn("server", kind, *self._reply_began, ready, data, code=code, size=len(data))
        self._told(turn)
        if code is None:
            turn.kind = "garbled"
            return
        if not self._greeted:
            self._greeted = True
        elif self._unanswered:
            asked = self._unanswered[0]
            turn.answers = asked
            if not (asked.reply and asked.reply.failed):
                asked.reply = turn
            if self._settled(asked, turn):
                self._unanswered.popleft()
            if asked is self._client.content:
                self._answered_early()
            elif asked is self._decider:
                self._decide(code)

    def _settled(self, asked: Turn, answer: Turn) -> bool:
        """Whether `asked` has all the answers that are due."""
        return True

    def _decide(self, code: int | None) -> None:
        """Read on as the reply to the last command says; where it is missing, as if it agreed."""
        asked = self._decider
        assert asked
        if asked.command == "DATA":
            if code in (None, 354):
                self._begin_content(asked, self._message)
        elif asked.command == "STARTTLS":
            if code in (None, 220):
                self._hide()
        elif code in (None, 334):  # AUTH, or a further line of its exchange
            self._client.read = self._auth
        self._release()

    def _agreed(self) -> None:
        # Unless it said a command: then the server had refused, or the exchange was over.
        self._decide(0 if self._goes_on_with_a_command() else None)

    def _answered_early(self) -> None:
        """The server answered a message whose end was not seen as such.

        Either it was ended with bare line feeds, as a hand at `nc` does and some servers accept,
        or the end fell into a hole; otherwise the server did not wait for it.
        """
        voice = self._client
        if voice.read == self._chunk or voice.content is None:
            return
        body = self._stuffed()
        if bare := _BARE_END.search(body):
            message, rest = body[: bare.start() + 1], body[bare.end() :]
            self._end_content(re.sub(rb"(\r?\n)\.", rb"\1", message)[2:])
            if rest:
                self._from_client(self._latest._replace(data=rest))
        elif not voice.content.complete or voice.read == self._adrift:
            self._end_content(self._unstuffed(), complete=False)


class Lmtp(Smtp):
    """Reads one LMTP connection (RFC 2033): SMTP, but each recipient gets an answer of its own.

    Those answers have their recipient as `argument`; the message's `reply` is the first that
    says no, or the last.
    """

    protocol = "lmtp"

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__(dialogue)
        self._recipients: deque[str] = deque()  # accepted, and not told yet what became of it
        self._whole: list[Turn] = []  # messages, or the last of their chunks

    def _begin_content(self, after: Turn, read: Reading) -> None:
        super()._begin_content(after, read)
        last = (after.argument or "").upper().endswith("LAST")
        if self._client.content and (after.command == "DATA" or last):
            self._whole.append(self._client.content)

    def _settled(self, asked: Turn, answer: Turn) -> bool:
        if asked in self._whole:
            if self._recipients:
                answer.argument = self._recipients.popleft()
            if self._recipients:
                return False
            self._whole.remove(asked)
        elif asked.command == "RCPT":
            if not answer.failed:
                self._recipients.append(path(asked))
        elif asked.command in ("LHLO", "MAIL", "RSET"):
            self._recipients.clear()
        return True


def _plain(body: bytes | bytearray) -> bytes:
    """A message's body without the line end put before it and the dots of transparency."""
    return bytes(body).replace(b"\r\n.", b"\r\n")[2:]
