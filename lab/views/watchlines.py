"""The lines above and below the ladder on the screen of `lab watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from lab.units import format_clock, wall_clock
from lab.views.ladder.grid import cut, width_of
from lab.views.ladder.model import Item, Layout
from lab.views.visible import in_line

HELP = (
    ("space", "stop the picture, or let it go on"),
    ("→ n   ← p", "one row on, one row back"),
    ("↑ ↓   PgUp PgDn", "look at another row, a page up or down"),
    ("Home End", "to the beginning; to the end, and follow it"),
    ("d", "detail: whole messages, commands and replies, packets"),
    ("f", "only what has to do with a word: a host, a protocol, a message"),
    ("e", "evidence of the row that is marked: file, frame, log line"),
    ("w", "the narrator's words, and the verdicts"),
    ("?", "this help"),
    ("q", "quit"),
)
_HINT = "space stop  →← step  ↑↓ look  d detail  f filter  e evidence  w words  ? help  q quit"


def title(
    name: str, clocks: tuple[float, float] | None, state: tuple[str, str], width: int
) -> Text:
    """What is watched, the clocks (lab seconds; epoch seconds), and the state in its style."""
    right = Text()
    if clocks is not None:
        right.append(f"lab time {format_clock(clocks[0])}", "bold dark_cyan")
        right.append(f"  real {wall_clock(clocks[1])}  ", "dim")
    right.append(f" {state[0]} ", state[1])
    left = cut(f" {in_line(name)}", max(0, width - width_of(right.plain) - 2))
    line = Text(left, style="bold", no_wrap=True)
    line.append(" " * max(1, width - width_of(left) - width_of(right.plain)))
    line.append_text(right)
    line.truncate(width)
    return line


def status(layout: Layout, row: int, words: Sequence[str], notice: str, width: int) -> Text:
    """What waits in queues at `row`, which outages are on, what is looked at."""
    parts = [f"row {row + 1}/{len(layout.items)}", layout.level]
    parts += [f"only {' '.join(words)}"] if words else []
    for box in layout.boxes_at(row):
        if row != box.last and (n := box.count(row)):
            parts.append(f"⧗ {box.host}: {n} in the queue")
    parts += [f"✗ {band.title}" for band in layout.bands_at(row) if row != band.last]
    parts += [notice] if notice else []
    shown = cut(in_line(f" {' · '.join(parts)}"), width)
    return Text(shown + " " * (width - width_of(shown)), style="reverse", no_wrap=True)


def evidence(item: Item, logs: Mapping[tuple[str, int], str], width: int) -> list[Text]:
    """What a row is, in full, and where it can be looked up; `logs` are the lines of logs."""
    places = [f"{item.file}, frame {item.frame}"] if item.file else []
    places += [f"log {item.log[0]}:{item.log[1]}"] if item.log else []
    places += [f"event {', '.join(map(str, item.seqs[:6]))}"] if item.seqs else []
    where = " · ".join(places) or "made of the rows around it"
    text = logs.get(item.log, "") if item.log else ""
    moment = f"{format_clock(item.lab_time)} ({wall_clock(item.time)})"
    return [
        Text(cut(in_line(f" {moment}  {where}"), width), style="bold"),
        Text(cut(in_line(f" {text or ' '.join(item.text.split())}"), width)),
    ]


def help_lines(width: int) -> list[Text]:
    """What the keys do."""
    return [
        Text.assemble((f"   {keys:<18}", "bold"), cut(words, width - 22)) for keys, words in HELP
    ]


def hint(width: int) -> Text:
    """The keys, on one line."""
    return Text(cut(f" {_HINT}", width), style="dim", no_wrap=True)


def filled(lines: list[Text], height: int) -> list[Text]:
    """Exactly `height` lines."""
    return (lines + [Text()] * (height - len(lines)))[: max(height, 0)]
