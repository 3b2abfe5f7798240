"""`lab dialogue` shows a dialogue as a class can read it, and as a program can."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from conversation import EVERYTHING, play
from packetbuilder import (
    ACK,
    CLIENT,
    FIN,
    RST,
    SERVER,
    SYN,
    Talk,
    capture,
    ethernet,
    pcap,
    unreachable,
)

from lab.cli import cli, dialogue
from lab.errors import UsageError
from lab.observe.pcap import read_frames


def run(talk: Talk, *arguments: str) -> str:
    octets = pcap(map(ethernet, talk.packets))
    done = CliRunner().invoke(cli, ["dialogue", "-", *arguments], octets, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_verb_prints_a_ladder_of_text() -> None:
    talk = Talk().send("C", SYN)
    talk.packets *= 2
    talk.send("S", SYN | ACK).send("C", ACK)
    talk = play(
        [("S", "220-hi\r\n220 \x1b[31mho\r\n"), ("C", "AUTH PLAIN "), ("C", "AGEAYg==\r\n")], talk
    )
    head, *lines = run(talk.close()).splitlines()
    assert head.startswith("#0 smtp  198.51.100.25:40000 → 203.0.113.25:25 ")
    assert head.endswith(", frame 1: closed by client without QUIT")
    assert lines == [
        "    +0.001      2  no answer for 0.0 s: calls again (SYN)",
        "    +0.004      5  S: 220-hi",
        "                      220 ·[31mho",
        "    +0.006      7  C: AUTH PLAIN AGEAYg==",
        "                      (base64 for: a b)",
        "    +0.010     11  the client closes its side (FIN)",
        "    +0.011     12  the server closes too (FIN)",
    ]


def test_what_tcp_did_is_said_in_words() -> None:
    talk = play([("S", "220 hi\r\n"), ("C", "QUIT\r\n")])
    talk.packets.append(talk.packets[5])
    half = run(talk.send("C", FIN | ACK)).splitlines()[1:]
    assert half == [
        "    +0.003      4  S: 220 hi",
        "    +0.005      6  C: QUIT",
        "    +0.008      9  the client closes its side (FIN)",
        "                   the client sent 6 octets more than once (retransmission)",
        "                   half-closed: the server never closed its side",
    ]
    reset = run(play([("S", "220 hi\r\n")]).send("S", RST)).splitlines()[-1]
    assert reset.endswith("6  the server resets the connection (RST)")
    refused = run(Talk().send("C", SYN).send("S", RST | ACK)).splitlines()[-1]
    assert refused.endswith("2  the server refuses the connection (RST)")
    lost = Talk().send("C", SYN)
    lost.packets.append(unreachable(lost.packets[0]))
    assert run(lost).splitlines()[-1].endswith("2  ICMP from 198.51.100.1: host unreachable")


def test_the_verb_reads_any_port_as_it_is_told() -> None:
    talk = play([("S", "+OK hi\r\n")], Talk(server=(SERVER, 1110)).shake())
    assert run(talk) == ""
    assert "S: +OK hi" in run(talk, "--protocol", "pop3=1110")
    assert run(talk, "--protocol", "imap", "--protocol", "smtp") == ""


def test_the_verb_follows_a_live_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections at once, as they go: whose turn it is stands above it."""
    first = play([("S", "220 one\r\n")])
    other = play([("S", "220 two\r\n")], Talk(client=(CLIENT, 40001)).shake())
    packets = first.packets + other.packets + first.say("C", "QUIT\r\n").close().packets[5:]
    frames = list(read_frames(capture(packets)))
    monkeypatch.setattr(dialogue, "_heard", lambda lab, targets, stack: iter(frames))
    done = CliRunner().invoke(cli, ["dialogue", "-f", "sender-mail"], catch_exceptions=False)
    lines = [re.sub(r" \d{4}-.*frame \d+:", "", line) for line in done.stdout.splitlines()]
    assert lines == [
        "#0 smtp  198.51.100.25:40000 → 203.0.113.25:25 calls",
        "    +0.003      4  S: 220 one",
        "",
        "#1 smtp  198.51.100.25:40001 → 203.0.113.25:25 calls",
        "    +0.003      9  S: 220 two",
        "",
        "#0 smtp  198.51.100.25:40000 → 203.0.113.25:25 goes on",
        "    +0.010     11  C: QUIT",
        "    +0.012     13  the client closes its side (FIN)",
        "    +0.013     14  the server closes too (FIN)",
    ]
    done = CliRunner().invoke(cli, ["dialogue", "-f", "x", "--json"], catch_exceptions=False)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["command"] for one in told if one.get("kind") == "command"] == ["QUIT"]
    assert all(one["protocol"] == "smtp" and "stream" in one for one in told)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["nowhere.pcap"],
            "nowhere.pcap: can't read: No such file or directory\n"
            "  → to listen in the lab: lab dialogue --follow nowhere.pcap",
        ),
        (["-", "--stream", "x"], "'x' is no stream\n  → write it like 7, or udp:7"),
        (
            ["-", "--stream", "udp:0"],
            "there is no connection udp:0 to be read in <stdin>\n  → it has: 0",
        ),
    ],
)
def test_what_the_verb_refuses(arguments: list[str], says: str) -> None:
    octets = pcap(map(ethernet, play(EVERYTHING).packets))
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(cli, ["dialogue", *arguments], octets, catch_exceptions=False)
    assert str(caught.value) == says


def test_the_verb_folds_messages_unless_told_not_to() -> None:
    body = "".join(f"line {n}\r\n" for n in range(20))
    talk = play(
        [("S", "220 hi\r\n"), ("C", "DATA\r\n"), ("S", "354 go\r\n"), ("C", body + ".\r\n")]
    )
    folded = run(talk)
    assert "… 14 more lines (--raw shows them)" in folded
    assert "line 6" not in folded
    assert "line 19" in run(talk, "--raw")


def test_the_verb_prints_json_as_agreed() -> None:
    (found,) = json.loads(run(play(EVERYTHING), "--json"))
    assert {"protocol", "client", "server", "stream", "turns"} <= set(found)
    assert (found["protocol"], found["server"], found["stream"]) == ("smtp", "203.0.113.25:25", 0)
    for turn in found["turns"]:
        assert {"frame", "time", "from", "command", "argument", "code", "text"} <= set(turn)
    assert found["turns"][1] == {
        "frame": 6,
        "time": 1_700_000_000.005,
        "from": "client",
        "command": "EHLO",
        "argument": "sender-mail.sender.example",
        "code": None,
        "text": "EHLO sender-mail.sender.example",
        "kind": "command",
        "last_frame": 6,
        "size": 33,
        "complete": True,
        "answers": None,
    }


def test_the_verb_says_which_streams_there_are() -> None:
    octets = pcap(map(ethernet, play(EVERYTHING).packets))
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(cli, ["dialogue", "-", "--stream", "7"], octets, catch_exceptions=False)
    assert str(caught.value) == "there is no connection 7 to be read in <stdin>\n  → it has: 0"
