"""Stories of mail that is refused, for now or for good, looked up again: see played.py."""

from __future__ import annotations

import re

import pytest
from harness import is_whole
from played import (
    RECEIVER_MAIL,
    SENDER_MAIL,
    SENDER_PC,
    Play,
    Run,
    all_is_backed,
    calls,
    every_event_is_of_its_type,
    said,
)

from lab.engine.lab import Lab
from lab.observe.packets import Udp, decode

ALICE, BOB = "alice@sender.example", "bob@receiver.example"
NAME_SERVER = "198.51.100.193"


def whole(run: Run) -> None:
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)


def moments(run: Run, node: str, words: str) -> list[float]:
    """When a machine wrote lines in which this can be read."""
    return [float(line.split()[0]) for line in run.log(node) if words in line]


def subjects(run: Run, user: str) -> list[str]:
    return [one["subject"] for one in run.last_mailbox(user)]


def test_a_stranger_is_let_in_at_the_second_try_and_who_does_not_try_is_not(play: Play) -> None:
    run = play("greylisting")
    whole(run)
    segments = run.segments("sender-lan")
    first, again, second = calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)
    assert again.frame.time - first.frame.time >= 13  # 30 minutes at 120 are 15 s, less up to 2
    assert second.frame.time - again.frame.time < 10
    assert said(segments, RECEIVER_MAIL, 25, rb"450 4\.2\.0 <bob@receiver\.example>") == 2
    refused = [line for line in run.log("receiver-mail") if "NOQUEUE: reject: RCPT" in line]
    assert ["from=<prize@lottery.example>" in line for line in refused] == [True, False]
    assert len(moments(run, "sender-mail", "status=deferred")) == 1
    sent = [line for line in run.log("sender-mail") if "status=sent" in line]
    late, prompt = (float(re.findall(r" delay=([\d.]+),", line)[0]) for line in sent)
    assert late >= 12 and prompt < 8
    [spam] = calls(segments, SENDER_PC, RECEIVER_MAIL, 25)
    assert spam.frame.time < first.frame.time
    assert segments[-1].frame.time - spam.frame.time > 12, "there was time to try again"
    assert said(segments, SENDER_PC, 25, rb"DATA\r") == 0
    outage = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    assert outage[True] < spam.frame.time and second.frame.time < outage[False]
    assert subjects(run, BOB) == ["Lunch?", "At noon?"]


def test_who_accepted_it_last_has_to_tell_that_a_mailbox_is_full(play: Play) -> None:
    run = play("mailbox-full")
    whole(run)
    sender_lan = run.segments("sender-lan")
    assert said(sender_lan, RECEIVER_MAIL, 25, rb"552 5\.2\.2 ") == 1
    assert said(sender_lan, RECEIVER_MAIL, 25, rb"452 4\.2\.2 ") == 1
    wrote = r" (\w+): sender non-delivery notification: (\w+)"
    [at_senders] = re.findall(wrote, "\n".join(run.log("sender-mail")))
    [at_receivers] = re.findall(wrote, "\n".join(run.log("receiver-mail")))
    # Who called whom: the sender's server for each message, the other with its report, once.
    assert len(calls(sender_lan, SENDER_MAIL, RECEIVER_MAIL, 25)) == 5
    [report] = calls(sender_lan, RECEIVER_MAIL, SENDER_MAIL, 25)
    assert said(sender_lan, RECEIVER_MAIL, 25, rb"MAIL FROM:<>") == 1
    assert said(sender_lan, SENDER_MAIL, 25, rb"MAIL FROM:<>") == 0
    [taken] = [
        line.split()[0]
        for line in run.log("receiver-mail")
        if f"{at_receivers[0]}: from=<alice@sender.example>" in line
    ]
    assert float(taken) < report.frame.time, "it had said 250 before"
    lines = "\n".join(run.log("receiver-mail"))
    assert re.search(rf"{at_receivers[0]}: to=<bob@.*lmtp\], .*dsn=5\.2\.2, status=bounced", lines)
    assert re.search(rf"{at_receivers[1]}: to=<alice@.*relay=mail\.sender\.example.*=sent", lines)
    # What Alice fetched says who wrote it.
    fetched = b"".join(
        p.payload for p in sender_lan if (p.src, p.sport, p.dst) == (SENDER_MAIL, 143, SENDER_PC)
    )
    assert re.findall(rb"Reporting-MTA: dns; (\S+)", fetched) == [
        b"mail.sender.example",
        b"mail.receiver.example",
    ]
    ids = re.findall(rb"X-Postfix-Queue-ID: (\w+)", fetched)
    assert ids == [at_senders[0].encode(), at_receivers[0].encode()]
    # The third waited, and is there.
    waited = "\n".join(run.log("sender-mail"))
    [kept] = re.findall(r" (\w+): to=<bob@.*dsn=4\.2\.2, status=deferred", waited)
    assert re.search(rf"{kept}: to=<bob@.*status=sent", waited)
    assert subjects(run, BOB) == ["The picture", "Dinner?"]
    assert subjects(run, ALICE) == ["Undelivered Mail Returned to Sender"] * 2
    assert [event["data"]["on"] for event in run.events("fault")] == [True, False] * 3


