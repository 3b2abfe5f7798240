"""Machines that lose their power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lab.engine import power

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class PowerCut:
    """`node` is without power: silent on the wire, its memory gone, its disk kept."""

    kind: ClassVar[str] = "power-cut"

    node: str

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.node} has no power"

    @property
    def healed(self) -> str:
        """What its end is, for people."""
        return f"{self.node} has its power back, and its services answer"

    def apply(self, lab: Lab) -> None:
        """Pull the cable, then kill the machine."""
        power.off(lab, self.node)

    def revert(self, lab: Lab) -> None:
        """Start the machine, plug it in, wait for its services."""
        power.on(lab, self.node)


def power_cut(node: str) -> PowerCut:
    """A power cut of `node`."""
    return PowerCut(node)
