"""Faults as objects, what they can be told, and the journal of those that are on."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from faultylab import FaultyLab, Trouble, known

from lab.errors import LabError, UsageError
from lab.faults import journal, parameters
from lab.faults.cable import CableFlapping, CablePulled
from lab.faults.cut import CutInData
from lab.faults.fault import Fault, catalogue, named
from lab.faults.link import Delay, Loss


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FaultyLab:
    known(monkeypatch)
    return FaultyLab()


# --- The catalogue ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", catalogue().values(), ids=lambda fault: fault.name)
def test_every_fault_of_the_catalogue_can_be_read_and_written(fault: type[Fault]) -> None:
    lab = FaultyLab()
    needed = {
        one.name: parameters.kind_of(one).choices[0]
        for one in fault.parameters()
        if one.default is dataclasses.MISSING and parameters.kind_of(one).choices
    }
    assert fault.help and fault.help[0].islower() and not fault.help.endswith(".")
    for target in fault.targets(lab.plan):
        one = fault.told(target, needed)
        assert Fault.of(one.as_json()) == one
        assert one.title and one.healed and one.title != one.healed
        assert one.node in lab.plan.nodes


def test_what_is_told_is_understood_as_people_write_it() -> None:
    found = Delay.told("receiver-mail", {"by": "250ms", "jitter": "1.5s"})
    assert (found.by, found.jitter) == (0.25, 1.5)
    assert found == Delay("receiver-mail", by="250ms", jitter=1.5)  # type: ignore[arg-type]
    assert found.written() == {"by": "250ms", "jitter": "1.5s"}
    assert Delay("receiver-mail").written() == {}
    assert CableFlapping.told("dns", {"in_": "1h"}).written() == {"in_": "1h"}
    assert CutInData.told("receiver-mail", {"after": "1.5k"}).after == 1500


@pytest.mark.parametrize(
    ("fault", "values", "text"),
    [
        (Loss, {"share": "30"}, "--share 30: write a share as 5% or 0.1%, up to 100%"),
        (Loss, {"share": "0%"}, "--share 0%: write a share as 5% or 0.1%, up to 100%"),
        (Delay, {"by": "20"}, "--by 20: write real time as 200ms, 1.5s or 2m"),
        (CableFlapping, {"in_": "1x"}, "--in 1x: '1x' is not a duration (write 30m, 5d or 1h30m)"),
        (CutInData, {"times": "0"}, "--times 0: write a number from 1 on"),
        (CutInData, {"how": "loud"}, "--how loud: write one of reset, silent"),
        (
            Loss,
            {"shared": "3%"},
            "loss can't be told 'shared'\n  → it can be told: share",
        ),
        (CablePulled, {"x": "1"}, "cable-pulled can't be told 'x'\n  → it can be told: nothing"),
    ],
)
def test_what_is_not_understood_is_told(
    fault: type[Fault], values: dict[str, str], text: str
) -> None:
    with pytest.raises(UsageError) as refused:
        fault.told("receiver-mail", values)
    assert str(refused.value) == text


def test_a_name_that_is_none_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no fault 'cable-puled'") as refused:
        named("cable-puled")
    assert refused.value.hint == "did you mean 'cable-pulled'?"


# --- The journal --------------------------------------------------------------------------------


def test_a_fault_is_written_down_before_it_is_done(lab: FaultyLab) -> None:
    states: list[str] = []
    one = Trouble("receiver-mail")

    def look(self: Trouble, lab: FaultyLab, id: str) -> None:
        states.append(lab.journal.written[id]["state"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trouble, "apply", look)
        patch.setattr(Trouble, "revert", look)
        case = journal.apply(lab, one)
        assert lab.journal.written["f1"]["state"] == "on"
        assert journal.cases(lab) == [case]
        journal.heal(lab, case)
    assert states == ["applying", "healing"]
    assert journal.cases(lab) == []
    assert [event["on"] for event in lab.journal.history] == [True, False]


@pytest.mark.parametrize("how", ["refuses", "without_effect"])
def test_what_can_not_be_put_on_leaves_nothing(lab: FaultyLab, how: str) -> None:
    with pytest.raises(LabError):
        journal.apply(lab, Trouble("receiver-mail", **{how: True}))
    assert Trouble.did == ["apply f1", "revert f1"]
    assert lab.journal.written == {} and lab.journal.history == []


def test_what_is_on_is_not_put_on_again(lab: FaultyLab) -> None:
    journal.apply(lab, Trouble("receiver-mail"))
    with pytest.raises(UsageError, match=r"receiver-mail is in trouble already \(f1\)") as refused:
        journal.apply(lab, Trouble("receiver-mail"))
    assert refused.value.hint == "lab fault heal f1"
    journal.apply(lab, Trouble("sender-mail"))
    assert Trouble.did == ["apply f1", "apply f2"]


def test_what_was_begun_by_somebody_killed_is_healed(lab: FaultyLab) -> None:
    half = journal.Case("", Trouble("receiver-mail"), "applying", 1.0)
    lab.journal.note(half.as_json())
    (found,) = journal.cases(lab)
    assert journal.heal(lab, found)
    assert Trouble.did == ["revert f1"]
    assert not journal.heal(lab, found)


def test_one_that_can_not_be_undone_keeps_no_other_on(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in ("dns", "sender-mail", "receiver-mail"):
        journal.apply(lab, Trouble(node))

    def revert(self: Trouble, lab: FaultyLab, id: str) -> None:
        if self.node == "sender-mail":
            raise LabError("stuck")

    monkeypatch.setattr(Trouble, "revert", revert)
    assert [case.fault.node for case in journal.heal_all(lab)] == ["receiver-mail", "dns"]
    assert [case.fault.node for case in journal.cases(lab)] == ["sender-mail"]


def test_a_target_that_is_not_there_is_told(lab: FaultyLab) -> None:
    with pytest.raises(UsageError) as refused:
        journal.apply(lab, CutInData("dns"))
    assert str(refused.value) == (
        "cut-in-data can't strike 'dns' in lab 'unit-faults'\n"
        "  → one of: sender-mail, receiver-mail"
    )


def test_who_comes_back_has_its_faults_again(lab: FaultyLab) -> None:
    journal.apply(lab, Trouble("receiver-mail"))
    journal.apply(lab, Trouble("sender-mail"))
    journal.reassert(lab, "sender-mail")
    assert Trouble.did == ["apply f1", "apply f2", "apply f2"]


def test_one_that_breaks_both_ways_says_so_and_stays_in_the_journal(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def revert(self: Trouble, lab: FaultyLab, id: str) -> None:
        raise LabError("stuck")

    monkeypatch.setattr(Trouble, "revert", revert)
    with pytest.raises(LabError) as failed:
        journal.apply(lab, Trouble("receiver-mail", refuses=True))
    assert str(failed.value) == (
        "trouble could not be put on, and is not wholly undone\n"
        "  | half done\n  | stuck\n  → lab up, then lab fault heal f1"
    )
    assert [case.state for case in journal.cases(lab)] == ["healing"]


@pytest.mark.parametrize("moment", ["note", "apply", "verify", "tell"])
def test_a_ctrl_c_at_any_moment_leaves_nothing(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    where = lab.journal if moment in ("note", "tell") else Trouble
    works = getattr(where, moment)

    def interrupted(*arguments: Any) -> Any:
        done = works(*arguments)
        monkeypatch.setattr(where, moment, works)
        signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(where, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.apply(lab, Trouble("receiver-mail"))
    assert lab.journal.written == {}
    assert [event["on"] for event in lab.journal.history] in ([], [True, False])
    assert Trouble.did[-1] == "revert f1"


def test_what_can_not_be_read_keeps_nothing_else_from_being_healed(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.faults.unknown import Unknown

    monkeypatch.setattr(Unknown, "revert", lambda self, lab, id: None)
    journal.apply(lab, Trouble("dns"))
    newer = {"fault": "asteroid", "target": "dns", "parameters": {"size": "9"}}
    for record in (newer, {"fault": "?", "target": "?", "parameters": {}}):
        lab.journal.note({"id": "", **record, "state": "on", "applied": 1.5, "until": None})
    first, second, third = journal.cases(lab)
    assert first.fault == Trouble("dns")
    assert second.fault.title == "a fault that this version of the lab can't read (asteroid)"
    assert second.fault.as_json() == newer
    journal.reassert(lab, "dns")
    assert journal.heal_all(lab) == [third, second, first]
    told = [(event["fault"], event["on"]) for event in lab.journal.history]
    assert told == [("trouble dns", True), ("asteroid dns", False), ("trouble dns", False)]


def test_what_a_router_holds_is_put_on_again_when_the_router_is_back() -> None:
    lab = FaultyLab()
    for name in ("router-blackhole", "router-unreachable", "router-drops", "router-rejects"):
        assert named(name)("receiver-mail").holders(lab.plan) == ["internet"]
    assert Delay("receiver-mail").holders(lab.plan) == ["receiver-mail"]


# --- The journal in the fabric --------------------------------------------------------------------


def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    code = (Path(__file__).parents[2] / "images/fabric/journal.py").read_text()
    fabric = ModuleType("fabric_journal")
    exec(compile(code, "images/fabric/journal.py", "exec"), vars(fabric))
    fabric.JOURNAL, fabric.HISTORY = tmp_path, tmp_path / "history"  # type: ignore[attr-defined]
    good = {"fault": "loss", "target": "dns", "parameters": {}, "state": "on", "applied": 1.0}
    assert fabric.note({"id": "", **good}) == "f1"
    fabric.tell({"on": True})
    for text in ("", "{", "[]", "\0"):
        id = fabric.note({"id": "", **good})
        (tmp_path / f"{id}.json").write_text(text)
        (tmp_path / "last").write_text(text)
    (tmp_path / "fx.json").write_text("{}")
    with (tmp_path / "history").open("a") as history:
        history.write("\n{half")
    found = fabric.noted()
    assert [case["id"] for case in found] == ["f1", "f2", "f3", "f4", "f5"]
    assert [case["fault"] for case in found] == ["loss", "?", "?", "?", "?"]
    assert all({"target", "parameters", "state", "applied", "until"} <= set(one) for one in found)
    assert [event["on"] for event in fabric.told()] == [True]
    for case in found:
        fabric.cross_out(case["id"])
    assert fabric.noted() == []
