"""What tests of faults at the wires share: what two machines see of each other, and what is left.

All of it is asked from the fabric, with its own Python in a machine's network, so that nothing on
the machines has to play along.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker  # noqa: F401  here, and thereby in whoever is forked from here on

from lab.engine import exec
from lab.engine.exec import Exec
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC
from lab.faults import journal
from lab.faults.fault import Fault, catalogue
from lab.faults.journal import Case

PEOPLE = "receiver-pc"  # on the same network as RECEIVER, no router in between
RECEIVER = "receiver-mail"
SENDER = "sender-mail"
FAR = "sender-pc"

# --- What a caller hears --------------------------------------------------------------------------

_CALL = """
import errno, json, socket, sys, time
host, seconds = sys.argv[1], float(sys.argv[2])
line = socket.socket()
line.settimeout(seconds)
names = {"ECONNREFUSED": "refused", "EHOSTUNREACH": "unreachable", "ECONNRESET": "reset"}
def attempt(what):
    try:
        return what()
    except TimeoutError:
        return "silence"
    except OSError as error:
        name = errno.errorcode[error.errno]
        return names.get(name, name)
def tell(what, began):
    print(json.dumps([what, time.monotonic() - began]), flush=True)
def hear():
    said = line.recv(1000)
    return said[:3].decode() if said else "closed"
began = time.monotonic()
said = attempt(lambda: line.connect((host, 25)))
tell(said or attempt(hear), began)
for order in sys.stdin:
    began = time.monotonic()
    tell(attempt(lambda: line.sendall(eval(order)) or hear()), began)
"""


def _inside(lab: Lab, node: str, *argv: str) -> list[str]:
    """The command by which the fabric runs a program of its own in the network of `node`."""
    return ["nsenter", "-t", str(lab.process(node)), "-n", *argv]


class Call:
    """A connection from `node` to port 25 of another, and what was heard there: a reply's code,
    `silence`, `refused`, `unreachable`, `reset` or `closed`; `seconds` says how long that took.
    """

    def __init__(self, lab: Lab, node: str, to: str, patience: float) -> None:
        host = str(lab.plan.nodes[to].interfaces[0].address.ip)
        argv = _inside(lab, node, "python3", "-ISc", _CALL, host, str(patience))
        self._program = Exec(lab.container(FABRIC), argv)
        self._frames = self._program.frames()
        self.heard, self.seconds = self._hear()

    def _hear(self) -> tuple[str, float]:
        said = b""
        for _, data in self._frames:
            said += data
            if said.endswith(b"\n"):
                break
        what, seconds = json.loads(said)
        return what, seconds

    def say(self, text: str) -> str:
        """Say something: what is heard then."""
        self._program.write(f"{text.encode()!r}\n".encode())
        self.heard, self.seconds = self._hear()
        return self.heard

    def close(self) -> None:
        self._program.close()


@contextmanager
def calling(lab: Lab, node: str, to: str, patience: float = 1.0) -> Iterator[Call]:
    """A call that is held while the block runs."""
    call = Call(lab, node, to, patience)
    try:
        yield call
    finally:
        call.close()


def heard(lab: Lab, node: str = SENDER, to: str = RECEIVER, patience: float = 0.4) -> str:
    """What `node` hears that calls port 25 of another."""
    with calling(lab, node, to, patience) as call:
        return call.heard


class Pings:
    """What ping of `node` says of another: the sequence numbers as they came back, their times."""

    def __init__(self, lab: Lab, node: str, to: str, *more: str, count: int = 20) -> None:
        host = str(lab.plan.nodes[to].interfaces[0].address.ip)
        argv = ["ping", "-n", "-c", str(count), "-i", "0.005", "-W", "0.5", *more, host]
        before = echoes(lab, to)
        said = lab.run(node, argv).text
        self.heard_there = echoes(lab, to) - before
        rows = re.findall(r"icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms( \(DUP!\))?", said)
        self.order = [int(number) for number, _, copy in rows if not copy]
        self.copies = sum(1 for _, _, copy in rows if copy)
        self.milliseconds = [float(time) for _, time, _ in rows]
        self.share = len(self.order) / count


def counter(lab: Lab, node: str, protocol: str, name: str) -> int:
    """A counter of the kernel of `node` (/proc/net/snmp)."""
    rows = lab.run(node, ["grep", f"^{protocol}:", "/proc/net/snmp"]).text.splitlines()
    names, values = (row.split() for row in rows)
    return int(values[names.index(name)])


def echoes(lab: Lab, node: str) -> int:
    """How many pings have reached `node`."""
    return counter(lab, node, "Icmp", "InEchos")


def plugged(lab: Lab, node: str) -> bool:
    """Whether the network card of `node` sees a link."""
    return lab.run(node, ["cat", "/sys/class/net/eth0/carrier"]).text.strip() == "1"


# --- What is left ---------------------------------------------------------------------------------

_LOOK = """
import contextlib, pathlib, subprocess, sys
fabric, *routers = sys.argv[1:]
lab = pathlib.Path("/lab")
folders = [lab / name for name in ("cables", "lent", "faults")]
for found in sorted(path for folder in folders for path in folder.glob("*")):
    if found.name not in ("lock", "history", "last"):
        print(found)
