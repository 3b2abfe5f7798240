"""The modules of the fabric's box, which live in its image, and cables of it for tests."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "images/fabric"))

import boxcut
import boxline
import boxrules
import boxsmtp

__all__ = ["NETWORK", "NODE", "Cable", "boxcut", "boxline", "boxrules", "boxsmtp"]

NODE, NETWORK = boxrules.NODE, boxrules.NETWORK


class Cable:
    """A line with some rules, and what came out of it: (time, toward, frame) in `out`."""

    def __init__(self, *rules: dict[str, Any], seed: int = 1) -> None:
        self.now = 0.0
        self.out: list[tuple[float, str, bytes]] = []
        self.line = boxline.Line(self._sent, random.Random(seed))
        self.load(*rules)

    def load(self, *rules: dict[str, Any], state: Any = None) -> None:
        """Have these rules; each has the id `it` unless it has its own."""
        self.line.load([{"id": "it", **rule} for rule in rules], self.now, state)

    def _sent(self, toward: str, data: bytes) -> None:
        self.out.append((self.now, toward, data))

    def feed(self, data: bytes, toward: str = NETWORK) -> list[bytes]:
        """A frame goes in; those that come out at once."""
        before = len(self.out)
        self.line.feed(data, toward, self.now)
        return [data for _, _, data in self.out[before:]]

    def run(self, until: float = float("inf")) -> list[tuple[float, bytes]]:
        """Time goes on; when each frame came out that waited, and which."""
        before = len(self.out)
        due = self.line.run(self.now)
        while due <= until and due != float("inf"):
            self.now = due
            due = self.line.run(due)
        if until != float("inf"):
            self.now = until
        return [(time, data) for time, _, data in self.out[before:]]
