"""A person's computer: an account for each user who sits there, its programs set up for them."""

from __future__ import annotations

import re
from typing import cast

from lab.services import File, Question, Site, render
from lab.topology.check_mail import mailboxes_of
from lab.topology.model import MailServer, Pc

FIRST_UID = 1001


def server_of(site: Site, address: str) -> str:
    """The mail server (a node's name) that holds the mailbox of `address`."""
    domain = address.partition("@")[2]
    return next(
        name
        for name, node in site.topology.nodes.items()
        if isinstance(node, MailServer) and node.domain == domain
    )


def seat_of(site: Site, address: str) -> str | None:
    """The PC at which the user `address` sits, or None."""
    for name, node in site.topology.nodes.items():
        if isinstance(node, Pc) and address in node.users:
            return name
    return None


def _quoted(text: str) -> str:
    """`text` as a string of muttrc(5), in which nothing is a variable or a command."""
    return '"' + re.sub(r'[\\"$`]', r"\\\g<0>", text) + '"'


def _gecos(name: str) -> str:
    """`name` fit for a line of passwd(5): without what ends a field, or what `echo` interprets."""
    return re.sub(r"[:,\\]+", " ", name)


def files(site: Site, name: str) -> tuple[File, ...]:
    """The accounts, and in each home the settings of mutt, swaks and curl, and a few hints."""
    pc = cast(Pc, site.topology.nodes[name])
    accounts = []
    found = []
    for uid, address in enumerate(pc.users, FIRST_UID):
        login = address.partition("@")[0]
        server = server_of(site, address)
        user = cast(MailServer, site.topology.nodes[server]).users[login]
        far = _far(site, address)
        interface = site.addressing.interfaces[name][0]
        values = {
            "address": address,
            "name": _quoted(user.name or login),
            "password": user.password,
            "server": site.hostname(server),
            "host": site.hostname(name),
            "far": far,
            "far_domain": far.partition("@")[2],
            "far_server": site.hostname(server_of(site, far)),
            "interface": interface,
        }
        home = f"/home/{login}"
        accounts.append(f"{login}:x:{uid}:{uid}:{_gecos(user.name or login)}:{home}:/bin/bash")
        found += [
            File(f"{home}/{dotfile}", render(dotfile.lstrip("."), values), 0o600, uid)
            for dotfile in (".muttrc", ".swaksrc", ".netrc", ".hints")
        ]
    return (File("/lab/accounts", "".join(f"{line}\n" for line in accounts)), *found)


def _far(site: Site, address: str) -> str:
    """Somebody to write to: the first whose mailbox is elsewhere, else anybody."""
    others = mailboxes_of(site.topology)
    domain = address.partition("@")[2]
    return next((one for one in others if one.partition("@")[2] != domain), others[-1])


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """None: nothing on a PC listens."""
    return ()
