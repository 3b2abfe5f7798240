"""What lies in the mailboxes and queues of a lab, for the checker."""

from __future__ import annotations

import email
import email.policy
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from typing import TYPE_CHECKING, cast

from lab.observe import maillog
from lab.observe.recorder import logging_nodes
from lab.services import postfix
from lab.services.pc import server_of
from lab.soak.checker import Found, Report, Waiting
from lab.soak.letters import DIGEST, digest

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_LOOK_SECONDS = 1.0
_ARCHIVE = '[ ! -d "$1" ] || exec tar -C "$1" -cf - Maildir'  # it is made with the first message


def drained(lab: Lab, seconds: float, tell: Callable[[int], None]) -> bool:
    """Have all that waits tried at once, and again, until no queue holds any; whether that came.

    `seconds` of real time are waited for it; `tell` hears how many are left.
    """
    deadline = time.monotonic() + seconds
    servers = lab.plan.site.of_kind("mail-server")
    quiet = False
    while True:
        listings = [lab.run(one, ["postqueue", "-j"]) for one in servers]
        # Who can't tell may have something.
        waiting = sum(one.status != 0 or len(one.text.splitlines()) for one in listings)
        tell(waiting)
        # Twice: what went from a server not yet asked to one asked before was in neither listing.
        if (quiet and not waiting) or time.monotonic() > deadline:
            return not waiting
        quiet = not waiting
        if quiet:
            continue
        for server in servers:
            postfix.flush(lab, server)
        time.sleep(_LOOK_SECONDS)


def look(lab: Lab, people: list[str]) -> Found:
    """What is in the mailboxes of `people` (addresses), in all queues and all logs."""
    # Queues first: what leaves one meanwhile is seen twice then, rather than nowhere.
    waiting = [
        Waiting(entry.node, entry.queue_id, entry.message_id, recipient)
        for server in lab.plan.site.of_kind("mail-server")
        for entry in postfix.queue(lab, server)
        for recipient in entry.recipients
    ]
    mailboxes: dict[str, list[str]] = {}
    reports: list[Report] = []
    damaged: list[tuple[str, str]] = []
    for address in people:
        mailboxes[address] = []
        for message in _stored(lab, address):
            if message.reported is not None:
                reports += message.reported
                continue
            mailboxes[address].append(message.message_id)
            if not message.whole:
                damaged.append((address, message.message_id))
    logs = {node: maillog.read(lab, node) for node in logging_nodes(lab)}
    return Found(mailboxes, reports, waiting, logs, damaged)


@dataclass(frozen=True)
class _Stored:
    """A message in a mailbox: whether its body is what was written, and what it reports, if it
    is a mail server's own.
    """

    message_id: str
    whole: bool
    reported: list[Report] | None


def _stored(lab: Lab, address: str) -> Iterator[_Stored]:
    """All that is in a mailbox, read from its files: Dovecot's own tool for that panics at some."""
    node = server_of(lab.plan.site, address)
    argv = ["sh", "-c", _ARCHIVE, "sh", f"/srv/mail/{address}"]
    found = lab.run(node, argv).check(f"reading the mailbox of {address}").stdout
    if not found:
        return
    with tarfile.open(fileobj=io.BytesIO(found)) as archive:
        for file in archive:
            # maildir(5): what has been delivered lies in new, or, once it was seen, in cur.
            if file.isfile() and file.name.split("/")[-2] in ("new", "cur"):
                content = archive.extractfile(file)
                assert content is not None
                yield _read(address, content.read())


def _read(address: str, content: bytes) -> _Stored:
    header, _, body = content.replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = email.message_from_bytes(header, policy=email.policy.default)
    reported = None
    if "MAILER-DAEMON" in str(fields["From"]):
        report = email.message_from_bytes(content, policy=email.policy.default)
        reported = list(_failures(address, report))
    whole = fields[DIGEST] in (None, digest(body))
    return _Stored(str(fields["Message-ID"]), whole, reported)


def _failures(address: str, message: EmailMessage) -> Iterator[Report]:
    """The recipients that a report (RFC 3464) says were given up; a notice of delay says none."""
    original = ""
    failed = []
    for part in message.walk():
        kind = part.get_content_type()
        if kind in ("message/rfc822", "text/rfc822-headers"):
            inner = part.get_payload()
            headers = inner[0] if isinstance(inner, list) else email.message_from_string(str(inner))
            original = str(headers["Message-ID"])  # type: ignore[index]
            break
        if kind == "message/delivery-status":
            failed += [
                str(group["Final-Recipient"]).rpartition(";")[2].strip()
                for group in cast(list[EmailMessage], part.get_payload())
                if group.get("Action") == "failed"
            ]
    for recipient in failed:
        yield Report(address, original, recipient)
