"""Disks that are full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.faults import inside
from lab.faults.inside import Inside

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

_QUEUE = "/var/spool/postfix"


@dataclass(frozen=True)
class DiskFull(Inside):
    """Something else has taken all the room of a mail server's queue.

    Only where the queue has a disk of its own, whose size is known: elsewhere the disk that would
    be full is that of the machine which all of this runs on.
    """

    name = "disk-full"
    help = "no room for the queue: other servers hear 452, and what waits goes on waiting"
    kinds = ("mail-server",)
    needs = "a queue on a disk of its own (ram_queue in the topology)"

    @classmethod
    def targets(cls, plan: Plan) -> list[str]:
        return [name for name in super().targets(plan) if _QUEUE in plan.nodes[name].ram_disks]

    @property
    def title(self) -> str:
        return f"the disk of {self.node}'s queue is full"

    @property
    def healed(self) -> str:
        return f"the disk of {self.node}'s queue has room"

    def apply(self, lab: Lab, id: str) -> None:
        # To the last byte, however much has been freed meanwhile.
        text = 'cat /dev/zero >> "$1" 2>&- || [ -s "$1" ]'
        inside.script(lab, self.node, "filling the disk", text, _file(id))

    def verify(self, lab: Lab, id: str) -> bool:
        text = 'test -e "$1" && [ "$(stat -f -c %a "$2")" -eq 0 ]'
        return lab.run(self.node, ["sh", "-c", text, "sh", _file(id), _QUEUE]).status == 0

    def undo(self, lab: Lab, id: str) -> None:
        lab.run(self.node, ["rm", "-f", _file(id)]).check(f"making room ({self.node})")


def _file(id: str) -> str:
    return f"{_QUEUE}/full.{id}"


disk_full = DiskFull
