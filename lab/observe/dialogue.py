"""What client and server said to each other over SMTP, read back from the packets.

The grammar is RFC 5321's, with pipelining (RFC 2920), AUTH (RFC 4954), CHUNKING (RFC 3030) and
STARTTLS (RFC 3207). Whether the octets after DATA are a message or further commands is for the
server to say, so whatever the client sends there is held until the reply is known; and commands
meet their replies in the order they were sent, however many share a packet. Where the capture
lost octets, the reading says so and finds its feet at the next command it recognises.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from lab.observe.pcap import CaptureCut, Frame, read_frames
from lab.observe.tcp import Endpoint, Mark, Side, Step, Stream, follow

SMTP_PORTS = frozenset({25, 465, 587})
_LONGEST_LINE = 1 << 16  # what is longer is no line
_COMMAND = re.compile(
    rb"(?i)((EHLO|HELO) \S+|MAIL FROM:.*|RCPT TO:.*|AUTH \S+.*|BDAT \d+.*|(VRFY|EXPN|XCLIENT) .+"
    rb"|DATA|RSET|QUIT|NOOP.*|HELP.*|STARTTLS)\s*$"
)
_REPLY = re.compile(rb"([2-5]\d\d)(?:([ -])|\s*$)")
_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*(<[^>]*>|\S+)")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_BARE_END = re.compile(rb"\n\.\r?\n")
_SIZE = re.compile(r"[0-9]{1,18}\b")
_PATH = re.compile(r"(?i)(?:FROM|TO):\s*(?:<([^>]*)>|(\S*))")

TurnKind: TypeAlias = Literal[
    "greeting", "command", "reply", "auth", "content", "encrypted", "lost"
]


@dataclass(slots=True, eq=False)
class Turn:
    """One thing said by one side.

    It began in `frame` at `time` (epoch seconds) and was complete with `last_frame`. `data` is
    what was said: a line or the lines of a reply as sent, a message with the dots of transparency
    taken out; nothing for `encrypted` and `lost`, of which only `size` (octets) is known. `reply`
    is what the server answered to it, `answers` what a reply answers. `complete` is False for
    what the connection's end, or a hole in the capture, cut off.
    """

    side: Side
    kind: TurnKind
    frame: int
    time: float
    last_frame: int
    data: bytes = b""
    command: str | None = None
    argument: str | None = None
    code: int | None = None
    size: int = 0
    complete: bool = True
    reply: Turn | None = field(default=None, repr=False)
    answers: Turn | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The words: a reply's lines without their codes, a message with plain line ends."""
        lines = self.data
        if self.code is not None:
            lines = b"\n".join(line[4:] for line in lines.splitlines())
        return lines.decode("utf-8", "backslashreplace").replace("\r\n", "\n").rstrip("\r\n")

    @property
    def message_id(self) -> str | None:
        """The Message-ID of a message, from its header."""
        end = _HEADER_END.search(self.data)
        found = _MESSAGE_ID.search(self.data, 0, end.start() if end else len(self.data))
        return found[1].decode("utf-8", "backslashreplace") if found else None

    def as_json(self) -> dict[str, Any]:
        """The turn as `lab dialogue --json` prints it."""
        keys = ("frame", "time", "command", "argument", "code", "text")
        more = ("kind", "last_frame", "size", "complete")
        answers = self.answers.last_frame if self.answers else None
        values = {key: getattr(self, key) for key in (*keys, *more)}
        return {**values, "from": self.side, "answers": answers}


@dataclass(slots=True, eq=False)
class Transaction:
    """One message's way through a connection: from MAIL to the reply after its last octet."""

    mail: Turn
    rcpts: list[Turn] = field(default_factory=list)
    data: list[Turn] = field(default_factory=list)  # DATA, or each BDAT
    content: list[Turn] = field(default_factory=list)  # the message, or each chunk

    @property
    def mail_from(self) -> str:
        """The envelope's sender; empty for a bounce."""
        return _path(self.mail)

    @property
    def recipients(self) -> list[str]:
        """Every recipient asked for, the refused among them too."""
        return [_path(turn) for turn in self.rcpts]

    @property
    def accepted(self) -> list[str]:
        """The recipients the server agreed to."""
        return [_path(turn) for turn in self.rcpts if turn.reply and turn.reply.code in (250, 251)]

    @property
    def message_id(self) -> str | None:
        """From the message's header; None where no message was sent or it has none."""
        return next((turn.message_id for turn in self.content), None)

    @property
    def reply(self) -> Turn | None:
        """What the server said last, provided it answers the last thing the client said."""
        return (self.content or self.data or self.rcpts or [self.mail])[-1].reply

    @property
    def code(self) -> int | None:
        """The last reply's code; None where the answer never came."""
        return self.reply.code if self.reply else None

    def as_json(self) -> dict[str, Any]:
        """The transaction, with the frames in which its steps were complete."""
        end = [turn.last_frame for turn in self.content[-1:] if turn.complete]
        frames = {
            "mail": self.mail.last_frame,
            "rcpt": [turn.last_frame for turn in self.rcpts],
            "data": self.data[0].last_frame if self.data else None,
            "end_of_data": end[0] if end else None,
            "reply": self.reply.last_frame if self.reply else None,
        }
        keys = ("mail_from", "recipients", "accepted", "message_id", "code")
        return {**{key: getattr(self, key) for key in keys}, "frames": frames}


