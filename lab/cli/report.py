"""`lab report`: a run as one page, for reading, for printing, for carrying away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lab.record import Record


@click.command(short_help="A run as one page, with all its evidence")
@click.argument("run", required=False, metavar="[RUN]", shell_complete=_complete.runs)
@click.option("--open", "open_", is_flag=True, help="Open it in your browser.")
@click.option(
    "--live", is_flag=True, help="Of the lab that is up; its record so far is kept in runs/."
)
@click.option("--list", "list_", is_flag=True, help="List the runs instead, the newest last.")
@json_option
@click.pass_obj
def command(
    lab_name: str, run: str | None, open_: bool, live: bool, list_: bool, as_json: bool
) -> None:
    """Write the report of RUN, a folder or a name in runs/ (default: the newest), and print where.

    It is one file, report.html in the run's folder, and needs nothing but itself: the story, the
    attempts against the schedule, the ladder, the expectations, and the packets and log lines
    they rest on, byte by byte.

    \b
    Example:
      lab report
      lab report --open 20261124-065513-receiver-down
      lab report --live --open
      lab report --list
    """
    if live and run is not None:
        raise click.UsageError("--live is of the lab that is up, not of a run")
    if list_:
        if run is not None or open_ or live:
            raise click.UsageError("--list takes no run, no --open and no --live")
        _list(as_json)
        return
    from lab import record
    from lab.views import report

    found = _live(lab_name) if live else record.Record.load(record.find(run))
    path = report.write(found)
    if as_json:
        emit_json({"run": str(path.parent), "report": str(path)})
    else:
        click.echo(str(path))
    if open_:
        _open(path)


def _live(lab_name: str) -> Record:
    """What has happened in the lab that is up, in a folder of its own."""
    from lab import record
    from lab.engine.lab import Lab
    from lab.observe.live import snapshot
    from lab.observe.recorder import recorded_since

    lab = Lab.attach(lab_name)
    recorded_since(lab)  # a lab without a record has no folder in runs/ either
    return snapshot(lab, record.new(lab.name))


def _open(path: Path) -> None:
    import webbrowser

    address = path.resolve().as_uri()
    if not webbrowser.open(address):
        note(f"lab: there is no browser to open it with\n  → open this in one: {address}")


def _list(as_json: bool) -> None:
    from lab import record

    found = [_about(record.RUNS / name) for name in record.names()]
    if as_json:
        emit_json(found)
        return
    if not found:
        note("there is no run in runs/ yet; make one: lab scenario run delivery")
        return
    from lab.units import wall_clock
    from lab.views.tables import table
    from lab.views.visible import in_line

    rows = [
        (
            in_line(one["name"]),
            in_line(one["title"]),
            one["outcome"],
            wall_clock(one["time"], "%Y-%m-%d %H:%M:%S") if one["time"] else "",
            _lasted(one["lab_seconds"], one["real_seconds"]),
        )
        for one in found
    ]
    click.echo(
        table(("run", "title", "outcome", "began", "lasted: lab time (real)"), rows, {"title": 40})
    )


def _lasted(lab_seconds: float | None, real_seconds: float | None) -> str:
    from lab.units import format_duration

    if lab_seconds is None or real_seconds is None:
        return ""
    return f"{format_duration(lab_seconds)} ({format_duration(real_seconds)})"


def _about(folder: Path) -> dict[str, Any]:
    """What a run is. Damaged is what no report could be made of."""
    from lab.errors import UsageError
    from lab.record import Record

    about: dict[str, Any] = {
        "name": folder.name,
        "title": "",
        "scenario": None,
        "outcome": "damaged",
        "time": None,
        "lab_seconds": None,
        "real_seconds": None,
    }
    try:
        run = Record.load(folder)
    except UsageError:
        return about
    ended: Mapping[str, Any] = run.outcome or {}
    return about | {
        "title": run.title,
        "scenario": run.about["scenario"],
        "outcome": _outcome(run),
        "time": run.run.time,
        "lab_seconds": ended.get("lab_seconds"),
        "real_seconds": ended.get("real_seconds"),
    }


def _outcome(run: Record) -> str:
    if run.outcome is None:
        return "no end on record" if run.about["scenario"] else "recorded"
    if run.outcome.get("error"):
        return "could not go on"
    return "as expected" if run.outcome["ok"] else "NOT as expected"
