"""A soak for people: what was counted, what struck, and which letters to follow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lab.units import counted, format_duration
from lab.views.tables import paint, table
from lab.views.visible import in_line

if TYPE_CHECKING:
    from lab.soak.nemesis import Strike, Stroke
    from lab.soak.run import Outcome, Progress

_LISTED = 10  # fates told one by one


def progress(now: Progress, messages: int, faults: int) -> str:
    """One line: how far it is."""
    waiting = "" if now.waiting is None else f", {counted(now.waiting, 'message')} waiting"
    return (
        f"{now.stage}: {now.handed_in}/{messages} letters, {now.strikes}/{faults} faults{waiting}"
    )


def plan(strikes: Iterable[Strike]) -> str:
    """The schedule, a line for each strike: when (real time), for how long, what."""
    return "\n".join(str(one) for one in strikes)


def text(outcome: Outcome, folder: Path) -> str:
    """The whole outcome."""
    from lab.soak.run import checks, told

    spec = outcome.spec
    came = f"{counted(spec.messages, 'letter')} and {_faults(outcome)}"
    took = f"{format_duration(spec.seconds)}, {format_duration(outcome.real_seconds)} in all"
    lines = [
        f"seed {spec.seed}: {came} in {took} (real time)",
        "",
        _counted(outcome.judgment.counts()),
        "",
        _struck(outcome.strokes),
        "",
    ]
    for _, expected, ok, observed in checks(outcome):
        lines.append(f"{_mark(ok)} {expected}: {observed}")
    if not outcome.drained:
        lines.append(
            f"{_mark(False)} the queues did not come empty: what waits is counted as queued"
        )
    if outcome.dropped:
        lines.append(f"{counted(outcome.dropped, 'frame')} passed too fast to be captured")
    fates = outcome.noteworthy
    if fates:
        lines.append("")
    lines += [f"  {in_line(told(fate))}" for fate in fates[:_LISTED]]
    if len(fates) > _LISTED:
        lines.append(f"  … and {len(fates) - _LISTED} more, in {folder / 'soak.json'}")
    if fates:
        follow = fates[0].submission.letter.message_id
        lines += ["", f"follow one:  lab trace '{follow}' --run {folder}"]
    return "\n".join(lines)


def _faults(outcome: Outcome) -> str:
    """How many there were, and how many were wanted."""
    wanted = outcome.spec.faults
    less = "" if outcome.struck == wanted else f" (of {wanted} wanted)"
    return counted(outcome.struck, "fault") + less


def _counted(numbers: Mapping[str, int]) -> str:
    """Letters by what their senders were told, deliveries by what became of them, the verdict."""
    columns = (
        ("attempted", "acknowledged", "refused", "unknown", ""),
        ("deliveries", "delivered", "bounced", "queued", "in vain"),
        ("lost", "unexpected", "duplicated", "recovered", "damaged"),
    )
    rows = [
        [cell for name in names for cell in (name, numbers.get(name, ""))]
        for names in zip(*columns, strict=True)
    ]
    return table(("letters", "", "for each recipient", "", "verdict", ""), rows)


def _mark(ok: bool) -> str:
    return paint("✓", "green") if ok else paint("✗", "red", bold=True)


def _struck(strokes: Iterable[Stroke]) -> str:
    """How often each fault struck, and what could not be done."""
    found = list(strokes)
    done = Counter(one.strike.fault.name for one in found if one.case)
    words = ", ".join(f"{name} {number}" for name, number in sorted(done.items())) or "nothing"
    lines = [f"struck: {words}"]
    lines += [
        f"could not be done: {one.strike.fault.name} {one.strike.fault.target}: {one.refused}"
        for one in found
        if one.refused
    ]
    return "\n".join(lines)


class Ticker:
    """Says how far it is: now and then a line, or on a terminal always the same one."""

    def __init__(self, say: Callable[[str], None], seconds: float) -> None:
        self._say, self._seconds = say, seconds
        self._said = time.monotonic() - seconds
        self._last = ""

    def __call__(self, line: str) -> None:
        """Say `line`, if it is new and time."""
        now = time.monotonic()
        if line != self._last and now - self._said >= self._seconds:
            self._said, self._last = now, line
            self._say(line)
