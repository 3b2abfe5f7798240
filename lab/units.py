"""Durations as people write them (`30m`, `5d`, `1h30m`) and the two clocks of a lab.

Lab time is what the story is told in ("retried after 30 minutes"); real time is what the wall
clock says. One real second is `scale` lab seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DURATION_PATTERN = r"^(?=.)([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$"
_DURATION = re.compile(DURATION_PATTERN)


def parse_duration(text: str) -> int:
    """Seconds in `text`, such as `30m`, `5d` or `1h30m`. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration (write 30m, 5d or 1h30m)")
    return sum(int(part[:-1]) * _UNITS[part[-1]] for part in match.groups() if part)


def guess_duration(text: str) -> str | None:
    """The duration that `text` seems to mean (`30 minutes` is `30m`), for hints; None if none."""
    parts = re.fullmatch(r"([0-9]{1,9})[ _]*([dhms])[a-z]*\.?", text.strip().lower())
    return parts[1] + parts[2] if parts else None


def write_duration(seconds: int) -> str:
    """The exact writing of `seconds` (0 or more) that `parse_duration` reads back: `1d3h12m5s`."""
    return "".join(_parts(seconds)) or "0s"


def format_duration(seconds: float) -> str:
    """The shortest usual writing of `seconds`, for reading: `30m`, `1h30m`, `5d`, `0s`.

    Below a minute tenths are kept (`2.5s`); above, the two largest units (`1d3h`).
    """
    # What rounds to 60.0 is a minute, not `60s`.
    if abs(seconds) < 59.95:
        return f"{round(seconds, 1) + 0.0:.1f}".removesuffix(".0") + "s"
    # Two units are as much as anyone reads: 1d3h, not 1d3h12m5s.
    return ("-" if seconds < 0 else "") + "".join(_parts(round(abs(seconds)))[:2])


def _parts(seconds: int) -> list[str]:
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return parts


def format_clock(seconds: float) -> str:
    """Lab time since the lab began, as `HH:MM:SS`, from the second day on `1d HH:MM:SS`."""
    sign = "-" if seconds < 0 else ""
    days, rest = divmod(int(abs(seconds)), 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{sign}{days}d {clock}" if days else sign + clock


def wall_clock(epoch: float, form: str = "%H:%M:%S") -> str:
    """The real moment `epoch` (seconds since 1970) as the clock on the wall shows it (strftime).

    One that no clock can show, as a damaged capture may have, is given in seconds.
    """
    try:
        return datetime.fromtimestamp(epoch).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"{epoch:.0f} s"


def counted(number: int, noun: str) -> str:
    """`1 message`, `20 messages`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


@dataclass(frozen=True)
class LabClock:
    """Turns the wall clock into lab time: `started` in epoch seconds, `scale` lab s per real s."""

    started: float
    scale: float

    def lab_time(self, epoch: float) -> float:
        """Lab seconds since the lab began, at the real moment `epoch` (seconds since 1970)."""
        return (epoch - self.started) * self.scale

    def real(self, lab_seconds: float) -> float:
        """How many real seconds `lab_seconds` last."""
        return lab_seconds / self.scale
