"""The event log: one JSON object a line, in order, on both clocks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.events import Event, EventLog, Refs
from lab.units import LabClock

STARTED = 1_795_445_246.0
Read = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def log(file: Path) -> EventLog:
    return EventLog(file, LabClock(STARTED, scale=60))


@pytest.fixture
def read(file: Path) -> Read:
    """What stands in the file, which has to be there as soon as an event has been added."""
    return lambda: [json.loads(line) for line in file.read_text("utf-8").rstrip("\n").split("\n")]


def test_a_line_has_the_shape_that_is_promised(log: EventLog, read: Read) -> None:
    refs = Refs("<1@pc.sender.example>", "65BE618487F", 3, "captures/sender-lan.pcap", 42)
    log.add("log", "removed", node="mail", when=STARTED + 30.5, data={"line": 7}, refs=refs)
    assert read() == [
        {
            "seq": 1,
            "time": STARTED + 30.5,
            "lab_time": 1830.0,
            "node": "mail",
            "kind": "log",
            "summary": "removed",
            "data": {"line": 7},
            "refs": {
                "message_id": "<1@pc.sender.example>",
                "queue_id": "65BE618487F",
                "stream": 3,
                "file": "captures/sender-lan.pcap",
                "frame": 42,
            },
        }
    ]


def test_what_is_not_known_is_null_and_every_key_is_there(log: EventLog, read: Read) -> None:
    log.add("narration", "Alice is at her PC.")
    (line,) = read()
    assert (line["node"], line["data"]) == (None, {})
    assert line["refs"] == dict.fromkeys(("message_id", "queue_id", "stream", "file", "frame"))


def test_an_event_happens_now_unless_it_is_said_when(log: EventLog) -> None:
    before = time.time()
    event = log.add("action", "somebody does something")
    assert before - 1e-6 <= event.time <= time.time() + 1e-6
    assert event.lab_time == pytest.approx((event.time - STARTED) * 60, abs=0.01)


def test_events_keep_the_order_in_which_they_were_noticed(log: EventLog, read: Read) -> None:
    for moment in (9.0, 3.0, 6.0):
        log.add("log", f"at {moment:g}", when=STARTED + moment)
    assert [(line["seq"], line["lab_time"]) for line in read()] == [(1, 540), (2, 180), (3, 360)]


def test_threads_share_a_log_without_gaps_or_torn_lines(log: EventLog, read: Read) -> None:
    heard: list[Event] = []
    log.listeners.append(heard.append)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: log.add("log", f"line {n} " + "x" * 5000), range(400)))
    lines = read()
    assert [line["seq"] for line in lines] == [event.seq for event in heard] == [*range(1, 401)]
    assert {line["summary"] for line in lines} == {event.summary for event in made}


def test_later_changes_to_the_data_do_not_change_the_event(log: EventLog) -> None:
    data = {"line": 1}
    event = log.add("log", "removed", data=data)
    data["line"] = 2
    assert event.data == {"line": 1}


@given(st.text())
def test_whatever_is_said_stays_on_one_line(summary: str) -> None:
    line = Event(1, STARTED, 0.0, "mail", "log", summary).as_json()
    assert "\n" not in line
    assert json.loads(line)["summary"] == summary


def test_people_can_read_the_file_in_their_own_script(log: EventLog, file: Path) -> None:
    log.add("narration", "편지가 기다린다")
    assert "편지가 기다린다" in file.read_text("utf-8")
