"""The ladder: hosts as columns, time downwards, what they say to each other as arrows.

One layout (lab.views.ladder.layout), two renderings: on a terminal (`terminal`) and as SVG
(`svg`). Everything in it is an event, and every row says of which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.record import Record
    from lab.views.ladder.model import Item, Level


def ladder_svg(
    record: Record,
    link: Callable[[Item], str | None] | None = None,
    level: Level = "commands",
) -> str:
    """The ladder of a run as an SVG element, to stand in a page or by itself.

    `link` says where a row leads to (its evidence in the page, say), None for nowhere; an item
    names its `seqs`, `file` and `frame`, or `log`. `level` is one of
    lab.views.ladder.model.LEVELS.
    """
    from lab.views.ladder.layout import Ladder
    from lab.views.ladder.model import View
    from lab.views.ladder.svg import svg

    ladder = Ladder.of(record.run, record.events, ended=True)
    return svg(ladder.layout(View(level)), link)
