"""What the mail servers say: their log lines, read as they were written, and what they mean.

Postfix's lines are taken apart into attempts and queue events; nothing is guessed from a line
that has another shape. Times are the engine's own, to the microsecond, because Postfix stamps
only whole seconds.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.engine.lab import Lab


# The programs with which Postfix has a message leave the mail system: local(8), lmtp(8) …
LOCAL = frozenset({"lmtp", "local", "virtual", "pipe"})
# The statuses of an attempt after which there is none: bounce(8), qmgr(8), verify(8)
GIVEN_UP = frozenset({"bounced", "expired", "undeliverable"})


@dataclass(frozen=True)
class LogLine:
    """One line a node wrote: its number there (from 1), when (epoch seconds), and its text."""

    node: str
    number: int
    time: float
    text: str


@dataclass(frozen=True)
class Attempt:
    """One delivery attempt for one recipient, as `smtp` or `lmtp` logged its outcome."""

    line: LogLine
    program: str
    queue_id: str
    recipient: str
    relay: str
    status: str
    """`sent`, `deferred`, or one of GIVEN_UP."""
    dsn: str
    reason: str
    delays: tuple[float, ...]
    """Seconds before the queue manager, in it, connecting, and transmitting (postconf(5))."""
    taken_up: float | None = None
    """When the queue manager had taken the message up (epoch seconds), if that is known."""

    @property
    def waited(self) -> float:
        """How many (real) seconds after it had come the message was through with this attempt."""
        return sum(self.delays)

    @property
    def began(self) -> float:
        """When the attempt began (epoch seconds): its end less the time it took.

        Postfix gives that in two digits; never before the message was taken up, and exactly then
        if the digits allow it.
        """
        took = sum(self.delays[2:])
        began = self.line.time - took
        if self.taken_up is None:
            return began
        close = abs(began - self.taken_up) <= _DELAY_SECONDS + _DELAY_SHARE * took
        return self.taken_up if close else max(began, self.taken_up)


@dataclass(frozen=True)
class QueueEvent:
    """Something else that happened to a message: `what` is one of the names in _EVENTS.

    `queue_id` is empty for what was refused before it had one.
    """

    line: LogLine
    queue_id: str
    what: str
    value: str


_DELAY_SECONDS, _DELAY_SHARE = 0.05, 0.06  # how far Postfix's two digits may be off
QUEUED_AS = re.compile(r"\bqueued as (\w+)")  # how Postfix says that it has taken a message
_SYSLOG = re.compile(
    r"^\w{3} [ \d]\d [\d:]{8} \S+ postfix/(?P<program>[\w/]+)\[\d+\]: (?P<text>.*)$"
)
_ATTEMPT = re.compile(
    r"^(?P<id>\w+): to=<(?P<to>[^>]*)>,(?: orig_to=<[^>]*>,)? relay=(?P<relay>.*?), "
    r"(?:conn_use=\d+, )?delay=[\d.]+, delays=(?P<delays>\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?){3}), "
    r"dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+) \((?P<reason>.*)\)$"
)
_EVENTS = {
    "message-id": re.compile(r"^(?P<id>\w+): message-id=(?P<value>.+)$"),
    "queued": re.compile(r"^(?P<id>\w+): from=<(?P<value>[^>]*)>, size=\d+, nrcpt=\d+"),
    "expired": re.compile(r"^(?P<id>\w+): from=<[^>]*>, status=(?P<value>(?:force-)?expired)\b"),
    "dsn": re.compile(
        r"^(?P<id>\w+): (?:sender|postmaster) (?:non-delivery|delay|delivery status) notification: "
        r"(?P<value>\w+)"
    ),
    "removed": re.compile(r"^(?P<id>\w+): (?P<value>removed)$"),
    # From another machine, or by sendmail(1) on this one.
    "client": re.compile(
        r"^(?P<id>\w+): (?:client=(?=\S)|(?=uid=\d+ from=))(?P<value>\S+?)(?:[,\s]|$)"
    ),
    "rejected": re.compile(r"^(?:NOQUEUE|(?P<id>\w+)): (?:milter-)?reject: (?P<value>.+)$"),
    # With one of several servers, or of several addresses: the next is tried.
    "trouble": re.compile(
        r"^(?P<id>\w+): (?P<value>(?:lost connection with|conversation with|host \S+ said:"
        r"|host \S+ refused to talk to me:|Cannot start TLS:) .+)$"
    ),
}


def read(lab: Lab, node: str) -> list[LogLine]:
    """Everything `node` has written since it was made, stops and restarts included."""
    from lab.engine.client import client

    output: bytes = client().api.logs(lab.container(node), timestamps=True)
    # Not splitlines(): what a program wrote may hold a carriage return.
    return list(parse(node, filter(None, output.split(b"\n"))))


class Follower:
    """The lines of `node` as they are written, those after number `after`.

    Iterating ends with the node, or when another thread closes it.
    """

    def __init__(self, lab: Lab, node: str, after: int = 0) -> None:
        from lab.engine.client import client

        self._node, self._after = node, after
        self._stream = client().api.logs(
            lab.container(node), timestamps=True, stream=True, follow=True
        )

    def __iter__(self) -> Iterator[LogLine]:
        pending = b""
        number = 0
        for chunk in self._stream:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in parse(self._node, lines, number):
                number = line.number
                if number > self._after:
                    yield line

    def close(self) -> None:
        """Hear no more."""
        with contextlib.suppress(OSError):
            self._stream.close()


def follow_all(lab: Lab, nodes: Iterable[str], after: Mapping[str, int]) -> Iterator[LogLine]:
    """The lines of several nodes as they are written, each node's after number `after[node]`."""
    arrived: queue.SimpleQueue[LogLine | None] = queue.SimpleQueue()

    def watch(node: str) -> None:
        for line in Follower(lab, node, after.get(node, 0)):
            arrived.put(line)
        arrived.put(None)

    watchers = [threading.Thread(target=watch, args=(node,), daemon=True) for node in nodes]
    for watcher in watchers:
        watcher.start()
    ended = 0
    while ended < len(watchers):
        line = arrived.get()
        if line is None:
            ended += 1
        else:
            yield line


