"""A lab that is up is on record: what happened before anybody asked, and what happens now."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from harness import (
    ALICE,
    BOB,
    as_json,
    curl,
    delivered,
    processes_of,
    run_lab,
    send,
    textbook,
    until,
)

from lab.engine import power
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import FABRIC, Plan
from lab.errors import LabError
from lab.events import Event, EventLog
from lab.observe.live import record_of
from lab.observe.pcap import read_frames
from lab.observe.recorder import Recorder, recorded_since
from lab.record import Record
from lab.services import dovecot


def about(record: Record, message_id: str, kind: str) -> list[Event]:
    return [
        event
        for event in record.events
        if event.kind == kind and event.refs.message_id == message_id
    ]


def test_what_nobody_had_asked_for_can_be_looked_up(lab: Lab) -> None:
    sent = send(lab, ALICE, BOB)
    delivered(lab, BOB, sent)
    with record_of(lab) as record:
        submitted, relayed = sorted(
            {
                (event.data["server_node"], event.refs.queue_id)
                for event in about(record, sent.message_id, "transaction")
            },
            key=lambda one: one[0] == "receiver-mail",
        )
        assert submitted == ("sender-mail", sent.queue_id)
        assert relayed[0] == "receiver-mail"
        [attempt] = [
            event
            for event in about(record, sent.message_id, "attempt")
            if event.node == "sender-mail"
        ]
        assert attempt.data["status"] == "sent" and attempt.data["remote_id"] == relayed[1]
        [saved] = about(record, sent.message_id, "mailbox_change")
        assert (saved.data["user"], saved.data["what"]) == (BOB, "save")
        line = (record.folder / "logs/sender-mail.log").read_text().splitlines()
        assert sent.queue_id in line[attempt.data["line"] - 1]
        assert {event.node for event in record.of("queue")} == {"sender-mail", "receiver-mail"}


def test_the_record_begins_when_the_lab_is_ready(engine: object, name: str) -> None:
    lab = up(textbook(name))
    began = recorded_since(lab)
    assert lab.clock.started < began <= time.time()
    with record_of(lab) as record:
        assert not record.of("packet", "turn", "log"), "our own calls are nobody's business"
    sent = send(lab, ALICE, BOB)
    with record_of(lab) as record:
        assert about(record, sent.message_id, "transaction")


def test_the_record_goes_on_over_a_power_cut(lab: Lab) -> None:
    power.off(lab, "receiver-mail")
    sent = send(lab, ALICE, BOB)
    until("it is deferred", lambda: "status=deferred" in _log(lab, "sender-mail", sent.queue_id))
    power.on(lab, "receiver-mail")
    delivered(lab, BOB, sent)
    with record_of(lab) as record:
        tried = [event.data["status"] for event in about(record, sent.message_id, "attempt")]
        assert "deferred" in tried and tried.count("sent") == 2, "to the server, to the mailbox"


def _log(lab: Lab, node: str, queue_id: str) -> str:
    from lab.observe import maillog

    return "\n".join(line.text for line in maillog.read(lab, node) if queue_id in line.text)


def test_a_recorder_that_was_killed_is_started_again(lab: Lab, standing: Plan) -> None:
    before, since = send(lab, ALICE, BOB), recorded_since(lab)
    delivered(lab, BOB, before)
    for process in processes_of({lab.container(FABRIC)}, "tcpdump"):
        os.kill(process, signal.SIGKILL)
    lab = up(standing)
    assert recorded_since(lab) == since, "what was on record still is"
    after = send(lab, ALICE, BOB)
    delivered(lab, BOB, after)
    with record_of(lab) as record:
        assert about(record, before.message_id, "transaction")
        assert about(record, after.message_id, "transaction")


def test_a_recorder_begins_with_the_past_and_goes_on(lab: Lab) -> None:
    first = send(lab, ALICE, BOB)
    delivered(lab, BOB, first)
    log = EventLog(None, lab.clock)
    seen: list[Event] = []
    log.listeners.append(seen.append)

    def saved(message_id: str) -> bool:
        return any(
            event.kind == "mailbox_change" and event.refs.message_id == message_id for event in seen
        ) and any(
            event.kind == "transaction" and event.refs.message_id == message_id for event in seen
        )

    with Recorder(lab, log, None):
        until("the first is on record", lambda: saved(first.message_id))
        second = send(lab, ALICE, BOB)
        until("the second is on record", lambda: saved(second.message_id))
    frames = [(event.refs.file, event.refs.frame) for event in seen if event.kind == "packet"]
    assert len(frames) == len(set(frames)), "each frame is told once"


def test_a_lab_without_a_record_says_what_to_do(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.engine.fabric import Fabric

    monkeypatch.setattr(Fabric, "recorded_since", lambda self: None)
    with pytest.raises(LabError, match="is not on record") as error, record_of(lab):
        pass
    assert error.value.hint == "lab up"


def test_a_message_can_be_followed_without_having_been_watched(lab: Lab) -> None:
    sent = send(lab, ALICE, BOB, "Lunch?")
    stored = delivered(lab, BOB, sent)
    # POP3 counts what is there (RFC 1939), and others may have deleted some.
    number = [one.uid for one in dovecot.mailbox(lab, BOB)].index(stored.uid) + 1
    curl(lab, "receiver-pc", "bob", f"pop3://mail.receiver.example/{number}")
    found = as_json(lab, "trace", "--last")
    assert found["message_id"] == sent.message_id and found["outcome"] == "delivered"
    assert [hop["node"] for hop in found["hops"]] == ["sender-mail", "receiver-mail"]
    [attempt] = found["hops"][0]["attempts"]
    assert attempt["outcome"] == "sent" and isinstance(attempt["stream"], int)
    assert [reading["protocol"] for reading in found["readings"]] == ["pop3"]
    shown = run_lab(lab.name, "trace", sent.queue_id[:8])
    assert shown.returncode == 0 and "Lunch?" in shown.stdout and "POP3" in shown.stdout


def test_what_has_passed_can_be_had_as_a_capture(lab: Lab, tmp_path: Path) -> None:
    sent = send(lab, ALICE, BOB)
    delivered(lab, BOB, sent)
    for networks in (["sender-lan"], ["sender-lan", "receiver-lan"]):
        file = tmp_path / "past.pcap"
        done = run_lab(lab.name, "capture", *networks, "--past", "-w", str(file))
        assert done.returncode == 0, done.stderr
        with file.open("rb") as stream:
            passed = b"".join(frame.data for frame in read_frames(stream))
        assert passed.count(f"queued as {sent.queue_id}".encode()) == 1
    refused = run_lab(lab.name, "capture", "sender-mail", "--past", "-w", str(file))
    assert refused.returncode == 2 and "one of: sender-lan, dns-lan" in refused.stderr


def test_a_network_that_is_not_heard_any_more_is_said(lab: Lab, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", lab.clock)
    recorder = Recorder(lab, log, tmp_path)
    before = set(processes_of({lab.container(FABRIC)}, "tcpdump"))
    with pytest.raises(LabError, match="ended while things went on"), recorder:
        recorder.check()
        (ours, *_) = set(processes_of({lab.container(FABRIC)}, "tcpdump")) - before
        os.kill(ours, signal.SIGKILL)
        until("it is noticed", lambda: _fails(recorder))
        recorder.check()


def _fails(recorder: Recorder) -> bool:
    try:
        recorder.check()
    except LabError:
        return True
    return False
