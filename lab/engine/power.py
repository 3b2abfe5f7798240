"""A node's power switch, and its plug.

Cutting the power means: the cable first, then the machine. The other way round the dying kernel
would still say goodbye (a FIN) to everyone, which a machine without power does not.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from lab.engine import containers
from lab.engine.client import client
from lab.errors import NodeFailed

if TYPE_CHECKING:
    from lab.engine.lab import Lab

BOOT_SECONDS = 30.0


BY_HAND = "hand"
_POWER = "power"


def set_cables(lab: Lab, node: str, *, up: bool, owner: str = BY_HAND) -> None:
    """Push in, or pull out, all cables of `node` at the far end from it.

    One that several have pulled is in when all of them have pushed it in.
    """
    with lab.fabric() as fabric:
        for interface in lab.plan.nodes[node].interfaces:
            (fabric.push if up else fabric.pull)(interface, owner)


def off(lab: Lab, node: str) -> None:
    """Cut the power of `node`. What it had on its disk stays; nothing else does.

    A node that is off already stays off.
    """
    from docker.errors import APIError

    if containers.process(lab.container(node)):
        set_cables(lab, node, up=False, owner=_POWER)
        _unpause(lab, node)  # nothing it still says is heard
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
    set_cables(lab, node, up=True, owner=_POWER)
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


# All but init (process 1) and this shell itself, which kill(2) spares; again, until no child that
# was being born is left. Not by the engine's pause: a program that it starts in that instant hangs
# for ever half-made, and with it every question about the container (Docker 20.10).
_STOP = """
    goes_on() {
        for stat in /proc/[0-9]*/stat; do
            read -r line 2>&- < "$stat" || continue
            case ${line%% *} in 1|$$) continue ;; esac
            case ${line##*) } in [TtZX]*) ;; *) return 0 ;; esac
        done
        return 1
    }
    kill -STOP -1
    while goes_on; do kill -STOP -1; done
"""


def freeze(lab: Lab, node: str) -> None:
    """Stop every process of `node` where it is: its kernel still answers, nobody else does."""
    lab.run(node, ["sh", "-c", _STOP]).check(f"freezing {node}")


def thaw(lab: Lab, node: str) -> None:
    """Let the processes of `node` go on; one that is off, or was not frozen, is left as it is."""
    if not containers.process(lab.container(node)):
        return
    _unpause(lab, node)
    lab.run(node, ["sh", "-c", "kill -CONT -1 || :"]).check(f"thawing {node}")


def frozen(lab: Lab, node: str) -> bool:
    """Whether the processes of `node` are stopped."""
    process = containers.process(lab.container(node))
    if not process:
        return False
    with lab.fabric() as fabric:
        return fabric.frozen(process)


def _unpause(lab: Lab, node: str) -> None:
    """Undo what somebody else may have done, by the engine (docker pause)."""
    from docker.errors import APIError

    with suppress(APIError):  # nearly always: it is not paused
        client().api.unpause(lab.container(node))


def _wait_for(lab: Lab, node: str, *, running: bool) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while bool(containers.process(lab.container(node))) != running:
        if time.monotonic() > deadline:
            raise NodeFailed(f"node '{node}' does not obey its power switch", hint="lab status")
        time.sleep(0.005)
