"""What the readers of all protocols have in common: they cut what each side says into turns.

A reader is fed the `data` and `lost` steps of one connection and appends a turn to the dialogue
whenever one is complete. Each side has a voice, and a voice at any moment one way of reading
(a line, a message, a chunk …): a method that takes octets and returns those it had no use for.

Often only the server's answer tells how to go on: are the octets behind DATA a message, or, the
server having refused, commands? Then the command is the decider, and what the client sends is
held until its answer was read. Where the capture lost octets the reading says so, and finds its
feet at the next line it recognises.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from lab.observe.tcp import Side, Step
from lab.observe.tls import Secret, begins_tls
from lab.observe.turns import Dialogue, Turn, TurnKind

_LONGEST_LINE = 1 << 20  # what is longer is no line, and not kept

Reading: TypeAlias = Callable[["Voice", bytes, Step], bytes]


class Voice:
    """One side, and what it is in the middle of saying.

    `begun` is a line that is not complete, which began in `frame` at `time`. `content` is a
    message that goes on, its octets so far in `body`; `left` are those still to come, where that
    was announced.
    """

    __slots__ = (
        *("begun", "body", "content", "frame", "left", "looks", "read", "side", "time"),
        "kind",
    )

    def __init__(self, side: Side, looks: re.Pattern[bytes], read: Reading) -> None:
        self.side = side
        self.kind: TurnKind = "command" if side == "client" else "reply"
        self.looks = looks  # like a line to start afresh with
        self.read = read
        self.begun = bytearray()
        self.frame, self.time = 0, 0.0
        self.content: Turn | None = None
        self.body = bytearray()
        self.left = 0

    def line(self, data: bytes, step: Step) -> tuple[bytes | None, bytes]:
        """The next line with its end, if it is complete, and what is left of `data`."""
        end = data.find(b"\n") + 1
        begun = self.begun
        if not begun:
            self.frame, self.time = step.frame, step.time
            if end:
                return data[:end], data[end:]
        if not end and len(begun) + len(data) < _LONGEST_LINE:
            begun += data
            return None, b""
        end = end or len(data)
        line, self.begun = bytes(begun) + data[:end], bytearray()
        return line, data[end:]

    def turn(self, kind: TurnKind, line: bytes, ready: int) -> Turn:
        """A turn of the line that was read last."""
        return Turn(self.side, kind, self.frame, self.time, ready, line, size=len(line))

    def open(self, time: float, frame: int, body: bytes = b"") -> Turn:
        """A message begins; `time` and `frame` stand for it until its first octet comes."""
        self.content = Turn(self.side, "content", 0, time, frame)
        self.body = bytearray(body)
        return self.content

    def add(self, data: bytes, step: Step) -> Turn:
        """More of the message."""
        turn = self.content
        assert turn
        if not turn.frame:
            turn.frame, turn.time = step.frame, step.time
        turn.last_frame = step.ready
        turn.size += len(data)
        self.body += data
        return turn

    def until_dot(self, data: bytes, step: Step) -> bytes | None:
        """More of a message that ends with a lone dot (RFC 5321 §4.5.2, RFC 1939 §3).

        Returns what stands behind it once it is there; `body` then ends before the dot. The body
        must have been opened with a line end, so that a dot on the first line is like any other.
        """
        body = self.body
        searched = max(len(body) - 4, 0)
        turn = self.content  # as `add` does, but this runs for most segments there are
        assert turn
        if not turn.frame:
            turn.frame, turn.time = step.frame, step.time
        turn.last_frame = step.ready
        turn.size += len(data)
        body += data
        end = body.find(b"\r\n.\r\n", searched)
        if end < 0:
            return None
        rest = bytes(body[end + 5 :])
        del body[end + 2 :]
        return rest

    def close(self, data: bytes | None = None, *, complete: bool = True) -> Turn:
        """The message is said; what it consists of is `data`, or simply all that came."""
        turn, self.content = self.content, None
        assert turn
        turn.data = bytes(self.body) if data is None else data
        if data is not None:
            turn.size = len(data)
        turn.frame = turn.frame or turn.last_frame
        turn.complete = turn.complete and complete
        self.body = bytearray()
        return turn


class Reader:
    """Reads one connection: feed it its `data` and `lost` steps, then `finish`.

    Turns are appended to the dialogue when they are complete. A protocol gives `_command` and
    `_reply`, each called with a complete line, and what else it needs.
    """

    protocol: ClassVar[str]
    _commands_look: ClassVar[re.Pattern[bytes]]
    _replies_look: ClassVar[re.Pattern[bytes]]

    def __init__(self, dialogue: Dialogue) -> None:
        dialogue.protocol = self.protocol
        self._dialogue = dialogue
        self._turns = dialogue.turns
        self._client = Voice("client", self._commands_look, self._line)
        self._server = Voice("server", self._replies_look, self._line)
        self._greeted = dialogue.stream.midstream
        self._silent = True
        self._unanswered: deque[Turn] = deque()
        # A command whose reply decides how to read on, and what the client sent meanwhile.
        self._decider: Turn | None = None
        self._held: list[Step] = []
        self._secret: Secret | None = None
        self._opaque: Turn | None = None
        if dialogue.stream.midstream:
            self._client.read = self._server.read = self._adrift

    def feed(self, step: Step) -> None:
        """Read on."""
        if self._silent:
            self._silent = False
            if self._begins_tls(step.data):
                self._secret = Secret(self._dialogue)
        if self._secret:
            self._secret.take(step)
        elif step.side == "server":
            self._from_server(step)
        elif self._decider:
            self._held.append(step)
        else:
            self._from_client(step)

    def finish(self) -> None:
        """The connection is over: what was begun and never completed becomes a turn too."""
        while self._decider and self._held:
            self._agreed()
        for voice in (self._client, self._server):
            if voice.content:
                self._cut(voice)
            self._tear(voice)
        if self._secret:
            self._secret.announce()

    # What a protocol has to say ----------------------------------------------------------------

    def _command(self, line: bytes, step: Step) -> None:
        raise NotImplementedError

    def _reply(self, line: bytes, step: Step) -> None:
        raise NotImplementedError

    def _agreed(self) -> None:
        """The decider's answer is missing: read on as if the server had agreed."""
        raise NotImplementedError

    def _begins_tls(self, data: bytes) -> bool:
        return begins_tls(data)

    def _cut(self, voice: Voice) -> None:
        """A message will not be completed."""
        self._told(voice.close(complete=False))

    # How it is read ----------------------------------------------------------------------------

    def _from_client(self, step: Step) -> None:
        voice = self._client
        if step.kind == "lost":
            self._lost(voice, step)
            return
        rest = voice.read(voice, step.data, step)
        while rest and not self._decider:
            rest = voice.read(voice, rest, step)
        if rest:
            self._held.append(step._replace(data=rest))

    def _from_server(self, step: Step) -> None:
        if step.kind == "lost":
            self._lost(self._server, step)
            return
        voice = self._server
        rest = step.data
        while rest and not self._secret:
            rest = voice.read(voice, rest, step)

    def _goes_on_with_a_command(self) -> bool:
        """Whether what the client said behind the decider is plainly another command."""
        return bool(self._held and self._client.looks.match(_first_line(self._held[0].data)))

    def _release(self) -> None:
        """The decider was answered: read what the client sent meanwhile."""
        self._decider = None
        held, self._held = self._held, []
        for step in held:
            self.feed(step)

    def _line(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """A command, or a line of a reply."""
        line, rest = voice.line(data, step)
        if line is not None and len(line) >= _LONGEST_LINE:
            turn = self._told(voice.turn("garbled", line, step.ready))
            if voice is self._client:
                self._unanswered.append(turn)
            if not line.endswith(b"\n"):
                turn.complete = False
                voice.read = self._endless
        elif line is not None:
            (self._command if voice is self._client else self._reply)(line, step)
        return rest

    def _endless(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """What goes on without an end of line until there is one."""
        end = data.find(b"\n") + 1
        if end:
            voice.read = self._line
        return data[end:] if end else b""

    def _told(self, turn: Turn) -> Turn:
        self._turns.append(turn)
        return turn

    def _hide(self) -> None:
        """Encrypted from here on."""
        self._secret = Secret(self._dialogue)

    def _mute(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """Another protocol from here on: there is only to count."""
        if self._opaque is None:
            self._opaque = Turn(step.side, "opaque", step.frame, step.time, step.ready)
            self._told(self._opaque)
        self._opaque.size += len(data)
        return b""

    # Where octets are missing ------------------------------------------------------------------

    def _adrift(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """After a hole, or where the capture begins: is this a message, or a line to begin with?"""
        if voice.begun and voice.looks.match(_first_line(data)):
            # So does the segment begin: what came before it was a message's end.
            begun, voice.begun = bytes(voice.begun), bytearray()
            before = step._replace(frame=voice.frame, time=voice.time)
            if not voice.content:
                self._strange(voice, before)
            voice.add(begun, before)
        line, rest = voice.line(data, step)
        if line is None:
            return rest
        if voice.looks.match(line):
            if voice.content:
                self._cut(voice)
            voice.read = self._line
            (self._command if voice is self._client else self._reply)(line, step)
            return rest
        if not voice.content:
            self._strange(voice, step)
        voice.add(line, step)
        return rest

    def _strange(self, voice: Voice, step: Step) -> None:
        """A message begins whose command was not seen."""
        voice.open(step.time, step.ready)

    def _lost(self, voice: Voice, step: Step) -> None:
        self._tear(voice)
        missing = Turn(step.side, "lost", step.frame, step.time, step.ready, size=step.lost)
        missing.complete = False
        self._told(missing)
        if voice.content:
            voice.content.complete = False
        if voice.left > step.lost:
            voice.left -= step.lost  # it goes on behind the hole
        else:
            voice.left = 0
            self._confused(voice, step)

    def _confused(self, voice: Voice, step: Step) -> None:
        """What comes behind the hole can be anything."""
        if voice.content:
            self._cut(voice)
        voice.read = self._adrift
        if voice is self._server:
            self._greeted = True
            self._forget_questions()

    def _forget_questions(self) -> None:
        """Which replies were lost is not known: only what was said last can still be answered."""
        if self._decider and self._held:
            self._agreed()
        last = self._unanswered[-1].last_frame if self._unanswered else 0
        self._unanswered = deque(turn for turn in self._unanswered if turn.last_frame == last)

    def _tear(self, voice: Voice) -> None:
        """A line that was begun will not be completed."""
        if voice.begun:
            turn = voice.turn(voice.kind, bytes(voice.begun), voice.frame)
            turn.complete, voice.begun = False, bytearray()
            self._told(turn)


def _first_line(data: bytes) -> bytes:
    return data[: data.find(b"\n") + 1] or data
