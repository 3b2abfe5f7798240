"""The soak on real machines: what is kept is found, and what is lost is not overlooked."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from harness import LAB, new_name, removed_afterwards

from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.faults.cable import cable_pulled
from lab.faults.power import power_cut
from lab.record import Record
from lab.soak.letters import Letter
from lab.soak.nemesis import Strike
from lab.soak.run import Outcome, Spec, soak
from lab.topology.loader import load

SCALE = 600.0
ALICE, CAROL, BOB = "alice@sender.example", "carol@sender.example", "bob@receiver.example"


def run(topology: str, folder: Path) -> Outcome:
    """Letters that wait at a server which loses its power while they do."""
    letters = [
        Letter(number, number * 0.2, ALICE, (BOB, CAROL), "plain", 400, f"<{number}@soak.example>")
        for number in range(20)
    ]
    strikes = [
        Strike(1.0, 9.0, cable_pulled("receiver-mail")),
        Strike(6.0, 7.0, power_cut("sender-mail")),
    ]
    spec = Spec(seed=0, messages=len(letters), faults=len(strikes), seconds=10.0, intensity=1.0)
    with removed_afterwards(new_name()) as name:
        lab = up(plan(load(topology), name, SCALE))
        return soak(lab, spec, (letters, strikes), folder, lambda now: None)


def test_what_a_server_keeps_on_its_disk_survives(tmp_path: Path) -> None:
    outcome = run("textbook", tmp_path)
    counts = outcome.judgment.counts()
    assert outcome.ok and outcome.drained
    assert [stroke.refused for stroke in outcome.strokes] == [None, None]
    assert (counts["acknowledged"], counts["deliveries"], counts["delivered"]) == (20, 40, 40)
    assert counts["lost"] == counts["unexpected"] == counts["unexplained"] == 0


def test_what_a_server_keeps_in_memory_is_missed(tmp_path: Path) -> None:
    """The negative control: a checker that can't find lost mail has not shown that none is lost."""
    outcome = run("ram-queue", tmp_path)
    lost = outcome.judgment.lost
    assert not outcome.ok
    # Carol's copies were put into her mailbox at once; Bob's waited, from the second second on.
    assert {fate.recipient for fate in lost} == {BOB}
    assert 10 <= len(lost) <= 20
    assert all(fate.submission.answer == "acknowledged" for fate in lost)
    record = Record.load(tmp_path)
    verdicts = {event.data["id"]: event.data for event in record.of("verdict")}
    assert not verdicts["lost"]["ok"] and verdicts["unexpected"]["ok"]
    told = [event.summary for event in record.of("action") if "LOST" in event.summary]
    assert len(told) == len(lost) and lost[0].submission.letter.message_id in told[0]
    assert [event.data["on"] for event in record.of("fault")] == [True, True, False, False]


def test_a_short_soak_as_everybody_can_run_it(tmp_path: Path) -> None:
    """200 letters, 20 faults: nothing is lost, and every letter can be followed to its packets."""
    argv = [*LAB, "soak", "--seed", "7", "--messages", "200", "--faults", "20", "--json"]
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    found = json.loads(done.stdout)
    counts = found["counts"]
    assert found["ok"] and found["seed"] == 7
    assert counts["attempted"] == 200
    assert counts["lost"] == counts["unexpected"] == counts["unexplained"] == 0
    assert counts["delivered"] + counts["bounced"] >= counts["acknowledged"]
    struck = [one for one in found["strikes"] if one["case"]]
    assert len(struck) >= 18, [one["refused"] for one in found["strikes"]]
    assert all(one["ended"] > one["began"] for one in struck)
    _can_be_followed(tmp_path, found)


def _can_be_followed(folder: Path, found: dict[str, object]) -> None:
    letters = found["letters"]
    assert isinstance(letters, list)
    letter = next(one for one in letters if one["copies"] == 1 and one["recipient"] == BOB)
    argv = [*LAB, "trace", letter["message_id"], "--run", str(found["run"]), "--json"]
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, encoding="utf-8", timeout=100, check=True
    )
    trace = json.loads(done.stdout)
    assert trace["message_id"] == letter["message_id"]
    nodes = [hop["node"] for hop in trace["hops"]]
    assert "receiver-mail" in nodes
    relayed = [
        attempt
        for hop in trace["hops"]
        for attempt in hop["attempts"]
        if attempt["outcome"] == "sent" and attempt.get("stream") is not None
    ]
    sender = letter["sender"].partition("@")[2]
    assert relayed or sender == "receiver.example"


def test_the_same_seed_is_the_same_trouble() -> None:
    argv = [*LAB, "soak", "--seed", "5", "--faults", "6", "--plan"]
    first, second = (
        subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=100, check=True).stdout
        for _ in range(2)
    )
    assert first == second and len(first.splitlines()) == 6
