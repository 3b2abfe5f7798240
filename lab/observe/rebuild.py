"""Events made afterwards from a run's captures and logs: of all that happened, or of some messages.

A soak keeps no events of its millions of packets and lines. Whatever is asked of a message later is
in its captures and logs still, and what is read there is what a recorder would have seen.

What concerns a message is found in its logs first: what it is called (`related`), and when it was
handled. Captures are then read twice, to find its connections and to tell of them, so that nothing
of all the others is kept; a connection is told of on every network it was seen on, or on none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from lab import events
from lab.errors import UsageError
from lab.events import Event, Observation
from lab.kinds import Kind
from lab.observe.dialogue import Dialogue, listen
from lab.observe.logbook import Logbook
from lab.observe.maillog import QUEUED_AS, LogLine
from lab.observe.packets import Packet, Tcp, decode
from lab.observe.pcap import Frame, read_frames
from lab.observe.protocols import EVERY
from lab.observe.related import Index, Reading, Spans, Wanted, plain, process
from lab.observe.stream import Stream
from lab.observe.tap import Tap, identity
from lab.observe.tcp import Step
from lab.observe.trace.journey import places
from lab.record import CAPTURES, LOGS, Record

DERIVED: frozenset[Kind] = frozenset(
    [
        *("packet", "connection", "turn", "dns", "transaction"),
        *("log", "attempt", "queue_change", "mailbox_change", "session"),
    ]
)
"""The kinds of events that are read in captures and logs."""

_MAILBOX = ("imap", "pop3")
_MAIL = ("smtp", "lmtp", "tls", "tcp")  # on whatever port, readable or not
_SLACK_SECONDS = 1.0  # by which a log line may be later than the packet it is about


def rebuild(
    folder: Path, wanted: Collection[str] | None = None, target: Path | None = None
) -> Record:
    """Write the record of the run in `folder` anew, with all events of the `wanted` messages.

    Those are named by Message-ID or queue ID; None: all. Events that don't come from captures and
    logs are kept, all others made anew. With a `target`, that folder becomes the record, with
    links to the captures and logs of `folder`. Raises UsageError for a run that goes on, for a
    name that may be several messages', and for a damaged record.
    """
    target = target or folder
    path = target / events.FILE
    if path.exists() and events.being_written(path):
        raise UsageError("the run goes on, and its record is being written", where=str(path))
    made = remade(folder, wanted)
    target.mkdir(parents=True, exist_ok=True)
    for name in (CAPTURES, LOGS):
        if not (target / name).exists() and (folder / name).exists():
            (target / name).symlink_to((folder / name).resolve())
    unfinished = target / f".{events.FILE}"  # no run in progress that one could watch
    with unfinished.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(event.as_json() + "\n" for event in made.events)
    unfinished.replace(path)
    return Record.load(target)


def remade(folder: Path, wanted: Collection[str] | None = None) -> Record:
    """The same in memory: the record of `folder` with all events of the `wanted` messages.

    It is `partial` unless those are all.
    """
    known = Record.load(folder)
    kept = [event for event in known.events if event.kind not in DERIVED]
    seen = sorted(observed(known, wanted), key=lambda one: one.time)
    merged: list[Event | Observation] = [*kept, *seen]
    # The first event says what the record is of, whenever the others were.
    merged.sort(key=lambda one: (one.kind != "run", round(one.time, 6)))
    number = {one.seq: seq for seq, one in enumerate(merged, 1) if isinstance(one, Event)}
    moved = {event.seq: event for event in known.events if event.seq not in number}
    found = []
    for seq, one in enumerate(merged, 1):
        if isinstance(one, Event):
            data = {key: _renumbered(key, value, number, moved) for key, value in one.data.items()}
            if one.kind == "run":
                data["partial"] = wanted is not None
            found.append(replace(one, seq=seq, data=data))
        else:
            moment, lab_time = round(one.time, 6), round(known.clock.lab_time(one.time), 3)
            rest = one.node, one.kind, one.summary, dict(one.data), one.refs
            found.append(Event(seq, moment, lab_time, *rest))
    return Record(folder, tuple(events.in_order(found)))


def tells_all_of(record: Record, message: str) -> bool:
    """Whether a server's log on record names the message: then it was made for that one, whole."""
    found = (event.refs.names for event in record.of("attempt", "queue_change"))
    return any(plain(name) == plain(message) for names in found for name in names)


def tells_of(record: Record, message: str) -> bool:
    """Whether captures or logs had anything of a message that is called or begins like this."""
    found = (event.refs.names for event in record.events if event.kind in DERIVED)
    return any(plain(name).startswith(plain(message)) for names in found for name in names)


def _renumbered(key: str, value: Any, number: Mapping[int, int], moved: Mapping[int, Event]) -> Any:
    """A value of an event's data, whose `evidence` names events by their new numbers.

    Events that were made anew have no number to know them by: their place is named instead.
    """
    if isinstance(value, Mapping):
        return {name: _renumbered(name, one, number, moved) for name, one in value.items()}
    if not isinstance(value, list):
        return value
    if key != "evidence":
        return [_renumbered("", one, number, moved) for one in value]
    found = []
    for place in value:
        seq = place.get("event")
        if seq in moved:
            says = {"says": place["says"]} if "says" in place else {}
            found.append(places([moved[seq]])[0] | says)
        else:
            found.append(place if seq is None else {**place, "event": number.get(seq)})
    return found


