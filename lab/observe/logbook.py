"""What the log lines of the mail servers mean, as observations.

Each line is a `log` observation; one that reports an attempt, a change of a queue or mailbox, or
a login, is that too, a second observation that names the same line. A message's queue ID leads to
its Message-ID for all that is said of it later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lab.events import Observation, Refs
from lab.kinds import Kind
from lab.observe import maillog
from lab.observe.maillog import Attempt, LogLine, QueueEvent

# Short or long (postconf(5), enable_long_queue_ids).
_QUEUE_ID = re.compile(
    r"postfix/[\w/]+\[\d+\]: ([0-9A-F]{6,20}|(?=[A-Za-z]*\d)[0-9A-Za-z]{12,20}):"
)
_PROGRAM = re.compile(r"^(?:\w{3} [ \d]\d [\d:]{8} (?:\S+ (?=postfix/))?)?([\w/.-]+)(?:\(|\[|<|:)")
_RECEIVER = re.compile(r"postfix/[\w/]*smtpd\[(\d+)\]: ")
_BROKEN_OFF = re.compile(r"(?:lost connection|timeout|too many errors) after (?:DATA|BDAT)\b.*")
_MSGID = re.compile(r"msgid=(<[^>]*>)")
_STAMP = r"^\w{3} [ \d]\d [\d:]{8} "  # Dovecot's own, without the machine's name
_MAILBOX = re.compile(
    _STAMP + r"\w+\((?P<user>[^)]+)\)<\d+><[^>]*>: Info: Mailbox (?P<folder>.+?): "
    r"(?:(?P<what>\w+)(?: from (?P<source>.+?))?: box=.*?, uid=(?P<uid>\d+), msgid=(?P<id>.*?), "
    r"size=(?P<size>\d+), flags=\((?P<flags>[^)]*)\)|Mailbox (?P<done>\w+).*)$"
)
_LOGIN = re.compile(
    _STAMP + r"(?P<protocol>imap|pop3)-login: Info: Logged in: user=<(?P<user>[^>]*)>"
    r".*?\brip=(?P<rip>[^,]+)"
)
_REFUSED = re.compile(
    _STAMP + r"(?P<protocol>imap|pop3)-login: Info: (?P<detail>Login aborted: .*?auth failed.*?): "
    r"user=<(?P<user>[^>]*)>.*?\brip=(?P<rip>[^,]+)"
)
_LOGOUT = re.compile(
    _STAMP
    + r"(?P<protocol>imap|pop3)\((?P<user>[^)]+)\)<\d+><[^>]*>: Info: (?P<detail>Disconnected: .*)$"
)
_SUBMISSION = re.compile(
    r"^\w{3} [ \d]\d [\d:]{8} \S+ postfix/[\w/]*(?P<protocol>smtp)d\[\d+\]: warning: "
    r"\S+?\[(?P<rip>[^\]]+)\]: (?P<detail>SASL \S+ authentication failed: .*?)"
    r"(?:, sasl_username=(?P<user>\S*))?$"
)
_SESSIONS = (
    ("login", _LOGIN),
    ("failed", _REFUSED),
    ("failed", _SUBMISSION),
    ("logout", _LOGOUT),
)


class Logbook:
    """Reads the lines of all machines of a lab, each machine's in order."""

    def __init__(self) -> None:
        self._message_ids: dict[tuple[str, str], str] = {}
        self._activity = maillog.Activity()
        self._coming_in: dict[tuple[str, str], str] = {}  # node and process -> queue ID

    def read(self, line: LogLine) -> Iterator[Observation]:
        """The line itself, and what it means."""
        attempt = self._activity.attempt(line)
        change = None if attempt else maillog.queue_event(line)
        if change is not None and change.what == "message-id":
            self._message_ids[line.node, change.queue_id] = change.value
        refs = self._refs(line)
        program = _PROGRAM.match(line.text)
        data = {"line": line.number, "program": program[1] if program else None}
        yield Observation("log", line.text, line.time, line.node, data, refs)
        if attempt:
            yield self._attempt(attempt, data, refs)
        elif change := change or self._broken_off(line):
            meaning = self._queue_change(change, data)
            self._remember(change)
            yield meaning
        elif found := _MAILBOX.match(line.text):
            yield self._mailbox_change(line, found, data)
        else:
            yield from self._session(line, data)

    def _remember(self, change: QueueEvent) -> None:
        """What later lines of the same message, or of the same process, do not say again."""
        node = change.line.node
        if change.what == "removed":
            self._message_ids.pop((node, change.queue_id), None)
        elif change.what == "client" and (process := _RECEIVER.search(change.line.text)):
            self._coming_in[node, process[1]] = change.queue_id
        elif change.what == "queued":
            for key, queue_id in list(self._coming_in.items()):
                if (key[0], queue_id) == (node, change.queue_id):
                    del self._coming_in[key]

    def _broken_off(self, line: LogLine) -> QueueEvent | None:
        """The client was gone in the middle of a message, of which Postfix says no more."""
        process, found = _RECEIVER.search(line.text), _BROKEN_OFF.search(line.text)
        if process is None or found is None:
            return None
        queue_id = self._coming_in.pop((line.node, process[1]), None)
        return QueueEvent(line, queue_id, "broken off", found[0]) if queue_id else None

    def _refs(self, line: LogLine, queue_id: str | None = None) -> Refs:
        found = _QUEUE_ID.search(line.text)
        queue_id = queue_id or (found[1] if found else None)
        if queue_id:
            return Refs(self._message_ids.get((line.node, queue_id)), queue_id)
        named = _MSGID.search(line.text)
        return Refs(named[1] if named else None)

    def _attempt(self, attempt: Attempt, data: dict[str, Any], refs: Refs) -> Observation:
        remote = maillog.QUEUED_AS.search(attempt.reason)
        return Observation(
            "attempt",
            attempt.reason,
            attempt.began,
            attempt.line.node,
            data
            | {
                "program": attempt.program,
                "recipient": attempt.recipient,
                "relay": attempt.relay,
                "status": attempt.status,
                "dsn": attempt.dsn,
                "reason": attempt.reason,
                "began": attempt.began,
                "ended": attempt.line.time,
                "remote_id": remote[1] if remote else None,
            },
            refs,
        )

    def _queue_change(self, change: QueueEvent, data: dict[str, Any]) -> Observation:
        line, refs = change.line, self._refs(change.line, change.queue_id)
        words = {
            "client": f"comes in from {change.value}",
            "message-id": f"is {change.value}",
            "queued": f"from <{change.value}> is in the queue",
            "expired": "has waited too long and is given up",
            "dsn": f"its sender is written to ({change.value})",
            "removed": "leaves the queue",
            "trouble": f"meets with trouble: {change.value}",
            "broken off": f"was not sent to its end: {change.value}",
        }.get(change.what, change.what)
        said = f"{change.queue_id} {words}"
        if change.what == "rejected":
            said = _refusal(change)
        more = data | {"what": change.what, "value": change.value}
        return Observation("queue_change", said, line.time, line.node, more, refs)

    def _mailbox_change(
        self, line: LogLine, found: re.Match[str], data: dict[str, Any]
    ) -> Observation:
        what = found["what"] or found["done"]
        more = data | {
            "user": found["user"],
            "what": what,
            "folder": found["folder"],
            "uid": int(found["uid"]) if found["uid"] else None,
            "flags": (found["flags"] or "").split(),
            "size": int(found["size"]) if found["size"] else None,
        }
        number = f", message {found['uid']}" if found["uid"] else ""
        summary = f"{found['user']} {found['folder']}{number}: {what}"
        return Observation(
            "mailbox_change", summary, line.time, line.node, more, Refs(found["id"] or None)
        )

    def _session(self, line: LogLine, data: dict[str, Any]) -> Iterator[Observation]:
        for what, pattern in _SESSIONS:
            if found := pattern.match(line.text):
                fields = found.groupdict()
                more = data | {
                    "user": found["user"] or "",
                    "what": what,
                    "protocol": found["protocol"],
                    "client": fields.get("rip"),
                    "detail": fields.get("detail") or "",
                }
                summary = f"{found['user'] or 'somebody'} {what} by {found['protocol'].upper()}"
                kind: Kind = "session"
                yield Observation(kind, summary, line.time, line.node, more)
                return


def _refusal(change: QueueEvent) -> str:
    """What was refused, and why: a recipient (the message may go to others), or all of it."""
    command, _, why = change.value.partition(" from ")
    reason = why.partition("]: ")[2].partition("; from=<")[0]
    recipient = re.search(r" to=<([^>]*)>", why)
    what = f"<{recipient[1]}>" if recipient and command == "RCPT" else change.queue_id or command
    return f"{what} is refused: {reason or change.value}"
