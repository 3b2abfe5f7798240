"""What passes between a browser and a web server, asked the way the scenarios of web mail ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe.packets import Tcp, decode
from lab.observe.pcap import read_frames
from lab.observe.tcp import Side
from lab.scenarios.evidence import Evidence
from lab.scenarios.wire import Connection

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

HTTP = 80
MAIL = {25: "SMTP", 587: "submission", 110: "POP3", 143: "IMAP"}


def http(stage: Stage, person: Person, since: float) -> list[Connection]:
    """The HTTP connections from `person`'s PC to their server. Raises LabError if there is none."""
    found = stage.wire.connections(
        stage.network(person.seat),
        client=stage.address(person.seat),
        server=stage.address(person.server),
        port=HTTP,
        after=since,
    )
    if not found:
        raise LabError(f"{person.seat} has not called {person.server} at port {HTTP}")
    return found


def mail_calls(stage: Stage, person: Person) -> list[Evidence]:
    """The connections from `person`'s PC to any mail server at a port of mail."""
    return [
        call.syn
        for server in stage.lab.plan.site.of_kind("mail-server")
        for port in MAIL
        for call in stage.wire.connections(
            stage.network(person.seat),
            client=stage.address(person.seat),
            server=stage.address(server),
            port=port,
            after=stage.opened,
        )
    ]


def requests(calls: list[Connection], method: str, *wanted: str) -> list[Evidence]:
    """All requests of this `method`; or the first for each of `wanted`, a part of its target."""
    found = [one for call in calls for one in call.commands(method)]
    if not wanted:
        return found
    first = (next((one for one in found if want in (one.says or "")), None) for want in wanted)
    return [one for one in first if one]


def body_with(calls: list[Connection], picture: bytes, side: Side) -> Evidence | None:
    """Where the body of a request (or response) begins that has a PNG's octets as they are."""
    for call in calls:
        with call.lock:
            for turn in call.dialogue.turns:
                if turn.kind == "content" and turn.side == side and picture in turn.data:
                    return call.at(turn.frame, "PNG")
    return None


def line_in(stage: Stage, calls: list[Connection], lines: Iterable[str]) -> Evidence | None:
    """A frame of these connections that has one of the `lines` as it is, whole."""
    sought = [(line, line.encode()) for line in lines]
    for call in calls:
        ends = {call.dialogue.client, call.dialogue.server}
        with (stage.folder / call.file).open("rb") as capture:
            for frame in read_frames(capture, lambda cut: None):  # it is still being written
                found = decode(frame)
                if (
                    not isinstance(found, Tcp)
                    or {(found.src, found.sport), (found.dst, found.dport)} != ends
                ):
                    continue
                for line, octets in sought:
                    if octets in found.payload:
                        return call.at(frame.number, line)
    return None
