"""`lab send`: somebody at their PC sends a message."""

from __future__ import annotations

from typing import TextIO

import click

from lab.cli import _complete
from lab.cli._output import emit_json, json_option, note


@click.command(short_help="Send a message from somebody's PC")
@click.option(
    "--from",
    "sender",
    required=True,
    metavar="USER",
    shell_complete=_complete.people,
    help="Who sends: alice@sender.example.",
)
@click.option(
    "--to",
    "recipients",
    required=True,
    multiple=True,
    metavar="ADDRESS",
    shell_complete=_complete.people,
    help="To whom; may be repeated.",
)
@click.option("--subject", default="", help="The subject line.")
@click.option("--body", help="The text.")
@click.option(
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    help="The text, from a file (- is standard input).",
)
@json_option
@click.pass_obj
def command(
    lab_name: str,
    sender: str,
    recipients: tuple[str, ...],
    subject: str,
    body: str | None,
    file: TextIO | None,
    as_json: bool,
) -> None:
    """Send a message from somebody's PC, by way of their mail server (submission, port 587).

    It is done when the server has taken the message: from then on it is the server's to deliver.

    \b
    Example:
      lab send --from alice@sender.example --to bob@receiver.example --subject Lunch?
      lab send --from alice --to bob --to dave --subject Minutes --file minutes.txt
      lab queue
      lab mailbox bob
    """
    if body is not None and file is not None:
        raise click.UsageError("--body and --file exclude each other")
    from lab.engine.lab import Lab
    from lab.seats.user import UserAgent
    from lab.services.dovecot import user_address
    from lab.views.visible import in_line

    text = file.read() if file else body or ""
    lab = Lab.attach(lab_name)
    # `--to bob` means the bob of this lab; anything with an @ is taken as it is.
    to = tuple(one if "@" in one else user_address(lab, one) for one in recipients)
    sent = UserAgent(lab, sender).send(to, subject, text)
    if as_json:
        emit_json({"message_id": sent.message_id, "queue_id": sent.queue_id})
        return
    click.echo(in_line(f"{sent.message_id} queued as {sent.queue_id} on {sent.server}"))
    note("lab mailbox shows it when it has arrived, lab queue while it waits")
