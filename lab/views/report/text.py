"""Words as they stand in a report: both clocks, anchors, and nothing that acts instead of saying.

What was recorded was written by others: the body of a message, a line of a log. A page shows what
is in it, also what is meant not to be seen.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from markupsafe import Markup

from lab.units import LabClock, format_clock, wall_clock
from lab.views.visible import visible

_PLAIN = re.compile(r"[^A-Za-z0-9.-]")
_HANGUL = re.compile("[\uac00-\ud7a3]")


def finalize(value: Any) -> Any:
    """What a template prints of `value`: all that is not its own markup is made visible."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return visible(value)


def anchor(*parts: object) -> str:
    """An identity for a place in the page; different parts make different ones."""
    return "-".join(_PLAIN.sub(lambda found: f"_{ord(found[0]):x}_", str(part)) for part in parts)


def paragraphs(text: str) -> list[str]:
    """Paragraphs without the line breaks of their file."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def language(text: str) -> str | None:
    """`ko` for what is in Korean, so that it is read aloud and broken into lines as such."""
    return "ko" if len(_HANGUL.findall(text)) * 4 > len(text) else None


def size(octets: int) -> str:
    """Octets as people say them."""
    if octets < 1000:
        return f"{octets} octets"
    return f"{octets / 1000:.1f} kB" if octets < 1_000_000 else f"{octets / 1_000_000:.1f} MB"


class Moment(NamedTuple):
    """A moment on both clocks, as text."""

    lab: str
    real: str


def moment(clock: LabClock, epoch: float) -> Moment:
    """The moment `epoch` (seconds since 1970) on the lab's clock and on the wall's."""
    return Moment(format_clock(clock.lab_time(epoch)), wall_clock(epoch))
