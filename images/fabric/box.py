#!/usr/bin/python3 -IS
"""A box in a cable: frames pass through it, and are treated by rules.

    box.py PORT FAR RULES [--pulled DIR] [--seed N]

Takes each frame that arrives at the interface PORT (the fabric's end of a node's cable) to FAR
(which leads to the network's bridge), and back. Needs nothing of the kernel but these two and
packet sockets (packet(7)), so it works where there is no netem; and it is outside the node, so
nobody there can undo what it does. Prints `ready` once it works. On SIGTERM it sends what waits
in it, at once, and ends.

RULES is a file, a JSON list, read at the start and at each SIGHUP. Frames go through the rules in
their order, the same both ways. Each rule has an `id` (several may share one) and a `what`; times
are in real seconds, shares from 0 to 1 (1 if left out):

    {"what": "drop", "share": 0.2}
    {"what": "delay", "seconds": 0.1, "jitter": 0.02}       each way; order is kept
    {"what": "rate", "bits": 56000, "queue": 65536}         each way; octets that may wait
    {"what": "corrupt", "share": 0.01}                      one bit of the IP payload
    {"what": "reorder", "share": 0.02, "seconds": 0.05}     held back, others pass
    {"what": "duplicate", "share": 0.01}
    {"what": "flap", "up": 10, "down": 5}                   the cable is out, then in, and so on
    {"what": "cut", "at": "data", "octets": 20000, "times": 1, "silently": false, "port": 25}
    {"what": "cut", "at": "reply", "times": 1, "silently": false, "port": 25}

All but flap and cut take some frames only if they have any of `toward` ("node" or "network": where
they go), `peer` (the IPv4 address at the other end), `protocol` ("tcp", "udp", "ip") and `port`
(either one); with one of the last three, ARP is never among them. A cut takes `toward` (where the
server is) and `peer` too. At "data" it strikes so many octets of content after DATA or BDAT, end
of data included: the frame with the last of them never arrives, and both ends are sent a reset, or
(`silently`) hear nothing of the connection any more. At "reply" the final reply to a message's
content is what never arrives. `times`: how many connections, null for all. What it can't see into
is left alone: TLS, IP fragments, IPv6, and, of a connection older than the box, the message that is
being sent when it is put in.

Beside it, RULES.state says of each id how many `frames` were treated (a flap: how often it went
out; a cut: how many were swallowed), how many cuts are `left`, and how many frames the box has
`lost` by itself, being too slow. Whoever is started with the same RULES goes on from there. A cable
that is out is marked in the folder DIR by a file of the rule's id; it is in when DIR is empty.
"""

import contextlib
import errno
import fcntl
import gc
import json
import os
import pathlib
import random
import select
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # -I leaves it out

from boxline import Line
from boxrules import NETWORK, NODE

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 263, 6, 23  # linux/if_packet.h
SO_RCVBUFFORCE = 33
BUFFER = 32 << 20  # octets of frames, as the kernel counts them, that may wait for us
LONGEST = 16384
TURN = 64  # frames from one side before it is the other's turn
WRITE_SECONDS = 0.2
LOCK_SECONDS = 0.01


class Gone(Exception):
    """An interface does not exist any more."""


class Port:
    """One of the two interfaces: what arrives at it, and what is sent out of it."""

    def __init__(self, name):
        self.name = name
        self.lost = 0
        self.index = socket.if_nametoindex(name)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setblocking(False)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.socket.bind((name, ETH_P_ALL))

    def fileno(self):
        return self.socket.fileno()

    def receive(self):
        """The next frame; None if there is none just now."""
        try:
            return self.socket.recv(LONGEST)
        except BlockingIOError:
            return None
        except OSError as error:
            self._excuse(error)
            return None

    def send(self, data):
        """Send a frame. On a cable that is out it is lost, as on any."""
        for _ in range(2):  # the first error may be an old one: that it was down since the last
            try:
                self.socket.send(data)
                return
            except OSError as error:
                self._excuse(error)
                if error.errno != errno.ENETDOWN:
                    self.lost += 1
                    return

    def _excuse(self, error):
        """An interface that is down comes up again; one that is gone does not."""
        try:
            socket.if_indextoname(self.index)
        except OSError:
            raise Gone(f"the interface {self.name} is gone") from None
        passing = (errno.ENETDOWN, errno.ENOBUFS, errno.EAGAIN, errno.EMSGSIZE, errno.ENXIO)
        if error.errno not in passing:
            raise error

    def losses(self):
        """How many frames were lost here for want of time or room, so far."""
        counts = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self.lost += struct.unpack("II", counts)[1]  # it begins anew each time it is asked
        return self.lost

    def switch(self, on):
        """Switch the interface on or off, as `ip link set` does (netdevice(7))."""
        get_flags, set_flags, up = 0x8913, 0x8914, 1
        ask = struct.Struct("16sh14x")
        name = self.name.encode()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                _, flags = ask.unpack(fcntl.ioctl(control, get_flags, ask.pack(name, 0)))
                flags = flags | up if on else flags & ~up
                fcntl.ioctl(control, set_flags, ask.pack(name, flags))
        except OSError as error:
            self._excuse(error)


