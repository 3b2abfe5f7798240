"""Containers of a lab: found by label, made, started, removed. Nothing here knows what they do."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.engine.client import LABEL_KIND, LABEL_LAB, LABEL_NODE, client, in_parallel
from lab.engine.plan import FABRIC, NodePlan, Plan
from lab.errors import EngineError, LabError, NodeFailed

LABEL_TOPOLOGY = "maillab.topology"
LABEL_SCALE = "maillab.time-scale"
LABEL_STARTED = "maillab.started"
LABEL_DIGEST = "maillab.plan"
LABEL_SCENARIO = "maillab.scenario"

_REMOVE_SECONDS = 30.0
_MAKE_SECONDS = 30.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Container:
    """A container as the engine lists it; `state` is Docker's word (`running`, `exited`, …)."""

    id: str
    name: str
    lab: str
    node: str
    state: str
    labels: dict[str, str]


def find(lab: str | None = None) -> list[Container]:
    """All containers of `lab`, running or not; of every lab if None."""
    wanted = LABEL_LAB if lab is None else f"{LABEL_LAB}={lab}"
    return [
        Container(
            id=item["Id"],
            name=item["Names"][0].lstrip("/") if item["Names"] else item["Id"][:12],
            lab=item["Labels"][LABEL_LAB],
            node=item["Labels"].get(LABEL_NODE, ""),
            state=item["State"],
            labels=item["Labels"],
        )
        for item in client().api.containers(all=True, filters={"label": [wanted]})
    ]


def labels(plan: Plan, node: NodePlan, started: float) -> dict[str, str]:
    """The labels of a node's container; those of the whole lab are on each of them."""
    owned = {LABEL_SCENARIO: plan.scenario} if plan.scenario else {}
    return owned | {
        LABEL_LAB: plan.lab,
        LABEL_NODE: node.name,
        LABEL_KIND: node.kind,
        LABEL_DIGEST: plan.digest,
        LABEL_STARTED: f"{started:.3f}",
        LABEL_SCALE: repr(plan.site.time_scale),
        LABEL_TOPOLOGY: plan.topology.model_dump_json(exclude_defaults=True),
    }


def create(
    plan: Plan, node: NodePlan, started: float, command: Sequence[str] = ("/lab/start",)
) -> str:
    """Make the container of `node`, not yet started. Its ID."""
    from docker.errors import APIError, ImageNotFound
    from docker.types import LogConfig

    api = client().api
    is_fabric = node.name == FABRIC
    host_config = api.create_host_config(
        network_mode="none",
        init=True,
        cap_drop=["ALL"],
        cap_add=list(node.capabilities),
        sysctls=node.sysctls,
        # Without any, Docker hands over those of its host.
        dns=list(node.resolvers) or ["127.0.0.1"],
        dns_search=["."],
        extra_hosts=_own_names(plan, node),
        tmpfs=node.ram_disks or None,
        pid_mode="host" if is_fabric else None,
        security_opt=["apparmor=unconfined"] if is_fabric else None,
        log_config=LogConfig(type="json-file"),
    )
    name = plan.container(node.name)
    try:
        made = api.create_container(
            node.image,
            command=list(command),
            name=name,
            hostname=node.name,
            stdin_open=is_fabric,  # its main program is the agent, which takes requests
            labels=labels(plan, node, started),
            host_config=host_config,
            use_config_proxy=False,  # the way out of this machine, and perhaps a password for it
        )
    except ImageNotFound as error:
        raise EngineError(
            f"image {node.image} is missing", where=node.name, hint="lab images build"
        ) from error
    except APIError as error:
        if error.status_code == 409:
            raise EngineError(
                f"the container name {name} is taken by a container that is not this lab's",
                where=node.name,
                hint=f"choose another name (lab --lab NAME up), or: docker rm -f {name}",
            ) from error
        raise _refused(error, f"could not make node {node.name}") from error
    identity: str = made["Id"]
    return identity


