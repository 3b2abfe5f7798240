"""`lab mailbox`: what has arrived for somebody."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option


@click.command(short_help="What has arrived for somebody")
@click.argument("user", shell_complete=_complete.people)
@click.option("--read", "uid", type=int, metavar="UID", help="Print one message as it is stored.")
@click.option("--folder", default="INBOX", show_default=True, help="Where --read looks.")
@json_option
@click.pass_obj
def command(lab_name: str, user: str, uid: int | None, folder: str, as_json: bool) -> None:
    """Show the mailbox of USER (bob, or bob@receiver.example), as it is on their server.

    Nothing is marked as read by looking.

    \b
    Example:
      lab mailbox bob
      lab mailbox bob --read 1
    """
    from lab.engine.lab import Lab
    from lab.errors import UsageError
    from lab.services import dovecot

    lab = Lab.attach(lab_name)
    address = dovecot.user_address(lab, user)
    if uid is not None:
        text = dovecot.message(lab, address, folder, uid)
        if not text:
            raise UsageError(
                f"{address} has no message {uid} in {folder}", hint=f"lab mailbox {user}"
            )
        sys.stdout.buffer.write(text)
        return
    found = dovecot.mailbox(lab, address)
    if as_json:
        emit_json([_published(message) for message in found])
        return
    if not found:
        click.echo(f"the mailbox of {address} is empty")
        return
    from lab.units import format_clock
    from lab.views.tables import table
    from lab.views.visible import in_line

    # Most people have one folder, and a projector few columns.
    folders = {message.folder for message in found} != {"INBOX"}
    rows = [
        (
            *([in_line(message.folder)] if folders else []),
            message.uid,
            format_clock(lab.clock.lab_time(message.received)),
            in_line(message.sender),
            in_line(message.subject),
            message.size,
            in_line(_flags(message.flags)),
        )
        for message in found
    ]
    headers = ("folder", "uid", "lab time", "from", "subject", "bytes", "flags")
    shown = headers if folders else headers[1:]
    click.echo(table(shown, rows, {"from": 22, "subject": 22}))


def _flags(flags: tuple[str, ...]) -> str:
    r"""IMAP's system flags for people: `new` until \\Seen is set; \\Recent says nothing to them."""
    words = ["read" if "\\Seen" in flags else "new"]
    words += [flag.strip("\\").lower() for flag in flags if flag not in ("\\Seen", "\\Recent")]
    return " ".join(words)


def _published(message: Any) -> dict[str, Any]:
    """The message under the keys that `--json` promises."""
    fields = dataclasses.asdict(message)
    return {
        "folder": fields.pop("folder"),
        "uid": fields.pop("uid"),
        "from": fields.pop("sender"),
    } | fields
