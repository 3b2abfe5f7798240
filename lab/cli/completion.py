"""`lab completion`: the Tab key knows the verbs, the machines, the people."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="The Tab key: a script for your shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Example:
      eval "$(lab completion bash)"                     in ~/.bashrc
      lab completion fish > ~/.config/fish/completions/lab.fish
    """
    from lab.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "lab", "_LAB_COMPLETE").source())
