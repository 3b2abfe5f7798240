"""A trace as a table: what happened, on both clocks, and where each line of it can be looked up."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from lab.observe.trace.connections import Connection
from lab.observe.trace.journey import Arrival, Attempt, Trace, places
from lab.scenarios.evidence import Evidence
from lab.units import LabClock, counted, format_clock, format_duration, wall_clock
from lab.views.tables import paint, table
from lab.views.trace.steps import Mood, Step, steps
from lab.views.visible import in_line

_WIDTH = 100
_NAMES = ("lab time", "real", "waited", "machine", "what happened", "where to look")
_PLACES = 3  # to look at, named beside a step
_OTHERS = 8  # other messages of a connection named
_COLOURS: dict[Mood, str | None] = {
    "good": "green",
    "bad": "red",
    "waits": "yellow",
    "plain": None,
}
_OUTCOMES = {"delivered": "green", "queued": "yellow", "deferred": "yellow"}


def rendered(trace: Trace) -> str:
    """Who wrote to whom, what became of it, the steps, and the connections it shared."""
    clock = LabClock(trace.started, trace.time_scale)
    told = steps(trace)
    cells = [_row(step, clock) for step in told]
    room = max(24, _WIDTH - sum(_needed(cells, column) + 2 for column in (0, 1, 2, 3, 5)))
    rows = [
        (*row[:4], _painted(_set_in(row[4], room, step.depth), step.mood), row[5])
        for row, step in zip(cells, told, strict=True)
    ]
    parts = [heading(trace)]
    if rows:
        parts.append(table(_NAMES, rows))
    parts += [_shared(trace, attempt) for attempt in _sharing(trace)]
    return "\n\n".join(parts)


def _needed(cells: list[tuple[str, str, str, str, str, str]], column: int) -> int:
    """The width of a column; tabulate gives a header room on both sides."""
    lines = (line for row in cells for line in row[column].split("\n"))
    return max([len(_NAMES[column]) + 2, *map(len, lines)])


def heading(trace: Trace) -> str:
    """Who wrote to whom, and what became of it, for each recipient where they differ."""
    subject = f'"{trace.subject}"  ' if trace.subject else ""
    lines = [paint(in_line(subject + trace.name), bold=True)]
    if trace.about:
        lines.append(in_line(f"{trace.kind} about {trace.about}"))
    sender = "<>" if trace.sender == "" else trace.sender or "?"
    if trace.recipients:
        lines.append(_wrapped(f"{sender} → {', '.join(trace.recipients)}", _WIDTH))
    outcomes = {(one.outcome, one.told) for one in trace.arrivals}
    if len(outcomes) > 1 or len(trace.arrivals) > 1:
        lines.append(paint(trace.outcome, _OUTCOMES.get(trace.outcome, "red"), bold=True))
        lines += [in_line(f"  {_name(one)}: {_became(trace, one)}") for one in trace.arrivals]
    else:
        one = trace.arrivals[0] if trace.arrivals else None
        words = _became(trace, one) if one else _nowhere(trace)
        lines.append(paint(in_line(words), _OUTCOMES.get(trace.outcome, "red"), bold=True))
    for again in trace.duplicates:
        who = f"{again.saved.user} has it again"
        words = f"duplicate: {who} ({_uid(again.saved.uid)}{again.saved.folder}): {again.cause}"
        lines.append(paint(_wrapped(words, _WIDTH), "red"))
    return "\n".join(lines)


def _uid(uid: int | None) -> str:
    return f"message {uid} of " if uid else ""


def _nowhere(trace: Trace) -> str:
    waits = [hop.node for hop in trace.hops if hop.in_queue]
    if waits:
        return f"{trace.outcome}: still in the queue of {', '.join(waits)}"
    if trace.hops:
        return f"{trace.outcome}: the record does not say for whom it is, nor what became of it"
    if taken := next((one.connection for one in trace.refused if one.taken), None):
        return f"{trace.outcome}: {taken.server_node or taken.server} took it, but no log has it"
    return "no server took it" if trace.refused else "no server's log has it"


def _name(one: Arrival) -> str:
    return one.recipient if one.final == one.recipient else f"{one.recipient} → {one.final}"


def _became(trace: Trace, one: Arrival) -> str:
    """`delivered after 2h1m (12.1s of real time), at the 5th attempt`, and its like."""
    began = min((hop.arrived for hop in trace.hops if hop.arrived is not None), default=None)
    words = one.outcome
    if one.outcome == "bounced":
        gone = any(hop.expired for hop in trace.hops if hop.key == (one.node, one.queue_id))
        words += ": given up" if gone else f": refused by {_refuser(trace, one)}"
    if began is not None and one.time is not None and one.outcome in ("delivered", "bounced"):
        words += f" after {_both(one.time - began, trace.time_scale)}"
    tries = [a for hop in trace.hops for a in hop.attempts if a.original == one.recipient]
    vain = sum(a.outcome != "sent" for a in tries)
    if vain:
        words += f", {counted(vain, 'attempt')} in vain"
    if one.outcome in ("queued", "deferred"):
        words += f": still in the queue of {one.node}"
    if one.outcome == "relayed":
        words += f": {one.node} has passed it on, and no other server's log has it"
    if one.outcome == "unknown" and one.reason:
        words += f": {one.node} does not say that it took it ({one.reason})"
    elif one.outcome == "unknown":
        words += f": the record does not say what {one.node} did with it"
    if one.outcome == "bounced":
        told = next((child for child in trace.children if one.told == child.name), None)
        words += "; its sender was told" if told and told.outcome == "delivered" else ""
    if one.outcome != "delivered" and any(
        copy.delivered and copy.user == one.final for copy in trace.saved
    ):
        words += f"; and yet it is in the mailbox of {one.final}"
    return words


def _refuser(trace: Trace, one: Arrival) -> str:
    """Who would not have it: the server spoken to, or the one that did not even speak to one."""
    for hop in trace.hops:
        for attempt in hop.attempts:
            if hop.key == (one.node, one.queue_id) and attempt.recipient == one.final:
                wire = attempt.connection
                return (wire.server_node if wire else None) or hop.node
    return one.node


def _both(real_seconds: float, scale: float) -> str:
    return f"{format_duration(real_seconds * scale)} ({format_duration(real_seconds)} real)"


def _row(step: Step, clock: LabClock) -> tuple[str, str, str, str, str, str]:
    return (
        format_clock(clock.lab_time(step.began)),
        wall_clock(step.began),
        format_duration(step.wait) if step.wait is not None else "",
        in_line(step.node),
        step.text,
        "\n".join(_where(step)),
    )


def _where(step: Step) -> list[str]:
    """Places to look: `sender-lan#36`, `sender-mail:15`."""
    found = [in_line(str(Evidence.of(place))) for place in places(step.events)]
    more = len(found) - _PLACES
    return found[:_PLACES] + ([f"(+{more})"] if more > 0 else [])


def _set_in(text: str, width: int, depth: int) -> str:
    """Lines of `width`, those of a report behind a line of their own."""
    bar = "│ " * depth
    return "\n".join(bar + line for line in _wrapped(text, width - len(bar)).split("\n"))


def _wrapped(text: str, width: int) -> str:
    # mail.receiver.example[203.0.113.25]:25 may be broken between name and address.
    lines = textwrap.wrap(in_line(text).replace("[", " ["), width, break_on_hyphens=False)
    return "\n".join(lines).replace(" [", "[")


def _painted(text: str, mood: Mood) -> str:
    """Each line by itself, so that a table's borders keep their colour."""
    return "\n".join(paint(line, _COLOURS[mood]) for line in text.split("\n"))


