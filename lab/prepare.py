"""From what the user typed to a lab that stands: topology, images, engine, in that order."""

from __future__ import annotations

import click

from lab.engine.lab import Lab
from lab.errors import TopologyError
from lab.topology.check import check_schedule
from lab.topology.loader import load
from lab.topology.model import Topology


def load_for(source: str, time_scale: float | None = None) -> Topology:
    """The topology `source` (a name or a file), usable at `time_scale`. Raises TopologyError."""
    topology = load(source)
    if time_scale is not None:
        problems = check_schedule(topology.schedule, time_scale)
        if problems:
            raise TopologyError(problems)
    return topology


def put_up(name: str, source: str, time_scale: float | None = None) -> Lab:
    """`lab up`: load the topology, build what images are missing (showing it), reconcile."""
    from lab.engine.lifecycle import up
    from lab.engine.plan import plan
    from lab.views.progress import up_progress

    planned = plan(load_for(source, time_scale), name, time_scale)
    images_ready()
    with up_progress() as progress:
        return up(planned, progress)


def engine_ready() -> None:
    """Start an engine if none answers, installing it where that can be done; say what is done."""
    from lab.engine.provision import ensure_engine

    ensure_engine(lambda line: click.echo(f"engine: {line}", err=True))


def images_ready() -> None:
    """Build what images are missing, showing how far it is."""
    from lab.engine import images
    from lab.engine.client import client
    from lab.views.progress import image_progress

    if images.missing(client()):
        with image_progress() as show:
            images.build(client(), show)
