"""One message across all machines, from a record: every hop, attempt, mailbox, reader and report.

Pure: from events to a Trace. `stays` reads the servers' logs, `connections` the packets,
`readings` what happened in mailboxes; `tracer` joins them, `arrivals` says what became of it.
"""

from __future__ import annotations

from lab.observe.trace.journey import Trace
from lab.observe.trace.tracer import Tracer
from lab.record import Record

__all__ = ["Trace", "Tracer", "trace"]


def trace(record: Record, message: str | None = None) -> Trace:
    """The message of that Message-ID or queue ID, or what begins like one; None: the last sent.

    Raises UsageError if there is none, or there are several.
    """
    from lab.observe.trace import messages

    tracer = Tracer(record)
    found = messages.last(tracer) if message is None else messages.find(tracer, message)
    if found.message_id is not None:
        return tracer.of_message_id(found.message_id)
    assert found.stay
    return tracer.of_stay(found.stay)
