"""Machines without power, machines that hang, and routers that do not pass on: each is another
silence, or another answer, to whoever calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import attempt, attempts
from harness import ALICE, BOB, SCALE, delivered, made, new_name, removed_afterwards, send, until
from test_two_routers import LINE
from wired import FAR, PEOPLE, RECEIVER, SENDER, Pings, calling, heard, plugged, traces

from lab.engine.client import client
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import Plan, plan
from lab.errors import LabError
from lab.faults import journal
from lab.faults.fault import Fault, named
from lab.faults.power import node_frozen, power_cut
from lab.faults.routing import router_blackhole, router_drops, router_rejects, router_unreachable
from lab.topology.loader import load

# What a caller hears, and what Postfix makes of it.
ROUTERS = {
    "router-blackhole": ("silence", "Connection timed out"),
    "router-drops": ("silence", "Connection timed out"),
    "router-rejects": ("refused", "Connection refused"),
    "router-unreachable": ("unreachable", "No route to host"),
}


# --- Power --------------------------------------------------------------------------------------


def test_a_power_cut_is_silence_and_takes_no_mail_along(wires: Lab) -> None:
    stored = send(wires, ALICE, BOB)
    delivered(wires, BOB, stored)
    with calling(wires, SENDER, RECEIVER) as held:
        assert held.heard == "220"
        with wires.outage(power_cut(RECEIVER)):
            assert held.say("NOOP\r\n") == "silence", "no FIN, no RST: nobody has said goodbye"
            assert heard(wires) in ("silence", "unreachable")
            sent = send(wires, ALICE, BOB)
            assert attempt(wires, sent).status == "deferred"
        assert heard(wires) == "220", "its services answer when it is healed"
        # Its memory is gone: it knows nothing of this connection (RFC 9293 §3.10.7.1).
        until("it is told", lambda: held.say("NOOP\r\n") not in ("silence", "250") or None, 15)
        assert held.heard in ("reset", "EPIPE")
    delivered(wires, BOB, sent)
    delivered(wires, BOB, stored)


def test_a_machine_that_hangs_takes_calls_and_says_nothing(wires: Lab) -> None:
    assert heard(wires) == "220"
    with calling(wires, SENDER, RECEIVER) as held:
        with wires.outage(node_frozen(RECEIVER)), calling(wires, SENDER, RECEIVER) as call:
            assert call.heard == "silence"
            assert held.say("NOOP\r\n") == "silence"
            assert Pings(wires, FAR, SENDER, count=2).share == 1
            with pytest.raises(LabError, match="node 'receiver-mail' is frozen"):
                wires.run(RECEIVER, ["postqueue", "-p"])
        assert held.say("") == "250", "what was said meanwhile is answered"
    assert heard(wires) == "220"


def test_who_hangs_and_loses_its_power_hangs_again_until_that_is_healed_too(wires: Lab) -> None:
    with wires.outage(node_frozen("dns")):
        with wires.outage(power_cut("dns")):
            pass
        (case,) = journal.cases(wires)
        assert case.fault.verify(wires, case.id)
    up(wires.plan)


def test_what_is_off_can_not_hang_and_its_cable_can_be_pulled(wires: Lab) -> None:
    with wires.outage(power_cut(RECEIVER)):
        with pytest.raises(LabError) as refused:
            journal.apply(wires, node_frozen(RECEIVER))
        assert str(refused.value) == (
            "node-frozen can't be done here: receiver-mail is off\n  → lab fault list"
        )
        late = journal.apply(wires, named("delay").told(RECEIVER, {"by": "120ms"}))
        out = journal.apply(wires, named("cable-pulled").told(RECEIVER, {}))
    assert not plugged(wires, RECEIVER), "it is back, its cable is not"
    assert all(case.fault.verify(wires, case.id) for case in (late, out))
    journal.heal(wires, out)
    assert min(Pings(wires, FAR, RECEIVER, count=3).milliseconds) >= 240
    journal.heal(wires, late)
    assert heard(wires) == "220"


# --- Routers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_does_not_pass_on_what_is_meant_for_a_machine(wires: Lab, name: str) -> None:
    hears, reason = ROUTERS[name]
    assert heard(wires) == "220"
    with wires.outage(named(name).told(RECEIVER, {})):
        with calling(wires, SENDER, RECEIVER) as call:
            assert call.heard == hears
            assert (call.seconds >= 1) == (hears == "silence"), "an answer comes at once"
        sent = send(wires, ALICE, BOB)
        assert reason in attempt(wires, sent).reason
        pings = Pings(wires, FAR, RECEIVER, count=3)
        assert pings.share == (1 if name == "router-rejects" else 0), "which is TCP's"
        assert Pings(wires, PEOPLE, RECEIVER, count=3).share == 1, "no router is between them"
        assert Pings(wires, FAR, PEOPLE, count=3).share == 1, "nor is it anybody else's"
    assert heard(wires) == "220"
    delivered(wires, BOB, sent)
    assert [one.status for one in attempts(wires, sent)][-1] == "sent"


OWN_RULES = """
    nft add table ip filter
    nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy accept; }'
    nft add rule ip filter FORWARD ip daddr 203.0.113.25 tcp dport 26 counter drop
    nft add table inet own
    ip route add blackhole 203.0.113.250/32 metric 101 proto 101
    ip route add 203.0.113.25/32 dev eth2 metric 900
