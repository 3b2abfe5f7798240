"""Each scenario happens, and what it claims is looked up again in captures, logs and mailboxes.

Nothing here reads what a scenario printed: the record of its run is read with other means (raw
packets, log lines, the mailbox's own data) than those the scenario's verdicts were made with.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness import is_whole, run_lab, until
from pydantic import ConfigDict, TypeAdapter, with_config

from lab import scenarios
from lab.engine import containers
from lab.engine.lab import Lab
from lab.events import read
from lab.kinds import DATA
from lab.observe.packets import ACK, SYN, Tcp, decode
from lab.observe.pcap import Frame, read_frames

SENDER_PC, SENDER_MAIL = "198.51.100.10", "198.51.100.25"
RECEIVER_PC, RECEIVER_MAIL = "203.0.113.10", "203.0.113.25"
BACKUP_MAIL, OTHER_MAIL = "198.51.100.153", "198.18.0.25"


@dataclass(frozen=True)
class Run:
    """A finished run: what `--json` said, and the folder with its record."""

    status: int
    said: dict[str, Any]
    stderr: str
    folder: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [event for line in lines if (event := json.loads(line))["kind"] == kind]

    def frames(self, network: str) -> list[Frame]:
        with (self.folder / "captures" / f"{network}.pcap").open("rb") as stream:
            return list(read_frames(stream))

    def segments(self, network: str) -> list[Tcp]:
        found = (decode(frame) for frame in self.frames(network))
        return [packet for packet in found if isinstance(packet, Tcp)]

    def log(self, node: str) -> list[str]:
        return (self.folder / "logs" / f"{node}.log").read_text().splitlines()

    def last_mailbox(self, user: str) -> list[dict[str, Any]]:
        return [one for one in self.events("mailbox") if one["data"]["user"] == user][-1]["data"][
            "messages"
        ]


Play = Callable[..., Run]


@pytest.fixture
def play(engine: object, tmp_path: Path) -> Play:
    """Runs a scenario as a user does, in a folder of its own."""

    def run(name: str, *options: str) -> Run:
        argv = [sys.executable, "-m", "lab", "scenario", "run", name, "--json", *options]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        said = json.loads(done.stdout) if done.stdout else {}
        folders = sorted((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else []
        return Run(done.returncode, said, done.stderr, folders[-1] if folders else tmp_path)

    return run


def calls(segments: list[Tcp], client: str, server: str, port: int) -> list[Tcp]:
    """The SYNs with which `client` opened connections, repeated ones left out."""
    syns = {
        (packet.sport, packet.seq): packet
        for packet in reversed(segments)
        if packet.flags & (SYN | ACK) == SYN
        and (packet.src, packet.dst, packet.dport) == (client, server, port)
    }
    return sorted(syns.values(), key=lambda packet: packet.frame.number)


def said(segments: list[Tcp], sender: str, port: int, words: bytes) -> int:
    """How often `sender` said `words` at the start of a line, to or from `port`."""
    pattern = re.compile(rb"(?m)^" + words)
    return sum(
        len(pattern.findall(packet.payload))
        for packet in segments
        if packet.src == sender and port in (packet.sport, packet.dport)
    )


def test_delivery_goes_hop_by_hop_and_is_fetched_later(play: Play) -> None:
    run = play("delivery", "--time-scale", "1800")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    assert len(calls(sender_lan, SENDER_PC, SENDER_MAIL, 587)) == 1
    [relay] = calls(receiver_lan, SENDER_MAIL, RECEIVER_MAIL, 25)
    [fetch] = calls(receiver_lan, RECEIVER_PC, RECEIVER_MAIL, 143)
    assert fetch.frame.time - relay.frame.time >= 2 * 3600 / 1800
    assert not calls(sender_lan, SENDER_PC, RECEIVER_MAIL, 25), "no PC delivers by itself"
    assert not [p for p in receiver_lan if p.dst == RECEIVER_PC and p.flags & (SYN | ACK) == SYN]
    questions = [
        frame for frame in run.frames("dns-lan") if b"\x08receiver\x07example\0\0\x0f" in frame.data
    ]
    assert questions and questions[0].time < relay.frame.time
    boxes = [event["data"]["messages"] for event in run.events("mailbox")]
    assert len(boxes[0]) == 0 and len(boxes[-1]) == 1


def test_receiver_down_retries_on_schedule_and_delivers_once(play: Play) -> None:
    run = play("receiver-down", "--time-scale", "600", "--set", "attempts=3")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    deferred = [line for line in run.log("sender-mail") if "status=deferred" in line]
    sent = [line for line in run.log("sender-mail") if "status=sent" in line]
    assert len(deferred) >= 3 and len(sent) == 1
    assert all("Connection timed out" in line or "No route to host" in line for line in deferred)
    tries = calls(run.segments("sender-lan"), SENDER_MAIL, RECEIVER_MAIL, 25)
    assert len(tries) == len(deferred) + 1
    times = [packet.frame.time for packet in tries]
    # 30 minutes at 600 lab seconds a second are 3 s; Postfix counts whole seconds.
    assert all(2 <= later - earlier <= 6 for earlier, later in pairwise(times))
    outage = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    silent = [
        packet
        for packet in run.segments("receiver-lan")
        if packet.src == RECEIVER_MAIL and outage[True] < packet.frame.time < outage[False] - 2
    ]
    assert not silent, "a machine without power says nothing"
    assert [one["subject"] for one in run.last_mailbox("bob@receiver.example")] == ["Lunch?"]


def test_give_up_empties_the_queue_and_returns_a_report_in_three_parts(play: Play) -> None:
    run = play("give-up", "--time-scale", "900")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    log = run.log("sender-mail")
    [expired] = [line for line in log if "status=expired, returned to sender" in line]
    [bounce] = [line for line in log if "sender non-delivery notification" in line]
    tries = [float(line.split()[0]) for line in log if "status=deferred" in line]
    assert len(tries) >= 4
    # 4 h at 900 lab seconds a second are 16 s; whole seconds, and a first try of more than one.
    assert float(expired.split()[0]) - tries[0] >= 12
    bounce_id = bounce.rsplit(" ", 1)[-1]
    assert any(f"{bounce_id}: from=<>" in line for line in log), "reports come from nobody"
    assert run.events("queue")[-1]["data"]["entries"] == []
    subjects = [one["subject"] for one in run.last_mailbox("alice@sender.example")]
    assert subjects == ["Delayed Mail (still being retried)", "Undelivered Mail Returned to Sender"]
    [report] = run.events("dsn")
    types = [part["type"] for part in report["data"]["parts"]]
    assert types == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert "Action: failed" in report["data"]["parts"][1]["text"]
    assert "Subject: Are you there?" in report["data"]["parts"][2]["text"]


def test_persistent_connection_counts_one_against_many(play: Play) -> None:
    run = play("persistent-connection", "--set", "messages=8")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    flushes = [
        event["time"] for event in run.events("action") if "postqueue -f" in event["summary"]
    ]
    assert len(flushes) == 2
    segments = run.segments("sender-lan")
    first = [packet for packet in segments if flushes[0] < packet.frame.time < flushes[1]]
    second = [packet for packet in segments if packet.frame.time > flushes[1]]
    for part, connections in ((first, 1), (second, 8)):
        made = [
            call
            for call in calls(part, SENDER_MAIL, RECEIVER_MAIL, 25)
            if any(p.sport == 25 and p.dport == call.sport and p.flags & SYN for p in part)
        ]
        assert len(made) == connections
        assert said(part, SENDER_MAIL, 25, rb"MAIL FROM:") == 8
        assert said(part, SENDER_MAIL, 25, rb"QUIT\r") == connections
        assert said(part, RECEIVER_MAIL, 25, rb"220 ") == connections
    assert len(run.last_mailbox("bob@receiver.example")) == 16


def test_backup_mx_takes_the_mail_at_once_and_keeps_it_there(play: Play) -> None:
    run = play("backup-mx", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, backup_lan = run.segments("sender-lan"), run.segments("backup-lan")
    [in_vain] = calls(sender_lan, SENDER_MAIL, RECEIVER_MAIL, 25)
    [taken] = calls(sender_lan, SENDER_MAIL, BACKUP_MAIL, 25)
    assert in_vain.frame.time < taken.frame.time < in_vain.frame.time + 2
    *tries, last = calls(backup_lan, BACKUP_MAIL, RECEIVER_MAIL, 25)
    assert len(tries) == 2, "it waits at the backup"
    assert not calls(backup_lan, BACKUP_MAIL, BACKUP_MAIL, 25), "and goes round in no circle"
    assert said(run.segments("receiver-lan"), BACKUP_MAIL, 25, rb"MAIL FROM:") == 1
    assert last.frame.time - tries[1].frame.time >= 3  # 30 minutes
    statuses = [line for line in run.log("sender-mail") if "status=" in line]
    assert len(statuses) == 1 and "relay=backup.receiver.example" in statuses[0]
    assert [one["subject"] for one in run.last_mailbox("bob@receiver.example")] == ["Lunch?"]


def test_two_receivers_of_which_the_dead_one_holds_up_nobody(play: Play) -> None:
    run = play("two-receivers", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sent = [line for line in run.log("sender-mail") if "status=sent" in line]
    assert ["to=<erin@other.example>" in line for line in sent] == [True, False, False, False]
    [relay] = calls(run.segments("other-lan"), SENDER_MAIL, OTHER_MAIL, 25)
    outage = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    assert outage[True] < relay.frame.time < outage[False]
    first, *_ = calls(run.segments("sender-lan"), SENDER_MAIL, RECEIVER_MAIL, 25)
    assert first.frame.time < relay.frame.time, "older mail was there before it"
    subjects = {one["subject"] for one in run.last_mailbox("bob@receiver.example")}
    assert subjects == {"Note 1", "Note 2", "Note 3"}


class Lookup:
    """Looks up what a run claims, with means other than those the claims were made with."""

    def __init__(self, run: Run) -> None:
        self._run = run
        lines = (run.folder / "events.jsonl").read_text().splitlines()
        self._events = {event["seq"]: event for event in map(json.loads, lines)}
        self._frames: dict[str, list[Frame]] = {}

    def claims(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Every sentence of the story, and where it says that it can be looked up."""
        for event in self._events.values():
            if "evidence" in event["data"]:
                yield event["kind"], event["data"]["evidence"]

    def find(self, place: dict[str, Any]) -> None:
        """Fails unless what is said to stand in `place` stands there."""
        says = place["says"]
        if place["kind"] == "packet":
            data = self._frame(place["file"], place["frame"]).data
            if says == "SYN":
                assert data[47] & 0x3F == SYN, place  # an IPv4 header without options, as here
            elif question := re.fullmatch(r"(MX|A) (\S+)\?", says):
                labels = [bytes([len(part)]) + part.encode() for part in question[2].split(".")]
                kind = {"A": 1, "MX": 15}[question[1]].to_bytes(2, "big")
                assert b"".join(labels) + b"\0" + kind in data, place
            elif answer := re.fullmatch(r"MX \S+: (.+)", says):
                for record in answer[1].split(", "):
                    preference, first = re.fullmatch(r"(\d+) (\w+)\..+", record).groups()
                    label = bytes([len(first)]) + first.encode()
                    assert int(preference).to_bytes(2, "big") + label in data, place
            else:
                assert says.encode() in data, place
        elif place["kind"] == "log":
            assert self._run.log(place["node"])[place["line"] - 1].endswith(" " + says), place
        else:
            event = self._events[place["event"]]
            assert (event["kind"], event["node"]) == (place["kind"], place["node"]), place
            assert event["summary"] == says, place

    def _frame(self, file: str, number: int) -> Frame:
        if file not in self._frames:
            self._frames[file] = self._run.frames(Path(file).stem)
        return self._frames[file][number - 1]


