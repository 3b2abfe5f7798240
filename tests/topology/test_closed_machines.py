"""A closed lab: what root on a machine may do there, and how one becomes somebody there.

What is looked for is also shown to be found, in a container made for it or in a seat with its key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from harness import made, textbook
from outside import everyone, this_machine_has_the_engine

from lab.engine import containers
from lab.engine.capabilities import CAPABILITIES
from lab.engine.client import client, in_parallel
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC
from lab.errors import LabError

README = Path(__file__).parents[2] / "images" / "README.md"
# capabilities(7), linux/capability.h: their numbers.
NUMBERS = {
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


def kind_of(lab: Lab, name: str) -> str:
    return FABRIC if name == FABRIC else lab.plan.nodes[name].kind


# --- Capabilities -------------------------------------------------------------------------------


def documented() -> dict[str, set[str]]:
    """The table of images/README.md: what each kind of machine may do."""
    found: dict[str, set[str]] = {kind: set() for kind in CAPABILITIES}
    _, _, table = README.read_text().partition("| capability | for |")
    capabilities: list[str] = []
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        first, who, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        capabilities = re.findall(r"`(\w+)`", first) or capabilities
        kinds = {
            "all": list(CAPABILITIES),
            "all but fabric": [kind for kind in CAPABILITIES if kind != FABRIC],
        }
        for kind in kinds.get(who) or who.split(", "):
            found[kind] |= set(capabilities)
    return found


def test_what_is_documented_is_what_is_given() -> None:
    assert documented() == {kind: set(given) for kind, given in CAPABILITIES.items()}


def status_of(lab: Lab, name: str) -> dict[str, str]:
    """proc_pid_status(5) of a program that root starts on a machine."""
    said = lab.run(name, ["cat", "/proc/self/status"]).check("cat").text
    lines = (line.partition(":") for line in said.splitlines())
    return {key: value.strip() for key, _, value in lines}


def test_root_has_the_capabilities_that_are_documented_and_no_other(lab: Lab) -> None:
    def bits(found: dict[str, str]) -> set[int]:
        held = {key: int(found[key], 16) for key in ("CapPrm", "CapEff", "CapBnd")}
        assert len(set(held.values())) == 1, held
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        return {bit for bit in range(64) if held["CapBnd"] >> bit & 1}

    for name in everyone(lab):
        found = status_of(lab, name)
        expected = {NUMBERS[capability] for capability in documented()[kind_of(lab, name)]}
        assert bits(found) == expected, name
        assert found["Seccomp"] == "2", "Docker's filter of system calls is on"
        assert found["NoNewPrivs"] == "0", "as images/README.md says, and why"


FORBIDDEN = (
    "mount -t tmpfs none /mnt",
    "mknod /tmp/disk b 8 0",
    "unshare --user true",
    "unshare --net true",
    "nsenter --target 1 --net true",
    "date --set '2 hours ago'",
    "dmesg",
    "echo x > /proc/sysrq-trigger",
    "echo x > /proc/sys/kernel/core_pattern",
    "echo x > /sys/kernel/uevent_helper",
    "cat /proc/kcore",
)


def test_root_can_do_nothing_to_the_machine_beneath(lab: Lab) -> None:
    told = "\n".join(f"({one}) > /dev/null 2>&1 && echo {one!r}" for one in FORBIDDEN)

    def attempt(name: str) -> list[str]:
        return lab.run(name, ["sh", "-c", f"{told}\necho done"]).text.splitlines()

    nodes = list(lab.plan.nodes)
    assert in_parallel(attempt, nodes) == [["done"]] * len(nodes)
    tools = [one.split()[0] for one in FORBIDDEN]
    for name in nodes:
        lab.run(name, ["which", *{"mount", "mknod", *tools[:7]} - {"echo"}]).check("the tools")


# In a machine, and what it leads to in a folder of the machine beneath.
LINKS = {"/lab/accounts": "/victim", "/lab/gate": "/victim", "/lab/configured": "/new", "/home": ""}

# --- Doors --------------------------------------------------------------------------------------


def doors(container: str) -> dict[str, Any]:
    """What of a container leads to the machine beneath, by the names of Docker's API."""
    found = client().api.inspect_container(container)
    host = found["HostConfig"]
    looked_at = {
        "Privileged": host["Privileged"],
        "Binds": host["Binds"],
        "VolumesFrom": host["VolumesFrom"],
        "Devices": host["Devices"],
        "DeviceRequests": host["DeviceRequests"],
        "PortBindings": host["PortBindings"],
        "PublishAllPorts": host["PublishAllPorts"],
        "Links": host["Links"],
        "Mounts": [mount for mount in found["Mounts"] if mount["Type"] != "tmpfs"],
        "Ports": {k: v for k, v in found["NetworkSettings"]["Ports"].items() if v},
        "Networks": [name for name in found["NetworkSettings"]["Networks"] if name != "none"],
        "NetworkMode": "" if host["NetworkMode"] == "none" else host["NetworkMode"],
        "IpcMode": "" if host["IpcMode"] == "private" else host["IpcMode"],
        "PidMode": host["PidMode"],
        "UTSMode": host["UTSMode"],
        # The label is Docker's own doing, where a process list is shared.
        "SecurityOpt": [one for one in host["SecurityOpt"] or () if one != "label=disable"],
        "CapDrop": "" if host["CapDrop"] == ["ALL"] else f"not all, but {host['CapDrop']}",
    }
    return {key: value for key, value in looked_at.items() if value}