# What is in captures and logs --------------------------------------------------------------------


def observed(record: Record, wanted: Collection[str] | None = None) -> Iterator[Observation]:
    """What captures and logs of a record tell of the `wanted` messages (see `rebuild`).

    Each source is told in its order. That is all that names them and the reports about them, whole
    connections that carried them, to mailboxes too, or may have; the calls that their attempts
    made in vain; logins of those who have them; and what else (DNS, ICMP, ARP, lines that are
    about no message) came within a second of their being handled. The last line of each log and
    frame of each capture are told too: so long nothing more came. None: everything.
    """
    nodes = record.about["addresses"]
    captures = _files(record, CAPTURES)
    if wanted is None:
        yield from (one for seen in _logged(record) for one in seen)
        for path in captures:
            yield from _passed(path, Tap(path.stem, f"{CAPTURES}/{path.name}", nodes))
        return
    index = _index(record)
    texts = set(wanted)
    while not (search := _Search(record, index.wanted(texts))).more <= texts:
        texts |= search.more
    yield from search.lines(index.reading)
    for path in captures:
        yield from _passed(path, search.sieve(path))


def last(record: Record) -> str | None:
    """A name of the message that was submitted last, as the logs of a record tell."""
    return _index(record).last()


def _index(record: Record) -> Index:
    """Which names in the logs are of one message."""
    index = Index(Reading(record.about["addresses"], [path.stem for path in _files(record, LOGS)]))
    for seen in _logged(record, since=-inf):
        index.add(seen)
    return index


def _files(record: Record, kind: str) -> list[Path]:
    """The captures or logs of a run; those with nothing in them left out."""
    return [path for path in sorted((record.folder / kind).glob("*.*")) if path.stat().st_size]


def _logged(record: Record, since: float | None = None) -> Iterator[list[Observation]]:
    """Each line from `since` (epoch seconds) on, with what it means; None: since the run began.

    What machines wrote before tells something of what they write later.
    """
    since = record.run.time if since is None else since
    for path in _files(record, LOGS):
        book = Logbook()
        for line in _lines(path):
            seen = list(book.read(line))
            if line.time >= since:
                yield seen


