"""`lab forward`: ports of this machine that lead into the lab."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lab.cli import _complete
from lab.cli._output import note

if TYPE_CHECKING:
    from lab.seats.seat import Seat
    from lab.services import Site

_LOOK_SECONDS = 0.2


@click.command(short_help="Ports of this machine that lead into the lab")
@click.option(
    "--seat",
    "said",
    metavar="SEAT",
    shell_complete=_complete.seats,
    help="Where the connections start: bob@receiver-pc. Default: on the network of HOST.",
)
@click.option(
    "--socks",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="A port that leads wherever the caller says (SOCKS 5); 0: any free one.",
)
@click.argument("ports", nargs=-1, metavar="[[PORT:]HOST:PORT]...")
@click.pass_obj
def command(lab_name: str, said: str | None, socks: int | None, ports: tuple[str, ...]) -> None:
    """Open ports on 127.0.0.1 that lead to HOST in the lab, until Ctrl-C.

    Whatever connects there, your mail program say, speaks as if it ran at SEAT: the traffic starts
    at that machine and crosses the lab's wires. Without a PORT of its own it gets a free one.

    \b
    Example:
      lab forward 1143:mail.receiver.example:143 1587:mail.receiver.example:587
      lab forward --seat alice mail.sender.example:110
      lab forward --seat bob --socks 1080
    """
    from lab.engine.lab import Lab
    from lab.seats.forward import LOCALHOST, Wanted, forwarding, wanted
    from lab.seats.seat import find, nearest
    from lab.seats.ssh import connect

    all_wanted = [wanted(port) for port in ports]
    if socks is not None:
        all_wanted.append(Wanted(socks))
    if not all_wanted:
        raise click.UsageError("which port? 8080:mail.receiver.example:80, say, or --socks 1080")
    lab = Lab.attach(lab_name)
    site = lab.plan.site
    all_wanted = [replace(one, host=_known(site, one.host)) for one in all_wanted]
    seat = find(site.topology, said) if said is not None else nearest(site, all_wanted[0].host)
    with connect(lab, seat) as seated, forwarding(seated, all_wanted, note) as opened:
        for one in opened:
            click.echo(f"{LOCALHOST}:{one.port} → {one.to}, from {seat}")
        note("Ctrl-C ends it")
        while seated.alive:
            time.sleep(_LOOK_SECONDS)
    _gone(seat)


def _known(site: Site, host: str) -> str:
    """The DNS's name for a machine that is named as it is in the topology."""
    return site.hostname(host) if host in site.topology.nodes else host


def _gone(seat: Seat) -> None:
    from lab.errors import NodeFailed

    raise NodeFailed(f"{seat.node} has gone", hint="lab status")