@pytest.fixture
def open_house(engine: DockerClient, name: str) -> Iterator[str]:
    """A container (never started) with the doors open that a lab must not have."""
    api = engine.api
    config = api.create_host_config(
        binds=["/:/host:ro"],
        port_bindings={25: ("127.0.0.1", 0)},
        privileged=True,
        pid_mode="host",
        network_mode="bridge",
    )
    made = api.create_container("maillab/base", host_config=config, labels={"maillab.lab": name})
    yield made["Id"]  # removed with the lab called `name`


def test_no_door_leads_out_of_a_machine(lab: Lab, open_house: str) -> None:
    for name in everyone(lab):
        # What enters the machines' namespaces has to see them: docs/architecture.md says so.
        expected = {"PidMode": "host", "SecurityOpt": ["apparmor=unconfined"]}
        assert doors(lab.container(name)) == (expected if name == FABRIC else {}), name
    assert doors(open_house).keys() >= {
        *("Privileged", "Binds", "PortBindings", "NetworkMode", "PidMode", "CapDrop")
    }


def test_machines_see_nobody_elses_processes(lab: Lab) -> None:
    found = {
        name: lab.run(name, ["readlink", "/proc/self/ns/pid"]).text.strip()
        for name in everyone(lab)
    }
    assert len(set(found.values())) == len(found)
    this_machine_has_the_engine()
    own = str(Path("/proc/self/ns/pid").readlink())
    assert [name for name, namespace in found.items() if namespace == own] == [FABRIC]


def test_no_proxy_of_this_machine_is_told_to_the_lab(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = "http://teacher:secret@192.0.2.99:3128"
    settings = {"proxies": {"default": {"httpProxy": proxy, "httpsProxy": proxy}}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    plan = textbook(name)
    found: list[str] = []

    def look() -> None:  # in a thread of its own, whose client reads that file
        assert client().api._proxy_configs.http == proxy
        for node in (plan.fabric(), plan.nodes["sender-pc"]):
            made = containers.create(plan, node, time.time())
            found.extend(client().api.inspect_container(made)["Config"]["Env"])

    worker = threading.Thread(target=look)
    worker.start()
    worker.join()
    assert [entry.partition("=")[0] for entry in found] == ["PATH", "LANG"] * 2


def test_a_machines_links_lead_the_fabric_nowhere(lab: Lab) -> None:
    """`lab up` gives a machine without /lab/configured its files, along whatever its root laid."""
    this_machine_has_the_engine()
    node = "sender-pc"
    planned, process = lab.plan.nodes[node], lab.process(node)
    damage = []
    with tempfile.TemporaryDirectory() as folder, lab.fabric() as fabric:
        Path(folder).chmod(0o777)
        victim = Path(folder) / "victim"
        # As the fabric sees this machine: its process list is the same.
        there = f"/proc/{os.getpid()}/root{folder}"
        for link, to in LINKS.items():
            victim.write_text("as it was\n")
            assert lab.run(FABRIC, ["cat", f"{there}/victim"]).text == "as it was\n"
            trap = f"rm -rf /lab/configured /home/* {link} && ln -s {there}{to} {link}"
            lab.run(node, ["sh", "-c", trap]).check("laying a trap")
            with contextlib.suppress(LabError):
                fabric.configure(planned.files, process)
            if victim.read_text() != "as it was\n" or [
                one.name for one in Path(folder).iterdir()
            ] != ["victim"]:
                damage.append(link)
                shutil.rmtree(folder)
                Path(folder).mkdir()
                Path(folder).chmod(0o777)
            lab.run(node, ["rm", "-f", link]).check("removing it")
    containers.remove([made(lab)[node]])
    assert damage == []
