"""What lies in the mailboxes and queues of a lab, for the checker."""

from __future__ import annotations

import email
import email.policy
import json
import time
from collections.abc import Callable, Iterator
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
    mailboxes = {}
    reports: list[Report] = []
    damaged: list[tuple[str, str]] = []
    for address in people:
        stored = list(_stored(lab, address))  # before what is in it is told apart
        reported = {identity: list(found) for identity, found in _reports(lab, address)}
        reports += [one for found in reported.values() for one in found]
        mailboxes[address] = [identity for identity, _ in stored if identity not in reported]
        damaged += [(address, identity) for identity, whole in stored if not whole]
    logs = {node: maillog.read(lab, node) for node in logging_nodes(lab)}
    return Found(mailboxes, reports, waiting, logs, damaged)


def _stored(lab: Lab, address: str) -> Iterator[tuple[str, bool]]:
    """The Message-ID of all that is in a mailbox, and whether its body is what was written."""
    fields = f"hdr.message-id hdr.{DIGEST.lower()} body"
    argv = ["doveadm", "-f", "json", "fetch", "-u", address, fields, "ALL"]
    node = server_of(lab.plan.site, address)
    found = lab.run(node, argv).check(f"reading the mailbox of {address}").stdout
    for item in json.loads(found.decode(errors="surrogateescape") or "[]"):
        said = item[f"hdr.{DIGEST.lower()}"]
        body = item["body"].encode(errors="surrogateescape")
        yield item["hdr.message-id"], said in ("", digest(body))


def _reports(lab: Lab, address: str) -> Iterator[tuple[str, Iterator[Report]]]:
    """The mail servers' own messages to `address`: the Message-ID, and what failed by it."""
    argv = ["doveadm", "-f", "json", "fetch", "-u", address, "text", "from", "MAILER-DAEMON"]
    node = server_of(lab.plan.site, address)
    found = lab.run(node, argv).check(f"reading the reports to {address}").text
    for item in json.loads(found or "[]"):
        message = email.message_from_string(item["text"], policy=email.policy.default)
        yield str(message["Message-ID"]), _failures(address, message)


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
