"""`lab exec`: a program on one of the lab's machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lab.cli import _complete

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@click.command(
    context_settings={"ignore_unknown_options": True}, short_help="Run a program on a machine"
)
@click.option("--user", "-u", default="", metavar="USER", help="As whom; default: root.")
@click.argument("node", shell_complete=_complete.nodes)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]...")
@click.pass_obj
def command(lab_name: str, user: str, node: str, argv: tuple[str, ...]) -> None:
    """Run CMD on NODE, with your terminal if there is one; its exit status becomes ours.

    \b
    Example:
      lab exec sender-pc -- traceroute mail.receiver.example
      lab exec -u alice sender-pc -- mutt
      lab exec sender-mail -- nc -C mail.receiver.example 25
    """
    from lab.engine.exec import Exec
    from lab.engine.interactive import join_pipes, join_terminal, on_a_terminal, terminal_type
    from lab.engine.lab import Lab

    lab = Lab.attach(lab_name)
    container = lab.container(lab.node(node))
    lab.process(node)
    home = _home(lab, node, user)
    tty = on_a_terminal()
    told = {"TERM": terminal_type()} if tty else {}
    with Exec(container, argv, user=user, environment=told, workdir=home, tty=tty) as program:
        sys.exit(join_terminal(program) if tty else join_pipes(program))


def _home(lab: Lab, node: str, user: str) -> str | None:
    """The home of `user` at the PC `node`; None elsewhere. Raises UsageError for a stranger."""
    from lab.errors import UsageError
    from lab.topology.model import Pc

    machine = lab.plan.topology.nodes[node]
    if not isinstance(machine, Pc) or user in ("", "root"):
        return None
    sitting = [address.partition("@")[0] for address in machine.users]
    if user not in sitting:
        raise UsageError(
            f"nobody called '{user}' sits at {node}",
            hint="one of: " + ", ".join([*sitting, "root"]),
        )
    return f"/home/{user}"
