"""`lab down`: nothing is left."""

from __future__ import annotations

import click

from lab.cli._output import note


@click.command(short_help="Take the lab down; nothing is left")
@click.option("--all", "every", is_flag=True, help="Every lab on this engine, not only this one.")
@click.pass_obj
def command(lab_name: str, every: bool) -> None:
    """Take the lab down: its containers and wires, also what a killed `lab up` left.

    Mail in its queues and mailboxes goes with it.

    \b
    Example:
      lab down
      lab down --all
    """
    from lab.engine import containers
    from lab.engine.lifecycle import down, sweep
    from lab.errors import LabBusy
    from lab.seats import openssh

    for name in sweep():
        openssh.forget(name)
        note(f"removed '{name}', left by a scenario that was killed")
    names = sorted({found.lab for found in containers.find()}) if every else [lab_name]
    busy: LabBusy | None = None
    for name in names:
        try:
            count = down(name)
        except LabBusy as error:  # the others need not wait for it
            busy = busy or error
            continue
        openssh.forget(name)
        note(
            f"lab '{name}' is down ({count} containers removed)"
            if count
            else f"lab '{name}' was not up"
        )
    if busy:
        raise busy
    if not names:
        note("no lab was up")
