"""Faults that a box in the cable makes: images/fabric/box.py says what its rules are.

The kernel's own means differ from machine to machine (netem is missing on many, a bridge's nftables
can neither reject nor queue on others). The box needs none of them, sits where nobody in a node
reaches it, and is at rest, and out of the way, when nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.faults.fault import Fault

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class Treated(Fault):
    """The frames of all cables of a node are treated by rules."""

    outside = True

    def rules(self, lab: Lab) -> Sequence[Mapping[str, Any]]:
        """By which."""
        raise NotImplementedError

    def apply(self, lab: Lab, id: str) -> None:
        with lab.fabric() as fabric:
            for interface in lab.plan.nodes[self.node].interfaces:
                fabric.lead(interface, id, self.rules(lab))

    def verify(self, lab: Lab, id: str) -> bool:
        with lab.fabric() as fabric:
            cables = [fabric.cable(one) for one in lab.plan.nodes[self.node].interfaces]
        # Who is off has no cable now, and finds it treated when it is back.
        return all(id in cable.rules and (cable.box or not cable.there) for cable in cables)

    def revert(self, lab: Lab, id: str) -> None:
        with lab.fabric() as fabric:
            for interface in lab.plan.nodes[self.node].interfaces:
                fabric.lead(interface, id, [])

    def counted(self, lab: Lab, id: str) -> dict[str, Any]:
        """What its rules have done so far: `frames` treated, and for a cut how many are `left`."""
        with lab.fabric() as fabric:
            done = [fabric.cable(one).done for one in lab.plan.nodes[self.node].interfaces]
        found = [one[id] for one in done if id in one]
        return {
            "frames": sum(one["frames"] for one in found),
            "left": next((one["left"] for one in found if one.get("left") is not None), None),
        }
