"""What faults do inside a node: to its programs, and to the files these read.

All of it is forgotten when the node starts anew (its /lab/start sees to that), and put on again by
the journal if it is still on. So there is nothing to undo in a node that is off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine import containers
from lab.errors import NodeFailed
from lab.faults.fault import Fault
from lab.services import Question

if TYPE_CHECKING:
    from lab.engine.lab import Lab

SETTLED_SECONDS = 10.0  # for a service to listen, or to have ceased to
_LOOK_SECONDS = 0.01

_PORTS = {"postfix": ("port 25", "port 587"), "dovecot": ("port 110", "port 143")}


@dataclass(frozen=True)
class Inside(Fault):
    """A fault that is undone where it was done, in a node that runs."""

    def undo(self, lab: Lab, id: str) -> None:
        """Undo it in the node, which is on."""
        raise NotImplementedError

    def revert(self, lab: Lab, id: str) -> None:
        if containers.process(lab.container(self.node)):
            self.undo(lab, id)


def script(lab: Lab, node: str, what: str, text: str, *arguments: str, stdin: str = "") -> str:
    """Run a shell script in `node`: its output. Raises LabError naming `what` if it fails."""
    argv = ["sh", "-ec", text, "sh", *arguments]
    return lab.run(node, argv, stdin=stdin.encode()).check(f"{what} ({node})").text


def service(lab: Lab, node: str, verb: str, name: str) -> None:
    """`stop`, `start` or `restart` a service of `node`: /lab/service there says how."""
    argv = ["/lab/service", verb, name]
    lab.run(node, argv).check(f"'service {verb} {name}' on {node}")


def runs(lab: Lab, node: str, name: str) -> bool:
    """Whether a service of `node` runs, going by what was done to it."""
    return lab.run(node, ["/lab/service", "runs", name]).status == 0


def questions(lab: Lab, node: str, name: str) -> list[Question]:
    """What is answered by the service `name` of `node`: its ports."""
    ports = _PORTS.get(name)
    return [one for one in lab.plan.health(node) if ports is None or one.what in ports]


def settled(lab: Lab, node: str, name: str, *, listens: bool) -> None:
    """Wait until all ports of a service listen, or none does. Raises NodeFailed if they don't."""
    asked = [(lab.process(node), question) for question in questions(lab, node, name)]
    deadline = time.monotonic() + SETTLED_SECONDS
    with lab.fabric() as fabric:
        while len(deaf := fabric.deaf(asked)) != (0 if listens else len(asked)):
            if time.monotonic() > deadline:
                raise _unsettled(lab, node, name, deaf, listens=listens)
            time.sleep(_LOOK_SECONDS)


def _unsettled(
    lab: Lab, node: str, name: str, deaf: Sequence[Question], *, listens: bool
) -> NodeFailed:
    what = f"does not listen ({deaf[0].what})" if listens else "still listens"
    return NodeFailed(
        f"{name} on node '{node}' {what} after {SETTLED_SECONDS:g} s",
        detail=containers.last_output(lab.container(node)),
        hint="lab up",
    )
