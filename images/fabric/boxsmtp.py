"""Where a conversation in SMTP stands: what is a message's content, and which reply is final.

Given the octets of both sides in their order, in pieces of any size. Messages come with DATA
(RFC 5321 §4.1.1.4), any number over one connection, or in BDAT chunks (RFC 3030), with or without
pipelining (RFC 2920). Under TLS nothing can be told: then nothing is found.
"""

COMMAND, CONTENT, CHUNK = "command", "content", "chunk"
END = b"\r\n.\r\n"
LONGEST = 4096  # of a line: the beginning of a longer one is all that is looked at


class Dialogue:
    """One connection. It is over with `said` and `answered` once they have returned True.

    `octets`: the number of the octet of content at which `said` returns True; None for never.
    `reply`: whether `answered` returns True at the first octet of a final reply.
    """

    def __init__(self, octets=None, reply=False, greeted=False):
        self.octets = octets
        self.reply = reply
        self.phase = COMMAND
        self.content = 0  # octets of this message's content so far
        self.owed = 0 if greeted else 1  # replies: the first is the greeting
        self.awaited = 0  # how many replies to the end of the content, the final one included
        self._line = b""  # the client's, as far as it came
        self._answer = b""  # the server's
        self._tail = b""  # the last octets of the content
        self._chunk = 0  # octets to come
        self._last = False  # this chunk is a message's last

    def may_reach(self, octets):
        """Whether the limit may be among the client's next `octets`."""
        return (
            self.octets is not None
            and self.phase != COMMAND
            and self.content + octets >= self.octets
        )

    def said(self, data):
        """The client says `data`; True if the limit is among it."""
        while data:
            data = {COMMAND: self._command, CONTENT: self._data, CHUNK: self._bdat}[self.phase](
                data
            )
            if self.octets is not None and self.content >= self.octets:
                return True
        return False

    def answered(self, data):
        """The server says `data`; True if a final reply is among it."""
        while data:
            if self.reply and self.awaited == 1:
                return True
            line, end, data = data.partition(b"\n")
            self._answer = (self._answer + line)[:LONGEST]
            if end:
                self._reply(self._answer)
                self._answer = b""
        return False

    def _reply(self, line):
        if line[3:4] == b"-" or not line[:3].isdigit():
            return
        self.owed = max(self.owed - 1, 0)
        self.awaited = max(self.awaited - 1, 0)
        if line[:3] == b"354" and self.phase == COMMAND:
            # DATA is the last of its group, so all before has been answered (RFC 2920 §3.1).
            self.phase, self.owed, self.content, self._tail = CONTENT, 0, 0, b"\r\n"

    def _command(self, data):
        line, end, rest = data.partition(b"\n")
        self._line = (self._line + line)[:LONGEST]
        if not end:
            return b""
        words, self._line = self._line.upper().split(), b""
        if words[:1] == [b"MAIL"]:
            self.content = 0
        if words[:1] == [b"BDAT"] and len(words) > 1 and words[1].isdigit():
            self.phase, self._chunk, self._last = CHUNK, int(words[1]), words[2:] == [b"LAST"]
            return self._bdat(rest)
        self.owed += 1
        return rest

    def _data(self, data):
        all_of_it = self._tail + data
        found = all_of_it.find(END)
        if found < 0:
            self.content += len(data)
            self._tail = all_of_it[1 - len(END) :]
            return b""
        used = found + len(END) - len(self._tail)
        self.content += used
        self._ended()
        return data[used:]

    def _bdat(self, data):
        used = min(self._chunk, len(data))
        self._chunk -= used
        self.content += used
        if not self._chunk:
            if self._last:
                self._ended()
            else:
                self.owed += 1
            self.phase = COMMAND
        return data[used:]

    def _ended(self):
        self.phase = COMMAND
        self.owed += 1
        self.awaited = self.owed
        if self.octets is None or self.content < self.octets:
            self.content = 0