def _sharing(trace: Trace) -> Iterable[Attempt]:
    """Attempts on connections that carried other messages too, one for each connection."""
    found: dict[str, Attempt] = {}
    for hop in trace.hops:
        for attempt in hop.attempts:
            if attempt.connection and attempt.shared_with:
                found.setdefault(attempt.connection.id, attempt)
    return found.values()


def _shared(trace: Trace, attempt: Attempt) -> str:
    """The messages of a connection, in order, this one marked."""
    connection = attempt.connection
    assert connection is not None
    here = attempt.transaction.number if attempt.transaction else 0
    lines = [in_line(_title(connection))]
    carried = connection.carried
    shown = [one for one in carried if abs(one.number - here) <= _OTHERS // 2]
    for one in shown:
        mark = "→" if one.number == here else " "
        subject = f'  "{one.subject}"' if one.subject else ""
        name = one.message_id or one.queue_id or "?"
        lines.append(in_line(f"{mark} {one.number:>3}  {name}{subject}"))
    if more := len(carried) - len(shown):
        lines.append(f"       and {more} more")
    return "\n".join(lines)


def _title(connection: Connection) -> str:
    file = (connection.file or "").rpartition("/")[2]
    return (
        f"Connection {connection.stream} (tcp.stream in {file}) carried "
        f"{len(connection.carried)} messages one after the other:"
    )
