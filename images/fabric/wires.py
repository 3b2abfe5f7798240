"""Bridges and cables: laid, pulled, pushed in, and led through a box that treats frames badly.

What faults want of a cable is kept beside it, by fault, so that they compose, and so that one that
heals takes nothing away from another: a cable is in when nobody pulls it, and straight when
nobody has a rule for its box (box.py).
"""

import array
import contextlib
import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import zlib

from helpers import Helper

CABLES = pathlib.Path("/lab/cables")


def run(*argv, stdin=""):
    """Run a program; its stdout. Raises RuntimeError with what it said if it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@contextlib.contextmanager
def inside(pid):
    """The calling thread moves into the network namespace of process `pid`, and back."""
    with open("/proc/thread-self/ns/net") as home, open(f"/proc/{pid}/ns/net") as there:  # noqa: PTH123
        os.setns(there.fileno(), os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(home.fileno(), os.CLONE_NEWNET)


def interfaces():
    """This namespace's interfaces: name -> True if switched on (a pulled cable is False)."""
    return {link["ifname"]: "UP" in link["flags"] for link in json.loads(run("ip", "-j", "link"))}


def present():
    """The names of this namespace's interfaces, without starting a program."""
    return {name for _, name in socket.if_nameindex()}


def ethtool(interface, *commands):
    """Ioctls of linux/ethtool.h on an interface of this namespace, each with the value 0."""
    siocethtool = 0x8946
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in commands:
            value = array.array("I", [command, 0])
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(control, siocethtool, request)


def no_offload(interface):
    """Make this namespace send real packets on `interface`.

    Left alone, the kernel passes 64 KiB "packets" without checksums across a veth pair: right
    for speed, wrong for a lab in which people read packets.
    """
    set_tx_checksum, set_tso, set_gso, set_gro = 0x17, 0x1F, 0x24, 0x2C
    ethtool(interface, set_tx_checksum, set_tso, set_gso, set_gro)


def link_known(interface):
    """Make the kernel take note at once that `interface` has a link.

    It may put that off for a second, and drop what is sent meanwhile; being asked hurries it.
    """
    get_link = 0x0A
    ethtool(interface, get_link)


def bridges(names):
    """Make the bridges called `names` that are not there yet."""
    there = present()
    lines = [
        line
        for name in names
        if name not in there
        for line in (
            f"link add {name} type bridge forward_delay 0 mcast_snooping 0",
            f"link set {name} up",
        )
    ]
    if lines:
        run("ip", "-batch", "-", stdin="\n".join(lines))


def plug(port, network, pid, interface, mac, address, routes, anew):
    """Lay a cable: `port` on the bridge `network`, `interface` in the node of process `pid`.

    Already laid: its node is told its address and routes again, whatever somebody there has made
    of them. It is as the faults want it that are on; if `anew`, these are forgotten. True if it
    had to be laid.
    """
    with _changing():
        if anew:
            _forgive(port)
        with inside(pid):
            laid = interface in present()
        there = port in present()
        # What is led through a box, or was until now.
        treated = any(_cable(port)) or _pair(port)[1] in present()
        lines = [f"link set {port} master {network} up"]
        if not (laid and there):
            # Who came back, node or fabric, did so in a new, empty namespace. What is left of the
            # old cable at its other end the kernel removes in its own time.
            if there:
                unplug(port)
            with inside(pid):
                if laid:
                    unplug(interface)
            add = f"link add {port} type veth peer name {interface} address {mac} netns {pid}"
            lines.insert(0, add)
        if treated:
            lines.pop()
        if lines:
            run("ip", "-batch", "-", stdin="\n".join(lines))
        no_offload(port)
        if treated:
            _settle(port, network)
    with inside(pid):
        lines = [f"addr replace {address} dev {interface}", f"link set {interface} up"]
        lines += [f"route replace {destination} via {via}" for destination, via in routes]
        run("ip", "-batch", "-", stdin="\n".join(lines))
        no_offload(interface)
        link_known(interface)
    link_known(port)
    return not (laid and there)


