"""Questions put to a running Postfix: what is in its queue, and how it is set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.observe import maillog

if TYPE_CHECKING:
    from lab.engine.lab import Lab

# A deferred file's modification time is when Postfix will try it next (qmgr(8)).
_LIST = "postqueue -j && cd /var/spool/postfix && find deferred -type f -printf 'next %f %T@\\n'"


@dataclass(frozen=True)
class QueueEntry:
    """A message in a queue. Times are epoch seconds; `next_attempt` is None if none is set."""

    node: str
    queue_id: str
    message_id: str | None
    sender: str
    recipients: tuple[str, ...]
    state: str
    """`incoming`, `active`, `deferred`, `hold` or `maildrop`."""
    size: int
    arrived: float
    attempts: int
    reason: str | None
    next_attempt: float | None


def queue(lab: Lab, node: str) -> list[QueueEntry]:
    """The messages in the queue of the mail server `node`, oldest first."""
    listing = lab.run(node, ["sh", "-c", _LIST]).check(f"asking {node} for its queue").text
    items = []
    next_attempt: dict[str, float] = {}
    for line in listing.splitlines():
        if line.startswith("next "):
            _, queue_id, when = line.split()
            next_attempt[queue_id] = float(when)
        elif line:
            items.append(json.loads(line))
    if not items:
        return []
    log = maillog.read(lab, node)
    tries: dict[str, set[float]] = {}
    for attempt in maillog.attempts(log):
        # Several recipients of one message can share an attempt.
        tries.setdefault(attempt.queue_id, set()).add(round(attempt.began, 1))
    identities = {event.queue_id: event.value for event in maillog.queue_events(log, "message-id")}
    entries = [
        QueueEntry(
            node=node,
            queue_id=item["queue_id"],
            message_id=identities.get(item["queue_id"]),
            sender=item["sender"],
            recipients=tuple(recipient["address"] for recipient in item["recipients"]),
            state=item["queue_name"],
            size=item["message_size"],
            arrived=item["arrival_time"],
            attempts=len(tries.get(item["queue_id"], ())),
            reason=next(
                (found["delay_reason"] for found in item["recipients"] if "delay_reason" in found),
                None,
            ),
            next_attempt=next_attempt.get(item["queue_id"])
            if item["queue_name"] == "deferred"
            else None,
        )
        for item in items
    ]
    return sorted(entries, key=lambda entry: (entry.arrived, entry.queue_id))


def flush(lab: Lab, node: str) -> None:
    """Try everything in the queue of `node` now (`postqueue -f`)."""
    lab.run(node, ["postqueue", "-f"]).check(f"flushing the queue of {node}")


@contextmanager
def configured(lab: Lab, node: str, settings: Mapping[str, object]) -> Iterator[None]:
    """Parameters of main.cf set while the block runs (postconf -e, reload), then as before."""
    path = "/etc/postfix/main.cf"
    before = lab.run(node, ["cat", path]).check(f"reading the settings of {node}").stdout
    pairs = [f"{key}={value}" for key, value in settings.items()]
    # Postfix would wait for a file written in the last seconds, so ours claims to be older.
    change = f'postconf -e "$@" && touch -d "1 minute ago" {path} && postfix reload'
    lab.run(node, ["sh", "-c", change, "sh", *pairs]).check(f"setting {', '.join(settings)}")
    try:
        yield
    finally:
        undo = f'cat > {path} && touch -d "1 minute ago" {path} && postfix reload'
        lab.run(node, ["sh", "-c", undo], stdin=before).check(f"restoring the settings of {node}")
