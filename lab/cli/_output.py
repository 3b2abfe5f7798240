"""What the verbs share: data goes to stdout, everything said about it to stderr."""

from __future__ import annotations

import json
from typing import Any

import click


def emit_json(data: Any) -> None:
    """Print `data` as JSON on stdout, readable by people too."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=2))


def note(line: str) -> None:
    """Tell the user something on stderr."""
    click.echo(line, err=True)


fix_option = click.option(
    "--fix", is_flag=True, help="First start (or install) a Docker engine if none answers."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
