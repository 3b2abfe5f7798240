"""A page with pictures, as it lies on the web server, and as somebody fetches it (RFC 9110)."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe.turns import Turn
from lab.scenarios.evidence import Evidence
from lab.scenarios.legs import high
from lab.scenarios.wire import Connection
from lab.seats.call import HTTP
from lab.services.web_server import FOLDER
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

_HTTP = 80
PAGE = "index.html"
_SECONDS = 20.0  # real time in which a server says something
_LENGTH = b"\r\nContent-Length: "


@dataclass(frozen=True)
class Page:
    """What lies on the web server `server`: `files` by name, the page first, then its pictures."""

    server: str
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """The octets of all its files."""
        return sum(map(len, self.files.values()))

    def size_of(self, name: str) -> int:
        """The octets of one of them."""
        return len(self.files[name])


@dataclass(frozen=True)
class Exchange:
    """A request for a file, and the response to it: its head, and all of its body."""

    request: Turn
    head: Turn
    body: Turn

    @property
    def name(self) -> str:
        """The file's name."""
        return (self.request.argument or "").lstrip("/") or PAGE

    @property
    def size(self) -> int:
        """The octets of the response."""
        return self.head.size + self.body.size

    @property
    def length(self) -> str:
        """The line of the response that says how long the body is."""
        _, _, rest = self.head.data.partition(_LENGTH)
        return (_LENGTH.strip() + b" " + rest.partition(b"\r\n")[0]).decode()


@dataclass(frozen=True)
class Visit:
    """What somebody's PC asked a web server for, and what came, over which connections."""

    stage: Stage
    who: Person
    page: Page
    calls: list[Connection]
    exchanges: list[Exchange]

    @property
    def size(self) -> int:
        """The octets of all responses."""
        return sum(one.size for one in self.exchanges)

    def pulled(self) -> None:
        """Who fetched it opened the connection: one for all, with a request for each file."""
        seat = self.who.seat
        codes = [one.head.code for one in self.exchanges]
        others = called(self.stage, seat, self.calls[0].dialogue.opened.time)
        self.stage.check(
            "HTTP pulls",
            f"{seat}, which is to have the page, sends the SYN: 1 connection, with a request and a "
            f"response for each of the {len(self.page.files)} files; nobody calls {seat}",
            f"{ends(self.calls)}: {counted(len(self.calls), 'connection')}, "
            f"{counted(len(codes), 'request')}, answered {', '.join(map(str, codes))}; "
            f"{counted(len(others), 'call')} to {seat}",
            len(self.calls) == 1 and not others and codes == [200] * len(self.page.files),
            [*(one.syn for one in self.calls), *others, *self._evidence()],
        )

    def unencoded(self) -> None:
        """Each file came in a response of its own, octet by octet as it lies on the server."""
        files = [self.page.files[one.name] for one in self.exchanges]
        same = [one.body.data for one in self.exchanges] == files
        stated = [f"Content-Length: {len(octets)}" for octets in files]
        count = sum(high(one.body.data) for one in self.exchanges)
        self.stage.check(
            "as it is",
            f"as it lies on {self.page.server}, not an octet more or less: {', '.join(stated)}",
            f"{', '.join(one.length for one in self.exchanges)}; {count:,} octets are 0x80 or "
            f"more; {'the same' if same else 'NOT the same'} as the files",
            same and [one.length for one in self.exchanges] == stated and count > 0,
            self._evidence(),
        )

    def _evidence(self) -> list[Evidence]:
        found = []
        for one in self.exchanges:
            call = self.calls[0]
            found += [call.turn(one.request), call.turn(one.head)]
            found += call.showing(self.stage.folder, one.length)
        return found


def stored(stage: Stage) -> Page:
    """The page that the lab's web server serves, as it lies there."""
    [server, *_] = stage.lab.plan.site.of_kind("web-server")

    def read(name: str) -> bytes:
        done = stage.lab.run(server, ["cat", f"{FOLDER}/{name}"])
        return done.check(f"reading {name} of {server}").stdout

    page = read(PAGE)
    return Page(server, {PAGE: page, **{name: read(name) for name in pictures_on(page)}})


def visit(stage: Stage, who: Person, page: Page, *, only: str = "") -> Visit:
    """`who` opens the page, and with it the pictures that it names; or one file alone, `only`.

    As a simple browser would: it reads the page, and asks for what is on it over the connection
    that it has. Raises LabError if it gets no answer.
    """
    host = stage.lab.plan.site.hostname(page.server)
    with stage.audience.acting():
        began = time.time()
        try:
            with closing(HTTP(stage.lab, who.seat, host, _HTTP, _SECONDS)) as client:
                names = [only]
                first = _get(client, only)
                names += [] if only else pictures_on(first)
                for name in names[1:]:
                    _get(client, name)
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"{who.seat} can't fetch http://{host}/{only}: {error}") from error
        found = stage.until(
            "the visit is in the capture", lambda: _seen(stage, who, page, began, len(names))
        )
        evidence = [
            found.calls[0].syn,
            *(found.calls[0].turn(one.request) for one in found.exchanges),
        ]
        stage.log.add(
            "action",
            f"{who.name} opens http://{host}/{only}: {counted(len(names), 'request')}",
            node=who.seat,
            when=began,
            data={
                "evidence": [one.as_json() for one in evidence],
                "by": who.address,
                "protocol": "http",
                "bytes": sum(one.body.size for one in found.exchanges),
            },
        )
    return found


def _get(client: HTTP, name: str) -> bytes:
    client.request("GET", f"/{name}")
    return client.getresponse().read()


def _seen(stage: Stage, who: Person, page: Page, began: float, count: int) -> Visit | None:
    """What `who` has asked for since `began`, once `count` responses came and all is closed."""
    calls = stage.wire.connections(
        stage.network(page.server),
        client=stage.address(who.seat),
        server=stage.address(page.server),
        port=_HTTP,
        after=began,
    )
    found = []
    for call in calls:
        for request in call.said("GET"):
            with call.lock:
                bodies = [
                    turn
                    for turn in call.dialogue.turns
                    if turn.kind == "content" and turn.answers is request and turn.complete
                ]
            if request.reply and bodies:
                found.append(Exchange(request, request.reply, bodies[0]))
    over = all(len(call.dialogue.stream.fins) == 2 for call in calls)
    return Visit(stage, who, page, calls, found) if over and len(found) >= count else None


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value for name, value in attrs if (tag, name) == ("img", "src") and value]


def pictures_on(page: bytes) -> list[str]:
    """What a page shows: the names of its pictures, in order."""
    reader = _Images()
    reader.feed(page.decode())
    return reader.sources


def called(stage: Stage, node: str, since: float) -> list[Evidence]:
    """Connections that anybody has opened, or tried to open, to `node` since then."""
    return stage.wire.calls_to(stage.network(node), stage.address(node), since)


def ends(calls: list[Connection]) -> str:
    """Who called whom."""
    return "; ".join(f"{call.dialogue.client} → {call.dialogue.server}" for call in calls)
