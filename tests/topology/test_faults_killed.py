"""Whoever put a fault on may die, and so may what it strikes: all is found, and undone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from threading import Timer

import pytest
from docker.errors import APIError
from harness import is_whole, mail_works, run_lab, until
from wired import (
    FAR,
    RECEIVER,
    Pings,
    at_work,
    heard,
    of_wires,
    put_on_and_killed,
    traces,
)

from lab.engine import exec, power
from lab.engine.client import client
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import FABRIC
from lab.errors import LabError
from lab.faults import journal
from lab.faults.fault import Fault, named

ALL = [fault.told(RECEIVER, {}) for fault in of_wires()]
NAMES = [fault.name for fault in ALL]


@pytest.mark.parametrize("fault", ALL, ids=NAMES)
def test_one_whose_maker_was_killed_is_healed_by_another(wires: Lab, fault: Fault) -> None:
    (case,) = put_on_and_killed(wires, fault)
    assert journal.heal(wires, case)
    assert not journal.heal(wires, case)
    # And now at any moment.
    seed = time.time_ns() % 1_000_000
    with at_work(wires, fault):
        time.sleep(random.Random(seed).uniform(0, 0.3))
    healed = run_lab(wires.name, "fault", "heal")
    assert healed.returncode == 0, (seed, healed.stderr)
    assert is_whole(wires), seed


# --- What it strikes is restarted meanwhile -------------------------------------------------------


def restart(lab: Lab, node: str) -> None:
    client().api.restart(lab.container(node), timeout=0)


def off_and_on(lab: Lab, node: str) -> None:
    power.off(lab, node)
    power.on(lab, node)


def die(lab: Lab, node: str) -> None:
    with suppress(APIError):  # it was off already
        client().api.kill(lab.container(node))


MANY = [fault for fault in ALL if fault.name != "power-cut"] + [
    named("cable-pulled").told("dns", {}),
    named("delay").told("internet", {}),
    named("loss").told("sender-mail", {}),
    named("router-drops").told("sender-pc", {}),
    named("router-blackhole").told("receiver-pc", {}),
    named("one-way").told("sender-pc", {"side": "mute"}),
]


@pytest.mark.parametrize(
    ("happens", "nodes"),
    [(restart, (RECEIVER, "internet")), (off_and_on, (RECEIVER,)), (restart, (FABRIC,))],
)
def test_of_twenty_nothing_is_left_though_machines_were_restarted(
    wires: Lab, happens: Callable[[Lab, str], None], nodes: tuple[str, ...]
) -> None:
    before = traces(wires)
    cases = put_on_and_killed(wires, *MANY)
    assert len(cases) == len(MANY) >= 20
    for node in nodes:
        happens(wires, node)
    assert [case.id for case in journal.heal_all(wires)] == [case.id for case in cases][::-1]
    assert not set(traces(wires)) - set(before)
    if happens is restart:
        up(wires.plan)
    assert is_whole(wires)
    mail_works(wires)


def test_a_machine_that_somebody_switched_on_has_its_cable_when_its_power_is_back(
    wires: Lab,
) -> None:
    (case,) = put_on_and_killed(wires, named("power-cut").told(RECEIVER, {}))
    client().api.start(wires.container(RECEIVER))
    assert not case.fault.verify(wires, case.id)
    assert heard(wires) != "220"
    journal.heal(wires, case)
    assert heard(wires) == "220"


# --- Several on one cable -------------------------------------------------------------------------


def reached(lab: Lab) -> Pings | None:
    seen = Pings(lab, FAR, RECEIVER, count=20)
    return seen if seen.share else None


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_three_on_one_cable_are_healed_in_any_order(wires: Lab, order: tuple[int, ...]) -> None:
    told = [("loss", {"share": "30%"}), ("delay", {"by": "60ms"}), ("cable-pulled", {})]
    cases = [journal.apply(wires, named(name).told(RECEIVER, values)) for name, values in told]
    on = {"loss", "delay", "cable-pulled"}
    for number in order[:2]:
        journal.heal(wires, cases[number])
        on.remove(cases[number].fault.name)
        if "cable-pulled" in on:
            assert Pings(wires, FAR, RECEIVER, count=5).share == 0
            continue
        # A question for the hardware address (ARP) that is lost is asked again a second later.
        seen = until("it is reached", lambda: reached(wires))
        assert (seen.share < 1) == ("loss" in on)
        assert (min(seen.milliseconds) >= 120) == ("delay" in on)
    journal.heal(wires, cases[order[2]])
    assert heard(wires) == "220"


def test_a_machine_that_dies_while_it_is_struck_is_told_and_nothing_is_left(wires: Lab) -> None:
    for name in ("delay", "node-frozen", "power-cut", "cable-flapping"):
        seed = time.time_ns() % 1_000_000
        moment = random.Random(seed).uniform(0, 0.25)
        killer = Timer(moment, die, (wires, RECEIVER))
        killer.start()
        try:
            journal.apply(wires, named(name).told(RECEIVER, {}))
        except LabError as error:
            assert str(error), (name, seed)
        killer.join()
        journal.heal_all(wires)
        assert journal.cases(wires) == [], (name, seed)
        up(wires.plan)


# --- A journal that is damaged --------------------------------------------------------------------

DAMAGED = {
    "f901": "",
    "f902": '{"id": "f902", "fault": "delay", "tar',
    "f903": "\\0\\377garbage",
    "f904": "[1, 2]",
    "f905": '{"id": "f905", "fault": "asteroid", "target": "receiver-mail", "parameters": {}, '
    '"state": "on", "applied": 1.5, "until": null}',
    "f906": '{"id": "f906", "fault": "delay", "target": "receiver-mail", '
    '"parameters": {"colour": "blue"}, "state": "on", "applied": 1.5, "until": null}',
}


def test_what_a_damaged_journal_tells_of_is_healed_as_far_as_its_number_goes(wires: Lab) -> None:
    fabric = wires.container(FABRIC)
    for id, text in DAMAGED.items():
        exec.run(fabric, ["sh", "-c", 'printf "$1" > /lab/faults/$0.json', id, text]).check(id)
    with wires.fabric() as line:
        (cable,) = wires.plan.nodes[RECEIVER].interfaces
        line.lead(cable, "f902", [{"what": "delay", "seconds": 0.06}])
        line.pull(cable, "f905")
    good = journal.apply(wires, named("delay").told(FAR, {}))
    shown = run_lab(wires.name, "fault", "status")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("this version of the lab can't tell") == len(DAMAGED)
    assert "(asteroid)" in shown.stdout
    assert run_lab(wires.name, "status").returncode == 0
    done = run_lab(wires.name, "fault", "heal")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(DAMAGED) + 1
    assert f"{good.id}: the line of {FAR}: no more delay" in done.stdout
    assert heard(wires) == "220"
