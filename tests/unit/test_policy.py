"""The policy server that faults lend a Postfix: what it says, and what it remembers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FABRIC = Path(__file__).parents[2] / "images/fabric"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FABRIC / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


policy, servfail = load("policy"), load("servfail")


def rule(**told: Any) -> dict[str, Any]:
    usual = {"id": "f1", "what": "answer", "stage": "rcpt", "code": 450, "text": "4.2.0 Later"}
    return {**usual, "left": None, "share": None, "recipient": None, **told}


def request(instance: str = "1", state: str = "RCPT", **told: str) -> dict[str, str]:
    who = {"sender": "alice@sender.example", "recipient": "bob@receiver.example"}
    where = {"client_address": "198.51.100.25", "client_port": "40000"}
    return {"protocol_state": state, "instance": instance, **who, **where, **told}


class Server:
    def __init__(self, *rules: dict[str, Any]) -> None:
        self.rules = rules
        self.state = {one["id"]: policy.fresh(one) for one in rules}

    def says(self, asked: dict[str, str], now: float = 0.0) -> str:
        action: str = policy.decide(self.rules, self.state, asked, now)[0]
        return action


@pytest.mark.parametrize(
    ("stage", "state"),
    [
        ("connect", "CONNECT"),
        ("helo", "EHLO"),
        ("helo", "HELO"),
        ("mail", "MAIL"),
        ("rcpt", "RCPT"),
        ("data", "DATA"),
        ("end-of-data", "END-OF-MESSAGE"),
    ],
)
def test_it_answers_at_its_stage_and_at_no_other(stage: str, state: str) -> None:
    server = Server(rule(stage=stage))
    assert server.says(request(state=state)) == "450 4.2.0 Later"
    others = {name for name, of in policy.STAGES.items() if of != stage}
    assert {server.says(request(state=other)) for other in others} == {"DUNNO"}


def test_mails_are_counted_not_recipients() -> None:
    server = Server(rule(left=2))
    for instance in ("1", "1", "2", "1", "2"):
        assert server.says(request(instance)) == "450 4.2.0 Later"
    assert server.says(request("3")) == "DUNNO"
    assert server.says(request("2")) == "450 4.2.0 Later", "of a mail that was one of the two"
    assert server.state["f1"]["count"] == 2


def test_who_is_refused_with_ehlo_and_tries_helo_counts_once() -> None:
    server = Server(rule(stage="helo", left=1))
    assert server.says(request("", "EHLO")) != "DUNNO"
    assert server.says(request("", "HELO")) != "DUNNO"
    assert server.says(request("", "EHLO", client_port="40001")) == "DUNNO"


def test_every_mail_command_of_a_connection_is_a_mail() -> None:
    server = Server(rule(stage="mail", left=2))
    said = [server.says(request("", "MAIL"), now) for now in (1.0, 2.0, 3.0)]
    assert [one == "DUNNO" for one in said] == [False, False, True]


def test_a_share_is_about_that_and_the_same_for_all_of_a_mail() -> None:
    server = Server(rule(share=0.3))
    said = [server.says(request(str(number))) for number in range(2000)]
    assert 0.25 < sum(one != "DUNNO" for one in said) / 2000 < 0.35
    assert said == [Server(rule(share=0.3)).says(request(str(number))) for number in range(2000)]


def test_one_recipient_only_however_it_is_written() -> None:
    server = Server(rule(recipient="Bob@receiver.example"))
    assert server.says(request(recipient="bob@Receiver.example")) != "DUNNO"
    assert server.says(request(recipient="dave@receiver.example")) == "DUNNO"


def test_the_first_that_has_something_to_say_unless_one_is_asked_for() -> None:
    server = Server(rule(stage="data"), rule(id="f2", code=550), rule(id="f3", code=452))
    assert server.says(request()).startswith("550 ")
    assert server.says(request(policy_context="f3")).startswith("452 ")
    assert server.says(request(policy_context="f9")) == "DUNNO"


def test_greylisting_lets_in_who_has_waited_and_knows_them_then() -> None:
    server = Server({"id": "f1", "what": "greylist", "seconds": 10.0})
    assert server.says(request(), 100.0) == "450 4.2.0 Greylisted, try again in 10 seconds"
    assert server.says(request(), 108.5) == "450 4.2.0 Greylisted, try again in 2 seconds"
    neighbour = request(client_address="198.51.100.77")
    assert server.says(neighbour, 110.0) == "DUNNO", "of the same network"
    assert server.says(request(), 110.1) == "DUNNO"
    for other in ({"sender": ""}, {"recipient": "dave@receiver.example"}):
        assert server.says(request(**other), 110.2) != "DUNNO"
    assert server.says(request(client_address="203.0.113.1"), 110.2) != "DUNNO"
    assert server.says(request(state="DATA"), 100.0) == "DUNNO"


def test_what_it_has_done_outlives_it_and_what_is_not_asked_any_more_is_forgotten(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rules"
    file.write_text(json.dumps([rule(left=2), rule(id="f2", stage="data")]))
    first = policy.Rules(file)
    assert first.action(request("1")) == "450 4.2.0 Later"
    again = policy.Rules(file)
    assert again.action(request("2")) == "450 4.2.0 Later"
    assert again.action(request("3")) == "DUNNO"
    file.write_text(json.dumps([rule(left=3)]))
    again.load()
    assert again.action(request("3")) == "450 4.2.0 Later"
    assert set(json.loads((tmp_path / "rules.state").read_text())) == {"f1"}


def test_a_failing_name_server_gives_the_question_back_and_says_that_it_failed() -> None:
    question = (
        bytes.fromhex("4c42 0100 0001 0000 0000 0000") + b"\x08receiver\x07example\0\0\x0f\0\x01"
    )
    answer = servfail.reply(question + b"and more")
    assert answer == bytes.fromhex("4c42 8102 0001 0000 0000 0000") + question[12:]
    for broken in (b"", question[:11], question[:20], answer):
        assert servfail.reply(broken) is None