def _own_names(plan: Plan, node: NodePlan) -> dict[str, str]:
    """A machine knows itself without the DNS (/etc/hosts).

    Else its services would ask as they start, before the name server's cable is in, and a router
    that has called for a machine in vain calls again only a second later.
    """
    if not node.interfaces:
        return {}
    own = str(node.interfaces[0].address.ip)
    names = {node.name: own, plan.site.hostname(node.name): own}
    if node.kind == "pc":
        names["UNKNOWN"] = "127.0.0.1"  # so sshd calls who speaks by a pipe, and looks it up
    return names


def start(identity: str, node: str) -> None:
    """Start (or thaw) a container. Raises NodeFailed with what the engine said."""
    from docker.errors import APIError

    try:
        client().api.start(identity)
    except APIError as error:
        raise _refused(error, f"could not start node {node}") from error


def revive(containers: Iterable[Container]) -> None:
    """Start those that have ended, thaw those that are frozen."""
    for one in containers:
        if one.state == "paused":
            client().api.unpause(one.id)
        elif one.state == "exited":
            start(one.id, one.node)


def _refused(error: Any, what: str) -> LabError:
    said = str(error.explanation or error)
    if "no space left" in said:
        return EngineError(
            f"{what}: the engine's disk is full",
            detail=said,
            hint="free some space (docker system df shows what Docker uses), then lab up again",
        )
    return NodeFailed(what, detail=said, hint="lab doctor")


def process(identity: str) -> int:
    """The process number (on the engine's machine) of a container's init; 0 if not running."""
    from docker.errors import NotFound

    try:
        return int(client().api.inspect_container(identity)["State"]["Pid"])
    except NotFound:
        return 0


def last_output(identity: str, lines: int = 20) -> str:
    """The last lines a node's programs wrote."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        output: bytes = client().api.logs(identity, tail=lines)
        return output.decode(errors="replace")
    return ""


def remove(containers: Iterable[Container]) -> None:
    """Remove containers, whatever their state; none is there any more when this returns."""
    in_parallel(_remove, containers)


def _remove(container: Container) -> None:
    from docker.errors import APIError, NotFound

    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            client().api.remove_container(container.id, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            # Somebody else is at it: they will finish.
            if "is already in progress" not in str(error) or time.monotonic() > deadline:
                raise EngineError(
                    f"could not remove {container.name}", detail=str(error.explanation)
                ) from error
            time.sleep(_POLL_SECONDS)
        else:
            return


def settle(lab: str, names: Iterable[str]) -> None:
    """Return once the engine is making none of the containers `names` of `lab` any more.

    It finishes what a client asked for that was killed meanwhile, and lists the container only
    then; but it takes its name at once. So a name that is taken, and no container's, is that of
    one in the making. A container of ours tries the names on.
    """
    from docker.errors import ImageNotFound

    there = find(lab)
    remove(container for container in there if not container.node)  # that of a settling killed
    unlisted = set(names) - {container.name for container in there}
    if not unlisted:
        return
    api = client().api
    try:
        trier = api.create_container(
            f"maillab/{FABRIC}",
            labels={LABEL_LAB: lab},
            host_config=api.create_host_config(network_mode="none"),
        )["Id"]
    except ImageNotFound:
        return  # without its image there was no lab to make
    try:
        for name in sorted(unlisted):
            _wait_while_made(trier, name)
    finally:
        api.remove_container(trier, force=True)


def _wait_while_made(trier: str, name: str) -> None:
    from docker.errors import APIError, NotFound

    api = client().api
    deadline = time.monotonic() + _MAKE_SECONDS
    while True:
        try:
            api.rename(trier, name)
            return
        except APIError as error:
            if error.status_code != 409:
                raise
        with contextlib.suppress(NotFound):
            api.inspect_container(name)
            return
        if time.monotonic() > deadline:
            raise EngineError(
                f"the engine has been making {name} for more than {_MAKE_SECONDS:g} s",
                hint="restart the Docker engine, then: lab down",
            )
        time.sleep(_POLL_SECONDS)


def described(container: Container) -> tuple[dict[str, Any], float, float, str]:
    """What a lab says of itself in any of its containers: topology, time scale, start, digest."""
    found = container.labels
    return (
        json.loads(found[LABEL_TOPOLOGY]),
        float(found[LABEL_SCALE]),
        float(found[LABEL_STARTED]),
        found[LABEL_DIGEST],
    )
