"""Up makes a lab whole whatever has happened to it; down leaves nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from harness import (
    ALICE,
    BOB,
    arrived,
    delivered,
    is_whole,
    lock_files,
    made,
    mail_works,
    new_name,
    processes_of,
    removed_afterwards,
    run_lab,
    send,
    textbook,
    until,
)

from lab.cli import cli
from lab.engine import containers, power
from lab.engine.capabilities import CAPABILITIES
from lab.engine.client import client
from lab.engine.lab import Lab
from lab.engine.lifecycle import down, up
from lab.engine.plan import FABRIC
from lab.errors import NodeFailed
from lab.faults import journal
from lab.faults.routing import router_drops
from lab.faults.service import service_stopped

RANGES = [ip_network(text) for text in ("127.0.0.0/8", "198.51.100.0/24", "203.0.113.0/24")]
# linux/capability.h, of those that the lab gives
BITS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "AUDIT_WRITE": 29,
}


def inspected(lab: Lab) -> dict[str, dict[str, Any]]:
    return {node: client().api.inspect_container(one.id) for node, one in made(lab).items()}


# --- Up ---------------------------------------------------------------------------------------


def test_up_makes_every_machine_ready_and_mail_flow(lab: Lab) -> None:
    assert {node["state"] for node in lab.state()["nodes"]} == {"ready"}
    assert is_whole(lab)
    mail_works(lab)


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = {node: (one["Id"], one["State"]) for node, one in inspected(lab).items()}
    up(lab.plan)
    assert {node: (one["Id"], one["State"]) for node, one in inspected(lab).items()} == before


Breakage = Callable[[Lab], None]


def stop(*nodes: str) -> Breakage:
    return lambda lab: [client().api.stop(made(lab)[node].id, timeout=1) for node in nodes][:0]


def kill(*nodes: str) -> Breakage:
    return lambda lab: [client().api.kill(made(lab)[node].id) for node in nodes][:0]


def remove(*nodes: str) -> Breakage:
    return lambda lab: containers.remove([made(lab)[node] for node in nodes])


def freeze(*nodes: str) -> Breakage:
    return lambda lab: [client().api.pause(made(lab)[node].id) for node in nodes][:0]


def restart(*nodes: str) -> Breakage:
    return lambda lab: [client().api.restart(made(lab)[node].id, timeout=1) for node in nodes][:0]


def unplug(node: str) -> Breakage:
    return lambda lab: power.set_cables(lab, node, up=False)


def murder(node: str, program: str) -> Breakage:
    """End a daemon inside a node without a chance to tidy up."""

    def gone(lab: Lab) -> bool:
        try:
            return lab.run(node, ["pgrep", "-x", program]).status != 0
        except NodeFailed:  # and the machine with it
            return True

    def act(lab: Lab) -> None:
        # Not checked: with its main program a machine takes pkill along.
        lab.run(node, ["pkill", "-KILL", "-x", program])
        until(f"{program} is dead", lambda: gone(lab))

    return act


def all_of(*breakages: Breakage) -> Breakage:
    return lambda lab: [breakage(lab) for breakage in breakages][:0]


ONE_OF_EACH_KIND = ("sender-mail", "receiver-pc", "internet", "dns", FABRIC)
BREAKAGES = {
    **{
        f"{verb.__name__} {node}": verb(node)
        for verb in (kill, remove)
        for node in ONE_OF_EACH_KIND
    },
    "stop sender-mail": stop("sender-mail"),
    "stop fabric": stop(FABRIC),
    "restart receiver-mail": restart("receiver-mail"),
    "restart internet": restart("internet"),
    "restart fabric": restart(FABRIC),
    "freeze receiver-mail": freeze("receiver-mail"),
    "freeze fabric": freeze(FABRIC),
    "unplug receiver-mail": unplug("receiver-mail"),
    "unplug internet": unplug("internet"),
    "murder dovecot": murder("receiver-mail", "dovecot"),
    "murder postfix": murder("sender-mail", "master"),
    "kill everything": kill(*ONE_OF_EACH_KIND, "receiver-mail", "sender-pc"),
    "one thing each": all_of(
        kill("receiver-mail"), remove(FABRIC), freeze("dns"), stop("sender-pc"), remove("internet")
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=list(BREAKAGES))
def test_up_makes_it_whole_after(lab: Lab, breakage: Breakage) -> None:
    breakage(lab)
    assert not is_whole(lab)
    repaired = up(lab.plan)
    assert is_whole(repaired)
    mail_works(repaired)


def test_up_gives_the_router_back_the_routes_its_administrator_lost(lab: Lab) -> None:
    lab.run("internet", ["ip", "link", "set", "eth0", "down"]).check("switching off eth0")
    lab.run("internet", ["ip", "addr", "flush", "dev", "eth2"]).check("forgetting an address")
    ping = ["ping", "-c1", "-W1", "203.0.113.10"]
    assert lab.run("sender-pc", ping).status != 0
    up(lab.plan)
    assert lab.run("sender-pc", ping).status == 0


def test_mail_that_was_stored_or_waiting_survives_the_death_of_every_machine(lab: Lab) -> None:
    stored = send(lab, ALICE, BOB, "stored")
    delivered(lab, BOB, stored)
    power.set_cables(lab, "receiver-mail", up=False)
    waiting = send(lab, ALICE, BOB, "waiting")
    kill(*lab.plan.nodes, FABRIC)(lab)
    up(lab.plan)
    delivered(lab, BOB, waiting)
    assert len(arrived(lab, BOB, stored.message_id)) == 1


def test_a_running_lab_keeps_its_topology_and_its_clock(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    text = (Path(__file__).parents[2] / "topologies/textbook.yaml").read_text(encoding="utf-8")
    other.write_text(text.replace("name: textbook", "name: other"), encoding="utf-8")
    before = {node: (one["Id"], one["State"]) for node, one in inspected(lab).items()}
    for arguments in (["--time-scale", "60"], [str(other), "--time-scale", "600"]):
        done = run_lab(lab.name, "up", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"lab: lab '{lab.name}' is up with topology 'textbook' at time scale 600, "
            "and a running lab keeps its topology\n"
            f"  → lab --lab {lab.name} down, or give the new one a name: lab --lab NAME up …\n"
        )
    assert {node: (one["Id"], one["State"]) for node, one in inspected(lab).items()} == before


# --- Side by side, and shut in ----------------------------------------------------------------


def test_labs_with_the_same_addresses_stand_side_by_side_and_do_not_meet(
    lab: Lab, name: str
) -> None:
    second = up(textbook(name))
    ping = ["ping", "-c1", "-W1", "203.0.113.10"]
    assert lab.run("sender-pc", ping).status == second.run("sender-pc", ping).status == 0
    sent = send(lab, ALICE, BOB)
    delivered(lab, BOB, sent)
    assert arrived(second, BOB, sent.message_id) == []
    # Had they one wire, the other lab's machine with this address would answer.
    power.set_cables(lab, "receiver-pc", up=False)
    assert lab.run("sender-pc", ping).status != 0
    assert second.run("sender-pc", ping).status == 0
    down(name)
    mail_works(up(lab.plan))


def test_no_machine_has_more_rights_than_its_kind_needs(lab: Lab) -> None:
    for node, found in inspected(lab).items():
        host = found["HostConfig"]
        kind = FABRIC if node == FABRIC else lab.plan.nodes[node].kind
        assert host["Privileged"] is False
        assert host["CapDrop"] == ["ALL"]
        assert host["NetworkMode"] == "none"
        assert not host["PortBindings"] and not found["NetworkSettings"]["Ports"]
        assert not host["Binds"] and not found["Mounts"] and not host["Devices"]
        assert (host["PidMode"] == "host") == (node == FABRIC)
        status = client().api.exec_create(found["Id"], ["cat", "/proc/self/status"])
        said = client().api.exec_start(status["Id"]).decode()
        fields = dict(line.split(":\t", 1) for line in said.splitlines())
        allowed = sum(1 << BITS[capability] for capability in CAPABILITIES[kind])
        assert int(fields["CapBnd"], 16) == allowed, node
        assert int(fields["CapEff"], 16) | allowed == allowed, node


def test_no_machine_has_a_way_out(lab: Lab) -> None:
    asked = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True)
    of_this_machine = [
        address["local"]
        for link in json.loads(asked.stdout)
        for address in link["addr_info"]
        if not ip_address(address["local"]).is_loopback
    ]
    for node in (*lab.plan.nodes, FABRIC):
        identity = made(lab)[node].id
        from lab.engine.exec import run

        addresses = json.loads(run(identity, ["ip", "-j", "addr"]).check("ip addr").text)
        local = [one for link in addresses for one in link["addr_info"]]
        assert all(one["family"] == "inet" for one in local), node
        assert all(any(ip_address(one["local"]) in r for r in RANGES) for one in local), node
        assert node != FABRIC or all(one["local"].startswith("127.") for one in local)
        assert run(identity, ["ip", "-6", "route"]).text == ""
    for address in ("8.8.8.8", *of_this_machine):
        assert lab.run("internet", ["ip", "route", "get", address]).status != 0, address
        assert lab.run("sender-pc", ["ping", "-c1", "-W1", address]).status != 0, address


# --- Down -------------------------------------------------------------------------------------


def network_namespaces() -> set[str]:
    """The network namespaces that some process of this machine is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(path.readlink()))
        except OSError:  # it has just ended
            continue
    return found


