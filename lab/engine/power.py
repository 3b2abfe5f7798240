"""A node's power switch, and its plug.

Cutting the power means: the cable first, then the machine. The other way round the dying kernel
would still say goodbye (a FIN) to everyone, which a machine without power does not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.engine import containers
from lab.engine.client import client
from lab.errors import NodeFailed

if TYPE_CHECKING:
    from lab.engine.lab import Lab

BOOT_SECONDS = 30.0


def set_cables(lab: Lab, node: str, *, up: bool) -> None:
    """Push in, or pull out, all cables of `node` at the far end from it."""
    with lab.fabric() as fabric:
        for interface in lab.plan.nodes[node].interfaces:
            fabric.link(interface.port, up=up)


def off(lab: Lab, node: str) -> None:
    """Cut the power of `node`. What it had on its disk stays; nothing else does.

    A node that is off already stays off.
    """
    from docker.errors import APIError

    if containers.process(lab.container(node)):
        set_cables(lab, node, up=False)
        try:
            client().api.kill(lab.container(node))
        except APIError as error:
            if error.status_code != 409:  # it went off by itself this instant
                raise
    _wait_for(lab, node, running=False)


def on(lab: Lab, node: str) -> None:
    """Give `node` its power back, plug it in, and wait until its services answer.

    They are asked from the machine itself: nothing of it is on the wire. Raises NodeFailed, with
    the node's last output, if they do not.
    """
    containers.start(lab.container(node), node)
    process = lab.process(node)
    with lab.fabric() as fabric:
        lab.plug(fabric, node)
        silent = fabric.answering(
            [(process, question) for question in lab.plan.health(node)], BOOT_SECONDS
        )
    if silent:
        question, error = silent[0]
        raise NodeFailed(
            f"node '{node}' does not answer after its power came back ({question.what}: {error})",
            detail=containers.last_output(lab.container(node)),
            hint="lab up",
        )


def _wait_for(lab: Lab, node: str, *, running: bool) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while bool(containers.process(lab.container(node))) != running:
        if time.monotonic() > deadline:
            raise NodeFailed(f"node '{node}' does not obey its power switch")
        time.sleep(0.005)
