"""The report: one page with everything a run claims, and what each claim rests on."""

from __future__ import annotations

import base64
import re
import struct
import time
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from reportpage import RECORD, changed, inside, page_of

from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.views.report import exhibits, text


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return changed(tmp_path)


def frames(path: Path) -> list[bytes]:
    """The frames of a classic pcap, read here by hand."""
    data, found, at = path.read_bytes(), [], 24
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        found.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return found


def test_tells_what_ran_and_how_it_went(record: Record) -> None:
    page = page_of(record)
    header = page.all("header")[0].text
    assert "as expected: 5 expectations, all met" in " ".join(header.split())
    assert "The receiver's mail server is down, and the message waits" in header
    assert "1 real second is 10m of lab time" in header
    assert "try again 30m after an attempt, give up after 5d" in header
    assert page.all("html")[0].attributes["lang"] == "en"
    assert "lab report 20261124-065513-receiver-down" in page.all("footer")[0].text
    assert "Postfix 3.10.13" in page.all("footer")[0].text


def test_the_story_is_told_in_order_on_both_clocks(record: Record) -> None:
    page = page_of(record)
    story = page.all("ol", class_="story")[0]
    said = " ".join(story.text.split())
    order = [
        "somebody trips over a power cord",
        "receiver-mail has no power",
        "Predict",
        'alice writes "Lunch?"',
        "deferred (connect to mail.receiver.example",
        "deferred (as before)",
        "next try in 22m27s, at 02:21:00",
        "Why",
        "receiver-mail has its power back",
        "into the mailbox of bob@receiver.example",
        "1 in the mailbox of bob@receiver.example",
    ]
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    for event in record.of("action", "attempt", "fault", "queue", "mailbox"):
        line = page.at(f"story-{event.seq}").text
        real = time.strftime("%H:%M:%S", time.localtime(event.time))
        assert line.split()[:2] == [text.moment(record.clock, event.time).lab, real]


def test_a_verdict_leads_to_the_bytes_of_its_packets(record: Record) -> None:
    page = page_of(record)
    caught = frames(RECORD / "captures/sender-lan.pcap")
    (row,) = [
        one
        for one in page.all("tr", role="row")
        if "unanswered" in one.text and "4 calls without" in one.text
    ]
    found = page.linksinside(row)
    assert [one.text.split() for one in found] == [
        [f"sender-lan#{frame}", "SYN"] for frame in (36, 41, 50, 55)
    ]
    for link, number in zip(found, (36, 41, 50, 55), strict=True):
        packet = page.led_to(link)
        assert packet.within("details")
        (dump,) = [one for one in page.all("pre", class_="bytes") if inside(one, packet)]
        octets = [line[6:54] for line in dump.text.splitlines()]
        assert bytes.fromhex("".join(octets)) == caught[number - 1]
        assert "[SYN] Seq=0 Win=64240 Len=0" in packet.text
        assert "sender-mail 198.51.100.25:" in packet.text
        assert "receiver-mail 203.0.113.25:25" in packet.text
        assert f"-Y 'frame.number == {number}'" in packet.text
        assert re.search(r"tcp\.stream eq [1-4]\n", packet.text)
        assert re.search(r"lab dialogue captures/sender-lan\.pcap --stream [1-4]\n", packet.text)
        assert "expectation: unanswered" in packet.text


def test_a_packet_says_what_is_said_in_it(record: Record) -> None:
    page = page_of(record)
    (link, *_) = [one for one in page.all("a") if "250 2.0.0 Ok: queued" in one.text]
    packet = page.led_to(link)
    assert "S: 250 2.0.0 Ok: queued as 8024B18C013" in packet.text
    assert "smtp && tcp.stream eq 0" in packet.text
    assert "103 octets: 66 of headers (Ethernet, IP, TCP), then 37 of what is said" in packet.text
    assert (
        "0050  71 75 65 75 65 64 20 61  73 20 38 30 32 34 42 31   queued as 8024B1" in packet.text
    )


def test_a_verdict_leads_to_its_log_lines_and_what_stands_around_them(record: Record) -> None:
    page = page_of(record)
    log = (RECORD / "logs/sender-mail.log").read_text(encoding="utf-8").splitlines()
    row = next(one for one in page.all("tr", role="row") if "all in vain" in one.text)
    link = page.linksinside(row)[0]
    assert link.text.split() == ["sender-mail:15"]
    shown = page.led_to(link)
    stamps = []
    for number in range(13, 18):
        stamp, _, words = log[number - 1].partition(" ")
        stamps.append(time.strftime("%H:%M:%S", time.localtime(float(stamp))))
        assert words in shown.text
        assert re.search(rf"\b{number}\b.*\n?.*{stamps[-1]}", shown.text)
    assert log[11].partition(" ")[2] not in shown.text
    assert log[17].partition(" ")[2] not in shown.text
    (meant,) = [one for one in page.all("mark") if inside(one, shown)]
    assert meant.text == log[14].partition(" ")[2]


