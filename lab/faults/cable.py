"""Cables that are pulled, for good or again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine import power
from lab.faults.box import Treated
from lab.faults.fault import Fault
from lab.faults.parameters import LAB_TIME, option
from lab.units import write_duration

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class CablePulled(Fault):
    """All cables of a machine are out, at the far end from it."""

    name = "cable-pulled"
    help = "the machine runs on, cut off: its cable is out at the far end"
    outside = True

    @property
    def title(self) -> str:
        return f"the cable of {self.node} is pulled"

    @property
    def healed(self) -> str:
        return f"the cable of {self.node} is back"

    def apply(self, lab: Lab, id: str) -> None:
        power.set_cables(lab, self.node, up=False, owner=id)

    def verify(self, lab: Lab, id: str) -> bool:
        with lab.fabric() as fabric:
            interfaces = lab.plan.nodes[self.node].interfaces
            return all(id in fabric.cable(interface).pulled for interface in interfaces)

    def revert(self, lab: Lab, id: str) -> None:
        power.set_cables(lab, self.node, up=True, owner=id)


@dataclass(frozen=True)
class CableFlapping(Treated):
    """The cables of a machine are out and in, out and in."""

    name = "cable-flapping"
    help = "a bad plug: the cable is out for a while, in for a while, and so on"

    out: int = option(LAB_TIME, "how long it is out each time", default="5m")
    in_: int = option(LAB_TIME, "how long it is in each time", default="5m")

    @property
    def title(self) -> str:
        each = f"{write_duration(self.out)} out, {write_duration(self.in_)} in"
        return f"the cable of {self.node} has a bad plug ({each})"

    @property
    def healed(self) -> str:
        return f"the cable of {self.node} is firm again"

    def rules(self, lab: Lab) -> list[dict[str, object]]:
        real = lab.clock.real
        return [{"what": "flap", "up": real(self.in_), "down": real(self.out)}]


cable_pulled = CablePulled
cable_flapping = CableFlapping
