"""The TCP connections of a run, as they are found in its captures, and what each carried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.events import Event
from lab.record import Record
from lab.views.report.exhibits import Exhibit
from lab.views.report.packets import stream_filter
from lab.views.report.text import Moment, moment


@dataclass(frozen=True)
class Stream:
    """A connection in one capture. `matters` if it carried a message, nobody answered, or a
    verdict rests on it."""

    file: str
    number: int
    protocol: str
    client: str
    server: str
    when: Moment
    state: str
    carried: list[str]
    filter: str
    matters: bool


def streams(record: Record, cited: Iterable[Exhibit]) -> list[Stream]:
    """All connections, capture by capture, in Wireshark's numbering."""
    carried: dict[tuple[str, int], list[str]] = {}
    for event in record.of("transaction"):
        carried.setdefault(_key(event), []).append(_message(event, record.subjects))
    began: dict[tuple[str, int], Event] = {}
    last: dict[tuple[str, int], Event] = {}
    for event in record.of("connection"):
        if event.refs.stream is not None:
            began.setdefault(_key(event), event)
            last[_key(event)] = event
    frames = {(one.evidence.file, one.evidence.frame) for one in cited}
    judged = {
        _key(event)
        for event in record.of("packet")
        if (event.refs.file, event.refs.frame) in frames and event.refs.stream is not None
    }
    return [
        Stream(
            file=key[0],
            number=key[1],
            protocol=began[key].data["protocol"],
            client=_end(began[key], "client"),
            server=_end(began[key], "server"),
            when=moment(record.clock, began[key].time),
            state=last[key].data["state"],
            carried=carried.get(key, []),
            filter=stream_filter(
                began[key].data["protocol"] if key in carried or _spoken(last[key]) else None,
                key[1],
            ),
            matters=key in carried or key in judged or not _spoken(last[key]),
        )
        for key in sorted(began)
    ]


def _key(event: Event) -> tuple[str, int]:
    return event.refs.file or "", event.refs.stream or 0


def _spoken(event: Event) -> bool:
    """Whether anything was said: a call that nobody answered has no protocol to filter by."""
    return not event.data["state"].startswith(("never answered", "refused", "half open"))


def _end(event: Event, side: str) -> str:
    return f"{event.data.get(f'{side}_node') or ''} {event.data[side]}".strip()


def _message(event: Event, subjects: Mapping[str, str]) -> str:
    subject = subjects.get(event.refs.message_id or "")
    name = f'"{subject}"' if subject else event.refs.message_id or "a message"
    ids = f" ({event.refs.queue_id})" if event.refs.queue_id else ""
    code = event.data.get("code")
    return f"{name}{ids}" + ("" if code == 250 else f", answered {code}" if code else "")
