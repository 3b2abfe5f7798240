"""`lab validate FILE...`: everything that is wrong with topology files, before anything starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from lab.errors import LabError, TopologyError

if TYPE_CHECKING:
    from lab.topology.model import Topology


@click.command(short_help="Check topology files")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check topology files and show every problem with its line and column.

    FILE is a path, or the name of one of the project's topologies. The exit status is 2 if there
    is any problem.

    \b
    Example:
      lab validate topologies/textbook.yaml
      lab validate --json my-school.yaml | jq '.[].problems'
    """
    from lab.topology.loader import load

    results = []
    for file in files:
        problems: list[LabError] = []
        try:
            topology = load(file)
            if not as_json:
                click.echo(f"{file}: ok ({_summary(topology)})")
        except TopologyError as error:
            problems = error.problems
        except LabError as error:
            problems = [error]
        if not as_json:
            for problem in problems:
                click.echo(str(problem), err=True)
        results.append({"file": file, "ok": not problems, "problems": [*map(_entry, problems)]})
    if as_json:
        click.echo(json.dumps(results, indent=2, ensure_ascii=False))
    if not all(result["ok"] for result in results):
        ctx.exit(2)


def _summary(topology: Topology) -> str:
    from lab.topology.check_mail import mailboxes_of

    counts = {
        "node": len(topology.nodes),
        "network": len(topology.networks),
        "mailbox": len(mailboxes_of(topology)),
    }
    plurals = {"mailbox": "mailboxes"}
    return ", ".join(
        f"{count} {thing if count == 1 else plurals.get(thing, thing + 's')}"
        for thing, count in counts.items()
    )


def _entry(problem: LabError) -> dict[str, Any]:
    """A problem for `--json`; line and column are null where the whole file is meant."""
    spot = getattr(problem, "spot", None)
    return {
        "line": spot.line if spot else None,
        "column": spot.column if spot else None,
        "message": problem.what,
        "hint": problem.hint,
    }
