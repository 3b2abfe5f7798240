"""Cables that are pulled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lab.engine import power

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class CablePulled:
    """`node` runs on, cut off: its cable is out at the far end."""

    kind: ClassVar[str] = "cable-pulled"

    node: str

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"the cable of {self.node} is pulled"

    @property
    def healed(self) -> str:
        """What its end is, for people."""
        return f"the cable of {self.node} is back"

    def apply(self, lab: Lab) -> None:
        """Pull the cable."""
        power.set_cables(lab, self.node, up=False)

    def revert(self, lab: Lab) -> None:
        """Push it in."""
        power.set_cables(lab, self.node, up=True)


def cable_pulled(node: str) -> CablePulled:
    """The cable of `node` pulled."""
    return CablePulled(node)
