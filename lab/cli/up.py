"""`lab up`: the lab stands, ready, when this returns."""

from __future__ import annotations

import time

import click

from lab.cli import _complete
from lab.cli._output import emit_json, fix_option, note


@click.command(short_help="Put the lab up, or make it whole again")
@click.argument("topology", default="textbook", shell_complete=_complete.topologies)
@click.option(
    "--time-scale",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Lab seconds in one real second; 1 is the real thing. Default: the topology's own.",
)
@fix_option
@click.option("--json", "as_json", is_flag=True, help="Print the lab's status as JSON.")
@click.pass_obj
def command(
    lab_name: str, topology: str, time_scale: float | None, fix: bool, as_json: bool
) -> None:
    """Put up the lab of TOPOLOGY (a name, or a file; default: textbook) and wait until it answers.

    On a lab that is up it repairs: what is missing is made, what has stopped is started, what
    hangs loose is plugged in, and the rest is left alone.

    \b
    Example:
      lab up                           the textbook's picture
      lab up textbook --time-scale 1   with real half hours between two tries
      lab --lab second up              another one beside it, with the same addresses
    """
    from lab.engine import interrupt
    from lab.prepare import engine_ready, put_up

    if fix:
        engine_ready()
    began = time.monotonic()
    lab = put_up(lab_name, topology, time_scale)
    with interrupt.ignored():  # "interrupted" would mean that the lab is not there
        if as_json:
            emit_json(lab.state())
            return
        from lab.views.picture import picture

        click.echo(picture(lab.plan))
        note(f"lab '{lab.name}' is ready after {time.monotonic() - began:.2f} s")
