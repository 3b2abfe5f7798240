"""How fast a lab comes up and goes, against the floor: its bare containers, started in parallel.

Everything is measured in one process and in turn, round after round, so that a machine that
slows down slows all of them down. The floor does the least that any tool could: create and start
the same containers from the same images with the same options, running `sleep`; no wires, no
services, nothing is waited for. Removing them is the floor of taking a lab down.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.engine import containers
from lab.engine.client import client, in_parallel
from lab.engine.lifecycle import down, up
from lab.engine.plan import Plan, plan
from lab.topology.model import Topology


@dataclass(frozen=True)
class Timing:
    """Real seconds that something took, in each round."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def bench_up(
    topology: Topology, rounds: int, progress: Callable[[str], None] = lambda line: None
) -> list[Timing]:
    """Time floor, lab and (where it is installed) docker-compose, `rounds` times each in turn."""
    name = f"bench-{os.urandom(2).hex()}"
    planned = plan(topology, name)
    contenders: dict[str, Callable[[], tuple[float, float]]] = {
        "bare containers": lambda: _floor(planned),
        "lab": lambda: _lab(planned),
    }
    compose = _compose()
    if compose:
        contenders["docker-compose"] = lambda: _composed(compose, planned)
    for warm_up in contenders.values():
        warm_up()
    taken: dict[str, list[tuple[float, float]]] = {what: [] for what in contenders}
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}")
        for what, measure in contenders.items():
            taken[what].append(measure())
    return [
        Timing(f"{what}, {direction}", tuple(pair[index] for pair in taken[what]))
        for index, direction in enumerate(("up", "down"))
        for what in contenders
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _floor(planned: Plan) -> tuple[float, float]:
    def one(node: str) -> None:
        part = planned.fabric() if node == "fabric" else planned.nodes[node]
        identity = containers.create(planned, part, time.time(), command=["sleep", "infinity"])
        client().api.start(identity)

    try:
        started = _timed(lambda: in_parallel(one, ["fabric", *planned.nodes]))
    finally:
        removed = _timed(lambda: containers.remove(containers.find(planned.lab)))
    return started, removed


def _lab(planned: Plan) -> tuple[float, float]:
    try:
        started = _timed(lambda: up(planned))
    finally:
        removed = _timed(lambda: down(planned.lab))
    return started, removed


def _compose() -> list[str] | None:
    """How docker-compose is called here, if it is installed."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if shutil.which("docker"):
        asked = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return plugin
    return None


def _composed(compose: list[str], planned: Plan) -> tuple[float, float]:
    """The same images on Docker's own networks, with addresses of its choice; not until ready."""
    services = {
        name: {
            "image": node.image,
            "init": True,
            "command": ["sleep", "infinity"],
            "networks": [interface.network for interface in node.interfaces],
        }
        for name, node in planned.nodes.items()
    }
    networks: dict[str, dict[str, str]] = {name: {} for name in planned.networks}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "docker-compose.yml"
        text = {"version": "3.7", "services": services, "networks": networks}
        file.write_text(json.dumps(text))
        call = [*compose, "-p", planned.lab, "-f", str(file)]

        def run(*arguments: str) -> None:
            subprocess.run([*call, *arguments], capture_output=True, check=True)

        # init came with 3.7 of the file format; -t 0: don't wait for sleep to end by itself.
        try:
            started = _timed(lambda: run("up", "-d"))
        finally:
            removed = _timed(lambda: run("down", "-t", "0"))
    return started, removed


def bench_command(argv: list[str], what: str, rounds: int) -> list[Timing]:
    """Time a command as a whole process."""

    def run() -> None:
        subprocess.run(argv, capture_output=True, check=True)

    run()
    return [Timing(what, tuple(_timed(run) for _ in range(rounds)))]
