"""What is said over a connection: turns, the transactions they form, the whole dialogue.

The same few shapes serve every protocol, so that whatever shows or joins them need not ask which
it is: a command with its argument, its reply with a code or status, content that is a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lab.observe.tcp import Endpoint, Mark, Side, Stream

# The header, with the lines it is folded onto (RFC 5322 §2.2.3).
_MESSAGE_ID = re.compile(rb"(?im)^message-id:([^\n]*(?:\n[ \t][^\n]*)*)")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_PATH = re.compile(r"(?i)(?:FROM|TO):\s*(?:<([^>]*)>|(\S*))")

TurnKind: TypeAlias = Literal[
    "greeting",
    "command",
    "reply",
    "auth",
    "content",
    "rest",  # what follows a literal in an IMAP command
    "untagged",  # what an IMAP server says besides greeting and completing commands
    "question",  # of DNS, as is the answer
    "answer",
    "garbled",  # not what the protocol allows
    "encrypted",
    "opaque",  # another protocol from here on (HTTP's Upgrade and CONNECT, IMAP's COMPRESS)
    "lost",
]
# The last word a polite client says.
_FAREWELLS = {"smtp": "QUIT", "lmtp": "QUIT", "pop3": "QUIT", "imap": "LOGOUT"}
# After these the next message, if any, begins with a MAIL of its own.
ENDS_TRANSACTION = frozenset({"RSET", "EHLO", "HELO", "LHLO", "QUIT"})
_FAILED = frozenset({"-ERR", "NO", "BAD"})


@dataclass(slots=True, eq=False)
class Turn:
    """One thing said by one side.

    It began in `frame` at `time` (epoch seconds) and was complete with `last_frame`. `data` is
    what was said: a line or the lines of a reply as sent, a message with the dots of transparency
    (or HTTP's chunking) taken out; nothing for `encrypted`, `opaque` and `lost`, of which only
    `size` (octets) is known. `reply` is what the server answered to it, `answers` what a reply
    answers. `complete` is False for what the connection's end, or a hole in the capture, cut off.

    `code` is a number (SMTP, HTTP, DNS), `status` a word: `+OK`, `-ERR` and `+` of POP3; `OK`,
    `NO`, `BAD`, `BYE`, `PREAUTH` and `+` of IMAP; `NXDOMAIN` and its like of DNS, and `again`
    for a question repeated. `tag` is IMAP's, `literals` the octets of literals in a response;
    `phase` is the state POP3 or IMAP was in. The `argument` of a reply is the recipient it is
    about (LMTP), that of `encrypted` the server's name. `words` is the text of binary data.
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
    status: str | None = None
    tag: str | None = None
    phase: str | None = None
    literals: int = 0
    words: str | None = None
    reply: Turn | None = field(default=None, repr=False)
    answers: Turn | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The words: a reply's lines without their codes, a message with plain line ends."""
        if self.words is not None:
            return self.words
        lines = self.data
        if self.code is not None and lines.startswith(b"%d" % self.code):
            lines = b"\n".join(line[4:] for line in lines.splitlines())
        return lines.decode("utf-8", "backslashreplace").replace("\r\n", "\n").rstrip("\r\n")

    @property
    def failed(self) -> bool:
        """Whether this is a reply that says no."""
        if self.kind == "answer":
            return bool(self.code)
        return self.status in _FAILED or (self.code is not None and self.code >= 400)

    @property
    def message_id(self) -> str | None:
        """The Message-ID of a message, from its header: all of it, up to the last `>`."""
        end = _HEADER_END.search(self.data)
        found = _MESSAGE_ID.search(self.data, 0, end.start() if end else len(self.data))
        if found is None:
            return None
        value = _FOLD.sub(b"", found[1]).strip()
        value = value[: value.rfind(b">") + 1] or value
        return value.decode("utf-8", "backslashreplace") or None

    def as_json(self) -> dict[str, Any]:
        """The turn as `lab dialogue --json` prints it."""
        keys = ("frame", "time", "command", "argument", "code", "text")
        more = ("kind", "last_frame", "size", "complete")
        answers = self.answers.last_frame if self.answers else None
        values = {key: getattr(self, key) for key in (*keys, *more)}
        some = ("status", "tag", "phase", "literals")  # where the protocol has them
        values |= {key: value for key in some if (value := getattr(self, key))}
        return {**values, "from": self.side, "answers": answers}


@dataclass(slots=True, eq=False)
class Transaction:
    """One message's way through a connection: from MAIL to the reply after its last octet."""

    mail: Turn
    rcpts: list[Turn] = field(default_factory=list)
    data: list[Turn] = field(default_factory=list)  # DATA, or each BDAT
    content: list[Turn] = field(default_factory=list)  # the message, or each chunk
    whole: bool = False
    """The client has sent all of the message (or as much of it as the connection carried)."""

    def take(self, turn: Turn) -> None:
        """A turn that comes after its MAIL, and before what ends it."""
        if turn.kind == "content":
            self.content.append(turn)
            last = self.data[-1] if self.data else turn
            self.whole = last.command == "DATA" or (last.argument or "").upper().endswith("LAST")
        elif turn.kind == "command" and turn.command == "RCPT":
            self.rcpts.append(turn)
        elif turn.kind == "command" and turn.command in ("DATA", "BDAT"):
            self.data.append(turn)

    @property
    def mail_from(self) -> str:
        """The envelope's sender; empty for a bounce."""
        return path(self.mail)

    @property
    def recipients(self) -> list[str]:
        """Every recipient asked for, the refused among them too."""
        return [path(turn) for turn in self.rcpts]

    @property
    def accepted(self) -> list[str]:
        """The recipients the server agreed to."""
        return [path(turn) for turn in self.rcpts if turn.reply and turn.reply.code in (250, 251)]

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


def path(turn: Turn) -> str:
    """The address in a MAIL or RCPT command."""
    found = _PATH.match(turn.argument or "")
    return (found[1] or found[2] or "") if found else turn.argument or ""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Dialogue:
    """One connection, or the attempt at one, and what was said over it."""

    stream: Stream
    protocol: str = "smtp"
    turns: list[Turn] = field(default_factory=list)
    encrypted: Turn | None = None
    over: bool = False
    """Nothing more will come of it."""

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
            farewell = _FAREWELLS.get(self.protocol)
            if said and said[-1] == farewell:
                return f"closed by client with {farewell}"
            if state.endswith("client") and said and farewell and not self.encrypted:
                return f"{state} without {farewell}"
        if state == "open" and all(turn.side == "client" for turn in self.turns):
            return "connected, but the server says nothing"
        return state

    @property
    def transactions(self) -> list[Transaction]:
        """The messages, or attempts at one, in the order of their MAIL commands."""
        found: list[Transaction] = []
        current: Transaction | None = None
        for turn in self.turns:
            if turn.kind == "command" and turn.command == "MAIL":
                found.append(current := Transaction(turn))
            elif turn.kind == "command" and turn.command in ENDS_TRANSACTION:
                current = None
            elif current:
                current.take(turn)
                current = None if current.whole else current
        return found

    def address(self) -> dict[str, Any]:
        """Which dialogue this is, for `--json`."""
        return {
            "protocol": self.protocol,
            "transport": self.stream.transport,
            "client": str(self.client),
            "server": str(self.server),
            "stream": self.stream.number,
        }

    def as_json(self) -> dict[str, Any]:
        """The dialogue as `lab dialogue --json` prints it."""
        return {
            **self.address(),
            "opened": self.opened._asdict(),
            "state": self.state,
            "syns": [syn._asdict() for syn in self.stream.syns],
            "fins": {side: mark._asdict() for side, mark in self.stream.fins.items()},
            "repeated": dict(self.stream.repeated),
            "encrypted": self.encrypted.as_json() if self.encrypted else None,
            "turns": [turn.as_json() for turn in self.turns],
            "transactions": [transaction.as_json() for transaction in self.transactions],
        }
