"""Scenes with a real box between two network namespaces; they play in a fabric's container.

    python3 boxscenes.py SCENE

prints as JSON what was seen. A socket belongs to the namespace it was made in, so one process plays
both ends: `node`, whose cable leads into the box, and `network` behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, "/lab")
import wires

NODE, NETWORK = "10.0.0.1", "10.0.0.2"
SMTP, DNS = 2525, 5353  # nobody here may open their real ports
PATIENCE = 30  # seconds for what comes at once, on the slowest machine
IFF_UP, IFF_RUNNING = 0x01, 0x40
CONTENT = b"A line of forty octets, all of them told" * 1000


def until(what, look):
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"in vain until {what}")
        time.sleep(0.002)
    return found


class Cable:
    """node:eth0 ── port [box] far ── network:eth0, each end in a namespace of its own."""

    def __init__(self):
        self.folder = pathlib.Path(f"/tmp/scene-{os.getpid()}")  # this Python has no tempfile
        self.folder.mkdir()
        self.rules = self.folder / "rules"
        self.pulled = self.folder / "port.pulled"
        self.home = self.namespace()
        self.ends = {NODE: self.namespace(), NETWORK: self.namespace()}
        self.enter(self.home)
        for end, (address, fd) in zip(("port", "far"), self.ends.items(), strict=True):
            there = f"/proc/{os.getpid()}/fd/{fd}"
            wires.run("ip", "link", "add", end, "type", "veth", "peer", "eth0", "netns", there)
            self.settle(end)
            self.enter(fd)
            wires.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            self.settle("eth0")
            self.enter(self.home)
        wires.link_known("port")
        wires.link_known("far")

    def namespace(self):
        os.unshare(os.CLONE_NEWNET)
        return os.open("/proc/self/ns/net", os.O_RDONLY)

    def enter(self, namespace):
        os.setns(namespace, os.CLONE_NEWNET)

    def settle(self, interface):
        wires.run("ip", "link", "set", interface, "up")
        wires.no_offload(interface)
        wires.link_known(interface)

    @contextlib.contextmanager
    def at(self, address):
        self.enter(self.ends[address])
        try:
            yield
        finally:
            self.enter(self.home)

    def socket(self, address, kind=socket.SOCK_STREAM):
        with self.at(address):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(PATIENCE)
        return made

    def write(self, *rules):
        new = self.folder / "new"
        new.write_text(json.dumps([{"id": "it", **rule} for rule in rules]))
        new.replace(self.rules)

    def box(self, *rules):
        """Start the box with these rules."""
        if rules or not self.rules.exists():
            self.write(*rules)
        argv = [sys.executable, "-IS", "/lab/box.py", "port", "far", str(self.rules)]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([*argv, "--pulled", str(self.pulled)], **said)
        if self.process.stdout.readline() != b"ready\n":
            raise OSError(self.process.stderr.read().decode())

    def end(self):
        """End the box; its status and what it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        _, said = self.process.communicate(timeout=PATIENCE)
        return [self.process.returncode, said.decode()]

    def state(self):
        return json.loads(pathlib.Path(f"{self.rules}.state").read_text())["it"]

    def carrier(self, address=NODE):
        """Whether the interface of the node has a link."""
        with self.at(address):
            wires.link_known("eth0")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                return bool(flags(control, "eth0") & IFF_RUNNING)

    def switched_on(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            return bool(flags(control, "port") & IFF_UP)

    def counter(self, address, group, name):
        """A counter of the kernel's at one end (/proc/net/netstat and snmp)."""
        with self.at(address):
            folder = pathlib.Path("/proc/thread-self/net")
            lines = [(folder / file).read_text().splitlines() for file in ("netstat", "snmp")]
        for names, values in (
            pair for one in lines for pair in zip(one[::2], one[1::2], strict=True)
        ):
            if names.startswith(f"{group}:"):
                return int(dict(zip(names.split(), values.split(), strict=True))[name])
        raise KeyError(group)

    def ping(self, count):
        with self.at(NODE):
            argv = ["ping", "-n", "-c", str(count), "-i", "0.05", "-W", str(PATIENCE), NETWORK]
            done = subprocess.run(argv, capture_output=True, text=True)
        times = [word[5:] for word in done.stdout.split() if word.startswith("time=")]
        return [float(one) for one in times]


def flags(control, interface):
    import fcntl

    answer = fcntl.ioctl(control, 0x8913, struct.pack("16sh14x", interface.encode(), 0))
    return struct.unpack_from("H", answer, 16)[0]


class Talk:
    """SMTP between a client at the node and a server in the network, in one thread."""

    def __init__(self, cable):
        self.listener = cable.socket(NETWORK)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((NETWORK, SMTP))
        self.listener.listen()
        self.call(cable)

    def call(self, cable):
        self.client = cable.socket(NODE)
        self.client.connect((NETWORK, SMTP))
        self.server, _ = self.listener.accept()
        self.server.settimeout(PATIENCE)
        self.hear("client", self.server, b"220 hello\r\n")
        group = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
        self.hear("server", self.client, group)
        self.hear("client", self.server, b"250 ok\r\n250 ok\r\n354 go on\r\n")

    def hear(self, who, speaker, said):
        speaker.sendall(said)
        heard = b""
        while len(heard) < len(said):
            heard += getattr(self, who).recv(65536)
        assert heard == said

    def send_content(self, ending=b""):
        """The client sends the content; how much of it came to the server, and its error if any."""
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(CONTENT), 999):
                self.client.sendall(CONTENT[at : at + 999])
            self.client.sendall(ending)
        got = 0
        try:
            while got < len(CONTENT + ending):
                got += len(self.server.recv(65536))
        except OSError as error:
            return [got, type(error).__name__]
        return [got, ""]