def all_is_backed(run: Run) -> None:
    """Each sentence of a story has its evidence, and all of it is there and says that."""
    lookup, backed = Lookup(run), set()
    for kind, places in lookup.claims():
        for place in places:
            lookup.find(place)
            backed.add(kind)
    assert {"verdict", "action", "fault", "narration"} <= backed
    for event in [*run.events("verdict"), *run.events("fault")]:
        assert event["data"]["evidence"], event["summary"]
    for event in run.events("action"):  # what is done to Postfix, and waiting, is seen nowhere else
        assert event["data"]["evidence"] or not event["data"].get("by"), event["summary"]


def every_event_is_of_its_type(run: Run) -> None:
    for event in read(run.folder):
        strict = with_config(ConfigDict(extra="forbid"))(DATA[event.kind])
        TypeAdapter(strict).validate_json(json.dumps(event.data))


def test_every_scenario_is_played_here() -> None:
    played = re.findall(r'play\("([\w-]+)"', Path(__file__).read_text())
    assert set(played) == set(scenarios.names())


def test_a_story_without_its_words_does_not_begin(play: Play, tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text(STORY.format(act='stage.explain("moral")'))
    (tmp_path / "story.yaml").write_text("title: A story\n")
    run = play("./story.py")
    assert run.status == 2
    assert "story.yaml: the narration has no 'summary', 'moral'" in run.stderr
    assert not (tmp_path / "runs").exists()


STORY = """
from lab.faults.cable import cable_pulled
from lab.scenarios import scenario
from lab.scenarios.stage import Stage

@scenario(rows=("N1",), lasts="1m", time_scale=600)
def story(stage: Stage) -> None:
    with stage.outage(cable_pulled("receiver-pc")):
        {act}
"""


@pytest.mark.parametrize(
    ("act", "status", "complaint"),
    [
        ('stage.check("moon", "made of cheese", "made of stone", False, [])', 1, "NOT as expected"),
        (
            'stage.check("moon", "made of cheese", "so it seems", True, [])',
            3,
            "without any evidence",
        ),
        ('stage.person("zoe")', 2, "nobody here is called 'zoe'"),
        ('stage.tell("no" + "thing")', 2, "the narration has no 'nothing'"),
    ],
)
def test_a_story_that_goes_wrong_says_so_and_leaves_no_lab(
    play: Play, tmp_path: Path, act: str, status: int, complaint: str
) -> None:
    (tmp_path / "story.py").write_text(STORY.format(act=act))
    (tmp_path / "story.yaml").write_text("title: A story\nsummary: Short.\n")
    run = play("./story.py")
    assert run.status == status
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr
    healed = [event["data"]["on"] for event in run.events("fault")]
    assert healed == [True, False], "the cable is back whatever happened"
    [begun] = [event["data"] for event in run.events("run")]
    assert containers.find(begun["lab"]) == []


def test_a_lab_in_which_a_story_is_played_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text(STORY.format(act='stage.wait("100h")'))
    (tmp_path / "story.yaml").write_text("title: A story\nsummary: Short.\n")
    argv = [sys.executable, "-m", "lab", "--lab", lab.name, "scenario", "run", "./story.py"]
    with subprocess.Popen(
        [*argv, "--here"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as story:
        pulled = '"fault": "cable-pulled receiver-pc"'
        written = tmp_path / "runs"
        until("it is played", lambda: any(pulled in f.read_text() for f in written.glob("*/e*")))
        refused = run_lab(lab.name, "up")
        assert refused.returncode == 3 and "scenario story" in refused.stderr
        story.send_signal(signal.SIGINT)
        story.wait(20)
    assert story.returncode == 130
    assert is_whole(lab), "the cable is back"
