"""`lab exec`: a program on one of the lab's machines."""

from __future__ import annotations

import sys

import click

from lab.cli import _complete


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
    from lab.engine.interactive import attach_terminal, pass_through
    from lab.engine.lab import Lab

    lab = Lab.attach(lab_name)
    container = lab.container(lab.node(node))
    lab.process(node)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    run = attach_terminal if terminal else pass_through
    sys.exit(run(container, argv, user))
