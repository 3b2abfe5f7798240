"""From what the user typed to a lab that stands: topology, images, engine, in that order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from lab.engine.lab import Lab
from lab.errors import LabNotUp, TopologyError
from lab.topology.check import check_schedule
from lab.topology.loader import load
from lab.topology.model import Topology

if TYPE_CHECKING:
    from lab.engine.lifecycle import Progress
    from lab.engine.plan import Plan
    from lab.faults.journal import Case


def load_for(source: str, time_scale: float | None = None) -> Topology:
    """The topology `source` (a name or a file), usable at `time_scale`. Raises TopologyError."""
    topology = load(source)
    if time_scale is not None:
        problems = check_schedule(topology.schedule, time_scale)
        if problems:
            raise TopologyError(problems)
    return topology


def put_up(name: str, source: str, time_scale: float | None = None) -> Lab:
    """`lab up`: load the topology, build what images are missing, heal what is wrong, reconcile."""
    from lab.engine.plan import plan
    from lab.views.progress import up_progress

    planned = plan(load_for(source, time_scale), name, time_scale)
    images_ready(planned)
    with up_progress() as progress:
        lab, healed, left = mended(planned, progress)
    for case in healed:
        click.echo(f"healed {case.id}: {case.fault.healed}", err=True)
    for case in left:
        click.echo(f"still on: {case.fault.title}; lab fault heal {case.id} says why", err=True)
    return lab


def mended(
    planned: Plan, progress: Progress = lambda line: None
) -> tuple[Lab, list[Case], list[Case]]:
    """The lab of `planned`, whole; the faults that were healed, and those that could not be.

    Raises what lab.engine.lifecycle.up raises.
    """
    from lab.engine import containers
    from lab.engine.lifecycle import up
    from lab.engine.plan import FABRIC
    from lab.faults import journal

    there = containers.find(planned.lab)
    healed = []
    with suppress(LabNotUp):
        # By the fabric: what a fault has done to a router outlives it, and is in our way.
        containers.revive(one for one in there if one.node == FABRIC)
        healed += journal.heal_all(Lab.attach(planned.lab)) if there else []
    lab = up(planned, progress)
    if there:
        # What could not be reached before can be now; of most nothing is left to be undone.
        healed += journal.heal_all(lab)
    return lab, healed, journal.cases(lab) if there else []


@contextmanager
def own_lab(planned: Plan, doing: str) -> Iterator[Lab]:
    """A fresh lab for one purpose, removed afterwards whatever happens.

    It is locked for as long as the block runs. Should this process be killed, the lock falls open,
    and the next `lab down` finds the lab ownerless and removes it.
    """
    from lab.engine import lock
    from lab.engine.lifecycle import down, up

    images_ready(planned)
    with lock.changing(lock.owner(planned.lab), doing):
        try:
            yield up(planned)
        finally:
            down(planned.lab)


def engine_ready() -> None:
    """Start an engine if none answers, installing it where that can be done; say what is done."""
    from lab.engine.provision import ensure_engine

    ensure_engine(lambda line: click.echo(f"engine: {line}", err=True))


def images_ready(planned: Plan | None = None) -> None:
    """Build what images are missing for this lab (or for most), showing how far it is."""
    from lab.engine import images
    from lab.engine.client import client
    from lab.views.progress import image_progress

    common = [image.name for image in images.IMAGES if image.common]
    needed = planned.images if planned else common
    if images.missing(client(), needed):
        with image_progress() as show:
            images.build(client(), show, needed)
