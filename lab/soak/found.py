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
from lab.services import dovecot, postfix
from lab.services.pc import server_of
from lab.soak.checker import Found, Report, Waiting

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_LOOK_SECONDS = 1.0


def drained(lab: Lab, seconds: float, tell: Callable[[int], None]) -> bool:
    """Have all that waits tried at once, and again, until no queue holds any; whether that came.

    `tell` hears how many are left.
    """
    deadline = time.monotonic() + seconds
    while True:
        servers = lab.plan.site.of_kind("mail-server")
        waiting = sum(len(lab.run(one, ["postqueue", "-j"]).text.splitlines()) for one in servers)
        tell(waiting)
        if not waiting or time.monotonic() > deadline:
            return not waiting
        for server in servers:
            postfix.flush(lab, server)
        time.sleep(_LOOK_SECONDS)


def look(lab: Lab, people: list[str]) -> Found:
    """What is in the mailboxes of `people` (addresses), in all queues and all logs."""
    mailboxes = {}
    reports: list[Report] = []
    for address in people:
        reported = {identity: list(found) for identity, found in _reports(lab, address)}
        reports += [one for found in reported.values() for one in found]
        mailboxes[address] = [
            one.message_id
            for one in dovecot.mailbox(lab, address)
            if one.message_id not in reported
        ]
    waiting = [
        Waiting(entry.node, entry.queue_id, entry.message_id, recipient)
        for server in lab.plan.site.of_kind("mail-server")
        for entry in postfix.queue(lab, server)
        for recipient in entry.recipients
    ]
    logs = {node: maillog.read(lab, node) for node in logging_nodes(lab)}
    return Found(mailboxes, reports, waiting, logs)


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
