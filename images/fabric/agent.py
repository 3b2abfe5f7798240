#!/usr/bin/python3 -IS
"""The fabric's hands: plugs cables, cuts them, listens on them, and asks nodes if they answer.

Runs inside the fabric container, which shares the host's process list and may enter any node's
network namespace. Standard library only; the engine (lab/engine/fabric.py) is its one caller.

    agent.py hold                   serve, and then wait: the fabric's main program
    agent.py serve                  a JSON request a line on stdin, a JSON answer a line on stdout
    agent.py capture [OPTION...]    tcpdump with these options until stdin ends
    agent.py replay NETWORK         what has passed on a network since the lab was ready, as a pcap
    agent.py replay NETWORK follow  the same, and what passes from now on, until stdin ends

All but the first end when their stdin does, or when they are done: whoever kills the tool that
started them, however rudely, leaves nothing running.
"""

import array
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

RETRY_SECONDS = 0.01  # between two tries at a service that does not answer yet
TRY_SECONDS = 1.0  # for one try
DRAIN_SECONDS = 2.0  # for tcpdump to read what has passed
# In immediate mode each frame takes as much of the buffer as the longest could: of 2 MiB and
# 256 KiB, its defaults, a burst of nine makes it lose some. Here none is longer than 1514 octets.
TCPDUMP = ["tcpdump", "--immediate-mode", "-U", "-Z", "root", "-s", "2048", "-B", "16384"]
RECORD = pathlib.Path("/lab/record")
RECORD_MEGABYTES, RECORD_FILES = 10, 10  # of each network: of the past the newest 90 MB or more
FORGET_SECONDS = 0.2
PCAP_HEADER = 24


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


def plug(port, network, pid, interface, mac, address, routes):
    """Lay a cable: `port` on the bridge `network`, `interface` in the node of process `pid`.

    Already laid: it is switched on, and its node told its address and routes again, whatever
    somebody there has made of them. True if it had to be laid.
    """
    with inside(pid):
        laid = interface in present()
    there = port in present()
    lines = [f"link set {port} master {network} up"]
    if not (laid and there):
        # Who came back, node or fabric, did so in a new, empty namespace. What is left of the old
        # cable at its other end the kernel removes in its own time.
        if there:
            unplug(port)
        with inside(pid):
            if laid:
                unplug(interface)
        lines[:0] = [f"link add {port} type veth peer name {interface} address {mac} netns {pid}"]
    run("ip", "-batch", "-", stdin="\n".join(lines))
    no_offload(port)
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


