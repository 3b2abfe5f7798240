"""What the journal tells of and this program can't read: a newer one wrote it, or it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.errors import LabError
from lab.faults import routing
from lab.faults.fault import Fault

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class Unknown(Fault):
    """A fault of which no more is known than its number, by which cables and routers know it."""

    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"a fault that this version of the lab can't read ({self.record.get('fault')})"

    @property
    def healed(self) -> str:
        return "cables and routers are free of it; what it did inside a machine is as it was"

    def verify(self, lab: Lab, id: str) -> bool:
        raise LabError("this version of the lab can't tell")

    def revert(self, lab: Lab, id: str) -> None:
        with lab.fabric() as fabric:
            for node in lab.plan.nodes.values():
                for interface in node.interfaces:
                    fabric.push(interface, id)
                    fabric.lead(interface, id, [])
        routing.forget(lab, id)

    def as_json(self) -> dict[str, Any]:
        kept = {key: self.record.get(key) for key in ("fault", "target", "parameters")}
        return {"fault": "?", "target": "?", "parameters": {}} | kept
