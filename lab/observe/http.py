"""Reads HTTP/1.1: RFC 9112 for the framing, RFC 9110 for what it means.

A request or response is a turn (its head, as sent), and its body, if it has one, another: octets
with the chunking taken out. Responses meet requests in order, interim ones (1xx) besides; how
long a response's body is depends on the request (HEAD, CONNECT). After an agreed CONNECT or
Upgrade something else is spoken, and only counted.
"""

from __future__ import annotations

import re

from lab.observe.reader import Reader, Voice
from lab.observe.tcp import Step
from lab.observe.turns import Dialogue, Turn

_REQUEST = re.compile(rb"([A-Z][A-Z-]{0,19}) (\S+) HTTP/\d\.\d\r?\n")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})(?: |\r?\n)")
_HEADER = re.compile(rb"(?m)^([\w!#$%&'*+.^`|~-]+):[ \t]*(.*?)[ \t]*\r?$")
_HEX = re.compile(rb"\s*([0-9A-Fa-f]{1,15})\s*(?:;|\r?\n)")
_LONGEST_HEAD = 1 << 18


class Http(Reader):
    """Reads one HTTP/1.x connection. A request's `command` is its method, `argument` its target."""

    protocol = "http"
    _commands_look = _REQUEST
    _replies_look = _STATUS

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__(dialogue)
        self._greeted = True  # the client speaks first
        self._heads: dict[Voice, Turn] = {}  # a head whose blank line has not come yet

    # Heads --------------------------------------------------------------------------------------

    def _command(self, line: bytes, step: Step) -> None:
        self._head_line(self._client, _REQUEST, line, step)

    def _reply(self, line: bytes, step: Step) -> None:
        self._head_line(self._server, _STATUS, line, step)

    def _head_line(self, voice: Voice, shape: re.Pattern[bytes], line: bytes, step: Step) -> None:
        """One line of a head; the first must have the right `shape`, an empty one ends it."""
        head = self._heads.get(voice)
        if head is None:
            if not line.strip():
                return  # RFC 9112 §2.2: empty lines before a request are to be ignored
            turn = voice.turn(voice.kind, line, step.ready)
            if shape.match(line):
                self._heads[voice] = turn
                voice.body = bytearray(line)
            else:
                turn.kind = "garbled"
                self._told(turn)
            return
        head.last_frame = step.ready
        voice.body += line
        if not line.strip() or len(voice.body) > _LONGEST_HEAD:
            del self._heads[voice]
            head.data, head.size = bytes(voice.body), len(voice.body)
            self._told(head)
            (self._request if voice is self._client else self._response)(head)

    def _request(self, turn: Turn) -> None:
        found = _REQUEST.match(turn.data)
        assert found
        turn.command = found[1].decode()
        turn.argument = found[2].decode("utf-8", "backslashreplace")
        self._unanswered.append(turn)
        headers = _headers(turn.data)
        if turn.command == "CONNECT" or b"upgrade" in headers:
            self._decider = turn
        self._begin_body(self._client, turn, headers)

    def _response(self, turn: Turn) -> None:
        found = _STATUS.match(turn.data)
        assert found
        code = turn.code = int(found[1])
        asked = self._unanswered[0] if self._unanswered else None
        turn.answers = asked
        if code < 200 and code != 101:
            return  # interim: the response proper is still to come
        if asked:
            self._unanswered.popleft()
            asked.reply = turn
        method = asked.command if asked else None
        if asked and asked is self._decider:
            self._decide(code)
        elif code == 101:  # to a request that was not seen
            self._client.read = self._server.read = self._mute
        if self._server.read == self._mute or method == "HEAD" or code in (204, 304):
            return
        self._begin_body(self._server, turn, _headers(turn.data), method=method)

    def _decide(self, code: int | None) -> None:
        asked = self._decider
        assert asked
        agreed = code in (None, 101) or (asked.command == "CONNECT" and code // 100 == 2)
        if agreed:
            self._client.read = self._server.read = self._mute
        self._release()

    def _agreed(self) -> None:
        self._decide(0 if self._goes_on_with_a_command() else None)

    # Bodies -------------------------------------------------------------------------------------

    def _begin_body(
        self, voice: Voice, head: Turn, headers: dict[bytes, bytes], method: str | None = None
    ) -> None:
        """How long the body is: RFC 9112 §6.3."""
        voice.body = bytearray()
        chunked = headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        length = headers.get(b"content-length")
        if chunked:
            self._open(voice, head)
            voice.read = self._size
        elif length is not None and length.isdigit() and len(length) < 19:
            voice.left = int(length)
            if voice.left:
                self._open(voice, head)
                voice.read = self._sized
        elif voice is self._server:
            self._open(voice, head)
            voice.read = self._until_close

    def _open(self, voice: Voice, head: Turn) -> None:
        content = voice.open(head.time, head.last_frame)
        content.answers = head.answers

    def _end_body(self, voice: Voice, *, complete: bool = True) -> None:
        voice.read = self._line
        self._told(voice.close(complete=complete))

    def _sized(self, voice: Voice, data: bytes, step: Step) -> bytes:
        part = data[: voice.left]
        voice.add(part, step)
        voice.left -= len(part)
        if not voice.left:
            self._end_body(voice)
        return data[len(part) :]

    def _until_close(self, voice: Voice, data: bytes, step: Step) -> bytes:
        voice.add(data, step)
        return b""

    def _size(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """The line before a chunk: its size in hexadecimal (RFC 9112 §7.1)."""
        line, rest = voice.line(data, step)
        if line is not None and line.strip():  # empty: the line end behind a chunk
            found = _HEX.match(line)
            if found is None:
                self._end_body(voice, complete=False)
            elif size := int(found[1], 16):
                voice.left = size
                voice.read = self._chunk
            else:
                voice.read = self._trailer
        return rest

    def _chunk(self, voice: Voice, data: bytes, step: Step) -> bytes:
        part = data[: voice.left]
        voice.add(part, step)
        voice.left -= len(part)
        if not voice.left:
            voice.read = self._size
        return data[len(part) :]

    def _trailer(self, voice: Voice, data: bytes, step: Step) -> bytes:
        """Headers after the last chunk, up to an empty line."""
        line, rest = voice.line(data, step)
        if line is not None and not line.strip() and voice.content:
            voice.content.last_frame = step.ready
            self._end_body(voice)
        return rest

    # How it ends --------------------------------------------------------------------------------

    def _cut(self, voice: Voice) -> None:
        # A body without a length is complete when the server closes; that is how it ends.
        orderly = voice.read == self._until_close and "server" in self._dialogue.stream.fins
        self._end_body(voice, complete=orderly)

    def _confused(self, voice: Voice, step: Step) -> None:
        self._heads.pop(voice, None)
        if voice.read == self._until_close:
            return  # it goes on behind the hole
        super()._confused(voice, step)

    def finish(self) -> None:
        """The connection is over."""
        for voice, head in self._heads.items():
            head.data, head.size, head.complete = bytes(voice.body), len(voice.body), False
            self._told(head)
        self._heads = {}
        super().finish()


def _headers(head: bytes) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in _HEADER.findall(head)}
