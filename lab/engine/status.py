"""How a lab is: whether each node's services listen, and each cable is in.

Looking leaves no trace: no service is called, so none logs a visitor, and no capture sees one.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lab.engine import containers
from lab.engine.client import client
from lab.engine.plan import FABRIC

if TYPE_CHECKING:
    from lab.engine.containers import Container
    from lab.engine.lab import Lab

STARTING_SECONDS = 10  # how long after its start a silent node may still be on its way


def status(lab: Lab) -> dict[str, Any]:
    """The lab as `lab status --json` prints it.

    A node is `ready` (running, and its services listen), `starting`, `off` (not running) or
    `broken` (frozen, or running without its services).
    """
    found = {container.node: container for container in containers.find(lab.name)}
    running = {
        node: process
        for node, container in found.items()
        if container.state == "running" and (process := containers.process(container.id))
    }
    silent: set[str] = set()
    ports: dict[str, bool] = {}
    frozen: set[str] = set()
    faults: list[dict[str, Any]] = []
    if FABRIC in running:
        asked = [
            (running[node], question)
            for node in lab.plan.nodes
            if node in running
            for question in lab.plan.health(node)
        ]
        with lab.fabric() as fabric:
            ports = fabric.interfaces()
            silent = {question.node for question in fabric.deaf(asked)}
            frozen = {node for node in running if fabric.frozen(running[node])}
            faults = [_fault(noted) for noted in fabric.noted()]
    return {
        "lab": lab.name,
        "topology": lab.plan.topology.name,
        "time_scale": lab.plan.site.time_scale,
        "started": lab.clock.started,
        "lab_seconds": round(lab.clock.lab_time(time.time()), 1),
        "nodes": [
            {
                "name": name,
                "kind": node.kind,
                "state": _state(found.get(name), name in running, name in silent, name in frozen),
                "addresses": [str(interface.address.ip) for interface in node.interfaces],
                "hostname": lab.plan.site.hostname(name),
                "container": lab.plan.container(name),
            }
            for name, node in lab.plan.nodes.items()
        ],
        "links": [
            {
                "node": name,
                "network": interface.network,
                "interface": interface.name,
                "state": "up" if ports.get(interface.port) else "down",
            }
            for name, node in lab.plan.nodes.items()
            for interface in node.interfaces
        ],
        "faults": faults,
    }


def _fault(noted: dict[str, Any]) -> dict[str, Any]:
    """A fault that is on, as it was written down."""
    named = {"name": noted["fault"], "targets": [noted["target"]]}
    return named | {key: noted[key] for key in ("id", "parameters", "state", "applied", "until")}


def _state(container: Container | None, runs: bool, silent: bool, frozen: bool) -> str:
    if container is None or (container.state != "paused" and not runs):
        return "off"
    if container.state == "paused" or frozen:
        return "broken"
    if container.state == "running" and not silent:
        return "ready"
    inspected = client().api.inspect_container(container.id)["State"]
    started = datetime.fromisoformat(inspected["StartedAt"]).timestamp()
    return "starting" if time.time() - started < STARTING_SECONDS else "broken"
