"""`lab doctor`: can a lab run here, and what to do if not."""

from __future__ import annotations

from dataclasses import asdict

import click

from lab.cli._output import emit_json, json_option


@click.command(short_help="Is everything there that a lab needs?")
@click.option("--fix", is_flag=True, help="First start (or install) an engine and build images.")
@json_option
@click.pass_context
def command(ctx: click.Context, fix: bool, as_json: bool) -> None:
    """Check what a lab needs: the engine, disk, images, and what the kernel can do.

    Exit status 0: a lab can run (a warning says what is less than it could be); 3: it can't.

    \b
    Example:
      lab doctor
      lab doctor --fix
    """
    from lab.engine import doctor

    if fix:
        from lab.prepare import engine_ready, images_ready

        engine_ready()
        images_ready()
    findings = doctor.examine()
    if as_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        from lab.views.tables import state, table

        rows = [(f.check, state(f.state), f.meaning, f.advice) for f in findings]
        headers = ("check", "state", "what it means", "what to do")
        click.echo(table(headers, rows, {"what it means": 40, "what to do": 32}))
    if any(finding.state == "missing" for finding in findings):
        ctx.exit(3)
