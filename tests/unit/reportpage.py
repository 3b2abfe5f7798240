"""A report taken apart, for the tests that look at it, and the records it is made of."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lab import events
from lab.engine.lab import Lab
from lab.engine.plan import plan
from lab.events import Event, EventLog, Observation, Refs
from lab.observe.live import begin
from lab.observe.pcap import read_frames
from lab.record import CAPTURES, LOGS, Record
from lab.topology.loader import load
from lab.views import report

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests/records/receiver-down"
VOID = {"meta", "link", "br"}
Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]] | None]


KNOWN = set(
    re.findall(
        r"\w+",
        "html head meta title link style body a header nav main footer section h1 h2 h3 p ul ol li "
        "dl div dt dd span b br code pre mark table caption thead tbody tr th td details summary "
        "figure figcaption script svg g path text tspan rect circle line desc polygon polyline "
        "defs marker use symbol pattern clippath ellipse",
    )
)


@dataclass
class Element:
    """An element of a page: what it is, and all text in it."""

    name: str
    attributes: dict[str, str | None]
    above: Element | None = None
    text: str = ""

    def within(self, name: str) -> bool:
        """Whether it is in an element of this name."""
        return self.above is not None and (self.above.name == name or self.above.within(name))


@dataclass
class Page(HTMLParser):
    """A page taken apart. Complains of elements that are not closed where they should be."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.html)
        self.close()
        assert not self._open, f"never closed: {[one.name for one in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        element = Element(tag, dict(attrs), self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1].name == tag, (tag, self.getpos())
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, name: str, **having: str) -> list[Element]:
        """The elements of a name whose attributes have these words among them."""
        return [
            one
            for one in self.elements
            if one.name == name
            and all(
                word in (one.attributes.get(key.strip("_")) or "").split()
                for key, word in having.items()
            )
        ]

    def at(self, identity: str) -> Element:
        """The one element with this id."""
        (found,) = [one for one in self.elements if one.attributes.get("id") == identity]
        return found

    def led_to(self, link: Element) -> Element:
        """Where a link leads."""
        return self.at((link.attributes["href"] or "").removeprefix("#"))

    def linksinside(self, element: Element) -> list[Element]:
        return [one for one in self.all("a") if inside(one, element)]


def inside(one: Element | None, element: Element) -> bool:
    return one is not None and (one is element or inside(one.above, element))


def check(page: Page) -> None:
    """What holds of every report, whatever is in it."""
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), element
            assert name not in ("src", "srcset", "data", "action", "ping", "background"), element
            if name == "xmlns":
                continue
            assert "//" not in (value or "") or not re.match(r"\s*(\w+:)?//", value or ""), element
        href = element.attributes.get("href")
        if href is not None and href.startswith("#"):
            assert href[1:] in ids, href
        elif href is not None:
            assert re.match(r"data:(application/vnd\.tcpdump\.pcap;base64)?,|captures/", href), href
    for style in page.all("style"):
        assert not re.search(r"url\(|@import", style.text)
    assert len(page.all("script")) == 1
    assert {one.name for one in page.elements} <= KNOWN, "an element that no template has"
    # Nothing in it is unseen, or acts on a terminal or on the direction of writing
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e]", page.html)
    assert page.html.encode("utf-8")


def changed(folder: Path, change: Change = lambda events: None) -> Record:
    """A copy of the recorded run, in `folder`, whose events were changed."""
    folder = folder / "runs" / "20261124-065513-receiver-down"
    shutil.copytree(RECORD, folder, dirs_exist_ok=True)
    file = folder / "events.jsonl"
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = change(found) or found
    lines = (json.dumps(event, ensure_ascii=False) + "\n" for event in found)
    file.write_text("".join(lines), encoding="utf-8")
    return Record.load(folder)


OBSERVED = (
    "packet", "connection", "turn", "dns", "transaction",
    "log", "attempt", "queue_change", "mailbox_change", "session",
)  # fmt: skip


def live(
    folder: Path, times: int = 1, part: Callable[[Event], bool] = lambda event: True
) -> Record:
    """The record of a lab that is up, in which what was recorded has happened so many times.

    Or that `part` of it.
    """
    recorded = Record.load(RECORD)
    folder = folder / "runs" / "20261124-065513-lab"
    for name in (CAPTURES, LOGS):
        (folder / name).mkdir(parents=True)
    for path in (RECORD / LOGS).iterdir():
        (folder / LOGS / path.name).write_bytes(path.read_bytes() * times)
    for path in (RECORD / CAPTURES).iterdir():
        octets = path.read_bytes()
        (folder / CAPTURES / path.name).write_bytes(octets[:24] + octets[24:] * times)
    lab = Lab(plan(load("textbook"), "lab", recorded.clock.scale), recorded.clock.started, {})
    with EventLog(folder / events.FILE, lab.clock) as log:
        begin(log, lab)
        for number in range(times):
            for event in filter(part, recorded.of(*OBSERVED)):
                log.record(_again(recorded, event, number))
    return Record.load(folder)


def _again(recorded: Record, event: Event, number: int) -> Observation:
    """The same once more, `number` times as long after the beginning as the run took."""
    later = number * (recorded.events[-1].time - recorded.run.time + 1)
    data, refs = dict(event.data), event.refs
    for key in ("began", "ended"):
        if key in data:
            data[key] += later
    if "connection" in data:
        data["connection"] += f"-{number}"
    if "line" in data:
        data["line"] += number * _lines(event.node)
    frames = number * _frames(refs.file)
    for key in ("last_frame", "answers"):
        if data.get(key) and isinstance(data[key], int):
            data[key] += frames
    if data.get("what") == "message-id":
        data["value"] = f"<{number}.{data['value'][1:]}"
    if data.get("remote_id"):
        data["remote_id"] += str(number)
    refs = Refs(
        message_id=refs.message_id and f"<{number}.{refs.message_id[1:]}",
        queue_id=refs.queue_id and f"{refs.queue_id}{number}",
        stream=None if refs.stream is None else refs.stream + 100 * number,
        file=refs.file,
        frame=None if refs.frame is None else refs.frame + frames,
    )
    return Observation(event.kind, event.summary, event.time + later, event.node, data, refs)


@cache
def _lines(node: str | None) -> int:
    return (RECORD / LOGS / f"{node}.log").read_bytes().count(b"\n")


@cache
def _frames(file: str | None) -> int:
    if file is None:
        return 0
    with (RECORD / file).open("rb") as capture:
        return sum(1 for _ in read_frames(capture))


def page_of(record: Record) -> Page:
    """The report, found to be as every report is."""
    page = Page(report.html(record))
    check(page)
    return page
