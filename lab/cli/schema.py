"""`lab schema`: the JSON Schema of topology files."""

from __future__ import annotations

import click


@click.command(short_help="The JSON Schema of topology files")
def command() -> None:
    """Print the JSON Schema of topology files, for editors that complete and check them.

    \b
    Example:
      lab schema > topologies/topology.schema.json
    """
    from lab.topology.schema import schema_text

    click.echo(schema_text(), nl=False)
