"""`lab dialogue` shows a dialogue as a class can read it, and as a program can."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conversation import EVERYTHING, play
from packetbuilder import ACK, SYN, Talk, ethernet, pcap

from lab.cli import cli
from lab.errors import UsageError


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
    assert head.startswith("#0  198.51.100.25:40000 → 203.0.113.25:25 ")
    assert head.endswith(", frame 1: closed by client without QUIT")
    assert lines == [
        "                   called 2 times: +0.000, +0.001",
        "    +0.004      5  S: 220-hi",
        "                      220 ·[31mho",
        "    +0.006      7  C: AUTH PLAIN AGEAYg==",
        "                      (base64 for: a b)",
    ]


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
    assert str(caught.value) == "there is no SMTP connection 7 in <stdin>\n  → it has: 0"
