"""`lab logs`: what the machines say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lab.cli import _complete
from lab.cli._output import json_option

if TYPE_CHECKING:
    from lab.observe import maillog


@click.command(short_help="What the machines say")
@click.argument("nodes", nargs=-1, metavar="[NODE]...", shell_complete=_complete.nodes)
@click.option("--follow", "-f", is_flag=True, help="Go on as more is written.")
@click.option(
    "--tail", "-n", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each."
)
@json_option
@click.pass_obj
def command(
    lab_name: str, nodes: tuple[str, ...], follow: bool, tail: int | None, as_json: bool
) -> None:
    """Show the log of each NODE (default: every one that keeps one) on one clock, the lab's.

    \b
    Example:
      lab logs sender-mail
      lab logs -f
    """
    import json
    import sys

    from lab.engine.lab import Lab
    from lab.observe import maillog
    from lab.units import format_clock
    from lab.views.tables import paint
    from lab.views.visible import in_line

    lab = Lab.attach(lab_name)
    chosen = [lab.node(node) for node in nodes] or [
        name for name in lab.plan.nodes if lab.plan.health(name)
    ]
    colours = dict(
        zip(chosen, ("cyan", "magenta", "yellow", "green", "blue", "red") * 9, strict=False)
    )
    width = max(map(len, chosen))

    def show(line: maillog.LogLine) -> None:
        lab_time = lab.clock.lab_time(line.time)
        if as_json:
            record = {
                "node": line.node,
                "line": line.number,
                "time": line.time,
                "lab_time": round(lab_time, 1),
                "text": line.text,
            }
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            name = paint(f"{line.node:<{width}}", colours[line.node])
            click.echo(f"{format_clock(lab_time)} {name} {in_line(line.text)}")

    past = [line for node in chosen for line in _last(maillog.read(lab, node), tail)]
    for line in sorted(past, key=lambda line: line.time):
        show(line)
    if follow:
        after = {
            node: max((x.number for x in past if x.node == node), default=0) for node in chosen
        }
        try:
            for line in maillog.follow_all(lab, chosen, after):
                show(line)
        except KeyboardInterrupt:
            sys.exit(130)  # the usual way to stop following: nothing to say about it


def _last(lines: list[maillog.LogLine], count: int | None) -> list[maillog.LogLine]:
    return lines if count is None else lines[len(lines) - min(count, len(lines)) :]
