"""What passes between a mail program and its server: a command, and what comes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.observe.turns import Turn
from lab.scenarios.evidence import Evidence
from lab.scenarios.wire import Connection, first_words


@dataclass(frozen=True)
class Exchange:
    """A command, the reply that completes it, and what else the server has said to it."""

    call: Connection
    said: Turn
    reply: Turn
    more: tuple[Turn, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the server has said yes."""
        return not self.reply.failed

    @property
    def words(self) -> str:
        """The reply's first line, without IMAP's list of all that the server can do."""
        return re.sub(r"\[CAPABILITY [^]]*\] ", "", first_words(self.reply))

    @property
    def lines(self) -> list[str]:
        """The lines of a POP3 listing."""
        return self.reply.text.split("\n")[1:]

    @property
    def octets(self) -> int:
        """How much the server has said, all in all."""
        return sum(turn.size for turn in (self.reply, *self.more))

    @property
    def evidence(self) -> list[Evidence]:
        """Where the command, what came of it, and the reply are to be found."""
        return [self.call.turn(turn) for turn in (self.said, *self.more[:3], self.reply)]

    def data(self, word: str) -> list[Turn]:
        """What an IMAP server has told in between: `* 3 EXISTS` for `EXISTS`."""
        return [turn for turn in self.more if turn.command == word]
