"""The soak's parts, each for itself: letters, trouble on a schedule, peace; then the outcome.

The judge has tests of its own: test_soak_judgment.py.
"""

from __future__ import annotations

import dataclasses
import io
import math
import tarfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from faultylab import FaultyLab
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.engine.exec import Result
from lab.faults.fault import Fault, catalogue, named
from lab.soak.checker import Found, Report, judge
from lab.soak.found import _stored, drained
from lab.soak.letters import DIGEST, FORMS, Letter, digest, letters
from lab.soak.nemesis import Strike, Stroke, schedule
from lab.soak.run import Outcome, Spec
from lab.views.soak import text

PEOPLE = ["alice@sender.example", "bob@receiver.example", "dave@receiver.example"]
ALICE, BOB, DAVE = PEOPLE


# --- Letters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 7])
def test_the_same_seed_gives_the_same_letters(seed: int) -> None:
    first, second = (letters(PEOPLE, seed=seed, count=50, seconds=60) for _ in range(2))
    assert first == second
    assert first != letters(PEOPLE, seed=seed + 1, count=50, seconds=60)


def test_letters_are_of_all_kinds() -> None:
    written = letters(PEOPLE, seed=7, count=400, seconds=60)
    assert {one.form for one in written} == set(FORMS)
    assert {one.sender for one in written} == set(PEOPLE)
    assert {len(one.recipients) for one in written} == {1, 2}
    assert len({one.message_id for one in written}) == 400
    assert [one.at for one in written] == sorted(one.at for one in written)
    assert all(0 <= one.at <= 60 and one.sender not in one.recipients for one in written)
    sizes = sorted(one.size for one in written)
    assert sizes[0] < 200 and sizes[-1] > 50_000 and 1000 < sizes[200] < 10_000


@pytest.mark.parametrize("form", FORMS)
def test_a_letter_is_seven_bit_and_of_its_size(form: str) -> None:
    letter = Letter(1, 0.0, ALICE, (BOB,), form, 9000, "<1@sender.example>")
    content = letter.written()
    assert max(content) < 128
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"Message-ID: <1@sender.example>\r\n" in content
    assert max(map(len, content.split(b"\r\n"))) <= 998  # RFC 5322 §2.1.1
    assert 8000 < len(content) < 20_000


# --- Trouble --------------------------------------------------------------------------------------


PLAN = FaultyLab().plan


def able() -> dict[type[Fault], list[str]]:
    return {one: targets for one in catalogue().values() if (targets := one.targets(PLAN))}


@given(seed=st.integers(0, 1000), intensity=st.floats(0.5, 5))
@settings(max_examples=20)
def test_a_schedule_is_the_seeds_and_can_be_kept(seed: int, intensity: float) -> None:
    def made() -> list[Strike]:
        return schedule(able(), PLAN, seed=seed, count=60, seconds=180, intensity=intensity)

    strikes = made()
    assert strikes == made()
    assert len(strikes) >= 50  # with very many at a time some find no room
    assert all(0 <= one.begins < one.ends <= 180 for one in strikes)
    for one, other in combinations(strikes, 2):
        if one.begins < other.ends and other.begins < one.ends:
            assert (one.fault.name, one.fault.target) != (other.fault.name, other.fault.target)
            same = one.fault.node == other.fault.node
            assert not same or one.fault.outside or other.fault.outside


def test_as_many_are_on_at_a_time_as_was_asked() -> None:
    strikes = schedule(able(), PLAN, seed=3, count=300, seconds=900, intensity=2)
    assert 1.7 < sum(one.ends - one.begins for one in strikes) / 900 < 2.3


def test_a_strike_is_told_as_it_could_be_typed() -> None:
    strike = Strike(1, 3, named("cable-flapping").told("dns", {"in_": "10m"}))
    assert str(strike).endswith(" cable-flapping dns --in 10m")


def test_only_what_fits_strikes() -> None:
    strikes = schedule(
        able(), PLAN, seed=3, count=40, seconds=120, intensity=2, fits=lambda one: one.node == "dns"
    )
    assert strikes and {one.fault.node for one in strikes} == {"dns"}