def unplug(interface):
    """Take away this namespace's end of a cable, and with it the other; it may be gone already."""
    with contextlib.suppress(RuntimeError):
        run("ip", "link", "del", interface)


# --- What faults want of a cable ----------------------------------------------------------------


def pull(port, owner, network):
    """`owner` has the cable out at `port`: the node's routes and addresses survive it."""
    with _changing():
        folder = _pulled(port)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / owner).touch()
        _settle(port, network)


def push(port, owner, network):
    """`owner` no longer has the cable out; it is in when nobody else has."""
    with _changing():
        (_pulled(port) / owner).unlink(missing_ok=True)
        _settle(port, network)
        with contextlib.suppress(OSError):  # others have it out, or nobody ever had
            _pulled(port).rmdir()


def lead(port, owner, network, rules):
    """The frames of the cable at `port` are treated by `rules` (box.py) too; [] takes them away."""
    with _changing():
        kept = [rule for rule in _rules(port).read() if rule["id"] != owner]
        _rules(port).write(kept + [{**rule, "id": owner} for rule in rules])
        if not rules:  # a box that was killed leaves behind that it had the cable out
            (_pulled(port) / owner).unlink(missing_ok=True)
        _settle(port, network)
        with contextlib.suppress(OSError):  # others have it out, or nobody ever had
            _pulled(port).rmdir()


def cable(port):
    """How the cable at `port` is: who has it out, by whose rules its frames are treated, whether
    there is a box that treats them, and whether it is there at all (its node being on).
    """
    with _changing():
        out, rules = _cable(port)
        box = _rules(port)
        found = {"pulled": out, "rules": rules, "box": box.runs(), "done": box.state()}
        return {**found, "there": port in present()}


@contextlib.contextmanager
def _changing():
    """One request at a time changes a cable."""
    CABLES.mkdir(exist_ok=True)
    with (CABLES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pulled(port):
    return CABLES / f"{port}.pulled"


def _rules(port):
    near, _ = _pair(port)
    file = CABLES / f"{port}.rules"
    return Helper(file, ["/lab/box.py", port, near, str(file), "--pulled", str(_pulled(port))])


def _cable(port):
    """Who has the cable out, and who has rules for its frames."""
    out = sorted(path.name for path in _pulled(port).glob("*"))
    return out, sorted({rule["id"] for rule in _rules(port).read()})


def _forgive(port):
    for path in _pulled(port).glob("*"):
        path.unlink(missing_ok=True)
    _rules(port).write([])


def _pair(port):
    """The two ends of what joins a box to its bridge, named so that they can't be a node's."""
    name = f"{zlib.crc32(port.encode()):08x}"
    return f"box.{name}", f"bus.{name}"


def _settle(port, network):
    """Make the cable as it is wanted; it may hang loose, its node being off."""
    _, rules = _cable(port)
    box = _rules(port)
    near, far = _pair(port)
    there = present()
    if rules and port in there:
        if far not in there:
            lines = [
                f"link add {far} type veth peer name {near}",
                f"link set {far} master {network} up",
                f"link set {near} up",
            ]
            run("ip", "-batch", "-", stdin="\n".join(lines))
            no_offload(far)
            no_offload(near)
            link_known(near)
            link_known(far)
        run("ip", "link", "set", port, "nomaster")
        box.settle(_index(port))
    else:
        box.end()
        if far in there:
            unplug(far)
        if port in there:
            run("ip", "link", "set", port, "master", network)
    if port in there:
        out, _ = _cable(port)  # only now: a box that ends puts the cable in, if it had it out
        run("ip", "link", "set", port, "down" if out else "up")


def _index(port):
    """What tells a cable from one that was laid anew under the same name."""
    return str(socket.if_nametoindex(port))