for link in sorted(pathlib.Path("/sys/class/net").iterdir()):
    bridge = link / "master"
    up = int((link / "flags").read_text(), 16) & 1
    print(link.name, "up" if up else "down", bridge.resolve().name if bridge.exists() else "")
for process in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
        said = (process / "cmdline").read_bytes().split(b"\\0")
        if b"-IS" in said and fabric in (process / "cgroup").read_text():
            if not any(b"agent.py" in word for word in said):
                print(b" ".join(said).decode())
rules = "nft -s list ruleset; ip route show table all; ip rule"
for router in routers:
    asked = ["nsenter", "-t", router, "-n", "sh", "-c", rules]
    print(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
"""


def traces(lab: Lab) -> list[str]:
    """All that a fault of the wires leaves as long as it is on: at the fabric, in the routers."""
    routers = [
        str(lab.process(name)) for name, node in lab.plan.nodes.items() if node.kind == "router"
    ]
    fabric = lab.container(FABRIC)
    done = exec.run(fabric, ["python3", "-c", _LOOK, fabric, *routers]).check("looking")
    return [*done.text.splitlines(), *(case.id for case in journal.cases(lab))]


# --- Whoever put it on is dead ------------------------------------------------------------------

_WIRES = ("cable", "link", "cut", "power", "routing")
_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(["pytest", "wired"])


def of_wires() -> list[type[Fault]]:
    """The faults of the families that act at cables, routers and power switches."""
    modules = {f"lab.faults.{family}" for family in _WIRES}
    return [fault for fault in catalogue().values() if fault.__module__ in modules]


def _put_on(name: str, faults: list[Fault], told: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lab = Lab.attach(name)
    told.send("ready")
    for fault in faults:
        journal.apply(lab, fault)
    told.send("on")
    told.recv()


@contextmanager
def at_work(lab: Lab, *faults: Fault) -> Iterator[Any]:
    """Another process puts `faults` on while the block runs: a pipe on which it says `on`.

    At the end of the block it is killed (SIGKILL), whatever it is doing.
    """
    ours, theirs = _fork.Pipe()
    worker = _fork.Process(target=_put_on, args=(lab.name, list(faults), theirs), daemon=True)
    worker.start()
    theirs.close()
    try:
        with suppress(EOFError):
            assert ours.recv() == "ready"
        yield ours
    finally:
        worker.kill()
        worker.join()


def put_on_and_killed(lab: Lab, *faults: Fault) -> list[Case]:
    """Have `faults` put on by a process that is dead when this returns: the cases it has left."""
    with at_work(lab, *faults) as pipe:
        assert pipe.recv() == "on"
    found = journal.cases(lab)
    assert [case.state for case in found] == ["on"] * len(faults)
    assert all(case.fault.verify(lab, case.id) for case in found)
    return found
