"""Each scenario happens, and what it claims is looked up again in captures, logs and mailboxes.

Nothing here reads what a scenario printed: the record of its run is read with other means (raw
packets, log lines, the mailbox's own data) than those the scenario's verdicts were made with.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from harness import is_whole, run_lab, until
from played import (
    BACKUP_MAIL,
    OTHER_MAIL,
    RECEIVER_MAIL,
    RECEIVER_PC,
    SENDER_MAIL,
    SENDER_PC,
    Play,
    all_is_backed,
    calls,
    every_event_is_of_its_type,
    octets,
    replies,
    said,
)

from lab import scenarios
from lab.engine import containers
from lab.engine.lab import Lab
from lab.observe.packets import ACK, RST, SYN


def test_delivery_goes_hop_by_hop_and_is_fetched_later(play: Play) -> None:
    run = play("delivery", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    assert len(calls(sender_lan, SENDER_PC, SENDER_MAIL, 587)) == 1
    [relay] = calls(receiver_lan, SENDER_MAIL, RECEIVER_MAIL, 25)
    [fetch] = calls(receiver_lan, RECEIVER_PC, RECEIVER_MAIL, 143)
    assert fetch.frame.time - relay.frame.time >= 2 * 3600 / 600
    assert not calls(sender_lan, SENDER_PC, RECEIVER_MAIL, 25), "no PC delivers by itself"
    assert not [p for p in receiver_lan if p.dst == RECEIVER_PC and p.flags & (SYN | ACK) == SYN]
    questions = [
        frame for frame in run.frames("dns-lan") if b"\x08receiver\x07example\0\0\x0f" in frame.data
    ]
    assert questions and questions[0].time < relay.frame.time
    boxes = [event["data"]["messages"] for event in run.events("mailbox")]
    assert len(boxes[0]) == 0 and len(boxes[-1]) == 1


def test_the_whole_journey_of_a_letter_in_korean_with_a_picture(play: Play) -> None:
    run = play("whole-journey", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    assert len(calls(sender_lan, SENDER_PC, SENDER_MAIL, 587)) == 1
    deferred = [line for line in run.log("sender-mail") if "status=deferred" in line]
    sent = [line for line in run.log("sender-mail") if "status=sent" in line]
    assert len(deferred) >= 2 and len(sent) == 1
    assert said(receiver_lan, SENDER_MAIL, 25, rb"DATA\r\n") == 1
    content = b"".join(
        packet.payload
        for packet in receiver_lan
        if (packet.src, packet.dst, packet.dport) == (SENDER_MAIL, RECEIVER_MAIL, 25)
    )
    assert len(content) > 20_000 * 4 / 3 and max(content) < 0x80, "a picture, in 7 bits"
    # Whoever reads it: Bob, by calling, and long after it had come.
    fetches = calls(receiver_lan, RECEIVER_PC, RECEIVER_MAIL, 143)
    relays = calls(receiver_lan, SENDER_MAIL, RECEIVER_MAIL, 25)
    assert fetches and fetches[0].frame.time - relays[-1].frame.time >= 2 * 3600 / 600
    assert not [p for p in receiver_lan if p.dst == RECEIVER_PC and p.flags & (SYN | ACK) == SYN]
    assert [one["subject"] for one in run.last_mailbox("bob@receiver.example")] == ["점심 먹었니?"]


def test_receiver_down_retries_on_schedule_and_delivers_once(play: Play) -> None:
    run = play("receiver-down", "--time-scale", "600", "--set", "attempts=3")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    deferred = [line for line in run.log("sender-mail") if "status=deferred" in line]
    sent = [line for line in run.log("sender-mail") if "status=sent" in line]
    assert len(deferred) >= 3 and len(sent) == 1
    off = re.compile("Connection timed out|No route to host")
    assert all(off.search(line) for line in deferred[:3])
    # One more may meet it as it starts: it has power, and no program listens yet.
    starting = [line for line in deferred[3:] if not off.search(line)]
    assert all("Connection refused" in line for line in starting) and len(starting) <= 1
    tries = calls(run.segments("sender-lan"), SENDER_MAIL, RECEIVER_MAIL, 25)
    assert len(tries) == len(deferred) + 1
    times = [packet.frame.time for packet in tries]
    # 30 minutes at 600 lab seconds a second are 3 s; Postfix counts whole seconds, and is late
    # where the machine is busy.
    assert all(2 <= later - earlier <= 10 for earlier, later in pairwise(times))
    outage = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    silent = [
        packet
        for packet in run.segments("receiver-lan")
        if packet.src == RECEIVER_MAIL and outage[True] < packet.frame.time < outage[False] - 2
    ]
    assert not silent, "a machine without power says nothing"
    assert [one["subject"] for one in run.last_mailbox("bob@receiver.example")] == ["Lunch?"]


def test_give_up_empties_the_queue_and_returns_a_report_in_three_parts(play: Play) -> None:
    run = play("give-up", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    log = run.log("sender-mail")
    [expired] = [line for line in log if "status=expired, returned to sender" in line]
    [bounce] = [line for line in log if "sender non-delivery notification" in line]
    tries = [float(line.split()[0]) for line in log if "status=deferred" in line]
    assert len(tries) >= 4
    # 4 h at 600 lab seconds a second are 24 s; whole seconds, and a first try of more than one.
    assert float(expired.split()[0]) - tries[0] >= 20
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
    assert in_vain.frame.time < taken.frame.time
    *tries, last = calls(backup_lan, BACKUP_MAIL, RECEIVER_MAIL, 25)
    assert len(tries) >= 2, "it waits at the backup"
    assert not calls(backup_lan, BACKUP_MAIL, BACKUP_MAIL, 25), "and goes round in no circle"
    assert said(run.segments("receiver-lan"), BACKUP_MAIL, 25, rb"MAIL FROM:") == 1
    assert last.frame.time - tries[-1].frame.time >= 2  # 30 minutes; whole seconds
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


def test_a_server_that_hangs_costs_its_caller_more_than_one_that_is_dead(play: Play) -> None:
    run = play("hung-server")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    segments = run.segments("sender-lan")
    failed = [line for line in run.log("sender-mail") if "status=deferred" in line]
    causes = ("Connection refused", "Connection timed out", "timed out while receiving the initial")
    assert len(failed) == 3
    assert all(cause in line for cause, line in zip(causes, failed, strict=True))
    made = calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)
    took, answers = [], []
    for call, line in zip(made, failed, strict=False):
        ended = float(line.split()[0])
        took.append(ended - call.frame.time)
        answers.append([(p.flags & (SYN | RST), p.payload) for p in replies(segments, call, ended)])
    refused, dead, hung = took
    assert refused < 1
    # At 30 lab seconds a second: one minute for a call, five for a greeting.
    assert 1.5 <= dead <= 5
    assert 9.5 <= hung <= 13
    assert answers[0] == [(RST, b"")]
    assert answers[1] == []
    assert answers[2][0] == (SYN, b"") and not any(payload for _, payload in answers[2])
    assert len(run.last_mailbox("bob@receiver.example")) == 3


def test_a_message_cut_in_the_middle_is_sent_again_and_arrives_once(play: Play) -> None:
    run = play("mid-data-cut", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    [failed] = [line for line in run.log("sender-mail") if "status=deferred" in line]
    assert "lost connection" in failed and "while sending message body" in failed
    assert len([line for line in run.log("sender-mail") if "status=sent" in line]) == 1
    segments = run.segments("sender-lan")
    broken, whole = calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)
    assert [bool(p.flags & RST) for p in replies(segments, broken, whole.frame.time)][-1]
    assert 100_000 < octets(segments, broken) < 300_000
    assert octets(segments, whole) > 400_000, "all of it again, not the rest"
    assert whole.frame.time - broken.frame.time >= 1  # 30 minutes are 3 s, less up to 2
    [lost] = [line for line in run.log("receiver-mail") if "lost connection after DATA" in line]
    [came] = re.findall(r"DATA \((\d+) bytes\)", lost)
    assert 90_000 < int(came) <= 100_000
    assert len([line for line in run.log("receiver-mail") if "saved mail to INBOX" in line]) == 1
    [copy] = run.last_mailbox("bob@receiver.example")
    assert copy["subject"] == "The picture" and copy["size"] > 400_000


def test_a_lost_250_makes_a_duplicate_with_one_message_id(play: Play) -> None:
    run = play("duplicate", "--time-scale", "600")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    [failed] = [line for line in run.log("sender-mail") if "status=deferred" in line]
    assert "message may be sent more than once" in failed
    segments = run.segments("sender-lan")
    assert said(segments, SENDER_MAIL, 25, rb"\.\r\n") == 2
    assert said(segments, RECEIVER_MAIL, 25, rb"250 2\.0\.0 Ok: queued as") == 1
    log = run.log("receiver-mail")
    taken = [found for line in log if (found := re.search(r" (\w+): message-id=(\S+)", line))]
    assert len({one[1] for one in taken}) == 2 and len({one[2] for one in taken}) == 1
    saved = [float(line.split()[0]) for line in log if "saved mail to INBOX" in line]
    assert len(saved) == 2
    assert saved[0] < float(failed.split()[0]) + 1, "it was there before anybody tried again"
    one, other = run.last_mailbox("bob@receiver.example")
    assert one["message_id"] == other["message_id"] == taken[0][2]
    assert one["uid"] != other["uid"]


def test_a_slow_link_is_not_taken_for_a_broken_one(play: Play) -> None:
    run = play("slow-link")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    statuses = re.findall(r"status=(\w+)", "\n".join(run.log("sender-mail")))
    assert set(statuses) == {"sent"} and len(statuses) == 2
    segments = run.segments("receiver-lan")
    big, small = calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)
    of_it = [packet for packet in segments if big.sport in (packet.sport, packet.dport)]
    times = [packet.frame.time for packet in of_it]
    carried = octets(segments, big)
    assert carried > 100_000
    assert 28_000 < 8 * carried / (times[-1] - times[0]) < 56_000
    assert times[-1] - times[0] > 10, "longer than any block of it may take"
    assert max(later - earlier for earlier, later in pairwise(times)) < 5
    assert times[0] < small.frame.time < times[-1], "both at a time"
    subjects = {one["subject"] for one in run.last_mailbox("bob@receiver.example")}
    assert subjects == {"The picture", "Lunch?"}


def test_an_unknown_user_is_refused_at_once_and_reported(play: Play) -> None:
    run = play("unknown-user")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    segments = run.segments("sender-lan")
    assert len(calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)) == 1
    assert said(segments, RECEIVER_MAIL, 25, rb"550 5\.1\.1 <nobody@receiver\.example>") == 1
    assert said(segments, SENDER_MAIL, 25, rb"RCPT TO:<nobody@receiver\.example>") == 1
    assert said(segments, SENDER_MAIL, 25, rb"Subject: ") == 0, "no content was sent"
    log = run.log("sender-mail")
    [came] = [float(line.split()[0]) for line in log if "from=<alice@" in line]
    [told] = [float(line.split()[0]) for line in log if "saved mail to INBOX" in line]
    assert told - came < 5
    assert run.events("queue")[-1]["data"]["entries"] == []
    [report] = run.last_mailbox("alice@sender.example")
    assert report["subject"] == "Undelivered Mail Returned to Sender"
    _, status, original = [one["text"] for one in run.events("dsn")[0]["data"]["parts"]]
    assert "Action: failed" in status and "Status: 5.1.1" in status
    assert "Diagnostic-Code: smtp; 550 5.1.1" in status
    assert "To: nobody@receiver.example" in original


def test_every_scenario_is_played_here() -> None:
    here = Path(__file__).parent.glob("test_scenarios*.py")
    played = [name for file in here for name in re.findall(r'play\("([\w-]+)"', file.read_text())]
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
