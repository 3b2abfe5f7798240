"""`lab soak`: a lot of mail, a lot of trouble, and whether any mail is lost by it."""

from __future__ import annotations

import os
import sys

import click

from lab.cli import _complete
from lab.cli._output import emit_json, fix_option, note

SCALE = 600.0  # half an hour between two tries lasts three seconds
_SECONDS_A_STRIKE = 3.0  # real: long enough for mail to be tried meanwhile
_LETTERS_A_SECOND = 10.0  # what two processors manage beside everything else
_REBUILT = 50  # letters whose packets stand in the events at once; of others lab trace reads them
_LINE_SECONDS, _TERMINAL_SECONDS = 10.0, 0.2  # between two lines about how far it is


@click.command(short_help="Much mail, much trouble: is any mail lost?")
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="The same seed, the same letters and trouble; default: any, which is told.",
)
@click.option("--messages", default=200, show_default=True, type=click.IntRange(1), help="Letters.")
@click.option("--faults", default=20, show_default=True, type=click.IntRange(0), help="Strikes.")
@click.option(
    "--only",
    metavar="FAULT,…",
    shell_complete=_complete.faults,
    help="Only these faults (lab fault list); default: all that can strike there.",
)
@click.option(
    "--duration",
    metavar="LABTIME",
    help="For how long they come, in lab time; default: 3 real seconds for each fault.",
)
@click.option(
    "--intensity",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0, 10, min_open=True),
    help="How many faults are on at a time, on average.",
)
@click.option(
    "--topology", default="textbook", show_default=True, shell_complete=_complete.topologies
)
@click.option("--time-scale", default=SCALE, show_default=True, type=click.FloatRange(1))
@click.option("--plan", "only_plan", is_flag=True, help="Print what would strike when, and end.")
@fix_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    seed: int | None,
    messages: int,
    faults: int,
    only: str | None,
    duration: str | None,
    intensity: float,
    topology: str,
    time_scale: float,
    only_plan: bool,
    fix: bool,
    as_json: bool,
) -> None:
    """Send mail among everybody in a lab of its own while faults strike at random, then count.

    Every letter that a server has acknowledged has to be delivered, returned to its sender, or
    still be queued; what comes twice must have its cause in a server's log. Ends with status 1 if
    not. All evidence is kept in runs/: lab trace MESSAGE --run RUN follows a letter to its packets.

    \b
    Example:
      lab soak --seed 7
      lab soak --messages 10000 --faults 500
      lab soak --only power-cut,service-killed --faults 50
    """
    from lab import record
    from lab.engine.plan import plan
    from lab.faults.fault import named
    from lab.observe.rebuild import rebuild
    from lab.prepare import engine_ready, load_for, own_lab
    from lab.soak.run import Spec, planned, soak, summary
    from lab.views import soak as view
    from lab.views.progress import up_progress

    seed = int.from_bytes(os.urandom(3)) if seed is None else seed
    seconds = _seconds(duration, faults, messages, time_scale)
    names = tuple(filter(None, (only or "").replace(" ", "").split(",")))
    for one in names:
        named(one)  # told before there is a lab
    spec = Spec(seed, messages, faults, seconds, intensity, names)
    if fix:
        engine_ready()
    name = f"soak-{os.urandom(2).hex()}"
    site = plan(load_for(topology, time_scale), name, time_scale, scenario="soak")
    with own_lab(site, "lab soak") as lab:
        made = planned(lab, spec)
        if only_plan:
            click.echo(view.plan(made[1]))
            return
        folder = record.new("soak")
        note(f"seed {seed}: lab '{name}', {folder}")
        with up_progress() as say:
            tick = view.Ticker(say, _TERMINAL_SECONDS if sys.stderr.isatty() else _LINE_SECONDS)
            outcome = soak(
                lab, spec, made, folder, lambda now: tick(view.progress(now, messages, faults))
            )
    wanted = dict.fromkeys(one.submission.letter.message_id for one in outcome.noteworthy)
    rebuild(folder, list(wanted)[:_REBUILT])
    if as_json:
        emit_json({"run": str(folder), **summary(outcome)})
    else:
        click.echo(view.text(outcome, folder))
    if not outcome.ok:
        sys.exit(1)


def _seconds(duration: str | None, faults: int, messages: int, time_scale: float) -> float:
    """How long letters and trouble come, in real seconds."""
    from lab.units import parse_duration

    if duration is None:
        return max(10.0, faults * _SECONDS_A_STRIKE, messages / _LETTERS_A_SECOND)
    try:
        return max(1.0, parse_duration(duration) / time_scale)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--duration") from None
