"""`lab status`: every machine and every cable at a glance."""

from __future__ import annotations

import click

from lab.cli._output import emit_json, json_option, note


@click.command(short_help="Every machine and cable at a glance")
@json_option
@click.pass_obj
def command(lab_name: str, as_json: bool) -> None:
    """Show every machine and every cable of the lab, and how late it is there.

    A machine is ready, starting, off, or broken (on, but its services do not answer).

    \b
    Example:
      lab status
      lab status --json | jq -r '.nodes[] | "\\(.name) \\(.state)"'
    """
    from lab.engine.lab import Lab

    found = Lab.attach(lab_name).state()
    if as_json:
        emit_json(found)
        return
    from lab.faults.parameters import spelled
    from lab.units import format_clock
    from lab.views.tables import paint, state, table

    scale = f"1 real second = {found['time_scale']:g} lab seconds"
    click.echo(
        f"{paint(found['lab'], bold=True)}: {found['topology']}, "
        f"lab time {format_clock(found['lab_seconds'])} ({scale})\n"
    )
    rows = []
    for node in found["nodes"]:
        links = [link for link in found["links"] if link["node"] == node["name"]]
        for index, (link, address) in enumerate(zip(links, node["addresses"], strict=True)):
            cable = f"{link['network']} {state(link['state'])}"
            first = (node["name"], state(node["state"])) if not index else ("", "")
            rows.append((*first, address, cable, "" if index else node["hostname"]))
    click.echo(table(("machine", "state", "address", "cable", "name"), rows))
    for fault in found["faults"]:
        since = format_clock((fault["applied"] - found["started"]) * found["time_scale"])
        told = " ".join(f"--{spelled(key)} {one}" for key, one in fault["parameters"].items())
        words = f"{fault['name']} {fault['targets'][0]} {told}".rstrip()
        click.echo(paint(f"\n✗ {fault['id']}: {words}, since {since}", "red"), nl=False)
    if found["faults"]:
        click.echo("\n")
        note("lab fault heal undoes them")
