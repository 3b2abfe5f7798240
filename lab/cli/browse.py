"""`lab browse`: the user's own browser, in somebody's chair."""

from __future__ import annotations

import time

import click

from lab.cli import _complete
from lab.cli._output import note

_LOOK_SECONDS = 0.2


@click.command(short_help="Your own browser, in somebody's chair")
@click.option(
    "--browser",
    metavar="PROGRAM",
    help="Chromium, Chrome, Edge or Firefox; default: what is there.",
)
@click.argument("said", metavar="SEAT", shell_complete=_complete.seats)
@click.argument("url", default="")
@click.pass_obj
def command(lab_name: str, browser: str | None, said: str, url: str) -> None:
    """Open URL in a browser on this machine whose every request starts at SEAT.

    It has a profile of its own, which is gone when you close it; it reaches the lab and nothing
    else.

    \b
    Example:
      lab browse alice http://mail.sender.example/
    """
    from lab.engine.lab import Lab
    from lab.errors import NodeFailed
    from lab.seats.browser import installed, opened
    from lab.seats.forward import Wanted, forwarding
    from lab.seats.seat import find
    from lab.seats.ssh import connect

    program = installed(browser)
    lab = Lab.attach(lab_name)
    seat = find(lab.plan.topology, said)
    with (
        connect(lab, seat) as seated,
        forwarding(seated, [Wanted(0)], note) as (port,),
        opened(program, url, port.port) as running,
    ):
        note(f"{program} is at {seat}; close it, or Ctrl-C")
        while seated.alive and running.poll() is None:
            time.sleep(_LOOK_SECONDS)
        if running.poll() is None:
            raise NodeFailed(f"{seat.node} has gone", hint="lab status")
