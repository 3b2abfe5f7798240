"""The soak on real machines: what is kept is found, and what is lost is not overlooked."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from harness import LAB, new_name, removed_afterwards

from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.faults.cable import cable_pulled
from lab.faults.cut import cut_before_reply
from lab.faults.power import power_cut
from lab.record import Record
from lab.soak.letters import Letter
from lab.soak.nemesis import Strike
from lab.soak.run import Outcome, Spec, soak
from lab.topology.loader import load

SCALE = 600.0
FAR = "receiver-mail"
ALICE, CAROL, BOB = "alice@sender.example", "carol@sender.example", "bob@receiver.example"


LETTERS = [
    Letter(number, number * 0.2, ALICE, (BOB, CAROL), "plain", 400, f"<{number}@soak.example>")
    for number in range(20)
]
# Letters wait at a server which loses its power while they do.
STRIKES = [
    Strike(1.0, 9.0, cable_pulled(FAR)),
    Strike(6.0, 7.0, power_cut("sender-mail")),
]


def run(
    topology: str,
    folder: Path,
    letters: list[Letter] = LETTERS,
    strikes: list[Strike] = STRIKES,
) -> Outcome:
    """A soak of these letters and strikes."""
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


def test_a_duplicate_is_found_and_leads_to_its_packet(tmp_path: Path) -> None:
    """RFC 1047, thrice: the receiver's 250 does not arrive, and the connection is reset."""
    letters = [
        Letter(number, 0.5, ALICE, (BOB,), "plain", 400, f"<{number}@soak.example>")
        for number in range(5)
    ]
    outcome = run("textbook", tmp_path, letters, [Strike(0.0, 8.0, cut_before_reply(FAR, times=3))])
    found = outcome.judgment
    assert outcome.ok and len(found.duplicated) == 3
    for fate in found.duplicated:
        assert fate.copies == 2
        (cause,) = fate.causes
        assert cause.line.node == "sender-mail" and "more than once" in cause.line.text
    message_id = found.duplicated[0].submission.letter.message_id
    trace = followed(tmp_path, message_id, tmp_path)
    attempts = [one for hop in trace["hops"] for one in hop["attempts"]]
    # The server repeats the words each time it spares itself a call to the same place.
    (broken,) = [one for one in attempts if (one["reason"] or "").startswith("lost connection")]
    assert broken["stream"] is not None
    resets = subprocess.run(
        ["tshark", "-r", str(tmp_path / "captures/sender-lan.pcap"), "-Y",
         f"tcp.stream=={broken['stream']} && tcp.flags.reset==1", "-T", "fields", "-e", "ip.dst"],
        capture_output=True, encoding="utf-8", timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    assert "198.51.100.25" in resets


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


def _can_be_followed(folder: Path, found: dict[str, Any]) -> None:
    letter = next(
        one
        for one in found["letters"]
        if one["copies"] == 1 and one["recipient"] == BOB and "sender.example" in one["sender"]
    )
    trace = followed(folder, letter["message_id"], found["run"])
    assert trace["message_id"] == letter["message_id"]
    assert {"sender-mail", "receiver-mail"} <= {hop["node"] for hop in trace["hops"]}
    attempts = [one for hop in trace["hops"] for one in hop["attempts"]]
    assert any(one["outcome"] == "sent" and one["stream"] is not None for one in attempts)


def followed(folder: Path, message_id: str, run: Path | str) -> dict[str, Any]:
    """What `lab trace` says of a letter."""
    argv = [*LAB, "trace", message_id, "--run", str(run), "--json"]
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, encoding="utf-8", timeout=100, check=True
    )
    trace: dict[str, Any] = json.loads(done.stdout)
    return trace


def test_the_same_seed_is_the_same_trouble() -> None:
    argv = [*LAB, "soak", "--seed", "5", "--faults", "6", "--plan"]
    first, second = (
        subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=100, check=True).stdout
        for _ in range(2)
    )
    assert first == second and len(first.splitlines()) == 6
