"""Where the lifelines stand on a terminal.

That depends on the hosts alone, not on what they say: in a picture that grows they must stay
where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from wcwidth import wcswidth, wcwidth

from lab.views.ladder.model import Layout

_CLOCK = 9  # `HH:MM:SS` and a space; from the second day on `1d HH:MM:SS`


def width_of(text: str) -> int:
    """How many cells `text` takes on a terminal; Korean takes two each."""
    found = wcswidth(text)
    return found if found >= 0 else sum(max(0, wcwidth(letter)) for letter in text)


def cut(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, with an ellipsis where something is left out."""
    if width_of(text) <= cells:
        return text
    found, used = "", 0
    for letter in text:
        used += max(0, wcwidth(letter))
        if used > cells - 1:
            break
        found += letter
    return found.rstrip() + "…" if cells > 0 else ""


def clocks(layout: Layout, width: int) -> tuple[int, bool]:
    """How many cells the clocks take at the left, and whether the real one has room, too."""
    days = any(item.lab_time >= 86400 for item in layout.items[-1:])
    lab = 1 + _CLOCK + (4 if days else 0)  # the first cell marks the row that is looked at
    return (lab + _CLOCK + 1, True) if width >= 96 else (lab + 1, False)


def lifelines(layout: Layout, left: int, width: int) -> dict[str, int]:
    """The column of each host's lifeline, in a terminal `width` wide of which `left` are taken."""
    names = [host.name for host in layout.hosts]
    if not names:
        return {}
    half = max(3, (width_of(names[0]) + 1) // 2), max(3, (width_of(names[-1]) + 1) // 2)
    # Heads are centred on their lifelines and must not touch.
    least = [(width_of(one) + width_of(other)) // 2 + 2 for one, other in pairwise(names)]
    room = width - left - half[0] - half[1] - 2
    gaps = _widened(least, room)
    found, at = {}, left + half[0]
    for name, gap in zip(names, [*gaps, 0], strict=True):
        found[name] = min(at, width - 2)
        at += gap
    return found


def _widened(least: Sequence[int], room: int) -> list[int]:
    """Gaps that make up `room`, as even as their `least` widths allow."""
    gaps = list(least)
    if gaps and sum(gaps) > room:
        scale = max(room, 0) / sum(gaps)
        return [max(3, int(gap * scale)) for gap in gaps]
    for _ in range(room - sum(gaps) if gaps else 0):
        gaps[gaps.index(min(gaps))] += 1
    return gaps