def pinned(sandboxes: list[Path]) -> set[str]:
    """The network namespaces that the engine keeps by a file, though nobody may be in them."""
    return {f"net:[{path.stat().st_ino}]" for path in sandboxes if path.exists()}


def host_links() -> set[str]:
    """This machine's own interfaces, but for those that other containers come and go with."""
    asked = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True)
    return {link["ifname"] for link in json.loads(asked.stdout) if "master" not in link}


def test_down_leaves_nothing(name: str) -> None:
    links = host_links()
    lab = up(textbook(name))
    found = inspected(lab)
    identities = {one["Id"] for one in found.values()}
    namespaces = {
        str(Path(f"/proc/{one['State']['Pid']}/ns/net").readlink()) for one in found.values()
    }
    sandboxes = [Path(one["NetworkSettings"]["SandboxKey"]) for one in found.values()]
    assert len(namespaces) == len(found) == 7
    assert namespaces <= network_namespaces()
    assert len(processes_of(identities)) > 7
    assert pinned(sandboxes) == namespaces

    done = run_lab(name, "down")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"lab '{name}' is down (7 containers removed)\n" in done.stderr
    assert made(name) == {}
    until("the last process has gone", lambda: not processes_of(identities), 5)
    assert not namespaces & network_namespaces()
    assert not pinned(sandboxes) & namespaces
    assert host_links() == links
    assert lock_files(name) == []

    again = run_lab(name, "down")
    assert (again.returncode, again.stdout) == (0, "")
    assert f"lab '{name}' was not up\n" in again.stderr