def parse(node: str, raw: Iterable[bytes], before: int = 0) -> Iterator[LogLine]:
    """Log lines as Docker gives them with timestamps; the first is number `before` + 1."""
    for number, line in enumerate(raw, before + 1):
        stamp, _, text = line.decode(errors="replace").partition(" ")
        # Nanoseconds are more than Python's clock holds; it leaves out the last three digits.
        when = datetime.fromisoformat(stamp)
        yield LogLine(node, number, when.timestamp(), text)


def _postfix(line: LogLine) -> tuple[str, str] | None:
    found = _SYSLOG.match(line.text)
    return (found["program"], found["text"]) if found else None


def attempt(line: LogLine) -> Attempt | None:
    """The delivery attempt that `line` reports, if it does."""
    said = _postfix(line)
    found = _ATTEMPT.match(said[1]) if said else None
    if said is None or found is None:
        return None
    return Attempt(
        line=line,
        program=said[0],
        queue_id=found["id"],
        recipient=found["to"],
        relay=found["relay"],
        status=found["status"],
        dsn=found["dsn"],
        reason=found["reason"],
        delays=tuple(float(part) for part in found["delays"].split("/")),
    )


def queue_event(line: LogLine) -> QueueEvent | None:
    """The queue event that `line` reports, if it does."""
    said = _postfix(line)
    if said is None:
        return None
    for what, pattern in _EVENTS.items():
        if found := pattern.match(said[1]):
            return QueueEvent(line, found["id"] or "", what, found["value"])
    return None


def attempts(lines: Iterable[LogLine], queue_id: str | None = None) -> list[Attempt]:
    """The delivery attempts in `lines`, in order; only those of `queue_id` if given."""
    book = Activity()
    found = (book.attempt(line) for line in lines)
    return [one for one in found if one and queue_id in (None, one.queue_id)]


class Activity:
    """Remembers, line by line, when each message was last taken up to be passed on."""

    def __init__(self) -> None:
        self._taken_up: dict[tuple[str, str], float] = {}

    def attempt(self, line: LogLine) -> Attempt | None:
        """The delivery attempt that `line` reports, if it does, and when it was begun."""
        found = attempt(line)
        if found:
            return replace(found, taken_up=self._taken_up.get((line.node, found.queue_id)))
        if (event := queue_event(line)) and event.what == "queued":
            self._taken_up[line.node, event.queue_id] = line.time
        return None


def queue_events(
    lines: Iterable[LogLine], what: str | None = None, queue_id: str | None = None
) -> list[QueueEvent]:
    """The queue events in `lines`, in order; only of kind `what` and of `queue_id` if given."""
    found = (queue_event(line) for line in lines)
    return [
        one
        for one in found
        if one and what in (None, one.what) and queue_id in (None, one.queue_id)
    ]
