"""`lab queue`: what waits, why, and when it is tried next."""

from __future__ import annotations

import dataclasses
import time

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note


@click.command(short_help="What waits, why, and when it is tried next")
@click.argument("node", required=False, shell_complete=_complete.nodes)
@json_option
@click.pass_obj
def command(lab_name: str, node: str | None, as_json: bool) -> None:
    """Show the messages waiting on NODE, or on every mail server.

    For each: how old it is, how often it was tried, what happened last, and when it will be tried
    next, in lab time and (in parentheses) in real time.

    \b
    Example:
      lab queue
      lab queue sender-mail --json
    """
    from lab.engine.lab import Lab
    from lab.errors import NodeFailed
    from lab.services.postfix import QueueEntry, queue
    from lab.views.visible import in_line

    lab = Lab.attach(lab_name)
    servers = (lab.node(node),) if node else lab.plan.site.of_kind("mail-server")
    entries: list[QueueEntry] = []
    for server in servers:
        try:
            entries += queue(lab, server)
        except NodeFailed as error:
            if node:
                raise
            note(f"lab: {in_line(error.what)}: what waits there waits on its disk")
    if as_json:
        emit_json([dataclasses.asdict(entry) for entry in entries])
        return
    if not entries:
        click.echo("no message is waiting")
        return
    from lab.units import format_duration
    from lab.views.tables import state, table

    now = time.time()

    def both(real_seconds: float) -> str:
        lab_seconds = real_seconds * lab.clock.scale
        return f"{format_duration(lab_seconds)}\n({format_duration(real_seconds)})"

    rows = [
        (
            f"{entry.queue_id}\n{entry.node}",
            "\n→ ".join(map(in_line, (entry.sender or "<>", *entry.recipients))),
            state(entry.state),
            both(now - entry.arrived),
            entry.attempts,
            "in " + both(max(0.0, entry.next_attempt - now)) if entry.next_attempt else "now",
            _wrapped(in_line(entry.reason or "")),
        )
        for entry in entries
    ]
    headers = ("message", "from → to", "state", "age", "tries", "next try", "last reason")
    click.echo(table(headers, rows))
    click.echo("Lab time; real time in parentheses.")


def _wrapped(text: str, width: int = 30) -> str:
    """`text` in lines of `width` or, where a name in it is longer, as long as that name."""
    import textwrap

    # mail.receiver.example[203.0.113.25]:25 may be broken between name and address.
    lines = textwrap.wrap(text.replace("[", " ["), width, break_long_words=False)
    return "\n".join(lines)