def fate(one):
    """What a socket says when it is asked for more."""
    try:
        return one.recv(65536).decode()
    except OSError as error:
        return type(error).__name__


def delay(cable):
    cable.box({"what": "delay", "seconds": 0.1})
    return {"ms": cable.ping(10), "ends": cable.end()}


def cut_in_data(cable):
    cable.box({"what": "cut", "at": "data", "octets": 20000, "times": 1, "port": SMTP})
    talk = Talk(cable)
    got, error = talk.send_content()
    fates = [fate(talk.client), error]
    challenged = [cable.counter(end, "TcpExt", "TCPChallengeACK") for end in (NODE, NETWORK)]
    resets = [cable.counter(end, "Tcp", "EstabResets") for end in (NODE, NETWORK)]
    left = until("it says so", lambda: cable.state()["left"] == 0)
    talk.call(cable)
    again = talk.send_content(b"\r\n.\r\n")
    return {
        "got": got,
        "fates": fates,
        "challenged": challenged,
        "resets": resets,
        "left": left,
        "again": again,
    }


def cut_silently(cable):
    cable.box({"what": "cut", "at": "data", "octets": 20000, "silently": True, "port": SMTP})
    talk = Talk(cable)
    talk.server.setblocking(False)
    talk.client.setblocking(False)
    talk.client.send(CONTENT[:30000])
    until("the client has tried again", lambda: cable.state()["frames"] > 3)
    got = 0
    with contextlib.suppress(BlockingIOError):
        while data := talk.server.recv(65536):
            got += len(data)
    return {"got": got, "fates": [fate(talk.client), fate(talk.server)]}


def cut_before_reply(cable):
    cable.box({"what": "cut", "at": "reply", "times": 2, "port": SMTP})
    talk = Talk(cable)
    runs = []
    for turn in range(3):
        if turn == 1:  # a box that is started again knows how many are left
            cable.end()
            cable.box()
        if turn:
            talk.call(cable)
        got, _ = talk.send_content(b"\r\n.\r\n")
        talk.server.sendall(b"250 queued as 1234\r\n")
        heard = fate(talk.client)
        runs.append([got, heard, fate(talk.server) if "Reset" in heard else ""])
    return {
        "runs": runs,
        "sent": len(CONTENT) + 5,
        "challenged": [cable.counter(end, "TcpExt", "TCPChallengeACK") for end in (NODE, NETWORK)],
    }


def flap(cable):
    cable.box({"what": "flap", "up": 0.3, "down": 0.3})
    seen = [until("it is out", lambda: not cable.carrier()) and "out"]
    seen += [until("it is in", cable.carrier) and "in"]
    seen += [until("it is out", lambda: not cable.carrier()) and "out"]
    marks = [path.name for path in cable.pulled.iterdir()]
    status = cable.end()
    return {"seen": seen, "marks": marks, "ends": status, "after": cable.switched_on()}


def flap_while_pulled(cable):
    cable.pulled.mkdir()
    (cable.pulled / "another").touch()
    wires.run("ip", "link", "set", "port", "down")
    cable.box({"what": "flap", "up": 0.02, "down": 0.02})
    until("it went out and in", lambda: cable.state()["frames"] > 3)
    return {"on": cable.switched_on(), "ends": cable.end(), "after": cable.switched_on()}


def pulled_and_gone(cable):
    cable.box()
    before = len(cable.ping(1))
    wires.run("ip", "link", "set", "port", "down")
    until("it is out", lambda: not cable.carrier())
    wires.run("ip", "link", "set", "port", "up")
    wires.link_known("port")
    after = len(cable.ping(1))
    wires.run("ip", "link", "del", "port")
    return {"pings": [before, after], "ends": cable.ended()}


def ended_in_time(cable):
    cable.box({"what": "delay", "seconds": 3600, "protocol": "udp"})
    sender, receiver = (cable.socket(end, socket.SOCK_DGRAM) for end in (NODE, NETWORK))
    receiver.bind((NETWORK, DNS))
    for number in range(10):
        sender.sendto(bytes([number]), (NETWORK, DNS))
    until("they wait", lambda: cable.state()["frames"] == 10)
    status = cable.end()
    return {"ends": status, "got": [receiver.recv(100)[0] for _ in range(10)]}


def corrupt(cable):
    cable.box({"what": "corrupt", "protocol": "udp", "toward": "network"})
    sender, receiver = (cable.socket(end, socket.SOCK_DGRAM) for end in (NODE, NETWORK))
    receiver.bind((NETWORK, DNS))
    for _ in range(20):
        sender.sendto(b"?" * 1000, (NETWORK, DNS))
    until("they were treated", lambda: cable.state()["frames"] == 20)
    cable.write()
    cable.process.send_signal(signal.SIGHUP)
    until("the rule is gone", lambda: not pathlib.Path(f"{cable.rules}.state").read_text()[2:])
    sender.sendto(b"intact", (NETWORK, DNS))
    got = b"?" * 1000
    while got == b"?" * 1000:
        got = receiver.recv(2000)
    return {
        "got": got.decode(errors="replace"),
        "noticed": cable.counter(NETWORK, "Udp", "InCsumErrors"),
    }


def nonsense(cable):
    cable.box({"what": "drop", "protocol": "udp"})
    cable.write({"what": "melt"})
    cable.process.send_signal(signal.SIGHUP)
    complaint = cable.process.stderr.readline().decode()
    pings = len(cable.ping(1))
    cable.end()
    try:
        cable.box()
    except OSError as error:
        return {"pings": pings, "said": [complaint, str(error)]}


if __name__ == "__main__":
    scene = globals()[sys.argv[1]]
    laid = Cable()
    try:
        sys.stdout.write(json.dumps(scene(laid)))
    finally:
        laid.process.kill()