def test_snapshots_are_shown_as_they_were(record: Record) -> None:
    page = page_of(record)
    row = next(one for one in page.all("tr", role="row") if "waits in the queue" in one.text)
    queue = page.led_to(page.linksinside(row)[0])
    assert "8024B18C013" in queue.text
    assert "02:21:00" in queue.text, "the next attempt, in lab time"
    row = next(one for one in page.all("tr", role="row") if "is in the mailbox" in one.text)
    mailbox = page.led_to(page.linksinside(row)[-1])
    assert "Alice <alice@sender.example>" in mailbox.text
    assert "Lunch?" in mailbox.text


def test_attempts_are_drawn_and_listed(record: Record) -> None:
    page = page_of(record)
    (drawn,) = page.all("svg", class_="plot")
    assert drawn.attributes["role"] == "img"
    assert "6 attempts for 1 message: 4 in vain" in drawn.text
    marks = [one for one in page.elements if inside(one, drawn) and one.within("a")]
    shapes = [(one.name, one.attributes.get("class")) for one in marks if one.name != "title"]
    assert shapes == [("path", "deferred")] * 4 + [("circle", "passed"), ("rect", "saved")]
    bands = [one for one in page.all("rect", class_="band") if inside(one, drawn)]
    assert len(bands) == 1
    # Where the schedule says that it is tried next, it is: within a few seconds of half an hour
    due = [one for one in page.all("path", class_="due") if inside(one, drawn)]
    places = [float((one.attributes["d"] or "")[1:].split()[0]) for one in due]
    tried = [
        float(one.attributes.get("cx") or (one.attributes.get("d") or "")[1:].split()[0])
        for one in marks
        if one.name in ("path", "circle")
    ]
    assert places == pytest.approx(tried[1:], abs=2)
    table = next(one for one in page.all("table") if "Attempts, message by message" in one.text)
    assert re.findall(r"\b30m\ds\b", table.text) == ["30m5s", "30m4s", "30m4s", "30m6s"]


def test_outages_that_follow_on_each_other_are_all_legible(tmp_path: Path) -> None:
    def one_more(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        more = deepcopy([event for event in events if event["kind"] == "fault"])
        for event in more:
            event["seq"] += 10_000
            event["lab_time"] += 60
            event["data"] |= {"fault": "node-frozen dns", "title": "dns hangs"}
        return events + more

    page = page_of(changed(tmp_path, one_more))
    (drawn,) = page.all("svg", class_="plot")
    words = [one for one in page.all("text", class_="words") if inside(one, drawn)]
    assert [one.text for one in words] == ["receiver-mail has no power", "dns hangs"]
    lower, upper = (float(one.attributes["y"] or 0) for one in words)
    assert lower - upper >= 14
    bands = [one for one in page.all("rect", class_="band") if inside(one, drawn)]
    assert all(lower < float(one.attributes["y"] or 0) for one in bands)


def test_the_page_carries_the_captures(record: Record) -> None:
    page = page_of(record)
    links = [one for one in page.all("a") if "download" in one.attributes]
    assert [one.attributes["download"] for one in links] == [
        "dns-lan.pcap",
        "receiver-lan.pcap",
        "sender-lan.pcap",
    ]
    for link in links:
        octets = (link.attributes["href"] or "").partition(",")[2]
        file = RECORD / "captures" / (link.attributes["download"] or "")
        assert base64.b64decode(octets) == file.read_bytes()
    said = page.at("captures").above
    assert said is not None
    assert "-Y 'smtp && tcp.stream eq 0'" in said.text
    assert "-Y 'tcp.stream eq 1'" in said.text, "nobody answered: no SMTP to filter by"


def test_large_captures_stay_beside_the_page(record: Record) -> None:
    with (record.folder / "captures/dns-lan.pcap").open("ab") as file:
        for _ in range(20):
            file.write(struct.pack("<IIII", 1795503320, 0, 60_000, 60_000) + bytes(60_000))
    page = page_of(record)
    assert [one.attributes["href"] for one in page.all("a") if "download" in one.attributes] == [
        "captures/dns-lan.pcap",
        "captures/receiver-lan.pcap",
        "captures/sender-lan.pcap",
    ]
    assert len(page.html) < 1_000_000


def test_a_table_has_a_caption_and_its_headers_a_scope(record: Record) -> None:
    page = page_of(record)
    for table in page.all("table"):
        assert any(one.name == "caption" and one.above is table for one in page.elements)
    assert page.all("th")
    assert all(one.attributes.get("scope") in ("col", "row") for one in page.all("th"))
    levels = [int(one.name[1]) for one in page.elements if re.fullmatch(r"h[1-6]", one.name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_link_names_its_place_as_the_story_on_a_terminal_does() -> None:
    place = Evidence("packet", file="captures/sender-lan.pcap", frame=12, says="SYN")
    assert exhibits.label(place) == str(place)
    queue = Evidence("queue", node="sender-mail", event=218, says="1 in the queue of sender-mail")
    assert exhibits.label(queue) == "1 in the queue of sender-mail"
