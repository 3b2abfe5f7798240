"""`lab browse`: the user's own browser, in somebody's chair."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from lab.cli import _complete
from lab.cli._output import note

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.seats.seat import Seat

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

    Without URL it is the web mail of whoever sits there, where their server has that (lab up
    webmail). The browser has a profile of its own, which is gone when you close it; it reaches the
    lab and nothing else.

    \b
    Example:
      lab browse alice
      lab browse alice http://mail.receiver.example/
    """
    from lab.engine.lab import Lab
    from lab.errors import NodeFailed
    from lab.seats.browser import installed, opened
    from lab.seats.forward import Wanted, forwarding
    from lab.seats.openssh import folder
    from lab.seats.seat import find
    from lab.seats.ssh import connect

    program = installed(browser)
    lab = Lab.attach(lab_name)
    seat = find(lab.plan.topology, said)
    url = url or _web_mail(lab, seat)
    with (
        connect(lab, seat) as seated,
        forwarding(seated, [Wanted(0)]) as (port,),
        opened(program, url, port.port, folder(lab.name)) as running,
    ):
        note(f"{program} is at {seat}; close it, or Ctrl-C")
        while seated.alive and running.poll() is None:
            time.sleep(_LOOK_SECONDS)
        if running.poll() is None:
            raise NodeFailed(f"{seat.node} has gone", hint="lab status")


def _web_mail(lab: Lab, seat: Seat) -> str:
    """Where whoever sits there has web mail. Raises UsageError if they have none."""
    from lab.errors import UsageError
    from lab.services import webmail
    from lab.services.pc import server_of

    site = lab.plan.site
    url = webmail.url(site, seat.address)
    if url is None:
        raise UsageError(
            f"{site.hostname(server_of(site, seat.address))} has no web mail to open",
            hint=f"say what to open (lab browse {seat.login} URL), or: lab --lab NAME up webmail",
        )
    return url