"""
WITHOUT = """
    nft delete table ip filter
    nft delete table inet own
    ip route del blackhole 203.0.113.250/32 metric 101
    ip route del 203.0.113.25/32 dev eth2 metric 900
"""


def test_what_the_routers_administrator_has_set_stays_to_the_letter(wires: Lab) -> None:
    wires.run("internet", ["sh", "-ec", OWN_RULES]).check("own rules")
    try:
        before = traces(wires)
        assert any("dport 26" in line for line in before)
        faults = [named(name).told(RECEIVER, {}) for name in ROUTERS]
        faults.append(router_blackhole("receiver-pc"))
        cases = [journal.apply(wires, fault) for fault in faults]
        for case in cases:
            assert case.fault.verify(wires, case.id)
        for case in cases[::2] + cases[1::2]:
            journal.heal(wires, case)
            assert not case.fault.verify(wires, case.id)
        assert traces(wires) == before
        assert heard(wires) == "220"
    finally:
        wires.run("internet", ["sh", "-ec", WITHOUT]).check("own rules away")


@pytest.mark.parametrize("fault", [router_drops, router_unreachable])
def test_a_router_that_loses_its_power_forgets_nothing_that_is_on(
    wires: Lab, fault: type[Fault]
) -> None:
    with wires.outage(fault(RECEIVER)):
        with wires.outage(power_cut("internet")):
            with pytest.raises(LabError) as refused:
                journal.apply(wires, router_rejects(RECEIVER))
            assert str(refused.value) == (
                "router-rejects can't be done here: internet is off\n  → lab fault list"
            )
        assert heard(wires) == ROUTERS[fault.name][0]
    assert heard(wires) == "220"


def test_what_the_routers_root_undoes_is_told_and_healed_all_the_same(wires: Lab) -> None:
    for fault in (router_drops(RECEIVER), router_blackhole(RECEIVER)):
        case = journal.apply(wires, fault)
        wires.run(
            "internet", ["sh", "-c", "nft flush ruleset; ip route flush type blackhole"]
        ).check("undoing")
        assert heard(wires) == "220"
        assert not case.fault.verify(wires, case.id)
        assert journal.heal(wires, case)


# --- Two routers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def line(standing: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """west and east, two routers in a line."""
    file: Path = tmp_path_factory.mktemp("line") / "line.yaml"
    file.write_text(LINE)
    with removed_afterwards(new_name()) as name:
        yield up(plan(load(str(file)), name, SCALE))


@pytest.mark.parametrize("name", ROUTERS)
def test_of_two_routers_the_one_at_the_machines_network_is_struck(line: Lab, name: str) -> None:
    before = traces(line)
    assert heard(line, "mail-a", "mail-b") == heard(line, "mail-b", "mail-a") == "220"
    with line.outage(named(name).told("mail-b", {})):
        assert heard(line, "mail-a", "mail-b") == ROUTERS[name][0]
        assert Pings(line, "pc-a", "mail-a", count=1).share == 1
        changed = {line for line in traces(line) if line not in before}
        assert changed
    assert traces(line) == before
    assert heard(line, "mail-a", "mail-b") == "220"


def test_without_the_one_at_the_machines_network_there_is_no_such_fault(line: Lab) -> None:
    from lab.faults.routing import routers

    assert routers(line.plan, "mail-b") == ["east"]
    client().api.kill(made(line)["east"].id)
    with pytest.raises(LabError, match="east is off"):
        journal.apply(line, router_drops("mail-b"))
    assert not journal.cases(line)
    up(line.plan)
