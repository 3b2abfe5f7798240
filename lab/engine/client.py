"""Connections to the Docker engine, one for each thread (the SDK is not thread-safe)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lab.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

LABEL_LAB = "maillab.lab"
LABEL_NODE = "maillab.node"
LABEL_KIND = "maillab.kind"

_T = TypeVar("_T")
_R = TypeVar("_R")

_local = threading.local()
_api_version: str | None = None  # asked once, so that further threads save the question


def sdk() -> Any:
    """The SDK. Unless DOCKER_HOST wants it, without its own SSH, which is slow to import."""
    if not os.environ.get("DOCKER_HOST", "").startswith("ssh:"):
        # It can do without, as where paramiko is missing: to it this is an ImportError.
        cast(dict[str, Any], sys.modules).setdefault("docker.transport.sshconn", None)
    import docker

    return docker


def client() -> DockerClient:
    """This thread's client, honouring DOCKER_HOST. Raises EngineError if no engine answers."""
    global _api_version
    found: DockerClient | None = getattr(_local, "client", None)
    if found is None:
        docker = sdk()
        from docker.errors import DockerException

        try:
            found = docker.from_env(version=_api_version or "auto", timeout=60)
        except DockerException as error:
            raise EngineError(
                "no Docker engine answers", detail=str(error), hint="lab doctor --fix"
            ) from error
        _api_version = found.api.api_version
        _local.client = found
    return found


def in_parallel(work: Callable[[_T], _R], items: Iterable[_T], threads: int = 8) -> list[_R]:
    """`work` done on every item, results in order; the first error is raised once all are done.

    Waiting for all of them is deliberate: when one container fails, none of the others must be
    left half-made behind our back.
    """
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(min(threads, len(todo))) as pool:
        futures = [pool.submit(work, item) for item in todo]
    return [future.result() for future in futures]