@pytest.mark.parametrize(
    ("done", "told"),
    [(2, "8 letters and 2 faults in"), (1, "8 letters and 1 fault (of 2 wanted) in")],
)
def test_what_is_told_is_how_many_faults_there_were(done: int, told: str) -> None:
    one = Strike(0, 1, named("delay").told("dns", {}))
    strokes = [Stroke(one, case="f1")] * done + [Stroke(one, refused="dns is off")] * (2 - done)
    spec = Spec(seed=1, messages=8, faults=2, seconds=10, intensity=1)
    outcome = Outcome(spec, judge([], Found({}, [], [], {})), strokes, True, 0, 20.0)
    assert f"seed 1: {told}" in text(outcome, Path("runs/1"))


# --- Peace ----------------------------------------------------------------------------------------


class Queues(FaultyLab):
    """Two servers, whose queues hold so many messages each time they are asked."""

    def __init__(self, *held: int) -> None:
        super().__init__()
        self.held = iter(held)

    def run(self, node: str, argv: Sequence[str], **_: object) -> Result:
        count = next(self.held) if "-j" in argv else 0
        return Result(-min(count, 0), b"{}\n" * count, b"")


@pytest.mark.parametrize(
    ("held", "waiting"),
    [
        ([0, 0, 0, 0], [0, 0]),
        ([1, 0, 0, 0, 0, 0], [1, 0, 0]),
        # On its way from the second to the first as they were asked.
        ([0, 0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0]),
        # One can't tell.
        ([0, -1, 0, 0, 0, 0], [1, 0, 0]),
    ],
)
def test_queues_are_empty_when_they_were_so_twice(
    held: list[int], waiting: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    told: list[int] = []
    assert drained(Queues(*held), math.inf, told.append)
    assert told == waiting


def test_queues_that_do_not_come_empty_are_not_waited_for_for_ever() -> None:
    assert not drained(Queues(1, 0), 0.0, lambda waiting: None)


REPORT = """From: MAILER-DAEMON@receiver.example (Mail Delivery System)
Message-ID: <report@receiver.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="x"

--x
Content-Type: text/plain

I'm sorry to have to inform you.
--x
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.receiver.example

Final-Recipient: rfc822; bob@receiver.example
Action: {}
Status: 5.2.2

Final-Recipient: rfc822; dave@receiver.example
Action: delayed
Status: 4.2.2
--x
Content-Type: {}

From: alice@sender.example
Message-ID: <1@sender.example>
Subject: Letter 1

--x--
"""


@pytest.mark.parametrize("original", ["message/rfc822", "text/rfc822-headers"])
@pytest.mark.parametrize("action", ["failed", "delayed"])
def test_a_report_is_read(action: str, original: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = REPORT.format(action, original).encode()
    lab = FaultyLab()
    monkeypatch.setattr(lab, "run", lambda *_: Result(0, maildir(new=content), b""))
    [(identity, _, failures)] = map(dataclasses.astuple, _stored(lab, ALICE))
    assert identity == "<report@receiver.example>"
    expected = [Report(ALICE, "<1@sender.example>", BOB)] if action == "failed" else []
    assert failures == [dataclasses.astuple(one) for one in expected]


def maildir(**folders: bytes) -> bytes:
    """A tar of somebody's Maildir, with a message in each folder."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for folder, content in folders.items():
            file = tarfile.TarInfo(f"Maildir/{folder}/1.mail")
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))
    return written.getvalue()


def test_what_lies_in_a_mailbox_is_read_from_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "Grüße\n".encode()
    letter = f"From: {BOB}\nMessage-ID: <1@x>\n{DIGEST}: {digest(body)}\n\n".encode()
    tar = maildir(new=letter + body, cur=letter + b"Greetings\n", tmp=b"half of i")
    lab = FaultyLab()
    monkeypatch.setattr(lab, "run", lambda *_: Result(0, tar, b""))
    found = [(one.message_id, one.whole, one.reported) for one in _stored(lab, ALICE)]
    assert found == [("<1@x>", True, None), ("<1@x>", False, None)]
    monkeypatch.setattr(lab, "run", lambda *_: Result(0, b"", b""))
    assert list(_stored(lab, ALICE)) == [], "nobody has written yet"
