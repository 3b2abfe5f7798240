"""Putting a lab up and taking it down.

`up` reconciles: it looks at what is there, makes what is missing, starts what has stopped, plugs
what hangs loose, and leaves the rest alone; a lab that is whole costs it a look. A node's cables
are laid as soon as the node has started, while others are still starting, and no service waits
for its wires. The lab is ready when it has answered from across the wires.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from lab.engine import containers, lock, scratch
from lab.engine.client import client
from lab.engine.containers import Container
from lab.engine.fabric import Fabric
from lab.engine.interrupt import put_off
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC, NodePlan, Plan
from lab.errors import EngineError, LabBusy, NodeFailed, UsageError
from lab.services import Question

READY_SECONDS = 30.0  # ten times what the slowest machine measured has needed
ENDED_SECONDS = 2.0  # for the engine to notice that a machine has ended
SOUND_SECONDS = 3.0  # for a node that ran before: does it still answer?

Progress = Callable[[str], None]


def up(plan: Plan, progress: Progress = lambda line: None) -> Lab:
    """Make the lab of `plan` whole and wait until it answers across the wires.

    Raises LabBusy, NodeFailed (naming the node, with its last output) or EngineError. If it is
    interrupted, or fails on a lab that was not there before, it removes what it has made.
    """
    names = [plan.container(node) for node in (FABRIC, *plan.nodes)]
    with lock.changing(plan.lab, "lab up", names) as unfinished:
        containers.settle(plan.lab, unfinished)
        found = {container.node: container for container in containers.find(plan.lab)}
        _same_plan(plan, found)
        started = containers.described(next(iter(found.values())))[2] if found else time.time()
        try:
            return _Up(plan, started, found, progress).run()
        except BaseException:
            if not found:
                with put_off():
                    remove(plan.lab)
            raise


def down(lab: str) -> int:
    """Remove everything of `lab`; the number of containers removed. Raises LabBusy.

    A Ctrl-C meanwhile counts once it is done.
    """
    with put_off(), lock.changing(lab, "lab down") as unfinished:
        containers.settle(lab, unfinished)
        count = remove(lab)
        lock.tidy(lock.faults(lab))
        scratch.tidy(lab)
        return count


def sweep() -> list[str]:
    """Remove the labs of scenarios whose process is gone (killed); their names."""
    labelled = {one.lab for one in containers.find() if containers.LABEL_SCENARIO in one.labels}
    swept = []
    for lab in sorted(labelled | lock.owned()):
        try:
            with lock.changing(lock.owner(lab), "lab down"):
                down(lab)
        except LabBusy:
            continue  # its scenario is running
        swept.append(lab)
    return swept


def remove(lab: str) -> int:
    """Remove the containers of `lab`, and with the fabric its wires; how many there were.

    It looks again until there are none, should somebody be making more without our lock.
    """
    count = 0
    while found := containers.find(lab):
        containers.remove(found)
        count += len(found)
    return count


def _same_plan(plan: Plan, found: dict[str, Container]) -> None:
    for container in found.values():
        data, scale, _, digest = containers.described(container)
        if digest != plan.digest:
            option = "" if plan.lab == "lab" else f"--lab {plan.lab} "
            raise UsageError(
                f"lab '{plan.lab}' is up with topology '{data['name']}' at time scale {scale:g}, "
                "and a running lab keeps its topology",
                hint=f"lab {option}down, or give the new one a name: lab --lab NAME up …",
            )


class _Up:
    """One run of `up`: which nodes were there, which are started now, and what they answer."""

    def __init__(
        self, plan: Plan, started: float, found: dict[str, Container], progress: Progress
    ) -> None:
        self.plan = plan
        self.started = started
        self.found = found
        self.progress = progress
        self.fresh: set[str] = set()  # nodes that had to be started
        self.made: set[str] = set()  # those of them that were not there at all
        self.processes: dict[str, int] = {}
        self.lab = Lab(plan, started, {})
        self.cancelled = threading.Event()

    def run(self) -> Lab:
        # Those with the most services first: they start while the others are still being made.
        nodes = sorted(self.plan.nodes.values(), key=lambda node: -len(self.plan.health(node.name)))
        pool = ThreadPoolExecutor(8)
        try:
            fabric_ready = pool.submit(self._ensure, self.plan.fabric())
            work = {pool.submit(self._ensure, node): node for node in nodes}
            fabric_ready.result()
            with Fabric.of(self.lab.containers[FABRIC], fresh=FABRIC in self.made) as fabric:
                fabric.bridges(self.plan.networks)
                for done in as_completed(work):
                    done.result()
                    self._plug(fabric, work[done])
                self._make_sound(fabric)
                self._wait_ready(fabric)
                fabric.record(self.plan.networks)  # from here on: our own calls tell nobody a thing
        finally:
            # The engine finishes what it has begun; nothing new is begun.
            self.cancelled.set()
            with put_off():
                pool.shutdown()
        return self.lab

    def _ensure(self, node: NodePlan) -> None:
        """The container of `node` runs when this returns."""
        if self.cancelled.is_set():
            return
        there = self.found.get(node.name)
        if there is not None and there.state in ("created", "dead", "removing"):
            # Beyond help, or half-made by an `up` that was killed.
            containers.remove([there])
            there = None
        if there is not None and there.state == "running" and FABRIC in self.found:
            identity = there.id
        elif there is not None and there.state == "running":
            # With the fabric went the journal of what was done to it: anew, it is as it should be.
            self.progress(f"restarting {node.name}, whose fabric is gone")
            self.fresh.add(node.name)
            identity = there.id
            client().api.restart(identity, timeout=1)
        else:
            self.progress(f"starting {node.name}")
            self.fresh.add(node.name)
            if there is None:
                self.made.add(node.name)
            identity = there.id if there else containers.create(self.plan, node, self.started)
            if there is not None and there.state == "paused":
                client().api.unpause(identity)
            else:
                containers.start(identity, node.name)
        self.lab.containers[node.name] = identity
        self.processes[node.name] = containers.process(identity)

    def _plug(self, fabric: Fabric, node: NodePlan) -> None:
        try:
            if node.files:
                fabric.configure(node.files, self.processes[node.name])
            for interface in node.interfaces:
                fabric.plug(interface, node.routes, self.processes[node.name], anew=True)
        except EngineError as error:
            # There is no plugging a cable into a machine that has ended meanwhile; the engine
            # hears of its end a little later than we do.
            deadline = time.monotonic() + ENDED_SECONDS
            while containers.process(self.lab.containers[node.name]):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            raise self._failure(node.name, "ended while the lab came up") from error

    def _make_sound(self, fabric: Fabric) -> None:
        """Restart nodes that were running but whose services no longer answer."""
        asked = [
            (self.processes[node], question)
            for node in self.plan.nodes
            if node not in self.fresh
            for question in self.plan.health(node)
        ]
        silent = {question.node for question, _ in fabric.answering(asked, SOUND_SECONDS)}
        for node in sorted(silent):
            self.progress(f"restarting {node}, whose services do not answer")
            client().api.restart(self.lab.containers[node], timeout=1)
            self.processes[node] = containers.process(self.lab.containers[node])
            self._plug(fabric, self.plan.nodes[node])

    def _wait_ready(self, fabric: Fabric) -> None:
        """Until everything has answered across the wires; a node that has died ends the wait."""
        self.progress("waiting for answers across the wires")
        asked = [(self.processes[vantage], question) for vantage, question in self.plan.readiness()]
        deadline = time.monotonic() + READY_SECONDS
        while True:
            silent = fabric.answering(asked, seconds=1.0)
            if not silent:
                return
            # Who has answered is left in peace: a log full of our calls hides what is wrong.
            unanswered = {question for question, _ in silent}
            asked = [(process, question) for process, question in asked if question in unanswered]
            self._look_for_dead()
            if time.monotonic() > deadline:
                raise self._unanswered(silent)

    def _look_for_dead(self) -> None:
        for container in containers.find(self.plan.lab):
            if container.state != "running":
                raise self._failure(container.node, "ended while the lab came up")

    def _unanswered(self, silent: list[tuple[Question, str]]) -> NodeFailed:
        question, error = silent[0]
        return self._failure(
            question.node, f"does not answer ({question.what}: {error}) after {READY_SECONDS:g} s"
        )

    def _failure(self, node: str, what: str) -> NodeFailed:
        identity = self.lab.containers[node]
        return NodeFailed(
            f"node '{node}' {what}",
            detail=containers.last_output(identity),
            hint="lab doctor; then lab up again",
        )