def test_down_all_removes_every_lab_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with removed_afterwards(new_name()) as other:
        mine = (name, other)
        find = containers.find

        def find_mine(lab: str | None = None) -> list[containers.Container]:
            """Others use this engine too: every lab means each of this test's."""
            return find(lab) if lab is not None else [one for o in mine for one in find(o)]

        monkeypatch.setattr(containers, "find", find_mine)
        up(textbook(name))
        up(textbook(other))
        done = CliRunner().invoke(cli, ["down", "--all"])
        assert done.exit_code == 0, done.output
        for one in mine:
            assert f"lab '{one}' is down (7 containers removed)\n" in done.output
            assert made(one) == {}
        assert CliRunner().invoke(cli, ["down", "--all"]).output == "no lab was up\n"


@pytest.mark.parametrize("bad", ["", "../x", "a b", "x" * 41, "-x"])
def test_a_name_that_can_be_no_labs_is_refused(bad: str) -> None:
    for verb in ("up", "down", "status"):
        done = run_lab(bad, verb)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"lab: '{bad}' can't be the name of a lab\n"
            "  → a name is up to 40 letters (a-z), digits, '-', '_' or '.', the first no sign\n"
        )


def test_a_fabric_that_is_gone_takes_the_faults_with_it(lab: Lab) -> None:
    """Its journal is gone, what was done to the machines is not: they are started anew."""
    journal.apply(lab, router_drops("receiver-mail"))
    journal.apply(lab, service_stopped("sender-mail"))
    client().api.remove_container(made(lab)[FABRIC].id, force=True)
    again = up(lab.plan)
    assert is_whole(again) and not journal.cases(again)
    mail_works(again)