def _lines(path: Path) -> Iterator[LogLine]:
    """The lines of a log, as lab.record.write_log has written them."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, text in enumerate(file, 1):
            moment, _, said = text.removesuffix("\n").partition(" ")
            try:
                yield LogLine(path.stem, number, float(moment), said)
            except ValueError:
                raise UsageError(
                    "this line of a log does not begin with its moment", where=f"{path}:{number}:1"
                ) from None


def _frames(path: Path) -> Iterator[Frame]:
    """The frames of a capture, as far as it goes."""
    with path.open("rb") as file:
        yield from read_frames(file, on_cut=lambda cut: None)


def _passed(path: Path, tap: Tap) -> Iterator[Observation]:
    for frame in _frames(path):
        yield from tap.feed(frame)
    yield from tap.finish()


class _Search:
    """The connections and lines that concern the messages of `wanted`."""

    def __init__(self, record: Record, wanted: Wanted) -> None:
        self._record = record
        self._wanted = wanted
        self._addresses = record.about["addresses"]
        self._nodes = wanted.nodes
        self.more: set[str] = set()
        """What else they are called on the wire: a log cuts and cleans a Message-ID."""
        self._places: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._kept: set[str] = set()
        self._readers: list[tuple[str, str | None, str, float, float]] = []
        for path in _files(record, CAPTURES):
            for dialogue, turn in listen(_frames(path), EVERY):
                if turn is None and dialogue.over and dialogue.stream.transport == "tcp":
                    self._meet(path.stem, dialogue)

    def sieve(self, path: Path) -> _Sieve:
        """What tells of them in the capture `path`."""
        places = (place for connection in self._kept for place in self._places[connection])
        streams = {number for network, number in places if network == path.stem}
        file = f"{CAPTURES}/{path.name}"
        return _Sieve(path.stem, file, self._addresses, streams, self._wanted.handled)

    def _meet(self, network: str, dialogue: Dialogue) -> None:
        """A connection that is over."""
        stream = dialogue.stream
        connection = identity(stream)
        self._places[connection].append((network, stream.number))
        if not (self._carried(dialogue) or self._may_have(dialogue)):
            return
        self._kept.add(connection)
        if dialogue.protocol in _MAILBOX:
            began, ended = _stood(stream)
            node = self._addresses.get(stream.server.address)
            reader = stream.client.address, node, dialogue.protocol, began, ended + _SLACK_SECONDS
            self._readers.append(reader)

    def _carried(self, dialogue: Dialogue) -> bool:
        """Whether the message was seen on it; then also how it is called there."""
        node = self._addresses.get(dialogue.server.address, "")
        wanted, found = self._wanted, False
        for turn in dialogue.turns:
            queued = None
            if turn.side == "server" and turn.code == 250:
                queued = QUEUED_AS.search(turn.text)
            if queued and ("queue", node, queued[1]) in wanted.names:
                found = True
            found = found or wanted.called(turn.message_id)
        if found:
            for one in dialogue.transactions:
                queued = QUEUED_AS.search(one.reply.text) if one.reply else None
                name = ("queue", node, queued[1]) if queued else ("",)
                if name in wanted.names or wanted.called(one.message_id):
                    both = {("id", one.message_id or ""), name}
                    self.more |= {each[-1] for each in both - set(wanted.names) if each[-1]}
        return found

    def _may_have(self, dialogue: Dialogue) -> bool:
        """Whether it stood when they were handled, and nothing shows what it was for."""
        if dialogue.protocol not in _MAIL:
            return False
        nodes = [self._addresses.get(end.address) for end in (dialogue.client, dialogue.server)]
        if not self._nodes.intersection(nodes) or not self._wanted.handled.meet(
            *_stood(dialogue.stream)
        ):
            return False
        carried = [one.message_id for one in dialogue.transactions]
        encrypted = dialogue.encrypted or dialogue.protocol == "tls"
        return bool(encrypted) or not all(carried) or not carried

    # Lines --------------------------------------------------------------------------------------

    def lines(self, reading: Reading) -> Iterator[Observation]:
        """What the logs tell of them."""
        last: dict[str | None, tuple[Observation, bool]] = {}
        for seen in _logged(self._record):
            told = self._told(seen, reading)
            last[seen[0].node] = seen[0], bool(told)
            yield from told
        yield from (line for line, told in last.values() if not told)

    def _told(self, seen: Sequence[Observation], reading: Reading) -> Sequence[Observation]:
        """As much of a line, and what it means, as is to be told."""
        line, wanted = seen[0], self._wanted
        found = reading.names(seen)
        if found:
            if not wanted.names.isdisjoint(found):
                return seen
            # The trace looks for what the process that tried them has said meanwhile.
            by = wanted.wrote.get((line.node or "", process(line.summary) or ""))
            return seen[:1] if by and line.time in by else ()
        near = line.time in wanted.handled
        return seen if near or any(self._logs_in(one) for one in seen[1:]) else ()

    def _logs_in(self, seen: Observation) -> bool:
        """Whether somebody comes who has the message, or over a connection that is told of."""
        if seen.kind != "session":
            return False
        data = seen.data
        return (seen.node, data["user"]) in self._wanted.users or any(
            (data["client"], data["protocol"]) == (client, protocol)
            and node in (seen.node, None)
            and began <= seen.time <= until
            for client, node, protocol, began, until in self._readers
        )


def _stood(stream: Stream) -> tuple[float, float]:
    """When a connection began and when it was first closed, as far as was seen (epoch seconds)."""
    ends = [mark.time for mark in stream.fins.values()]
    ends += [stream.reset[1].time] if stream.reset else []
    return stream.opened.time, min(ends, default=inf)


class _Sieve(Tap):
    """A tap that tells of some TCP connections, and of what else passed at certain moments."""

    def __init__(
        self,
        network: str,
        file: str,
        nodes: Mapping[str, str],
        streams: Collection[int],
        moments: Spans,
    ) -> None:
        super().__init__(network, file, nodes)
        self._streams = streams
        self._moments = moments
        self._flows: set[Stream] = set()  # UDP that was told of
        self._last: tuple[Frame, Packet | None, Sequence[Step]] | None = None

    def feed(self, frame: Frame) -> list[Observation]:
        """What there is to tell of `frame`."""
        packet = decode(frame)
        self._now = frame.time
        steps = self._steps.feed(packet)
        self._last = frame, packet, steps
        if isinstance(packet, Tcp):
            stream = self._steps.stream(packet)
            tell = stream is not None and stream.number in self._streams
            if not (tell or steps):
                return []
        else:
            tell = frame.time in self._moments or any(
                step.stream.transport == "tcp" and step.stream.number in self._streams
                for step in steps
            )
        seen = []
        if tell:
            self._last = None
            seen.append(self._packet(frame, packet, steps))
        for step in steps:
            seen += self._sifted(step, frame.time)
        return seen

    def finish(self) -> list[Observation]:
        """The capture is at its end: with its last frame."""
        seen = [self._packet(*self._last)] if self._last else []
        for step in self._steps.finish():
            seen += self._sifted(step, inf)
        return seen

    def _sifted(self, step: Step, moment: float) -> Iterator[Observation]:
        stream = step.stream
        if stream.transport == "tcp":
            if stream.number in self._streams:
                yield from self._step(step)
            return
        if step.kind != "over" and moment in self._moments:
            self._flows.add(stream)
        elif step.kind != "over" or stream not in self._flows:
            self._conversations.take(step)  # what was asked before tells what is an answer
            return
        yield from self._step(step)
