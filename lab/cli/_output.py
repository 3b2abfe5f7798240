"""What the verbs share: data goes to stdout, everything said about it to stderr."""

from __future__ import annotations

import json
from typing import Any

import click

from lab.errors import LabError


def emit_json(data: Any) -> None:
    """Print `data` as JSON on stdout, readable by people too.

    Raises LabError for what is no number to JSON, before anything is printed (RFC 8259 §6).
    """
    try:
        text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False)
    except ValueError as error:
        raise LabError(
            "can't print this as JSON: a number in it is infinite, or none",
            hint="lab report shows what was recorded; without --json this is printed too",
        ) from error
    click.echo(text)


def note(line: str) -> None:
    """Tell the user something on stderr."""
    click.echo(line, err=True)


fix_option = click.option(
    "--fix", is_flag=True, help="First start (or install) a Docker engine if none answers."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
