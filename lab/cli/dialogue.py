"""`lab dialogue`: what client and server said to each other, read from a capture."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from lab.cli._output import emit_json, json_option, note
from lab.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lab.observe.dialogue import Dialogue, Turn

_FOLD = 6  # lines of a message shown unless --raw
_INDENT = " " * 19
# All that could make a terminal do something; tabs and what the message's language needs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@click.command(short_help="Read the SMTP conversations in a capture")
@click.argument("capture", metavar="PCAP", type=click.File("rb"))
@click.option("--stream", type=int, metavar="N", help="Only connection N (Wireshark's tcp.stream).")
@click.option("--raw", is_flag=True, help="Show messages in full instead of their first lines.")
@json_option
def command(capture: Any, stream: int | None, raw: bool, as_json: bool) -> None:
    """Show the SMTP dialogues in a capture: who called whom, what was said, how it ended.

    Each line has the seconds since the connection's first packet and the frame's number, as
    Wireshark shows it. PCAP is a pcap or pcapng file, or - for standard input.

    \b
    Example:
      lab dialogue mail.pcap
      lab dialogue mail.pcap --stream 2 --raw
      lab capture receiver-mail | lab dialogue -
    """
    from lab.observe.dialogue import dialogues

    name = getattr(capture, "name", "<stdin>")
    found = dialogues(capture, on_cut=lambda cut: note(f"lab: {cut}"))
    if stream is not None:
        numbers = [str(dialogue.stream.number) for dialogue in found]
        found = [dialogue for dialogue in found if dialogue.stream.number == stream]
        if not found:
            raise UsageError(
                f"there is no SMTP connection {stream} in {name}",
                hint=f"it has: {', '.join(numbers)}" if numbers else "it has none at all",
            )
    if as_json:
        emit_json([dialogue.as_json() for dialogue in found])
        return
    if not found:
        note(f"no SMTP connection was tried in {name} (ports 25, 465 and 587)")
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for index, dialogue in enumerate(found):
        if index:
            console.print()
        _show(console, dialogue, raw=raw)


def _show(console: Console, dialogue: Dialogue, *, raw: bool) -> None:
    from rich.text import Text

    stream = dialogue.stream
    good = dialogue.state.startswith(("closed", "open"))
    console.print(
        Text(f"#{stream.number}  {stream.client} → {stream.server}", style="bold"),
        Text(f" {_moment(dialogue.opened.time)}, frame {dialogue.opened.frame}: "),
        Text(dialogue.state, style="green" if good else "red"),
        sep="",
    )
    start = dialogue.opened.time
    if len(stream.syns) > 1:
        times = ", ".join(f"{syn.time - start:+.3f}" for syn in stream.syns)
        console.print(Text(f"{_INDENT}called {len(stream.syns)} times: {times}", style="dim"))
    for complaint in stream.complaints:
        line = _head(complaint.mark.time - start, complaint.mark.frame)
        line.append(f"ICMP from {complaint.by}: {complaint.reason}", style="red")
        console.print(line)
    for turn in dialogue.turns:
        _show_turn(console, turn, start, raw=raw)


def _show_turn(console: Console, turn: Turn, start: float, *, raw: bool) -> None:
    from rich.text import Text

    who, style = ("C: ", "cyan") if turn.side == "client" else ("S: ", "yellow")
    failed = turn.code is not None and turn.code >= 400
    head = _head(turn.time - start, turn.frame).append(who, style="bold " + style)
    body, rest = _body(turn, raw=raw)
    console.print(head.append(body[0], style="red" if failed else ""))
    for line in body[1:]:
        console.print(Text(f"{_INDENT}   {line}".rstrip(), style="red" if failed else ""))
    if rest:
        console.print(Text(f"{_INDENT}   {rest}", style="dim"))


def _body(turn: Turn, *, raw: bool) -> tuple[list[str], str]:
    """The lines of a turn, and what is to be said of it."""
    remark = "" if turn.complete else "(cut off here)"
    if turn.kind == "lost":
        return [f"({turn.size} octets are missing in the capture)"], ""
    if turn.kind == "encrypted":
        return [f"(encrypted from here on: {turn.size} octets)"], ""
    lines = turn.data.decode("utf-8", "backslashreplace").split("\n")
    lines = [_CONTROL.sub("·", line.removesuffix("\r")) for line in lines]
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    if turn.kind == "content":
        how = "complete" if turn.complete else "cut off"
        head = [f"({turn.size} octets of message, {how} in frame {turn.last_frame})"]
        left = 0 if raw else len(lines) - _FOLD
        if left > 1:
            return head + lines[:_FOLD], f"… {left} more lines (--raw shows them)"
        return head + lines, ""
    if (secret := _decoded(turn)) is not None:
        remark = f"(base64 for: {_CONTROL.sub('·', secret)}) {remark}".rstrip()
    return lines, remark


def _decoded(turn: Turn) -> str | None:
    """What an AUTH exchange says in plain words: base64 hides nothing, which is the lesson."""
    words = (turn.argument or "").split()
    if turn.kind == "auth" and words:
        encoded = words[0]
    elif turn.command == "AUTH" and len(words) == 2:
        encoded = words[1]
    elif turn.code == 334 and turn.text:
        encoded = turn.text
    else:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").replace("\0", " ").strip()
    except (binascii.Error, ValueError):
        return None


def _head(seconds: float, frame: int) -> Any:
    from rich.text import Text

    return Text(f"{seconds:+10.3f} {frame:>6}  ", style="dim").append("", style="")


def _moment(epoch: float) -> str:
    try:
        return datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{epoch:.0f} s"
