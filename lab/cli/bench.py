"""`lab bench`: how fast it is, beside how fast it could be."""

from __future__ import annotations

import platform
import sys

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note


@click.group(short_help="How fast it is, beside how fast it could be")
def command() -> None:
    """Measure the lab on this machine; absolute numbers mean little without the ones beside them.

    \b
    Example:
      lab bench up
      lab bench exec
      lab bench events
      lab bench decode
    """


@command.command()
@click.argument("topology", default="textbook", shell_complete=_complete.topologies)
@click.option("--rounds", "-n", type=click.IntRange(min=1), default=5, show_default=True)
@json_option
def up(topology: str, rounds: int, as_json: bool) -> None:
    """Time `lab up` (until every service answers) and `lab down` against the bare containers.

    Also how long the command takes as a whole, Python's start included, and `lab --help`.
    """
    import os

    from lab.engine.bench import bench_command, bench_up
    from lab.prepare import images_ready, load_for

    loaded = load_for(topology)
    images_ready()
    timings = bench_up(loaded, rounds, note)
    timings += bench_command([sys.executable, "-m", "lab", "--help"], "lab --help", rounds)
    if as_json:
        emit_json([{"what": one.what, "real_seconds": list(one.seconds)} for one in timings])
        return
    from lab.views.tables import table

    floor = {one.what.rpartition(", ")[2]: one.median for one in timings if "bare" in one.what}
    rows = [
        (
            one.what,
            f"{min(one.seconds):.2f}",
            f"{one.median:.2f}",
            f"{max(one.seconds):.2f}",
            f"{one.median / floor[direction]:.2f}"
            if (direction := one.what.rpartition(", ")[2]) in floor
            else "",
        )
        for one in timings
    ]
    click.echo(table(("seconds", "min", "median", "max", "× bare"), rows))
    click.echo(
        f"\n{rounds} rounds; {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )


@command.command()
@click.option("--megabytes", "-m", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--rounds", "-n", type=click.IntRange(min=1), default=3, show_default=True)
@json_option
def decode(megabytes: int, rounds: int, as_json: bool) -> None:
    """Time the reading of an SMTP capture, stage by stage, beside tshark if it is installed.

    Each stage includes those before it. Packets per second of processor time, the best of all
    rounds, and the peak memory of the process.
    """
    from lab.observe.bench import bench_decode

    speeds = bench_decode(megabytes * 1_000_000, rounds, note)
    if as_json:
        emit_json(
            [
                {
                    "stage": one.stage,
                    "packets": one.packets,
                    "processor_seconds": one.seconds,
                    "packets_per_second": round(one.rate),
                    "peak_bytes": one.peak_bytes,
                }
                for one in speeds
            ]
        )
        return
    from lab.views.tables import table

    theirs = {one.stage: one.rate for one in speeds}.get("tshark")
    rows = [
        (
            one.stage,
            f"{one.rate:,.0f}",
            f"{one.rate / theirs:.1f}" if theirs else "",
            f"{one.peak_bytes / 1e6:.0f}",
        )
        for one in speeds
    ]
    click.echo(table(("stage", "packets/s", "× tshark", "MB at most"), rows))
    if not theirs:
        note("tshark is not installed: nothing to compare with")
    click.echo(f"\n{speeds[0].packets:,} packets, {megabytes} MB; {rounds} rounds")


@command.command()
@click.argument("topology", default="textbook", shell_complete=_complete.topologies)
@click.option("--messages", "-n", type=click.IntRange(min=1), default=20, show_default=True)
@json_option
def events(topology: str, messages: int, as_json: bool) -> None:
    """Time how long after a packet, or a log line, its event is in the log of a run.

    On a lab of its own, while somebody sends messages one after the other.
    """
    from lab.observe.latency import bench_events
    from lab.prepare import images_ready, load_for

    loaded = load_for(topology)
    images_ready()
    found = bench_events(loaded, messages, note)
    if as_json:
        emit_json([{"kind": one.kind, "real_seconds": list(one.seconds)} for one in found])
        return
    from lab.views.tables import table

    rows = [
        (
            one.kind,
            len(one.seconds),
            *(f"{1000 * one.share(percent):.1f}" for percent in (50, 95, 99)),
            f"{1000 * max(one.seconds):.1f}",
        )
        for one in found
    ]
    click.echo(table(("event", "how many", "median ms", "95 %", "99 %", "max"), rows))


@command.command("exec")
@click.argument("topology", default="textbook", shell_complete=_complete.topologies)
@click.option("--rounds", "-n", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
def exec_(topology: str, rounds: int, as_json: bool) -> None:
    """Time a program (`true`) in a seat that is open, beside one started by the engine.

    On a lab of its own; in turn, round after round. Also how long it takes to open a seat.
    """
    from lab.prepare import images_ready, load_for
    from lab.seats.bench import bench_exec

    loaded = load_for(topology)
    images_ready()
    timings = bench_exec(loaded, rounds, note)
    if as_json:
        emit_json([{"what": one.what, "real_seconds": list(one.seconds)} for one in timings])
        return
    from lab.views.tables import table

    rows = [
        (
            one.what,
            *(
                f"{1000 * seconds:.1f}"
                for seconds in (min(one.seconds), one.median, max(one.seconds))
            ),
        )
        for one in timings
    ]
    click.echo(table(("milliseconds", "min", "median", "max"), rows))
