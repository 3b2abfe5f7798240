"""Dialogues as a class reads them: a line for each thing said, with its time and frame."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

from rich.console import Console
from rich.text import Text

from lab.observe.history import Happening, epilogue, happenings
from lab.observe.turns import Dialogue, Turn

_FOLD = 6  # lines of a message shown unless they are wanted raw
_INDENT = " " * 19
# All that could make a terminal do something; tabs and what the message's language needs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_GOOD = ("closed", "open", "answered")


class Printer:
    """Prints dialogues on standard output: whole ones, or turn by turn as they are held."""

    def __init__(self, *, raw: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._raw = raw
        self._printed = False
        self._last: Dialogue | None = None
        self._happened: dict[Dialogue, int] = {}  # of live ones: happenings already told

    def whole(self, dialogue: Dialogue) -> None:
        """Print all of a dialogue."""
        self._title(dialogue, dialogue.state, good=dialogue.state.startswith(_GOOD))
        waiting = happenings(dialogue.stream)
        for turn in dialogue.turns:
            while waiting and waiting[0].mark.frame < turn.last_frame:
                self._happening(dialogue, waiting.pop(0))
            self._turn(dialogue, turn, live=False)
        for happening in waiting:
            self._happening(dialogue, happening)
        self._epilogue(dialogue)

    def live(self, dialogue: Dialogue, turn: Turn | None) -> None:
        """Print a turn, or what is new about the connection."""
        told = self._happened.get(dialogue, 0)
        news = happenings(dialogue.stream)[told:] if turn is None else []
        begins = dialogue not in self._happened
        if begins or ((turn or news) and dialogue is not self._last):
            midstream = dialogue.stream.transport == "tcp" and dialogue.stream.midstream
            joined = "is under way" if midstream else "calls"
            self._title(dialogue, joined if begins else "goes on", good=True)
        self._happened[dialogue] = told + len(news)
        if turn:
            self._turn(dialogue, turn, live=True)
        for happening in news:
            self._happening(dialogue, happening)

    def over(self, dialogue: Dialogue) -> None:
        """Nothing more will come of a live dialogue: forget it."""
        if dialogue is self._last:
            self._epilogue(dialogue)
            self._last = None
        self._happened.pop(dialogue, None)

    def _title(self, dialogue: Dialogue, what: str, *, good: bool) -> None:
        if self._printed:
            self._console.print()
        self._last, self._printed = dialogue, True
        stream = dialogue.stream
        number = (
            stream.number if stream.transport == "tcp" else f"{stream.transport}:{stream.number}"
        )
        self._console.print(
            Text(f"#{number} {dialogue.protocol}  {stream.client} → {stream.server}", style="bold"),
            Text(f" {_moment(dialogue.opened.time)}, frame {dialogue.opened.frame}: "),
            Text(what, style="green" if good else "red"),
            sep="",
        )

    def _happening(self, dialogue: Dialogue, happening: Happening) -> None:
        line = _head(happening.mark.time - dialogue.opened.time, happening.mark.frame)
        style = "red" if happening.bad else "dim"
        self._console.print(line.append(happening.words, style=style))

    def _epilogue(self, dialogue: Dialogue) -> None:
        for line in epilogue(dialogue.stream):
            self._console.print(Text(_INDENT + line, style="dim"))

    def _turn(self, dialogue: Dialogue, turn: Turn, *, live: bool) -> None:
        who, style = ("C: ", "cyan") if turn.side == "client" else ("S: ", "yellow")
        failed = "red" if turn.failed else ""
        head = _head(turn.time - dialogue.opened.time, turn.frame).append(
            who, style="bold " + style
        )
        lines, remark = self._lines(dialogue, turn, live=live)
        self._console.print(head.append(lines[0], style=failed))
        for line in lines[1:]:
            self._console.print(Text(f"{_INDENT}   {line}".rstrip(), style=failed))
        if remark:
            self._console.print(Text(f"{_INDENT}   {remark}", style="dim"))

    def _lines(self, dialogue: Dialogue, turn: Turn, *, live: bool) -> tuple[list[str], str]:
        """The lines of a turn, and what is to be said of it."""
        if hidden := _unreadable(turn, live=live):
            return [hidden], ""
        lines = _split(turn)
        remark = "" if turn.complete else "(cut off here)"
        if turn.kind == "content":
            noun = {"http": "body", "imap": "literal"}.get(dialogue.protocol, "message")
            how = "complete" if turn.complete else "cut off"
            head = [f"({turn.size} octets of {noun}, {how} in frame {turn.last_frame})"]
            if noun == "body" and not self._raw:
                return head, ""
            shown, remark = self._folded(lines)
            return head + shown, remark
        if turn.literals:
            lines, folded = self._folded(lines)
            remark = f"({turn.literals} octets of literal) {remark} {folded}".replace("  ", " ")
        if turn.kind == "garbled":
            remark = "(this is not how the protocol is spoken)"
        if turn.status == "again":
            remark = "(asked again: no answer had come)"
        if (secret := _decoded(turn)) is not None:
            remark = f"(base64 for: {_CONTROL.sub('·', secret)}) {remark}"
        return lines, remark.strip()

    def _folded(self, lines: list[str]) -> tuple[list[str], str]:
        left = 0 if self._raw else len(lines) - _FOLD
        if left > 1:
            return lines[:_FOLD], f"… {left} more lines (--raw shows them)"
        return lines, ""


def _unreadable(turn: Turn, *, live: bool) -> str | None:
    if turn.kind == "lost":
        return f"({turn.size} octets are missing in the capture)"
    size = "" if live else f": {turn.size} octets"  # a live one still grows
    if turn.kind == "opaque":
        return f"(another protocol from here on{size})"
    if turn.kind == "encrypted":
        name = f" to {_CONTROL.sub('·', turn.argument)}" if turn.argument else ""
        return f"(encrypted{name} from here on{size})"
    return None


def _split(turn: Turn) -> list[str]:
    text = turn.words if turn.words is not None else turn.data.decode("utf-8", "backslashreplace")
    lines = [_CONTROL.sub("·", line.removesuffix("\r")) for line in text.split("\n")]
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    return lines


def _decoded(turn: Turn) -> str | None:
    """What an AUTH exchange says in plain words: base64 hides nothing, which is the lesson."""
    words = (turn.argument or "").split()
    if turn.kind == "auth" and words:
        encoded = words[0]
    elif turn.command in ("AUTH", "AUTHENTICATE") and len(words) == 2:
        encoded = words[1]
    elif turn.code == 334 and turn.text:
        encoded = turn.text
    else:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").replace("\0", " ").strip()
    except (binascii.Error, ValueError):
        return None


def _head(seconds: float, frame: int) -> Text:
    return Text(f"{seconds:+10.3f} {frame:>6}  ", style="dim").append("", style="")


def _moment(epoch: float) -> str:
    try:
        return datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{epoch:.0f} s"