class Plug:
    """Whether the cable is in: it is out as long as anybody has left a mark in `folder`."""

    def __init__(self, port, folder):
        self.port = port
        self.folder = folder
        self.mine = set()

    def settle(self, wanted, wait=True):
        """Have it out on behalf of `wanted`, a set of ids; False if others are changing it now."""
        if wanted == self.mine:
            return True
        with self._lock() as ours:
            if wait and not ours:
                return False
            for id in wanted - self.mine:
                (self.folder / id).touch()
            for id in self.mine - wanted:
                (self.folder / id).unlink(missing_ok=True)
            self.mine = set(wanted)
            self.port.switch(not any(self.folder.iterdir()))
        return True

    @contextlib.contextmanager
    def _lock(self):
        """The lock that whoever changes a cable holds (wires.py). They may be waiting for us with
        it in their hands, so we never wait for it; False if we don't have it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


class Box:
    """The two ports, and what is between them."""

    def __init__(self, port, far, rules, pulled, seed):
        self.rules = rules
        self.ways = [(Port(port), NETWORK), (Port(far), NODE)]
        self.plug = Plug(self.ways[0][0], pulled)
        outlets = {toward: arrives for arrives, toward in reversed(self.ways)}
        self.senders = {NODE: outlets[NETWORK].send, NETWORK: outlets[NODE].send}
        self.line = Line(self.send, random.Random(seed))  # noqa: S311
        self.signals = set()
        self.written = None
        self.write_at = 0.0

    def send(self, toward, data):
        self.senders[toward](data)

    def listen_to_signals(self):
        """SIGTERM and SIGHUP wake the box; what came is in `signals`."""
        self.woken, waker = socket.socketpair()
        self.woken.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        self.waker = waker
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: self.signals.add(number))

    def load(self, state=None):
        """Take up the rules as they stand in the file now."""
        try:
            wanted = json.loads(self.rules.read_text())
        except FileNotFoundError:
            wanted = []
        self.line.load(wanted, time.monotonic(), state)

    def beside(self):
        """Where it says what the rules have done."""
        return self.rules.with_name(f"{self.rules.name}.state")

    def remembered(self):
        """What the box before this one said of the rules."""
        try:
            return json.loads(self.beside().read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def write(self, now):
        """Say what the rules have done, if that has changed."""
        lost = sum(port.losses() for port, _ in self.ways)
        state = {id: {**said, "lost": lost} for id, said in self.line.state().items()}
        self.write_at = now + WRITE_SECONDS
        # Without its rules, all is over; whoever took them away has taken this too.
        if state != self.written and self.rules.exists():
            new = self.rules.with_name(f"{self.rules.name}.state.new")
            new.write_text(json.dumps(state))
            new.replace(self.beside())
            self.written = state

    def run(self):
        """Pump until told to end."""
        sources = [*(port for port, _ in self.ways), self.woken]
        while signal.SIGTERM not in self.signals:
            if signal.SIGHUP in self.signals:
                self.signals.discard(signal.SIGHUP)
                self.reload()
            now = time.monotonic()
            wake = min(self.line.run(now), self.flap(now), self.news(now))
            # select(2), unlike epoll, waits for microseconds.
            ready, _, _ = select.select(sources, [], [], max(0.0, wake - time.monotonic()))
            if self.woken in ready:
                with contextlib.suppress(BlockingIOError):
                    self.woken.recv(4096)
            for port, toward in self.ways:
                if port in ready:
                    self.pump(port, toward)
        for port, toward in self.ways:
            self.pump(port, toward)
        self.line.run(float("inf"))

    def pump(self, port, toward):
        """Take in what has arrived at `port`."""
        feed, clock = self.line.feed, time.monotonic
        for _ in range(TURN):
            data = port.receive()
            if data is None:
                return
            feed(data, toward, clock())

    def reload(self):
        """Take up changed rules; if they make no sense, stay with the old ones and say so."""
        try:
            self.load()
        except ValueError as error:
            complain(error)
        self.flap(time.monotonic())
        self.write(time.monotonic())

    def flap(self, now):
        """Have the cable in or out, as it is time to; when to look again."""
        out, change = self.line.out(now)
        return change if self.plug.settle(out) else now + LOCK_SECONDS

    def news(self, now):
        """Write what there is to say when it is time to; when to look again."""
        if now >= self.write_at:
            self.write(now)
        return self.write_at

    def end(self):
        """Leave the cable in, unless others have it out."""
        with contextlib.suppress(OSError, Gone):
            self.plug.settle(set(), wait=False)
        self.write(time.monotonic())


def complain(what):
    print(f"box: {what}", file=sys.stderr, flush=True)  # noqa: T201


def main(port, far, rules, *options):
    """Run a box; its exit status."""
    named = dict(zip(options[::2], options[1::2], strict=True))
    rules = pathlib.Path(rules)
    pulled = pathlib.Path(named.get("--pulled", f"{rules}.pulled"))
    seed = int(named["--seed"]) if "--seed" in named else None
    gc.disable()  # nothing here goes in circles, and a collection is a pause
    try:
        box = Box(port, far, rules, pulled, seed)
        box.listen_to_signals()
        box.load(box.remembered())
    except (OSError, ValueError) as error:
        complain(f"{port}: {error}")
        return 1
    status = 0
    try:
        box.flap(time.monotonic())
        box.write(time.monotonic())
        with contextlib.suppress(BrokenPipeError):
            os.write(1, b"ready\n")
        box.run()
    except Gone as gone:
        complain(gone)
        status = 1
    box.end()
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
