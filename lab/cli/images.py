"""`lab images`: what the machines are made of."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli._output import emit_json, json_option, note


@click.group(short_help="Build, save or load the machines' images")
def command() -> None:
    """Build the images the machines are made of, or carry them to a machine without Internet.

    \b
    Example:
      lab images build
      lab images save lab-images.tar.gz
    """


@command.command()
@click.option("--force", is_flag=True, help="Build anew even what is current.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def build(names: tuple[str, ...], force: bool) -> None:
    """Build the images that are missing or out of date (of those NAMEd, and what they stand on).

    \b
    Example:
      lab images build
      lab images build --force pc      with the newest of Debian's packages
    """
    from lab.engine import images
    from lab.engine.client import client
    from lab.views.progress import image_progress

    with image_progress() as show:
        built = images.build(client(), show, names, force=force)
    note(f"built: {', '.join(i.name for i in built)}" if built else "every image is current")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def save(file: Path) -> None:
    """Write all images to FILE, compressed if its name ends in .gz.

    \b
    Example:
      lab images save lab-images.tar.gz
    """
    from lab.engine import imagefile, images
    from lab.engine.client import client

    size = imagefile.save(client(), file)
    note(f"{file}: {size / 1e6:.0f} MB; where it is needed, type: lab images load {file.name}")
    if rare := images.missing(client()):
        note(f"not built, and not in it: {', '.join(one.name for one in rare)} (lab images build)")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def load(file: Path) -> None:
    """Load the images from a FILE made by `lab images save`.

    \b
    Example:
      lab images load lab-images.tar.gz
    """
    from lab.engine import imagefile
    from lab.engine.client import client

    loaded = imagefile.load(client(), file)
    note(f"loaded: {', '.join(image.name for image in loaded)}")


@command.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the images: how large, when built, and whether they are current.

    Sizes include what an image shares with its base.

    \b
    Example:
      lab images list
      lab images list --json | jq -r '.[] | select(.current | not) | .name'
    """
    from lab.engine import images
    from lab.engine.client import client

    found = images.listing(client())
    if as_json:
        emit_json(
            [
                {
                    "name": one.image.name,
                    "tag": one.image.tag,
                    "size": one.size,
                    "built": one.built,
                    "current": one.current,
                }
                for one in found
            ]
        )
        return
    from lab.views.tables import state, table

    rows = [
        (
            one.image.name,
            one.image.tag,
            f"{one.size / 1e6:.0f} MB" if one.size else "",
            _date(one.built),
            state("ok" if one.current else "missing" if one.built is None else "out of date"),
        )
        for one in found
    ]
    click.echo(table(("image", "tag", "size", "built", "state"), rows))


def _date(epoch: float | None) -> str:
    from datetime import datetime

    return "" if epoch is None else f"{datetime.fromtimestamp(epoch):%Y-%m-%d %H:%M}"
