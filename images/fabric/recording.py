"""What passes on the wires: kept from when the lab is ready, handed out again, and listened to.

Each network has a tcpdump of its own, which outlives whoever had it started; of the past as much is
kept as has room.
"""

import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time

LOOK_SECONDS = 0.01  # between two looks for what comes next
DRAIN_SECONDS = 2.0  # for tcpdump to read what has passed
# In immediate mode each frame takes as much of the buffer as the longest could: of 2 MiB and
# 256 KiB, its defaults, a burst of nine makes it lose some. Here none is longer than 1514 octets.
TCPDUMP = ["tcpdump", "--immediate-mode", "-U", "-Z", "root", "-s", "2048", "-B", "16384"]
RECORD = pathlib.Path("/lab/record")
RECORD_MEGABYTES, RECORD_FILES = 10, 10  # of each network: of the past the newest 90 MB or more
FORGET_SECONDS = 0.2
PCAP_HEADER = 24


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
    return since()


def since():
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


def keep_the_newest():
    """Keep of each network's record only the newest files, for ever."""
    RECORD.mkdir(exist_ok=True)
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
        time.sleep(LOOK_SECONDS)
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
        time.sleep(LOOK_SECONDS)
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
        time.sleep(LOOK_SECONDS)
