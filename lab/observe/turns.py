"""What is said over an SMTP connection: turns, the transactions they form, the whole dialogue."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lab.observe.tcp import Endpoint, Mark, Side, Stream

_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*(<[^>]*>|\S+)")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
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
