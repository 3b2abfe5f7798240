"""Reads what client and server say over SMTP, as their octets come in.

The grammar is RFC 5321's, with pipelining (RFC 2920), AUTH (RFC 4954), CHUNKING (RFC 3030) and
STARTTLS (RFC 3207). Whether the octets after DATA are a message or further commands is for the
server to say, so whatever the client sends there is held until the reply is known; and commands
meet their replies in the order they were sent, however many share a packet. Where the capture
lost octets, the reading says so and finds its feet at the next command it recognises.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from lab.observe.tcp import Side, Step
from lab.observe.turns import Dialogue, Turn, TurnKind

_LONGEST_LINE = 1 << 16  # what is longer is no line
_COMMAND = re.compile(
    rb"(?i)((EHLO|HELO) \S+|MAIL FROM:.*|RCPT TO:.*|AUTH \S+.*|BDAT \d+.*|(VRFY|EXPN|XCLIENT) .+"
    rb"|DATA|RSET|QUIT|NOOP.*|HELP.*|STARTTLS)\s*$"
)
_REPLY = re.compile(rb"([2-5]\d\d)(?:([ -])|\s*$)")
_BARE_END = re.compile(rb"\n\.\r?\n")
_SIZE = re.compile(r"[0-9]{1,18}\b")


class _Lines:
    """Cuts what one side says into lines; `frame` and `time` are where the last one began."""

    def __init__(self) -> None:
        self.begun = b""
        self.frame, self.time = 0, 0.0

    def take(self, data: bytes, step: Step) -> tuple[bytes | None, bytes]:
        """The next line with its end, if it is complete, and what is left of `data`."""
        if not self.begun:
            self.frame, self.time = step.frame, step.time
        end = data.find(b"\n") + 1
        if not end and len(self.begun) + len(data) < _LONGEST_LINE:
            self.begun += data
            return None, b""
        end = end or len(data)
        line, self.begun = self.begun + data[:end], b""
        return line, data[end:]


class Smtp:
    """Reads one connection: feed it its `data` and `lost` steps, then `finish`.

    Turns are appended to the dialogue when they are complete.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._turns = dialogue.turns
        self._client, self._server = _Lines(), _Lines()
        self._lines: list[bytes] = []  # of a reply that is not complete
        self._reply_began = 0, 0.0
        self._greeted = dialogue.stream.midstream
        self._unanswered: deque[Turn] = deque()
        # A command whose reply decides how to read on, and what the client sent meanwhile.
        self._decider: Turn | None = None
        self._held: list[Step] = []
        self._read: Callable[[bytes, Step], bytes] = (
            self._adrift if dialogue.stream.midstream else self._commands
        )
        self._latest: Step  # what the client sent last
        self._content: Turn | None = None  # a message or chunk that goes on
        self._body = bytearray()
        self._left = 0  # octets of a BDAT chunk still to come

    def feed(self, step: Step) -> None:
        """Read on."""
        if step.data[1:2] == b"\x03" and step.data[0] in (0x16, 0x17) and self._silent():
            self._read = self._secret  # TLS from the start: submissions, port 465
        if self._read == self._secret:
            self._secret(step.data, step)
        elif step.side == "client":
            self._from_client(step)
        elif step.kind == "lost":
            self._lost_reply(step)
        else:
            self._from_server(step)

    def _silent(self) -> bool:
        return not (self._turns or self._client.begun or self._server.begun or self._content)

    def finish(self) -> None:
        """The connection is over: what was begun and never completed becomes a turn too."""
        while self._decider and self._held:
            self._decide(None)
        if self._content:
            self._end_content(_plain(self._body), complete=False)
        self._tear(self._client, "client", "command")
        self._tear(self._server, "server", "reply")

    def _tear(self, lines: _Lines, side: Side, kind: TurnKind) -> None:
        """A line that was begun will not be completed."""
        if lines.begun:
            size = len(lines.begun)
            turn = Turn(side, kind, lines.frame, lines.time, lines.frame, lines.begun, size=size)
            turn.complete, lines.begun = False, b""
            self._turns.append(turn)

    def _from_client(self, step: Step) -> None:
        if self._decider:
            self._held.append(step)
        elif step.kind == "lost":
            self._lost_command(step)
        else:
            self._latest = step
            data = self._read(step.data, step)
            while data and not self._decider:
                data = self._read(data, step)
            if data:
                self._held.append(step._replace(data=data))

    def _commands(self, data: bytes, step: Step) -> bytes:
        line, rest = self._client.take(data, step)
        if line is not None:
            self._command(line, step)
        return rest

    def _command(self, line: bytes, step: Step) -> None:
        turn = self._said("command", line, step)
        words = line.decode("utf-8", "backslashreplace").split(None, 1)
        verb = turn.command = words[0].upper() if words else ""
        turn.argument = words[1].rstrip() if len(words) > 1 else None
        if verb in ("DATA", "AUTH", "STARTTLS"):
            self._decider = turn
        elif verb == "BDAT" and (size := _SIZE.match(turn.argument or "")):
            self._unanswered.pop()  # the reply comes after the chunk, and belongs to that
            self._begin_content(turn, self._chunk)
            self._left = int(size[0])
            if not self._left:
                self._end_content(b"")

    def _auth(self, data: bytes, step: Step) -> bytes:
        line, rest = self._client.take(data, step)
        if line is not None:
            self._decider = turn = self._said("auth", line, step)
            turn.argument = turn.text
            self._read = self._commands
        return rest

    def _said(self, kind: TurnKind, line: bytes, step: Step) -> Turn:
        lines = self._client
        turn = Turn("client", kind, lines.frame, lines.time, step.ready, line, size=len(line))
        self._turns.append(turn)
        self._unanswered.append(turn)
        return turn

    def _begin_content(self, after: Turn, read: Callable[[bytes, Step], bytes]) -> None:
        self._content = Turn("client", "content", 0, after.time, after.last_frame)
        self._body = bytearray(b"\r\n")  # so that a dot on the first line is like any other
        self._unanswered.append(self._content)
        self._read = read

    def _add(self, data: bytes, step: Step) -> None:
        """More of the message or chunk."""
        assert self._content
        if not self._content.frame:
            self._content.frame, self._content.time = step.frame, step.time
        self._content.last_frame = step.ready
        self._body += data

    def _end_content(self, data: bytes, *, complete: bool = True) -> None:
        turn, self._content = self._content, None
        assert turn
        turn.data, turn.size = data, len(data)
        turn.frame = turn.frame or turn.last_frame
        turn.complete = turn.complete and complete
        self._turns.append(turn)
        self._body = bytearray()
        self._read = self._commands

    def _message(self, data: bytes, step: Step) -> bytes:
        """Octets after DATA, up to the line with a lone dot (RFC 5321 §4.5.2)."""
        searched = max(len(self._body) - 4, 0)
        self._add(data, step)
        end = self._body.find(b"\r\n.\r\n", searched)
        if end < 0:
            return b""
        rest = bytes(self._body[end + 5 :])
        self._end_content(_plain(self._body[: end + 2]))
        return rest

    def _chunk(self, data: bytes, step: Step) -> bytes:
        """Octets after BDAT, as many as it said (RFC 3030)."""
        chunk = data[: self._left]
        self._add(chunk, step)
        self._left -= len(chunk)
        if not self._left:
            self._end_content(bytes(self._body[2:]))
        return data[len(chunk) :]

    def _adrift(self, data: bytes, step: Step) -> bytes:
        """After a hole, or where the capture begins: is this a message, or are these commands?"""
        line, rest = self._client.take(data, step)
        if line is None:
            return rest
        if _COMMAND.match(line):
            if self._content:  # it was the rest of a command, then, and of no message
                self._unanswered.remove(self._content)
                self._end_content(_plain(self._body), complete=False)
            self._read = self._commands
            self._command(line, step)
            return rest
        if not self._content:
            # The line itself stands for the command that was not seen.
            self._begin_content(Turn("client", "lost", 0, step.time, step.ready), self._adrift)
        self._add(line, step)
        if line.rstrip(b"\r\n") == b".":
            self._end_content(_plain(self._body[: -len(line)]), complete=False)
        return rest

    def _lost_command(self, step: Step) -> None:
        self._tear(self._client, "client", "command")
        self._missing(step)
        if self._read == self._chunk and step.lost < self._left:
            self._left -= step.lost
            return
        if self._content:
            self._content.complete = False
            if not self._content.reply:
                return  # it goes on behind the hole
            self._end_content(_plain(self._body))
        self._read = self._adrift

    def _missing(self, step: Step) -> None:
        turn = Turn(step.side, "lost", step.frame, step.time, step.ready, size=step.lost)
        turn.complete = False
        self._turns.append(turn)

    def _secret(self, data: bytes, step: Step) -> bytes:
        """Under TLS there is only to count."""
        hidden = self._dialogue.encrypted
        if hidden is None:
            hidden = Turn(step.side, "encrypted", step.frame, step.time, step.ready)
            self._dialogue.encrypted = hidden
            self._turns.append(hidden)
        hidden.size += len(data)
        return b""

    def _from_server(self, step: Step) -> None:
        rest = step.data
        while rest:
            line, rest = self._server.take(rest, step)
            if line is None:
                return
            if not self._lines:
                self._reply_began = self._server.frame, self._server.time
            self._lines.append(line)
            shape = _REPLY.match(line)
            if shape is None or shape[2] != b"-":
                self._reply(int(shape[1]) if shape else None, step.ready)

    def _reply(self, code: int | None, ready: int) -> None:
        data, self._lines = b"".join(self._lines), []
        kind: TurnKind = "reply" if self._greeted else "greeting"
        turn = Turn("server", kind, *self._reply_began, ready, data, code=code, size=len(data))
        self._turns.append(turn)
        if code is None:
            return
        if not self._greeted:
            self._greeted = True
        elif self._unanswered:
            asked = self._unanswered.popleft()
            turn.answers, asked.reply = asked, turn
            if asked is self._content:
                self._answered_early()
            elif asked is self._decider:
                self._decide(code)

    def _decide(self, code: int | None) -> None:
        """Read on as the reply to the last command says; where it is missing, as if it agreed."""
        asked, self._decider = self._decider, None
        assert asked
        held, self._held = self._held, []
        if asked.command == "DATA":
            if code in (None, 354):
                self._begin_content(asked, self._message)
        elif asked.command == "STARTTLS":
            if code in (None, 220):
                self._read = self._secret
        elif code in (None, 334):  # AUTH, or a further line of its exchange
            self._read = self._auth
        for step in held:
            self._from_client(step)

    def _answered_early(self) -> None:
        """The server answered a message whose end was not seen as such.

        Either it was ended with bare line feeds, as a hand at `nc` does and some servers accept,
        or the end fell into a hole; otherwise the server did not wait for it.
        """
        if self._read == self._chunk or self._content is None:
            return
        if bare := _BARE_END.search(self._body):
            body, rest = self._body[: bare.start() + 1], bytes(self._body[bare.end() :])
            self._end_content(re.sub(rb"(\r?\n)\.", rb"\1", bytes(body))[2:])
            if rest:
                self._from_client(self._latest._replace(data=rest))
        elif not self._content.complete or self._read == self._adrift:
            self._end_content(_plain(self._body), complete=False)

    def _lost_reply(self, step: Step) -> None:
        """Which replies were lost is not known: only what was said last can still be answered."""
        self._tear(self._server, "server", "reply")
        self._missing(step)
        self._lines, self._greeted = [], True
        if self._decider and self._held:
            self._decide(None)
        last = self._unanswered[-1].last_frame if self._unanswered else 0
        self._unanswered = deque(turn for turn in self._unanswered if turn.last_frame == last)


def _plain(body: bytes | bytearray) -> bytes:
    """A message's body without the line end put before it and the dots of transparency."""
    return bytes(body).replace(b"\r\n.", b"\r\n")[2:]