def _path(turn: Turn) -> str:
    found = _PATH.match(turn.argument or "")
    return (found[1] or found[2] or "") if found else turn.argument or ""


@dataclass(slots=True, eq=False)
class Dialogue:
    """One connection, or the attempt at one, and what was said over it."""

    stream: Stream
    protocol: str = "smtp"
    turns: list[Turn] = field(default_factory=list)
    encrypted: Turn | None = None

    @property
    def client(self) -> Endpoint:
        """Who called."""
        return self.stream.client

    @property
    def server(self) -> Endpoint:
        """Who was called."""
        return self.stream.server

    @property
    def opened(self) -> Mark:
        """The connection's first frame."""
        return self.stream.opened

    @property
    def state(self) -> str:
        """How it went: `never answered`, `refused`, `closed by client with QUIT`, and so on."""
        state = self.stream.state
        said = [turn.command for turn in self.turns if turn.kind == "command"]
        if state.startswith("closed"):
            if said and said[-1] == "QUIT":
                return "closed by client with QUIT"
            if state.endswith("client") and said and not self.encrypted:
                return state + " without QUIT"
        if state == "open" and all(turn.side == "client" for turn in self.turns):
            return "connected, but the server says nothing"
        return state

    @property
    def transactions(self) -> list[Transaction]:
        """The messages, or attempts at one, in the order of their MAIL commands."""
        found: list[Transaction] = []
        current: Transaction | None = None
        for turn in self.turns:
            if turn.kind == "content" and current:
                current.content.append(turn)
            if turn.kind != "command":
                continue
            if turn.command == "MAIL":
                found.append(current := Transaction(turn))
            elif turn.command in ("RSET", "EHLO", "HELO", "QUIT"):
                current = None
            elif current and turn.command == "RCPT":
                current.rcpts.append(turn)
            elif current and turn.command in ("DATA", "BDAT"):
                current.data.append(turn)
        return found

    def as_json(self) -> dict[str, Any]:
        """The dialogue as `lab dialogue --json` prints it."""
        return {
            "protocol": self.protocol,
            "client": str(self.client),
            "server": str(self.server),
            "stream": self.stream.number,
            "opened": self.opened._asdict(),
            "state": self.state,
            "syns": [syn._asdict() for syn in self.stream.syns],
            "turns": [turn.as_json() for turn in self.turns],
            "transactions": [transaction.as_json() for transaction in self.transactions],
        }


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


def listen(
    frames: Iterable[Frame], ports: Iterable[int] = SMTP_PORTS
) -> Iterator[tuple[Dialogue, Turn | None]]:
    """Each turn as soon as it is complete, with its dialogue.

    A None in a turn's place says that the connection itself changed (called, accepted, closed,
    reset, declared unreachable, over). `ports` are the servers' ports to listen to. Raises what
    `frames` raises.
    """
    wanted = frozenset(ports)
    readers: dict[int, tuple[Dialogue, Smtp]] = {}
    for step in follow(frames):
        number = step.stream.number
        if number not in readers:
            if step.stream.server.port not in wanted:
                continue
            dialogue = Dialogue(step.stream)
            readers[number] = dialogue, Smtp(dialogue)
        dialogue, reader = readers[number]
        told = len(dialogue.turns)
        if step.kind == "data" or step.kind == "lost":
            reader.feed(step)
        elif step.kind == "over":
            reader.finish()
            del readers[number]
        for turn in dialogue.turns[told:]:
            yield dialogue, turn
        if step.kind != "data" and step.kind != "lost":
            yield dialogue, None


Source: TypeAlias = str | Path | BinaryIO


def _frames(source: Source, on_cut: Callable[[CaptureCut], None]) -> Iterator[Frame]:
    if isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            yield from read_frames(stream, on_cut)
    else:
        yield from read_frames(source, on_cut)


def _tolerate(cut: CaptureCut) -> None:
    """What a capture still being written looks like; its good part is what was asked for."""


def dialogues(
    source: Source,
    ports: Iterable[int] = SMTP_PORTS,
    on_cut: Callable[[CaptureCut], None] = _tolerate,
) -> list[Dialogue]:
    """Every connection to `ports` in a capture, failed attempts too, in order of stream number.

    `source` is a path or an open capture. A capture that ends within a record is read up to there
    and `on_cut` is told. Raises CaptureError for what is no capture, OSError for what can't be
    opened.
    """
    found: dict[int, Dialogue] = {}
    for dialogue, _ in listen(_frames(source, on_cut), ports):
        found.setdefault(dialogue.stream.number, dialogue)
    return [found[number] for number in sorted(found)]


def attempts(
    source: Source, port: int = 25, on_cut: Callable[[CaptureCut], None] = _tolerate
) -> list[Stream]:
    """Every attempt to connect to `port`, answered or not, in order of stream number.

    Each knows its SYNs (frame and time), whether it was accepted, and its `state` in words.
    """
    steps = follow(_frames(source, on_cut))
    found = {step.stream.number: step.stream for step in steps if step.stream.server.port == port}
    return [found[number] for number in sorted(found)]
