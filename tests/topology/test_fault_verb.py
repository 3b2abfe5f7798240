"""`lab fault` on a lab, as its user types it; several users at once; and what is told of it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faulty import struck
from harness import (
    LAB,
    SCALE,
    as_json,
    is_whole,
    made,
    mail_works,
    nothing_left,
    processes_of,
    run_lab,
    textbook,
    until,
)
from wired import FAR, RECEIVER, Pings, heard, of_wires, put_on_and_killed, traces

from lab.engine import lock
from lab.engine.client import client
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import FABRIC, plan
from lab.events import Event, EventLog
from lab.faults import journal
from lab.faults.fault import named
from lab.faults.power import power_cut
from lab.observe.live import record_of
from lab.observe.recorder import Recorder
from lab.topology.loader import load

# What is off does not hang.
EVERYTHING = [fault.told(RECEIVER, {}) for fault in of_wires() if fault.name != "node-frozen"]


def begun(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    """A `lab fault` command that goes on for now."""
    return subprocess.Popen(
        [*LAB, "--lab", lab.name, "fault", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, said = command.communicate(timeout=60)
    return command.returncode, out, said


# --- One user -----------------------------------------------------------------------------------


def test_one_that_is_on_for_a_while_is_healed_at_once_by_ctrl_c(wires: Lab) -> None:
    command = begun(wires, "apply", "cable-pulled", RECEIVER, "--for", "300h")
    assert command.stdout
    told = command.stdout.readline()
    id = told.partition(":")[0]
    assert told == f"{id}: the cable of receiver-mail is pulled\n"
    assert heard(wires) != "220"
    command.send_signal(signal.SIGINT)
    status, _, said = ended(command)
    assert status == 130
    assert re.fullmatch(
        r"healed at .* of lab time, in 30m of real time\n"
        rf"{id}: the cable of receiver-mail is back\n\nlab: interrupted\n",
        said,
    )
    assert heard(wires) == "220"


def test_one_whose_user_was_killed_is_on_and_overdue_until_it_is_healed(wires: Lab) -> None:
    command = begun(wires, "apply", "delay", RECEIVER, "--by", "60ms", "--for", "20m")  # 2 s
    assert command.stdout and command.stdout.readline()
    command.kill()
    ended(command)
    (case,) = as_json(wires, "fault", "status")
    assert (case["fault"], case["parameters"], case["state"]) == ("delay", {"by": "60ms"}, "on")
    assert case["until"] - case["applied"] == pytest.approx(2)
    until("it is overdue", lambda: as_json(wires, "fault", "status")[0]["overdue"], 10)
    shown = run_lab(wires.name, "fault", "status").stdout
    assert re.search(r"delay \(by 60ms\)  .*, overdue +yes$", shown, re.MULTILINE)
    assert min(Pings(wires, FAR, RECEIVER, count=3).milliseconds) >= 120
    told = as_json(wires, "status")["faults"]
    assert [(one["name"], one["targets"], one["id"]) for one in told] == [
        ("delay", [RECEIVER], case["id"])
    ]
    assert f"✗ {case['id']}: delay receiver-mail --by 60ms, since" in (
        run_lab(wires.name, "status").stdout
    )
    assert run_lab(wires.name, "fault", "heal", "delay").returncode == 0


def test_one_for_later_is_put_on_then_and_not_at_all_after_ctrl_c(wires: Lab) -> None:
    began = time.time()
    done = run_lab(wires.name, "fault", "apply", "delay", RECEIVER, "--at", "+1h")  # 2 s
    assert done.returncode == 0, done.stderr
    (case,) = journal.cases(wires)
    assert case.applied >= began + 2
    journal.heal(wires, case)
    command = begun(wires, "apply", "delay", RECEIVER, "--at", "+900h")
    assert command.stderr and "delay (by 200ms): at" in command.stderr.readline()
    command.send_signal(signal.SIGINT)
    assert ended(command)[::2] == (130, "\nlab: interrupted\n")


def test_what_is_off_is_told_in_words(wires: Lab) -> None:
    with wires.outage(power_cut(RECEIVER)):
        done = run_lab(wires.name, "fault", "apply", "node-frozen", RECEIVER)
        assert (done.returncode, done.stderr) == (
            3,
            "lab: node-frozen can't be done here: receiver-mail is off\n  → lab fault list\n",
        )
        done = run_lab(wires.name, "fault", "apply", "service-stopped", RECEIVER)
        assert (done.returncode, done.stdout) == (3, "")
        assert re.match(r"lab: .*receiver-mail.* is off", done.stderr), done.stderr
        assert [case.fault.name for case in journal.cases(wires)] == ["power-cut"]


def test_a_fault_ends_by_itself_when_it_is_time(wires: Lab) -> None:
    done = run_lab(wires.name, "fault", "apply", "cable-pulled", RECEIVER, "--for", "4m")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("the cable of receiver-mail is back\n")


# --- Several at once ------------------------------------------------------------------------------


def test_several_users_apply_and_heal_at_the_same_time(wires: Lab) -> None:
    same = [begun(wires, "apply", "delay", RECEIVER) for _ in range(2)]
    others = [
        begun(wires, "apply", *words)
        for words in (("loss", RECEIVER), ("cable-pulled", RECEIVER), ("router-drops", FAR))
    ]
    outcomes = sorted(ended(one) for one in same)
    assert [status for status, *_ in outcomes] == [0, 2]
    assert "the line of receiver-mail: delay (by 200ms) already (f" in outcomes[1][2]
    assert all(ended(one)[0] == 0 for one in others)
    cases = journal.cases(wires)
    assert len({case.id for case in cases}) == len(cases) == 4
    assert all(case.fault.verify(wires, case.id) for case in cases)
    healers = [begun(wires, "heal") for _ in range(3)]
    told = [ended(one) for one in healers]
    assert [status for status, *_ in told] == [0, 0, 0]
    lines = "".join(out for _, out, _ in told).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(case.id for case in cases)


@pytest.mark.parametrize("verb", [("heal",), ("apply", "delay", "dns"), ("status",)])
def test_a_lab_that_is_taken_down_meanwhile_ends_it_in_words(
    name: str, verb: tuple[str, ...]
) -> None:
    lab = up(textbook(name))
    for node in (RECEIVER, FAR):
        journal.apply(lab, named("loss").told(node, {}))
    down = subprocess.Popen([*LAB, "--lab", name, "down"], stderr=subprocess.PIPE, text=True)
    commands = [begun(lab, *verb)]
    until("some of it is gone", lambda: not made(name).keys() >= lab.plan.nodes.keys())
    commands.append(begun(lab, *verb))
    for command in commands:
        status, _, said = ended(command)
        assert status in (0, 3) and "Traceback" not in said, said
        assert (status == 0) or said.count("lab: ") == 1, said
    _, said = down.communicate(timeout=60)
    assert down.returncode == 0, said
    assert nothing_left(name)


# --- Up, down, and a fabric that dies -------------------------------------------------------------


def test_up_heals_what_is_on_and_says_so(wires: Lab) -> None:
    faults = [named(name).told(RECEIVER, {}) for name in ("delay", "power-cut", "router-drops")]
    cases = put_on_and_killed(wires, *faults)
    done = run_lab(wires.name, "up", "--time-scale", f"{SCALE:g}")
    assert done.returncode == 0, done.stderr
    for case in cases:
        assert f"healed {case.id}: {case.fault.healed}\n" in done.stderr
    assert is_whole(wires)


def test_up_without_the_journal_leaves_no_box_either(wires: Lab) -> None:
    (case,) = put_on_and_killed(wires, named("duplication").told(RECEIVER, {"share": "100%"}))
    with wires.fabric() as fabric:
        fabric.cross_out(case.id)
    up(wires.plan)
    assert not Pings(wires, FAR, RECEIVER, count=5).copies


def test_a_fabric_that_was_killed_comes_back_without_faults(wires: Lab) -> None:
    put_on_and_killed(wires, *EVERYTHING)
    client().api.kill(wires.container(FABRIC))
    done = run_lab(wires.name, "up", "--time-scale", f"{SCALE:g}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("healed f") == len(EVERYTHING)
    assert journal.cases(wires) == []
    assert is_whole(wires)
    mail_works(wires)


def test_down_leaves_nothing_of_faults_that_are_on(name: str) -> None:
    lab = up(textbook(name))
    put_on_and_killed(lab, *EVERYTHING, named("delay").told(FAR, {}))
    container = lab.container(FABRIC)
    assert any("/lab/box.py" in line for line in traces(lab))
    lock._path(lock.faults(name)).touch()  # that of somebody killed while they were at it
    done = run_lab(name, "down")
    assert done.returncode == 0, done.stderr
    until("the last process has gone", lambda: not processes_of({container}), 5)
    assert nothing_left(name)


def test_machines_with_the_longest_names_are_struck_as_any(name: str, tmp_path: Path) -> None:
    from test_two_routers import LINE

    longest = {"mail-b": "mail-of-bernard", "east": "eastern-route"}
    text = LINE
    for short, long in longest.items():
        text = re.sub(rf"\b{short}\b", long, text)
    file = tmp_path / "long.yaml"
    file.write_text(text)
    lab = up(plan(load(str(file)), name, SCALE))
    before = traces(lab)
    for target in longest.values():
        for fault in ("delay", "cable-pulled", "cable-flapping"):
            with lab.outage(named(fault).told(target, {})):
                assert traces(lab) != before
        with lab.outage(named("delay").told(target, {"by": "50ms"})):
            assert min(Pings(lab, "pc-a", "mail-of-bernard", count=2).milliseconds) >= 100
    assert traces(lab) == before


# --- What is told of it ---------------------------------------------------------------------------


def test_what_was_put_on_and_healed_is_on_record_with_both_times(wires: Lab) -> None:
    moments = [time.time()]
    with struck(wires, "delay", RECEIVER, "--by", "60ms") as id:
        moments.append(time.time())
    moments.append(time.time())
    with record_of(wires) as record:
        on, off = [one for one in record.of("fault") if one.data["id"] == id]
    assert moments[0] < on.time < moments[1] < off.time < moments[2]
    assert (on.data["on"], off.data["on"]) == (True, False)
    assert on.node == off.node == RECEIVER
    assert on.summary == on.data["title"] == "the line of receiver-mail: delay (by 60ms)"
    assert off.summary == on.data["healed"] == "the line of receiver-mail: no more delay"
    assert on.data["parameters"] == {"by": "60ms"}


def test_the_ladder_of_a_lab_that_is_up_has_a_band_from_one_to_the_other(
    wires: Lab, tmp_path: Path
) -> None:
    from lab.views.ladder.notes import Notes

    with struck(wires, "cable-pulled", FAR):
        assert Pings(wires, "dns", FAR, count=1).share == 0
    argv = [*LAB, "--lab", wires.name, "report", "--live"]
    subprocess.run(argv, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    (page,) = tmp_path.glob("runs/*/report.html")
    assert "the cable of sender-pc is pulled" in page.read_text()
    notes = Notes(wires.clock)
    with record_of(wires) as record:
        for event in record.events:
            notes.add(event)
        on, off = record.of("fault")[-2:]
    assert [(one.since, one.until) for one in notes.outages[-1:]] == [(on.time, off.time)]


def test_who_watches_is_told_once_and_not_what_they_do_themselves(wires: Lab) -> None:
    log = EventLog(None, wires.clock)
    told: list[Event] = []
    log.listeners.append(told.append)

    def since(number: int) -> list[tuple[str, bool]]:
        faults = [event for event in told[number:] if event.kind == "fault"]
        return [(event.data["id"], event.data["on"]) for event in faults]

    with wires.outage(named("duplication").told(FAR, {})) as first:
        pass
    with Recorder(wires, log, None) as recorder:
        until("the past is told", lambda: (first.id, False) in since(0))
        number = len(told)
        with struck(wires, "rate", FAR) as id:
            own = journal.apply(wires, named("loss").told(FAR, {}), by=recorder.token)
            journal.heal(wires, own)
            with wires.outage(named("delay").told(FAR, {})) as other:
                pass
        until("all is told", lambda: (id, False) in since(number))
    assert since(number) == [(id, True), (other.id, True), (other.id, False), (id, False)]
