"""`lab fault` as it is typed: what it lists, refuses and offers, without a machine."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from faultylab import FaultyLab, known

from lab.cli import cli
from lab.cli.fault import apply_
from lab.engine.lab import Lab
from lab.errors import LabError, LabNotUp
from lab.faults import journal
from lab.faults.fault import Fault, catalogue
from lab.units import LabClock

KEYS = {"name", "title", "targets", "parameters", "needs", "available", "why_not"}
FAULTS = pytest.mark.parametrize("name", list(catalogue()))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FaultyLab:
    """A lab that is up, an hour old."""
    known(monkeypatch)
    found = FaultyLab()
    found.clock = LabClock(time.time() - 60, 60)
    monkeypatch.setattr(Lab, "attach", lambda name: found)
    for fault in catalogue().values():
        monkeypatch.setattr(fault, "probe", staticmethod(lambda lab, target: None))
    return found


@pytest.fixture
def no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(name: str) -> Lab:
        raise LabNotUp(f"lab '{name}' is not up", hint="lab up")

    monkeypatch.setattr(Lab, "attach", attach)


def typed(line: str) -> Result:
    return CliRunner().invoke(cli, ["fault", *shlex.split(line)])


def refusal(line: str) -> str:
    """The text with which a command line is refused."""
    done = typed(line)
    assert done.exit_code, done.output
    if isinstance(done.exception, LabError):
        return str(done.exception)
    return done.output.rpartition("\n\n")[2].removeprefix("Error: ").strip()


# --- list ---------------------------------------------------------------------------------------


def test_the_list_has_all_that_is_known_of_each(lab: FaultyLab) -> None:
    found = json.loads(typed("list --json").stdout)
    assert [one["name"] for one in found] == [*catalogue(), "trouble"]
    for one in found:
        assert set(one) >= KEYS
        fault = catalogue().get(one["name"])
        if fault is None:
            continue
        assert one["targets"] == fault.targets(lab.plan)
        assert one["available"] == bool(one["targets"])
        assert one["why_not"] == (
            None if one["targets"] else "nothing in this lab that it could strike"
        )
        assert all(told["help"] and "metavar" in told for told in one["parameters"].values())
    (flapping,) = [one for one in found if one["name"] == "cable-flapping"]
    assert flapping["parameters"]["in"] == {
        "metavar": "LABTIME",
        "help": "how long it is in each time",
        "default": "5m",
    }


def test_without_a_lab_the_list_says_what_could_be(no_lab: None) -> None:
    for one in json.loads(typed("list --json").stdout):
        assert (one["targets"], one["available"], one["why_not"]) == ([], None, None)
    shown = typed("list").stdout
    assert all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in catalogue())
    assert "not here" not in shown


def test_the_list_says_why_something_can_not_be_done(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not here: nothing in this lab that it could strike" in typed("list").stdout

    def probe(lab: Lab, target: str) -> str | None:
        if target == "dns":
            raise LabError("node 'dns' has no container")
        return "its cable is no cable"

    monkeypatch.setattr(catalogue()["delay"], "probe", staticmethod(probe))
    assert "not here: its cable is no cable" in typed("list").stdout


# --- Options ------------------------------------------------------------------------------------


@FAULTS
def test_an_option_of_a_fault_is_no_option_of_all_faults(name: str) -> None:
    command = apply_.get_command(click.Context(apply_), name)  # type: ignore[attr-defined]
    taken = [name for one in command.params for name in (one.name, *one.opts)] + ["--help", "-h"]
    assert len(taken) == len(set(taken)) + 1, "the target is its own option"
    assert {"--for", "--at", "--now"} <= set(taken)
    fields = {one.name for one in catalogue()[name].parameters()}
    assert not fields & {"target", "for_", "at", "now", "lab_name"}


@FAULTS
def test_only_what_has_no_usual_value_has_to_be_told(
    lab: FaultyLab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = catalogue()[name]
    put_on: list[Fault] = []
    monkeypatch.setattr(fault, "apply", lambda self, lab, id: put_on.append(self))
    monkeypatch.setattr(fault, "verify", lambda self, lab, id: True)
    needed = [one.name for one in fault.parameters() if one.default is dataclasses.MISSING]
    for target in fault.targets(lab.plan)[:1]:
        done = typed(f"apply {name} {target}")
        if needed:
            assert done.exit_code == 2 and f"--{needed[0]}" in done.output
        else:
            assert done.exit_code == 0, done.output
            assert put_on == [fault(target)]


# --- apply --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "apply cable-puled receiver-mail",
            "there is no fault 'cable-puled'\n  → did you mean 'cable-pulled'?",
        ),
        ("apply asteroid receiver-mail", "there is no fault 'asteroid'\n  → lab fault list"),
        (
            "apply cut-in-data dns",
            "cut-in-data can't strike 'dns' in lab 'unit-faults'\n"
            "  → one of: sender-mail, receiver-mail",
        ),
        (
            "apply loss receiver-mail --share 30",
            "Invalid value for '--share': write a share as 5% or 0.1%, up to 100%",
        ),
        (
            "apply one-way receiver-mail --side left",
            "Invalid value for '--side': write one of deaf, mute",
        ),
        ("apply delay receiver-mail --by", "Option '--by' requires an argument."),
        ("apply delay", "Missing argument 'TARGET'."),
        (
            "apply trouble dns --for ever",
            "Invalid value for '--for': 'ever' is not a duration (write 30m, 5d or 1h30m)",
        ),
        (
            "apply trouble dns --at noon",
            "Invalid value for '--at': 'noon' is not a duration (write 30m, 5d or 1h30m)",
        ),
        (
            "apply trouble dns --at 30m",
            "Invalid value for '--at': in this lab 30m is over; from now on would be +30m",
        ),
        ("apply trouble dns --at +30m --now", "--at and --now exclude each other"),
        ("heal f9", "no fault that is on is called, or strikes, 'f9'\n  → lab fault status"),
    ],
)
def test_what_can_not_be_is_refused_in_words(lab: FaultyLab, line: str, text: str) -> None:
    assert refusal(line) == text
    assert lab.journal.written == {} and lab.journal.history == []


def test_what_is_on_already_is_refused(lab: FaultyLab) -> None:
    assert typed("apply trouble dns").exit_code == 0
    assert refusal("apply trouble dns") == "dns is in trouble already (f1)\n  → lab fault heal f1"


@pytest.mark.parametrize("line", ["apply delay dns", "heal", "status"])
def test_without_a_lab_there_is_nothing_to_be_done(no_lab: None, line: str) -> None:
    assert refusal(line) == "lab 'lab' is not up\n  → lab up"


def test_for_a_while_means_from_when_it_is_on(lab: FaultyLab) -> None:
    began = time.time()
    done = typed("apply trouble dns --for 12s")  # 0.2 s
    assert done.exit_code == 0, done.output
    assert time.time() - began >= 0.2
    on, off = lab.journal.history
    assert (on["on"], off["on"]) == (True, False)
    assert done.stdout == "f1: dns is in trouble\n"
    assert re.fullmatch(
        r"healed at 01:00:1\d of lab time, in 0.\ds of real time\nf1: dns is out of trouble\n",
        done.stderr,
    )
    assert lab.journal.written == {}


@pytest.mark.parametrize("at", ["+30s", "1h0m30s"])
def test_at_a_moment_means_then(lab: FaultyLab, at: str) -> None:
    began = time.time()
    done = typed(f"apply trouble dns --at {at}")
    assert done.exit_code == 0, done.output
    assert time.time() - began >= 0.4
    assert done.stderr.startswith("dns is in trouble: at 01:00:")
    assert typed("apply trouble sender-mail --now").exit_code == 0


# --- heal and status ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "healed"),
    [
        ("", ["f3", "f2", "f1"]),
        ("f2", ["f2"]),
        ("trouble", ["f2", "f1"]),
        ("dns", ["f3", "f1"]),
        ("f1 f3", ["f3", "f1"]),
    ],
)
def test_what_is_named_is_healed_the_last_first(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch, words: str, healed: list[str]
) -> None:
    delay = catalogue()["delay"]
    for what in ("apply", "verify", "revert"):
        monkeypatch.setattr(delay, what, lambda self, lab, id: True)
    for line in ("trouble dns", "trouble sender-pc", "delay dns"):
        assert typed(f"apply {line}").exit_code == 0
    done = typed(f"heal {words}")
    assert done.exit_code == 0
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == healed


def test_one_that_can_not_be_healed_does_not_keep_the_others_on(
    lab: FaultyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faultylab import Trouble

    for node in ("dns", "sender-pc"):
        typed(f"apply trouble {node}")

    def revert(self: Trouble, lab: Lab, id: str) -> None:
        if id == "f2":
            raise LabError("stuck")

    monkeypatch.setattr(Trouble, "revert", revert)
    done = typed("heal")
    assert str(done.exception) == "stuck"
    assert done.stdout == "f1: dns is out of trouble\n"
    assert (
        typed("status")
        .stdout.splitlines()[2]
        .endswith("no: whoever was healing it was killed, or is still at it")
    )


def test_where_nothing_is_wrong_that_is_said(lab: FaultyLab) -> None:
    assert typed("heal").stderr == "nothing is wrong with this lab\n"
    assert typed("status").stdout == "nothing is wrong with this lab\n"
    assert json.loads(typed("status --json").stdout) == []


def test_the_status_tells_of_each_since_when_and_until_when(lab: FaultyLab) -> None:
    from faultylab import Trouble

    journal.apply(lab, Trouble("dns"), lasts=0.0)
    journal.apply(lab, Trouble("sender-pc"), lasts=100.0, by="somebody")
    first, second = json.loads(typed("status --json").stdout)
    expected = {
        "id": "f2",
        "fault": "trouble",
        "target": "sender-pc",
        "node": "sender-pc",
        "parameters": {},
        "title": "sender-pc is in trouble",
        "state": "on",
        "by": "somebody",
        "overdue": False,
        "in_effect": True,
        "why_not": None,
    }
    assert {key: second[key] for key in expected} == expected
    assert second["until"] - second["applied"] == pytest.approx(100)
    assert first["overdue"]
    rows = typed("status").stdout.splitlines()[2:]
    assert re.fullmatch(
        r"f1  dns is in trouble        01:00:\d\d  01:00:\d\d, overdue  yes", rows[0]
    )
    assert re.fullmatch(r"f2  sender-pc is in trouble  01:00:\d\d  02:40:\d\d +yes", rows[1])


# --- The Tab key ----------------------------------------------------------------------------------


def offered(words: str, incomplete: str = "") -> list[str]:
    found = ShellComplete(cli, {}, "lab", "_LAB_COMPLETE")
    return [item.value for item in found.get_completions(shlex.split(words), incomplete)]


def test_the_tab_key_knows_faults_targets_values_and_what_is_on(lab: FaultyLab) -> None:
    assert offered("fault") == ["apply", "heal", "list", "status"]
    assert offered("fault apply", "cut") == ["cut-in-data", "cut-before-reply"]
    assert offered("fault apply cut-in-data") == ["sender-mail", "receiver-mail"]
    assert offered("fault apply cut-in-data receiver-mail --how") == ["reset", "silent"]
    assert offered("fault apply one-way dns --side", "m") == ["mute"]
    assert offered("fault apply delay dns", "--j") == ["--jitter"]
    assert {"--for", "--at", "--now"} <= set(offered("fault apply delay dns", "--"))
    typed("apply trouble dns")
    typed("apply trouble receiver-pc")
    assert offered("fault heal") == ["dns", "f1", "f2", "receiver-pc", "trouble"]
    assert offered("fault heal", "f") == ["f1", "f2"]


def test_the_tab_key_knows_the_faults_without_a_lab_too(no_lab: None) -> None:
    assert offered("fault apply") == list(catalogue())
    assert offered("fault apply delay") == []
    assert offered("fault heal") == []


def test_whatever_a_value_is_the_tab_key_does_not_fail(lab: FaultyLab) -> None:
    values: dict[str, Any] = {name: catalogue()[name].parameters() for name in catalogue()}
    for name, told in values.items():
        for one in told:
            option = one.name.rstrip("_").replace("_", "-")
            assert offered(f"fault apply {name} dns --{option}") == list(
                one.metadata["kind"].choices
            )