def test_no_such_domain_is_an_answer_and_no_answer_is_none(play: Play) -> None:
    run = play("dns-outage")
    whole(run)
    log = run.log("sender-mail")
    status = [re.findall(r"to=<bob@.* dsn=([\d.]+), status=(\w+) \((.*)\)$", line) for line in log]
    tries = [found[0] for found in status if found]
    assert [one[:2] for one in tries] == [
        ("5.4.4", "bounced"),
        ("4.4.3", "deferred"),
        ("4.4.3", "deferred"),
        ("2.0.0", "sent"),
    ]
    assert tries[0][2].endswith("Host not found")
    assert all(one[2].endswith("Host not found, try again") for one in tries[1:3])
    [relay] = calls(run.segments("sender-lan"), SENDER_MAIL, RECEIVER_MAIL, 25)
    faults = run.events("fault")
    assert relay.frame.time > faults[-1]["time"], "nobody was called while nobody could be found"
    for network in ("sender-lan", "dns-lan"):
        asked, answers = about_mx(run, network)
        assert answers[0][1] == 3, "NXDOMAIN"
        assert {code for _, code in answers[1:-1]} == {2}, "SERVFAIL"
        assert answers[-1][1] == 0
        on = next(one["time"] for one in faults if one["data"]["what"] == "dns-silent")
        off = next(
            one["time"]
            for one in faults
            if one["data"]["what"] == "dns-silent" and not one["data"]["on"]
        )
        vain = [time for time in asked if on < time < off]
        assert len(vain) >= 2 and vain[1] - vain[0] > 4, "resolv.conf(5): after 5 s once more"
        assert not [time for time, _ in answers if on < time < off]
    assert subjects(run, BOB) == ["Lunch?"]
    assert subjects(run, ALICE) == ["Undelivered Mail Returned to Sender"]
    [report] = run.events("dsn")
    assert "Status: 5.4.4" in report["data"]["parts"][1]["text"]


def about_mx(run: Run, network: str) -> tuple[list[float], list[tuple[float, int]]]:
    """When the sender's server asked for the MX, and when it was answered, with which RCODE."""
    name = b"\x08receiver\x07example\0\0\x0f"
    asked, answers = [], []
    for frame in run.frames(network):
        packet = decode(frame)
        if isinstance(packet, Udp) and name in packet.payload:
            if (packet.src, packet.dst) == (SENDER_MAIL, NAME_SERVER):
                asked.append(frame.time)
            elif (packet.src, packet.dst) == (NAME_SERVER, SENDER_MAIL):
                answers.append((frame.time, packet.payload[3] & 15))
    return asked, answers


@pytest.mark.parametrize("name", ["greylisting", "mailbox-full", "dns-outage"])
def test_they_are_played_in_a_lab_that_is_up_as_well(
    lab: Lab, play: Play, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LAB_NAME", lab.name)
    run = play(name, "--here")
    assert run.status == 0, run.stderr
    assert is_whole(lab)
