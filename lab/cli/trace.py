"""`lab trace`: one message across all machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note

if TYPE_CHECKING:
    from lab.observe.trace import Trace
    from lab.record import Record


_WHERE = "those there are stand in its logs: grep message-id= logs/*.log"


@click.command(short_help="One message across all machines, step by step")
@click.argument("message", required=False)
@click.option("--last", is_flag=True, help="The message that somebody sent last.")
@click.option(
    "--run",
    "run",
    metavar="RUN",
    shell_complete=_complete.runs,
    help="From the record of a run (a name in runs/, or a path), not from the lab that is up.",
)
@click.option("--waterfall", is_flag=True, help="A bar for each step, on an axis of lab time.")
@json_option
@click.pass_obj
def command(
    lab_name: str,
    message: str | None,
    last: bool,
    run: str | None,
    waterfall: bool,
    as_json: bool,
) -> None:
    """Follow MESSAGE from the mail program that sent it to whoever reads it.

    MESSAGE is a Message-ID (with or without <>), a queue ID of any machine, or the beginning of
    either. Shown are submission, queues, each attempt with its cause and what it waited, the
    connection and the messages it shared that with, mailboxes, and who read it by which protocol;
    duplicates are named, and reports to its sender followed. Where to look is a frame of a capture
    (sender-lan#36) or a line of a log (sender-mail:15).

    Traced is the lab that is up, or if none is, the newest run in runs/. Of a soak, which keeps
    events of few messages, the captures are read for it; that may take a minute.

    \b
    Example:
      lab trace --last
      lab trace 8324D1D8359 --waterfall
      lab trace '<ba59eb1d61db4668@pc.sender.example>' --json
      lab trace --last --run 20261124-065513-receiver-down
    """
    from lab.errors import UsageError
    from lab.observe.trace import trace
    from lab.observe.trace.messages import nothing_named

    if message is not None and last:
        raise UsageError(
            "a message is named, and the last one asked for",
            hint=f"lab trace {message}, or lab trace --last",
        )
    with _source(lab_name, run) as (record, live):
        if message is None and not last:
            if record.about.get("partial"):
                raise UsageError("which message?", where=str(record.folder), hint=_WHERE)
            raise nothing_named(record)
        found = trace(*_whole(record, message))
    if as_json:
        emit_json(found.as_json())
    elif waterfall:
        from lab.views.trace.waterfall import show

        show(found)
    else:
        from lab.views.trace.table import rendered

        click.echo(rendered(found))
        if live and _names_frames(found):
            note(click.style("to keep and open these frames: lab report --live", dim=True))


def _names_frames(found: Trace) -> bool:
    from lab.views.trace.steps import steps

    return any(event.refs.file for step in steps(found) for event in step.events)


def _whole(record: Record, message: str | None) -> tuple[Record, str | None]:
    """A record that has all events of the message (None: the last), and what it is called there.

    Raises UsageError if its captures and logs don't have it either.
    """
    if not record.about.get("partial"):
        return record, message
    from lab.errors import UsageError
    from lab.observe import rebuild
    from lab.views.visible import in_line

    message = message or rebuild.last(record)
    if message is None or rebuild.tells_all_of(record, message):
        return record, message
    note(f"reading the captures for {in_line(message)}")
    made = rebuild.remade(record.folder, {message})
    if not rebuild.tells_of(made, message):
        raise UsageError(
            f"there is no message '{message}' in the captures and logs",
            where=str(record.folder),
            hint=_WHERE,
        )
    return made, message


@contextmanager
def _source(lab_name: str, run: str | None) -> Iterator[tuple[Record, bool]]:
    """The record of `run`; without one of the lab that is up, or else of the newest run.

    And whether it is of the lab that is up: then its files are gone afterwards.
    """
    from lab import record
    from lab.errors import EngineError, LabNotUp
    from lab.views.visible import in_line

    if run is not None:
        yield record.Record.load(record.find(run)), False
        return
    from lab.engine.lab import Lab

    try:
        lab = Lab.attach(lab_name)
    except (EngineError, LabNotUp) as error:
        if not record.names():
            raise
        newest = record.find(None)
        note(f"lab: {in_line(error.what)}; this is from the newest run, {newest}")
        yield record.Record.load(newest), False
        return
    from lab.observe.live import record_of

    with record_of(lab) as found:
        yield found, True
