"""The event log: one JSON object a line, in order, on both clocks, read while it is written too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from eventtypes import check
from hypothesis import given
from hypothesis import strategies as st

from lab import events
from lab.errors import UsageError
from lab.events import Event, EventLog, Observation, Refs, being_written, follow, in_order, parse
from lab.observe.pcap import read_frames
from lab.units import LabClock

STARTED = 1_795_445_246.0
LINE = {"line": 7, "program": "postfix/qmgr"}
TOLD = {"role": "tell", "key": "before", "evidence": []}
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


def test_half_a_surrogate_pair_does_not_stop_the_record(log: EventLog, file: Path) -> None:
    log.add("log", "what somebody's JSON held: \udc80", data=LINE)
    log.add("log", "next", data=LINE)
    assert [event.seq for event in events.read(file.parent)] == [1, 2]
    assert parse(file.read_bytes().split(b"\n")[0]).summary.endswith("\udc80")


def test_what_is_no_json_is_refused_before_it_has_a_number(log: EventLog, read: Read) -> None:
    with pytest.raises(TypeError):
        log.add("log", "octets", data={"text": b"octets"})
    log.add("log", "text", data=LINE)
    assert [line["seq"] for line in read()] == [1]


def test_an_observation_is_recorded_as_it_was_seen(log: EventLog, read: Read) -> None:
    refs = Refs(file="captures/sender-lan.pcap", frame=4)
    seen = Observation("log", "removed", STARTED + 1.23456789, "mail", LINE, refs)
    assert log.record(seen) == parse(json.dumps(read()[0]))
    assert (read()[0]["time"], read()[0]["lab_time"]) == (STARTED + 1.234568, 74.074)


# Reading ------------------------------------------------------------------------------------------


def test_a_record_is_read_in_the_order_in_which_things_happened(log: EventLog, file: Path) -> None:
    made = [log.add("log", f"{n}", when=STARTED + n, data=LINE) for n in (9, 3, 3, 6)]
    assert events.read(file.parent) == in_order(made)
    assert [(event.summary, event.seq) for event in in_order(made)] == [
        *(("3", 2), ("3", 3), ("6", 4), ("9", 1))
    ]


@given(data=st.data())
def test_a_line_that_was_cut_off_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run")
    log = EventLog(folder / events.FILE, LabClock(STARTED, scale=60))
    ends = [0]
    for text in data.draw(st.lists(st.text(min_size=1), min_size=1, max_size=4)):
        log.add("narration", f"편지 {text}", when=STARTED, data=TOLD)
        ends.append((folder / events.FILE).stat().st_size)
    log.close()
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(folder / events.FILE, cut)
    assert len(events.read(folder)) == max(n for n, end in enumerate(ends) if end <= cut)
    assert len(list(follow(folder / events.FILE))) == len(events.read(folder))


@pytest.mark.parametrize(
    "line", ['{"seq": 1}', "[]", "nonsense", "", '{"seq": 2, "refs": {"frames": 3}}', "\udc80"]
)
def test_a_damaged_record_is_refused_with_the_line(log: EventLog, file: Path, line: str) -> None:
    log.add("log", "whole", data=LINE)
    with file.open("ab") as stream:
        stream.write(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(UsageError) as caught:
        events.read(file.parent)
    assert str(caught.value) == f"{file}:2:1: this is no event"


def test_what_is_new_to_this_reader_is_passed_over(log: EventLog, file: Path) -> None:
    known = log.add("log", "removed", data=LINE)
    line = json.loads(known.as_json())
    newer = {**line, "colour": "red", "refs": {**line["refs"], "flow": 3}}
    newer["data"] = {**line["data"], "level": "info"}
    with file.open("a", encoding="utf-8") as stream:
        for one in (newer, {**line, "kind": "weather", "data": {"rain": True}}):
            stream.write(json.dumps(one) + "\n")
    first, second = events.read(file.parent)
    assert first == known
    assert (second.refs, second.data) == (known.refs, {**LINE, "level": "info"})


@pytest.mark.parametrize(
    "change",
    [
        {"time": None},
        {"time": "now"},
        {"time": -1},
        {"time": 1e300},
        {"lab_time": 1e300},
        {"data": None},
        {"data": {}},
        {"data": {"line": "seven", "program": None}},
        {"summary": None},
        {"seq": "first"},
        {"refs": None},
        {"kind": None},
    ],
)
def test_what_is_not_of_its_type_is_no_event(
    log: EventLog, file: Path, change: dict[str, Any]
) -> None:
    line = json.loads(log.add("log", "removed", data=LINE).as_json())
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line | change) + "\n")
    with pytest.raises(UsageError, match=r":2:1: this is no event"):
        events.read(file.parent)
    with pytest.raises(UsageError, match=r":2:1: this is no event"):
        list(follow(file, poll_seconds=0))


@pytest.mark.parametrize("line", ['{"time": NaN}', "[" * 200_000])
def test_what_is_no_json_is_no_event(file: Path, line: str) -> None:
    file.write_text(line + "\n")
    with pytest.raises(UsageError, match=r":1:1: this is no event"):
        events.read(file.parent)


def test_where_there_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        events.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'events.jsonl'}: there is no record of a run: No such file or directory\n"
        "  → lab report --list shows the runs there are"
    )


# While it is written ------------------------------------------------------------------------------


def test_who_reads_along_gets_each_event_as_it_is_written(log: EventLog, file: Path) -> None:
    log.add("log", "before", data=LINE)
    told = follow(file, poll_seconds=0)
    first = next(told)
    assert first and first.summary == "before"
    assert next(told) is None
    for number in range(3):
        event = log.add("log", f"{number}", data=LINE)
        assert next(told) == event
        assert next(told) is None
    last = log.add("log", "last", data=LINE)
    log.close()
    assert list(told) == [last]


def test_a_line_of_which_half_has_arrived_is_waited_for(log: EventLog, file: Path) -> None:
    octets = (Event(1, STARTED, 0.0, None, "narration", "편지", TOLD).as_json() + "\n").encode()
    within = octets.index("편".encode()) + 1  # within a letter
    told = follow(file, poll_seconds=0)
    with file.open("ab", buffering=0) as stream:
        for part in (octets[:within], octets[within:-1]):
            stream.write(part)
            assert next(told) is None
        stream.write(octets[-1:])
        found = next(told)
    assert found and found.summary == "편지"
    log.close()


def test_following_from_another_thread_misses_nothing(log: EventLog, file: Path) -> None:
    heard: list[Event] = []
    reader = threading.Thread(target=lambda: heard.extend(filter(None, follow(file, 0.001))))
    reader.start()
    made = [log.add("log", f"{n} " + "편" * 4000, data=LINE) for n in range(200)]
    log.close()
    reader.join(30)
    assert heard == made


@pytest.fixture
def writer(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes the log until its input ends, or it is killed."""
    program = (
        "import sys, pathlib; from lab.events import EventLog; from lab.units import LabClock\n"
        f"log = EventLog(pathlib.Path(sys.argv[1]), LabClock({STARTED}, 60))\n"
        f"log.add('log', 'begun', data={LINE}); print('ready', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_whether_a_record_is_being_written_is_known_whatever_becomes_of_its_writer(
    writer: subprocess.Popen[str], file: Path
) -> None:
    assert being_written(file)
    assert being_written(file)  # asking does not disturb
    told = follow(file, poll_seconds=0)
    begun = next(told)
    assert begun and begun.summary == "begun"
    assert next(told) is None
    writer.kill()
    writer.wait(10)
    assert not being_written(file)
    assert list(told) == []


# A record as a scenario leaves it ---------------------------------------------------------------

RUNS = sorted((Path(__file__).parents[1] / "records").iterdir())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_event_of_a_record_is_of_its_type_and_leads_to_its_evidence(run: Path) -> None:
    found = events.read(run)
    assert [event.kind for event in found].count("run") == 1
    assert sorted(event.seq for event in found) == [*range(1, len(found) + 1)]
    frames: dict[str, int] = {}
    for event in found:
        check(event.kind, event.data)
        file, frame = event.refs.file, event.refs.frame
        if event.kind == "log":
            text = (run / "logs" / f"{event.node}.log").read_text("utf-8").split("\n")
            assert text[event.data["line"] - 1] == f"{event.time:.6f} {event.summary}"
        elif file is not None and frame is not None:
            if file not in frames:
                with (run / file).open("rb") as stream:
                    frames[file] = sum(1 for _ in read_frames(stream))
            assert 1 <= frame <= frames[file]
    assert {"run", "packet", "turn", "log", "queue_change"} <= {event.kind for event in found}
