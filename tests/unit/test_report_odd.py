"""Reports of records that are not whole, were written by somebody hostile, or are large."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reportpage import RECORD, Change, changed, live, page_of

from lab.errors import UsageError
from lab.events import Event, EventLog
from lab.record import Record
from lab.views import report
from lab.views.report import exhibits, text
from lab.views.visible import visible


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return changed(tmp_path)


def without(*kinds: str) -> Change:
    return lambda events: [event for event in events if event["kind"] not in kinds]


def test_a_run_that_was_killed_has_a_report_that_says_so(
    tmp_path: Path,
) -> None:
    page = page_of(changed(tmp_path, lambda events: without("outcome")(events[:150])))
    assert "has no end on record: it was interrupted or killed; nothing was judged so far" in (
        page.all("header")[0].text
    )
    assert "Nothing was judged." in page.at("expectations").above.text  # type: ignore[union-attr]


def test_a_run_that_is_going_on_is_not_called_dead(tmp_path: Path) -> None:
    record = changed(tmp_path, without("outcome"))
    log = EventLog(record.folder / "events.jsonl", record.clock)
    try:
        assert (
            "still going on: 5 expectations judged so far" in page_of(record).all("header")[0].text
        )
    finally:
        log.close()


def test_a_lab_that_is_up_is_recorded_and_not_judged(tmp_path: Path) -> None:
    record = live(tmp_path)
    assert record.outcome is None, "it has no end"
    page = page_of(record)
    assert "recorded: nothing was to be judged" in page.all("header")[0].text
    assert "as it was used" in page.all("header")[0].text
    assert "lab scenario run" not in page.all("footer")[0].text


def test_a_run_that_could_not_go_on_says_why(tmp_path: Path) -> None:
    def stopped(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["kind"] == "outcome":
                event["data"] |= {"ok": False, "error": "the capture ended\n  → run it again"}

    said = page_of(changed(tmp_path, stopped)).all("header")[0].text
    why = "could not go on: the capture ended → run it again; 5 expectations judged so far"
    assert why in said


def test_nobody_needs_to_have_said_what_a_message_is_about(tmp_path: Path) -> None:
    """What is in the header of a message is read on the wire, as `lab trace` does."""
    page = page_of(live(tmp_path))
    (drawn,) = page.all("svg", class_="plot")
    assert "8024B18C0130 Lunch?" in drawn.text
    assert '"Lunch?" (8024B18C0130)' in page.at("captures").above.text  # type: ignore[union-attr]


def test_what_was_not_as_expected_is_said_first(tmp_path: Path) -> None:
    def failed(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["kind"] == "verdict" and event["data"]["id"] == "retry":
                event["data"] |= {"ok": False, "evidence": []}
            if event["kind"] == "outcome":
                event["data"]["ok"] = False

    page = page_of(changed(tmp_path, failed))
    assert "NOT as expected: 1 of 5 expectations not met" in page.all("header")[0].text
    (row,) = page.all("tr", class_="bad")
    assert "NOT as expected" in row.text
    assert "nothing was found that shows it" in row.text


def test_a_capture_that_is_missing_or_cut_off_is_named(record: Record) -> None:
    capture = record.folder / "captures/sender-lan.pcap"
    whole = capture.read_bytes()
    capture.write_bytes(whole[:3000])
    said = page_of(record).html
    assert "the capture is cut off after frame 2" in said
    capture.unlink()
    page = page_of(record)
    assert "captures/sender-lan.pcap can&#39;t be read: No such file or directory" in page.html
    packet = page.at("packet-captures_2f_sender-lan.pcap-36")
    assert "Seen in it at the time: SYN" in packet.text
    assert "sender-mail 198.51.100.25:" in packet.text, "the events still know who called whom"
    capture.write_bytes(b"")
    assert "the capture is empty" in page_of(record).html
    capture.write_bytes(b"nonsense, and much of it")
    assert "this is not a capture" in page_of(record).html


def test_without_captures_and_logs_there_is_a_report(record: Record) -> None:
    shutil.rmtree(record.folder / "captures")
    shutil.rmtree(record.folder / "logs")
    page = page_of(record)
    line = page.at("log-sender-mail-15")
    assert "from events.jsonl (logs/sender-mail.log is not in the run's folder, or cut)" in (
        line.text
    )
    for number in range(13, 18):
        assert record.line("sender-mail", number) in line.text, "as well as those around it"
    assert "status=deferred" in line.text and "has line 15" not in line.text


def test_a_log_line_that_is_nowhere_is_missed(tmp_path: Path) -> None:
    record = changed(
        tmp_path,
        lambda events: [
            event
            for event in events
            if (event["kind"], event["node"], event["data"].get("line"))
            != ("log", "sender-mail", 15)
        ],
    )
    log = record.folder / "logs/sender-mail.log"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:14]))
    said = page_of(record).at("log-sender-mail-15").text
    assert "neither logs/sender-mail.log nor events.jsonl has line 15" in said
    assert "What was read there at the time:" in said and "status=deferred" in said


@pytest.fixture
def deadline() -> Iterator[None]:
    """What waits for ever is interrupted."""

    def late(*_: object) -> None:
        pytest.fail("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("device", [False, True])
def test_pipes_and_devices_are_not_read(record: Record, *, device: bool) -> None:
    capture = record.folder / "captures/sender-lan.pcap"
    log = record.folder / "logs/sender-mail.log"
    for path in (capture, log):
        path.unlink()
        path.symlink_to("/dev/null") if device else os.mkfifo(path)
    page = page_of(record)
    assert "captures/sender-lan.pcap is not a file" in page.html
    assert "from events.jsonl (logs/sender-mail.log is not a file)" in (
        page.at("log-sender-mail-15").text
    )


def test_a_turn_that_says_to_be_endless_is_not_counted_out(tmp_path: Path) -> None:
    def endless(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["kind"] == "turn":
                event["data"]["last_frame"] = 10**15

    record = changed(tmp_path, endless)
    page = page_of(record)
    assert "C: EHLO" in page.at("packet-captures_2f_sender-lan.pcap-67").text


def test_evidence_may_say_more_than_is_known_here(tmp_path: Path) -> None:
    def later(events: list[dict[str, Any]]) -> None:
        for event in events:
            for place in event["data"].get("evidence", ()):
                place["since"] = "a later version"

    assert page_of(changed(tmp_path / "later", later)).html == page_of(changed(tmp_path)).html


@pytest.mark.parametrize(
    "place",
    [{}, {"kind": "packet", "frame": "36"}, {"kind": ["log"]}, {"kind": "log", "line": 1e9}],
)
def test_what_is_no_evidence_damages_the_record(tmp_path: Path, place: dict[str, Any]) -> None:
    def damaged(events: list[dict[str, Any]]) -> None:
        next(one for one in events if one["kind"] == "verdict")["data"]["evidence"] = [place]

    with pytest.raises(UsageError) as error:
        changed(tmp_path, damaged)
    seq = next(event.seq for event in Record.load(RECORD).events if event.kind == "verdict")
    where = tmp_path / "runs/20261124-065513-receiver-down/events.jsonl"
    assert str(error.value) == f"{where}: event {seq}: this is no evidence: {place}"


def test_evidence_outside_the_run_is_not_read(tmp_path: Path) -> None:
    def outside(events: list[dict[str, Any]]) -> None:
        for event in events:
            for place in event["data"].get("evidence", ()):
                if "file" in place:
                    place["file"] = "captures/../../secret.pcap"
                if "line" in place:
                    place["node"] = "../../secret"

    record = changed(tmp_path, outside)
    runs = record.folder.parent
    (runs / "secret.pcap").write_bytes((RECORD / "captures/sender-lan.pcap").read_bytes())
    (runs / "secret.log").write_text("1795503315.5 a secret\n" * 30, encoding="utf-8")
    page = page_of(record)
    assert "captures/../../secret.pcap is no capture of this run" in page.html
    assert "a secret" not in page.html


# --- What others wrote -------------------------------------------------------------------------

NASTY = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</pre></style>&lt;{{ 7*7 }}"
    "\x1b[31mred\x07\x9b2J\u202egnp.exe\u200b\x00 한국어 é"
)


def test_what_others_wrote_is_shown_and_does_nothing(
    tmp_path: Path,
) -> None:
    def nasty(value: Any) -> Any:
        """Every text in it but names that other events are found by."""
        if isinstance(value, dict):
            return {
                key: one if key in KEPT else nasty(one)
                for key, one in value.items()
            }  # fmt: skip
        if isinstance(value, list):
            return [nasty(one) for one in value]
        return value + NASTY if isinstance(value, str) else value

    def change(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["kind"] != "run":
                event["data"] = nasty(event["data"])
            event["summary"] += NASTY
            event["node"] = event["node"] and event["node"] + NASTY

    record = changed(tmp_path, change)
    for log in (record.folder / "logs").iterdir():
        lines = log.read_bytes().splitlines()
        nasty_line = NASTY.encode() + b" \xff\xfe not UTF-8"
        log.write_bytes(b"\n".join(line + nasty_line for line in lines))
    page = page_of(record)
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>" in page.all("h1")[0].text
    assert "{{ 7*7 }}" in page.all("h1")[0].text
    assert "␛[31mred␇⟨U+009B⟩2J⟨U+202E⟩gnp.exe⟨U+200B⟩␀ 한국어 é" in page.all("h1")[0].text
    assert "\\xff\\xfe not UTF-8" in page.html


KEPT = {
    "kind", "file", "what", "protocol", "side", "role", "flags", "fault", "status", "program",
    "network", "src", "dst", "client", "server", "connection", "node",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain\tand\nlines", "plain\tand\nlines"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\r\n", "a␍\n"),
        ("\x7f\x85", "␡⟨U+0085⟩"),
        ("user\u202etxt.exe", "user⟨U+202E⟩txt.exe"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud83d", "⟨U+D83D⟩"),
        ("점심 먹을까? 👩‍🚀", "점심 먹을까? 👩‍🚀"),
    ],
)
def test_what_is_not_seen_is_made_visible(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_anchors_are_different_for_different_places() -> None:
    names = ["a b", "a-b", "a_20_b", "a/b", "a.b", "한", "a", "A", ""]
    found = {text.anchor("log", name, 1) for name in names}
    assert len(found) == len(names)
    assert all(re.fullmatch(r"[\w.-]+", one, re.A) for one in found)


def test_korean_is_said_to_be_korean(tmp_path: Path) -> None:
    korean = "수신측 메일 서버(receiver-mail)가 꺼져 있습니다.\n\n무슨 일이 일어날까요?"

    def translated(events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["kind"] == "narration" and event["data"]["role"] == "predict":
                event["summary"] = korean

    page = page_of(changed(tmp_path, translated))
    (told,) = [one for one in page.all("li", class_="predict") if one.attributes.get("lang")]
    assert told.attributes["lang"] == "ko"
    assert "수신측 메일 서버(receiver-mail)가 꺼져 있습니다." in told.text
    assert "무슨 일이 일어날까요?" in told.text


# --- Many ---------------------------------------------------------------------------------------


def multiplied(events: list[dict[str, Any]], copies: int = 25) -> list[dict[str, Any]]:
    """The same once more for many messages: what is said of one is said of each."""
    found, seq = [], 10_000
    for event in events:
        found.append(event)
        if event["kind"] not in ("action", "attempt", "queue_change"):
            continue
        for copy in range(1, copies):
            seq += 1
            refs = dict(event["refs"])
            for key in ("message_id", "queue_id"):
                refs[key] = refs[key] and f"{copy}.{refs[key]}"
            data = dict(event["data"])
            if data.get("what") == "message-id":
                data["value"] = refs["message_id"]
            time = event["time"] + copy / 1e4
            found.append(event | {"seq": seq, "refs": refs, "data": data, "time": time})
    return found


def test_many_messages_are_told_by_the_first_few(tmp_path: Path) -> None:
    page = page_of(changed(tmp_path, multiplied))
    folds = [one for one in page.all("summary") if "more like this" in one.text]
    assert [re.findall(r"and (\d+) more", one.text) for one in folds] == [
        ["22"],  # written
        ["88"],  # tried in vain, four times each
        ["22"],  # passed on
        ["22"],  # saved
    ]
    (drawn,) = page.all("svg", class_="plot")
    assert "150 attempts for 25 messages" in drawn.text
    rows = [one for one in page.all("tr") if "mail.receiver.example[203.0.113.25]:25" in one.text]
    assert len(rows) >= 100, "the table has them all"


def test_the_report_of_a_lab_that_was_used_for_long_can_be_sent_and_read(tmp_path: Path) -> None:
    vain = [event.time for event in Record.load(RECORD).of("attempt")]

    def retried(event: Event) -> bool:
        return vain[0] - 0.5 <= event.time <= vain[3] + 0.3

    used = live(tmp_path / "used", 26)
    waited = live(tmp_path / "waited", 50, retried)
    for record in (used, waited):
        assert len(record.events) > 10_000
        page = report.html(record)
        assert len(page.encode()) < 3_000_000


def test_the_ladder_yields_where_room_is_short(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Arrow:
        file: str
        frame: int
        log: None = None
        seqs: tuple[int, ...] = ()

    told = []

    def drawn(record: Record, link: Callable[[Any], str | None], level: str) -> str:
        assert level == "commands"
        for event in record.of("packet"):
            told.append(link(Arrow(event.refs.file or "", event.refs.frame or 0)))  # noqa: PERF401
        return '<svg role="img"><title>ladder</title></svg>'

    monkeypatch.setattr(report, "ladder_svg", drawn)
    whole = page_of(record)
    assert None not in told
    assert len(set(told)) == len(record.of("packet"))
    told.clear()
    monkeypatch.setattr(exhibits, "_ROOM", 30_000)
    page = page_of(record)
    assert 0 < told.count(None) < len(told)
    assert f"{told.count(None)} more packets that the ladder shows are left out" in page.html
    assert len(page.html) < len(whole.html)
    for verdict in record.of("verdict"):
        for place in verdict.data["evidence"]:
            if place["kind"] == "packet":
                assert page.at(f"packet-captures_2f_sender-lan.pcap-{place['frame']}")
