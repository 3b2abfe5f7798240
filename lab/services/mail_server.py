"""A mail server: Postfix takes and passes on mail, Dovecot keeps the mailboxes.

How long mail waits is stated in lab time and shaped here into Postfix's whole seconds of real
time. A message that could not be delivered is tried again `retry` after the failed attempt ended
(minimal and maximal backoff are equal; postconf(5)); the queue manager looks once a second, or
less often where that is exact enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from lab.services import File, Question, Site, render
from lab.topology.model import MailServer, Schedule


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


def files(site: Site, name: str) -> tuple[File, ...]:
    """The configuration of Postfix and Dovecot."""
    node = cast(MailServer, site.topology.nodes[name])
    mailboxes = [f"{login}@{node.domain}" for login in node.users]
    values = {
        "hostname": site.hostname(name),
        "domain": node.domain,
        "schedule": real_schedule(site.topology.schedule, site.time_scale),
        "mailboxes": mailboxes,
        "users": {f"{login}@{node.domain}": user for login, user in node.users.items()},
    }
    return tuple(
        File(path, render(path.rpartition("/")[2], values))
        for path in (
            "/etc/postfix/main.cf",
            "/etc/postfix/master.cf",
            "/etc/postfix/mailboxes",
            "/etc/postfix/aliases",
            "/etc/postfix/senders",
            "/etc/postfix/bounce.cf",
            "/etc/dovecot/dovecot.conf",
            "/etc/dovecot/users",
        )
    )


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """The greetings of SMTP, submission, POP3 and IMAP."""
    host = site.address(name)
    return (
        Question.tcp(name, host, 25, "220 ", "QUIT\r\n"),
        Question.tcp(name, host, 587, "220 ", "QUIT\r\n"),
        Question.tcp(name, host, 110, "+OK", "QUIT\r\n"),
        Question.tcp(name, host, 143, "* OK", "a LOGOUT\r\n"),
    )
