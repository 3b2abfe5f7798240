"""`lab ssh`: sit down at somebody's machine."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from lab.cli import _complete

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.seats.seat import Seat


@click.command(
    context_settings={"ignore_unknown_options": True}, short_help="Sit down at somebody's PC"
)
@click.option("--stdio", is_flag=True, hidden=True, help="Be ssh's line to the machine SEAT.")
@click.argument("seat", shell_complete=_complete.seats)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD [ARG]...]")
@click.pass_obj
def command(lab_name: str, stdio: bool, seat: str, argv: tuple[str, ...]) -> None:
    """Log in at SEAT, somebody at a PC (bob@receiver-pc, or just bob), or run CMD there.

    By SSH, through the engine: no port is open anywhere. For your own ssh, scp, rsync and
    editors: lab ssh-config.

    \b
    Example:
      lab ssh bob
      lab ssh bob@receiver-pc -- mutt
      lab ssh alice -- tcpdump -n -c 5 > frames.txt
    """
    from lab.engine.interactive import join_pipes
    from lab.engine.lab import Lab
    from lab.seats.keys import keys
    from lab.seats.openssh import store
    from lab.seats.seat import find
    from lab.seats.ssh import pipe

    lab = Lab.attach(lab_name)
    sitting = find(lab.plan.topology, seat)
    if not stdio:
        sys.exit(_sit(lab, sitting, argv))
    found = keys(lab)
    store(lab.name, found)
    with suppress(KeyboardInterrupt), pipe(lab, sitting, found) as program:
        join_pipes(program)  # until ssh hangs up (SIGHUP), as it does when it is done


def _sit(lab: Lab, seat: Seat, argv: tuple[str, ...]) -> int:
    from lab.engine.interactive import (
        join_pipes,
        join_terminal,
        on_a_terminal,
        terminal_size,
        terminal_type,
    )
    from lab.errors import NodeFailed
    from lab.seats.ssh import connect

    tty = on_a_terminal()
    terminal = (terminal_type(), *terminal_size()) if tty else None
    with connect(lab, seat) as seated, seated.program(argv, terminal=terminal) as program:
        status = join_terminal(program) if tty else join_pipes(program)
        if status < 0 and not seated.alive:
            raise NodeFailed(f"{seat.node} has gone", hint="lab status")
    return status if status >= 0 else 255  # as ssh(1) says it
