"""Questions put to a running Dovecot: what is in a mailbox."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from email.header import decode_header, make_header
from typing import TYPE_CHECKING

from lab.errors import LabError, UsageError
from lab.services.pc import server_of
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_FIELDS = (
    "mailbox uid hdr.from hdr.to hdr.subject hdr.message-id "
    "size.virtual flags date.received.unixtime guid"
)
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class StoredMessage:
    """A message in a mailbox: header fields decoded, `size` in bytes, `received` epoch seconds."""

    folder: str
    uid: int
    sender: str
    to: str
    subject: str
    message_id: str
    size: int
    flags: tuple[str, ...]
    received: float


def user_address(lab: Lab, user: str) -> str:
    """The full address of `user` (`bob` or `bob@receiver.example`). Raises UsageError."""
    known = [
        f"{login}@{node.domain}"
        for node in lab.plan.topology.nodes.values()
        if isinstance(node, MailServer)
        for login in node.users
    ]
    matching = [address for address in known if user in (address, address.partition("@")[0])]
    if len(matching) == 1:
        return matching[0]
    what = f"'{user}' is several people" if matching else f"nobody here is called '{user}'"
    raise UsageError(what, hint="one of: " + ", ".join(matching or known))


def mailbox(lab: Lab, address: str) -> list[StoredMessage]:
    """All messages of `address`, in all its folders."""
    node = server_of(lab.plan.site, address)
    fetch = ["doveadm", "-f", "json", "fetch", "-u", address, _FIELDS, "ALL"]
    listing = lab.run(node, fetch).check(f"asking {node} for the mailbox of {address}").text
    return [_message(item) for item in json.loads(listing or "[]")]


def arrived(lab: Lab, address: str, message_id: str, seconds: float = 30) -> StoredMessage:
    """The message in the mailbox of `address`, once it is there.

    Raises LabError if that takes longer than `seconds` of real time.
    """
    deadline = time.monotonic() + seconds
    while True:
        for one in mailbox(lab, address):
            if one.message_id == message_id:
                return one
        if time.monotonic() > deadline:
            what = f"{message_id} is not in the mailbox of {address} after {seconds:g} s"
            raise LabError(what, hint="lab queue, lab trace")
        time.sleep(_LOOK_SECONDS)


def message(lab: Lab, address: str, folder: str, uid: int) -> bytes:
    """The bytes of one message, as stored; empty if there is none."""
    node = server_of(lab.plan.site, address)
    fetch = ["doveadm", "-f", "pager", "fetch", "-u", address, "text"]
    fetch += ["mailbox", folder, "uid", str(uid)]
    found = lab.run(node, fetch).check(f"reading message {uid} of {address}").stdout
    _, _, text = found.partition(b"text:\n")
    return text


def _message(item: dict[str, str]) -> StoredMessage:
    # A Maildir file is named after the moment it was stored: seconds.M<microseconds>P<process>.
    micro = re.match(r"\d+\.M(\d+)P", item["guid"])
    return StoredMessage(
        folder=item["mailbox"],
        uid=int(item["uid"]),
        sender=_decoded(item["hdr.from"]),
        to=_decoded(item["hdr.to"]),
        subject=_decoded(item["hdr.subject"]),
        message_id=item["hdr.message-id"],
        size=int(item["size.virtual"]),
        flags=tuple(item["flags"].split()),
        received=int(item["date.received.unixtime"]) + (int(micro[1]) / 1e6 if micro else 0.0),
    )


def _decoded(header: str) -> str:
    """A header field for people: RFC 2047 words decoded, folding undone."""
    return str(make_header(decode_header(" ".join(header.split()))))
