"""What one side of a connection said, each thing once, though several networks tell of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.views.ladder.marks import Mark

# So much that a capture may lack is passed over to find the same words. Not more: messages are
# alike, and the next one begins after four turns, or three if the other capture lacks one.
_GAP = 2


class Said:
    """The marks of one side, in the order in which they were said.

    TCP keeps the order, so that what follows on one network is what followed on the other. But
    either capture may lack something, or have begun later: only the same words are the same thing.
    """

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._words: list[Hashable] = []
        self._next: dict[str, int] = {}  # by network: the place of what follows

    def __iter__(self) -> Iterator[Mark]:
        return iter(self.marks)

    def __bool__(self) -> bool:
        return bool(self.marks)

    def find(self, network: str, words: Hashable, *, unique: bool = False) -> Mark | None:
        """What is known already, if `words` are what `network` tells of next; None if nothing is.

        `unique`: nothing else is said in these words, however much lies between.
        """
        since = self._next.get(network, 0)
        until = len(self.marks) if unique else min(since + _GAP + 1, len(self.marks))
        for at in range(since, until):
            if words is not None and self._words[at] == words:
                self._next[network] = at + 1
                return self.marks[at]
        return None

    def add(self, mark: Mark, network: str = "", words: Hashable = None) -> None:
        """What `network` tells of next, and is not known. Without `words` it is never found."""
        at = self._next.get(network, 0)
        while at < len(self.marks) and self.marks[at].time <= mark.time:
            at += 1  # said before, though this network lacks it
        self.marks.insert(at, mark)
        self._words.insert(at, words)
        self._next = {
            other: following + (following > at) for other, following in self._next.items()
        } | {network: at + 1}
