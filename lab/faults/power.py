"""Machines that lose their power, or stop where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine import containers, power
from lab.faults import journal
from lab.faults.fault import Fault

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class PowerCut(Fault):
    """A machine is without power: silent on the wire, its memory gone, its disk kept."""

    name = "power-cut"
    help = "the machine is dead at once: nobody is told, its memory is gone, its disk is kept"

    @property
    def title(self) -> str:
        return f"{self.node} has no power"

    @property
    def healed(self) -> str:
        return f"{self.node} has its power back, and its services answer"

    def apply(self, lab: Lab, id: str) -> None:
        power.off(lab, self.node)

    def verify(self, lab: Lab, id: str) -> bool:
        return not containers.process(lab.container(self.node))

    def revert(self, lab: Lab, id: str) -> None:
        if not power.frozen(lab, self.node):  # it is on, then, whoever did that
            power.on(lab, self.node)
        journal.reassert(lab, self.node)


@dataclass(frozen=True)
class NodeFrozen(Fault):
    """Every process of a machine has stopped; its kernel still takes calls."""

    name = "node-frozen"
    help = "the machine hangs: its kernel accepts connections, and nobody says a word"

    @property
    def title(self) -> str:
        return f"{self.node} hangs"

    @property
    def healed(self) -> str:
        return f"{self.node} goes on"

    @classmethod
    def probe(cls, lab: Lab, target: str) -> str | None:
        return None if containers.process(lab.container(target)) else f"{target} is off"

    def apply(self, lab: Lab, id: str) -> None:
        power.freeze(lab, self.node)

    def verify(self, lab: Lab, id: str) -> bool:
        return power.frozen(lab, self.node)

    def revert(self, lab: Lab, id: str) -> None:
        power.thaw(lab, self.node)


power_cut = PowerCut
node_frozen = NodeFrozen
