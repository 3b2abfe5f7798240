"""A mail server: Postfix takes and passes on mail, Dovecot keeps the mailboxes, if it has any.

How long mail waits is stated in lab time and shaped here into Postfix's whole seconds of real
time. A message that could not be delivered is tried again `retry` after the failed attempt ended
(minimal and maximal backoff are equal; postconf(5)); the queue manager looks once a second, or
less often where that is exact enough.

How long a server waits in silence for another (`PATIENCE`) is in lab time too, but never less than
10 real seconds: a loaded machine must not be taken for one that hangs. Least of all after the end
of a message's content, where who gives up too soon makes a second copy (RFC 1047). For Dovecot, on
the same machine, Postfix has its usual patience (`lmtp_…_timeout`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from lab.services import File, Question, Site, render, webmail
from lab.topology.check_mail import mailboxes_of
from lab.topology.model import MailServer, Node, Schedule

PATIENCE = {
    "helo": 300,
    "mail": 300,
    "rcpt": 300,
    "data_init": 120,
    "data_xfer": 180,
    "data_done": 600,
    "rset": 20,
    "quit": 300,
}
"""How many lab seconds a server waits for the other in each part of an SMTP dialogue: Postfix's own
(`smtp_…_timeout`, postconf(5)), and RFC 5321 §4.5.3.2's where that has one. The wait for the
greeting is part of `helo`.
"""
PATIENCE_FLOOR = 10  # real seconds


@dataclass(frozen=True)
class RealSchedule:
    """The schedule in real seconds, as Postfix is told."""

    retry: int
    give_up: int
    delay_notice: int
    queue_run: int
    connect_timeout: int


def real_schedule(schedule: Schedule, time_scale: float) -> RealSchedule:
    """`schedule` (lab seconds) in whole real seconds, never less than 1.

    The connection timeout is a thirtieth of the retry interval and at most Postfix's own 30 s, so
    that an attempt that gets no answer hardly delays the next.
    """

    def real(lab_seconds: float) -> int:
        return max(1, round(lab_seconds / time_scale))

    retry = real(schedule.retry)
    return RealSchedule(
        retry=retry,
        give_up=real(schedule.give_up),
        delay_notice=real(schedule.delay_notice) if schedule.delay_notice else 0,
        queue_run=max(1, min(5, retry // 300)),
        connect_timeout=max(1, min(30, retry // 30)),
    )


def real_patience(time_scale: float) -> dict[str, int]:
    """`PATIENCE` in whole real seconds, none less than `PATIENCE_FLOOR`."""
    return {
        part: max(PATIENCE_FLOOR, round(seconds / time_scale)) for part, seconds in PATIENCE.items()
    }


def files(site: Site, name: str) -> tuple[File, ...]:
    """The configuration of Postfix, and of Dovecot where there are mailboxes."""
    node = cast(MailServer, site.topology.nodes[name])
    mailboxes = [f"{login}@{node.domain}" for login in node.users]
    values = {
        "hostname": site.hostname(name),
        "domain": node.domain,
        "schedule": real_schedule(site.topology.schedule, site.time_scale),
        "patience": real_patience(site.time_scale),
        "mailboxes": mailboxes,
        "users": {f"{login}@{node.domain}": user for login, user in node.users.items()},
        "backup_for": node.backup_for,
        "relay_recipients": [
            address
            for address in mailboxes_of(site.topology)
            if address.partition("@")[2] in node.backup_for
        ],
    }
    found = tuple(File(path, render(path.rpartition("/")[2], values)) for path in _paths(node))
    return found + (webmail.files(site, name) if node.webmail else ())


def _paths(node: MailServer) -> tuple[str, ...]:
    postfix = ["main.cf", "master.cf"]
    postfix += ["mailboxes", "aliases", "senders"] if node.users else []
    postfix += ["relay_recipients"] if node.backup_for else []
    # Dovecot is started only where it has users.
    dovecot = ["dovecot.conf", "users"] if node.users else []
    return (
        *(f"/etc/postfix/{file}" for file in [*postfix, "bounce.cf"]),
        *(f"/etc/dovecot/{file}" for file in dovecot),
    )


def ram_disks(node: Node) -> dict[str, str]:
    """What of `node` is in its memory: folders, each with the options of its tmpfs (tmpfs(5))."""
    if isinstance(node, MailServer) and node.ram_queue:
        return {"/var/spool/postfix": f"size={node.ram_queue},mode=0755"}
    return {}


def image(node: Node) -> str:
    """The image that `node` is made of: that of its kind, or one with web mail on top."""
    return webmail.IMAGE if isinstance(node, MailServer) and node.webmail else node.kind


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """The greetings of SMTP; and, where there are mailboxes, of submission, POP3 and IMAP.

    And the first page of its web mail, if it has that.
    """
    host = site.address(name)
    node = cast(MailServer, site.topology.nodes[name])
    smtp = Question.tcp(name, host, 25, "220 ", "QUIT\r\n")
    if not node.users:
        return (smtp,)
    return (
        smtp,
        Question.tcp(name, host, 587, "220 ", "QUIT\r\n"),
        Question.tcp(name, host, 110, "+OK", "QUIT\r\n"),
        Question.tcp(name, host, 143, "* OK", "a LOGOUT\r\n"),
        *(webmail.questions(site, name) if node.webmail else ()),
    )
