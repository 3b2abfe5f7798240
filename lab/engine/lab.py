"""A running lab: the handle that everything acting on one holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.engine import containers, exec
from lab.engine.fabric import Fabric
from lab.engine.plan import FABRIC, Plan, plan
from lab.errors import LabNotUp, NodeFailed, UsageError
from lab.topology.model import Topology
from lab.units import LabClock

if TYPE_CHECKING:
    from lab.faults.fault import Fault
    from lab.faults.journal import Case


class Lab:
    """The lab called `name`: its plan, its clock, and a way into its nodes."""

    def __init__(self, plan: Plan, started: float, found: Mapping[str, str]) -> None:
        self.plan = plan
        self.name = plan.lab
        self.clock = LabClock(started, plan.site.time_scale)
        self.containers = dict(found)
        self._lines = threading.local()

    @classmethod
    def attach(cls, name: str) -> Lab:
        """The lab called `name`, from the labels of its containers. Raises LabNotUp."""
        found = containers.find(name)
        if not found:
            others = sorted({container.lab for container in containers.find()})
            running = f" (there is: {', '.join(others)})" if others else ""
            option = "" if name == "lab" else f"--lab {name} "
            raise LabNotUp(f"lab '{name}' is not up{running}", hint=f"lab {option}up")
        data, scale, started, _ = containers.described(found[0])
        return cls(
            plan(Topology.model_validate(data), name, scale),
            started,
            {container.node: container.id for container in found},
        )

    def node(self, name: str) -> str:
        """`name` itself if the lab has such a node. Raises UsageError naming those there are."""
        if name not in self.plan.topology.nodes:
            raise UsageError(
                f"there is no node '{name}' in lab '{self.name}'",
                hint="one of: " + ", ".join(self.plan.topology.nodes),
            )
        return name

    def container(self, node: str) -> str:
        """The ID of the container of `node`. Raises NodeFailed if it has none."""
        if node not in self.containers:
            raise NodeFailed(f"node '{node}' has no container", hint="lab up")
        return self.containers[node]

    def process(self, node: str) -> int:
        """The process number of the init of `node`. Raises NodeFailed if it is off."""
        found = containers.process(self.container(node))
        if not found:
            raise NodeFailed(f"node '{node}' is off", hint="lab up")
        return found

    def run(
        self, node: str, argv: Sequence[str], *, stdin: bytes = b"", user: str = ""
    ) -> exec.Result:
        """Run a program on `node` to its end. Raises NodeFailed if the node is off, or frozen."""

        def not_frozen() -> None:
            process = containers.process(self.container(node))
            with Fabric.of(self.container(FABRIC)) as fabric:
                if process and fabric.frozen(process):
                    raise NodeFailed(f"node '{node}' is frozen", hint="lab fault status")

        container = self.container(node)
        return exec.run(container, argv, stdin=stdin, user=user, patience=not_frozen)

    @contextmanager
    def fabric(self) -> Iterator[Fabric]:
        """A line to the fabric's agent. Raises NodeFailed if the fabric is off.

        Within a block that has one, the same thread is given the same: opening it takes longer
        than most of what it is asked.
        """
        fabric: Fabric | None = getattr(self._lines, "fabric", None)
        if fabric is not None:
            yield fabric
            return
        with Fabric.of(self.container(FABRIC)) as fabric:
            self._lines.fabric = fabric
            try:
                yield fabric
            finally:
                self._lines.fabric = None

    def plug(self, fabric: Fabric, node: str) -> None:
        """Lay (or push in) the cables of `node`, which has to be running."""
        process = self.process(node)
        planned = self.plan.nodes[node]
        for interface in planned.interfaces:
            fabric.plug(interface, planned.routes, process)

    @contextmanager
    def outage(self, fault: Fault) -> Iterator[Case]:
        """`fault` is on while the block runs, and is undone whatever happens in it.

            with lab.outage(cable_pulled("receiver-mail")):
                …

        Raises UsageError or LabError if it can't be put on (lab.faults.journal.apply).
        """
        from lab.faults import journal

        with journal.outage(self, fault) as case:
            yield case

    def state(self) -> dict[str, Any]:
        """What `lab status` shows; see lab.engine.status."""
        from lab.engine.status import status

        return status(self)
