"""Web mail: the people of a mail server read and write with a browser, too (Roundcube).

Between the servers nothing is different. The browser speaks HTTP to the server, and the web mail
on that is a mail program like others: it speaks IMAP and SMTP to the server that it is on, with the
name and password of whoever has logged in.
"""

from __future__ import annotations

from typing import cast

from lab.services import File, Question, Site, render
from lab.services.pc import server_of
from lab.topology.model import MailServer

IMAGE = "webmail-server"


def files(site: Site, name: str) -> tuple[File, ...]:
    """The configuration of Roundcube on the mail server `name`."""
    node = cast(MailServer, site.topology.nodes[name])
    values = {"hostname": site.hostname(name), "domain": node.domain}
    return (File("/etc/roundcube/config.inc.php", render("config.inc.php", values)),)


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """Its first page."""
    return (Question.http(name, site.address(name)),)


def url(site: Site, address: str) -> str | None:
    """Where the user `address` has web mail; None if their server offers none."""
    server = server_of(site, address)
    offers = cast(MailServer, site.topology.nodes[server]).webmail
    return f"http://{site.hostname(server)}/" if offers else None