def configure(pid, files):
    """Write a new node's files, and let its /lab/start, which waits for them, go on.

    True if it was new. Docker's own way to copy files takes five times as long as this.
    """
    root = pathlib.Path(f"/proc/{pid}/root")
    done = root / "lab/configured"
    if done.exists():
        return False
    owners = {}
    # Postfix waits before it reads a file written in the last seconds; ours claim to be older.
    written = time.time() - 60
    for file in files:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(file["mode"])
        os.utime(path, (written, written))
        if file["owner"]:
            owners[path] = owners[path.parent] = file["owner"]
    for path, owner in owners.items():
        os.chown(path, owner, owner)
    done.touch()
    try:
        gate = os.open(root / "lab/gate", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return True  # it is not there yet, and will find that it need not wait
    os.write(gate, b"go\n")
    os.close(gate)
    return True


def link(port, up):
    """Push the cable in at `port`, or pull it: the node's routes and addresses survive both."""
    run("ip", "link", "set", port, "up" if up else "down")


def ask_dns(server, name, kind):
    """True if `server` answers a question (RFC 1035 §4.1) with at least one record."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = struct.pack("!6H", 0x4C42, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(TRY_SECONDS)
        channel.connect((server, 53))
        channel.send(query)
        reply = channel.recv(4096)
    flags, _, answers = struct.unpack_from("!3H", reply, 2)
    if flags & 0x000F or not answers:
        raise OSError(f"no answer for {name} (rcode {flags & 0x000F})")


def ask_tcp(host, port, greeting, farewell):
    """True if a service at host:port greets as expected; leaves politely, as a client would."""
    with socket.create_connection((host, port), timeout=TRY_SECONDS) as channel:
        said = channel.recv(1024).decode(errors="replace")
        if not said.startswith(greeting):
            raise OSError(f"greeted with {said.strip()!r}")
        channel.sendall(farewell.encode())
        while channel.recv(1024):
            pass


def answering(questions, seconds):
    """Put each question (a node's process, a kind, its arguments) until answered or time is up.

    A list with None for each question answered, else the last error as text.
    """
    deadline = time.monotonic() + seconds
    outcome = ["not tried"] * len(questions)

    def put(index, pid, kind, arguments):
        with inside(pid):
            while outcome[index] is not None:
                try:
                    (ask_dns if kind == "dns" else ask_tcp)(*arguments)
                    outcome[index] = None
                except OSError as error:
                    outcome[index] = str(error)
                    if time.monotonic() > deadline:
                        return
                    time.sleep(RETRY_SECONDS)

    # A namespace belongs to a thread: each question has its own.
    threads = [
        threading.Thread(target=put, args=(index, pid, kind, arguments), daemon=True)
        for index, (pid, kind, *arguments) in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline + TRY_SECONDS - time.monotonic()))
    return outcome


def listening(questions):
    """For each question, whether something listens where it would be put; nobody is called.

    Read from the node's own socket tables (proc_pid_net(5)), so no service logs a visitor.
    """
    return [
        (_ports(pid, "udp") >= {53}) if kind == "dns" else (_ports(pid, "tcp") >= {arguments[1]})
        for pid, kind, *arguments in questions
    ]


def _ports(pid, protocol):
    """The local ports of the node of process `pid` that are open to anybody."""
    waiting = {"tcp": "0A", "udp": "07"}[protocol]
    try:
        table = pathlib.Path(f"/proc/{pid}/net/{protocol}").read_text()
    except OSError:  # the node has ended this instant
        return set()
    rows = [line.split() for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == waiting}


def record(networks):
    """Keep on record what passes on each network, from when this returns; what goes on, goes on.

    Since when there is a record (epoch seconds).
    """
    RECORD.mkdir(exist_ok=True)
    began = []
    for network in networks:
        if _recording(network):
            continue
        # No name is ever used twice: who reads may be slow.
        file = RECORD / f"{network}@{time.time_ns()}.pcap"
        argv = [*TCPDUMP, "-i", network, "-w", str(file), "-C", str(RECORD_MEGABYTES)]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        dump = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True, **silent)
        (RECORD / f"{network}.pid").write_text(str(dump.pid))
        began.append(dump)
    for dump in began:
        for line in dump.stderr:
            if b"listening on" in line:
                break
        else:
            raise RuntimeError(f"tcpdump ended with status {dump.wait()}")
    if not (RECORD / "since").exists():
        (RECORD / "since").write_text(str(time.time()))
    return recorded_since()


def recorded_since():
    """Since when what passes is on record (epoch seconds); None if it is not."""
    with contextlib.suppress(OSError):
        return float((RECORD / "since").read_text())
    return None


def _recording(network):
    """Whether a tcpdump keeps the record of `network`."""
    try:
        pid = int((RECORD / f"{network}.pid").read_text())
        said = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return f"{RECORD}/{network}@".encode() in said


def _recorded(network):
    """The files of a network's record, the oldest first; tcpdump numbers all but the first."""

    def age(file):
        begun, _, number = file.name.partition("@")[2].partition(".pcap")
        return int(begun), int(number or 0)

    return sorted(RECORD.glob(f"{network}@*.pcap*"), key=age)


def forget():
    """Keep of each network's record only the newest files, for ever."""
    while True:
        for pid in RECORD.glob("*.pid"):
            for file in _recorded(pid.stem)[:-RECORD_FILES]:
                file.unlink(missing_ok=True)
        time.sleep(FORGET_SECONDS)


def replay(network, follow):
    """Write a network's record to stdout, one pcap whatever it was kept in; go on if to `follow`.

    A file is read to its end before the next, and stays readable when it is forgotten meanwhile;
    who is too slow misses whole files.
    """
    gone = _stdin_ended() if follow else None
    begun = False
    last = None
    with contextlib.suppress(BrokenPipeError):
        while file := _after(network, last, gone):
            last = file
            with contextlib.suppress(FileNotFoundError), file.open("rb") as source:
                if begun:
                    source.seek(PCAP_HEADER)
                while data := _more(source, network, file, gone):
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
                    begun = True


def _after(network, last, gone):
    """The file to read after `last` (None: the first); None when there are no more for us."""
    while gone is None or not gone.is_set():
        files = _recorded(network)
        newer = files[files.index(last) + 1 :] if last in files else files
        if newer:
            return newer[0]
        if gone is None:
            return None
        time.sleep(RETRY_SECONDS)
    return None


def _more(source, network, file, gone):
    """What comes next in a file of the record; nothing when it is complete, or for us at its end.

    tcpdump begins the next one when it has written a packet: a file that has a successor is whole.
    """
    while gone is None or not gone.is_set():
        whole = _recorded(network)[-1:] != [file]
        data = source.read(1 << 20)
        if data or whole or gone is None:
            return data
        time.sleep(RETRY_SECONDS)
    return b""


def _stdin_ended():
    """An event that is set once nobody listens to us any more."""
    ended = threading.Event()

    def wait():
        while os.read(0, 4096):
            pass
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def serve():
    """Answer requests until stdin ends."""
    verbs = {
        "interfaces": interfaces,
        "bridges": bridges,
        "configure": configure,
        "plug": plug,
        "link": link,
        "answering": answering,
        "listening": listening,
        "record": record,
        "recorded_since": recorded_since,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": verbs[request.pop("do")](**request)}
        except Exception as error:  # whatever it was, the engine reports it with its place
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201


def hold():
    """Serve whoever attaches to the main program, and keep the fabric whatever they do."""
    RECORD.mkdir(exist_ok=True)
    threading.Thread(target=forget, daemon=True).start()
    with contextlib.suppress(Exception):
        serve()
    while True:
        signal.pause()


def capture(options):
    """Run tcpdump, its output being ours, until stdin ends or it does; then stop it cleanly."""
    dump = subprocess.Popen([*TCPDUMP, *options], stdin=subprocess.DEVNULL)
    ended = os.pidfd_open(dump.pid)
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            break
        if not os.read(0, 4096):
            drained(dump.pid)
            dump.send_signal(signal.SIGINT)  # it writes out what it holds, and its counts
            break
    return dump.wait()


def drained(pid):
    """Wait until tcpdump has read all that has passed: a SIGINT makes it drop the rest.

    Whatever passes wakes it, so it has read everything when it sleeps (or is dead), unless it
    sleeps because its own reader is slow (proc(5): the state in stat, the place in wchan).
    """
    deadline = time.monotonic() + DRAIN_SECONDS
    process = pathlib.Path(f"/proc/{pid}")
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(") ")[2][0]
            if state in "SZX" and "pipe" not in (process / "wchan").read_text():
                return
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    if sys.argv[1] == "capture":
        sys.exit(capture(sys.argv[2:]))
    if sys.argv[1] == "replay":
        sys.exit(replay(sys.argv[2], "follow" in sys.argv[3:]))
    if sys.argv[1] == "hold":
        hold()
    serve()
