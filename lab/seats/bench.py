"""How fast a program starts in a seat, beside one that the engine starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from lab.engine.bench import Timing
from lab.engine.plan import plan
from lab.errors import UsageError
from lab.prepare import own_lab
from lab.seats.seat import seats
from lab.seats.ssh import connect
from lab.topology.model import Topology

OPENINGS = 10


def bench_exec(
    topology: Topology, rounds: int, progress: Callable[[str], None] = lambda line: None
) -> list[Timing]:
    """Time `true` in an open seat and by the engine, `rounds` times in turn; and an opening.

    Raises UsageError for a topology without seats.
    """
    if not seats(topology):
        raise UsageError(f"nobody sits in '{topology.name}'", hint="lab bench exec textbook")
    seat = seats(topology)[0]
    taken: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        began = time.monotonic()
        work()
        taken.setdefault(what, []).append(time.monotonic() - began)

    def opened() -> None:
        with connect(lab, seat):
            pass

    with own_lab(plan(topology, f"bench-{os.urandom(2).hex()}"), "lab bench exec") as lab:
        opened()
        progress(f"{OPENINGS} openings, {rounds} rounds")
        for _ in range(OPENINGS):
            timed("to open a seat, and close it", opened)
        with connect(lab, seat) as seated:
            for _ in range(rounds):
                timed("a program in a seat", lambda: seated.run(["true"]))
                timed("a program by the engine", lambda: lab.run(seat.node, ["true"]))
    return [Timing(what, tuple(seconds)) for what, seconds in taken.items()]
