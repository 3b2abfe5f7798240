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

import contextlib
import errno
import json
import os
import pathlib
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # -I leaves it out

import journal
import lent
import recording
import wires
from wires import inside

RETRY_SECONDS = 0.01  # between two tries at a service that does not answer yet
TRY_SECONDS = 1.0  # for one try
KEPT = pathlib.Path("/lab/kept")


def configure(pid, files):
    """Write a new node's files, and let its /lab/start, which waits for them, go on.

    True if it was new. Docker's own way to copy files takes five times as long as this.

    Root there may have laid links in our way, and where they lead we would look from here, with
    the whole host in reach (/proc/1/root). None is followed: OSError.
    """
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        with folder(root, "lab") as lab:
            with contextlib.suppress(FileNotFoundError):
                os.stat("configured", dir_fd=lab, follow_symlinks=False)
                return False
            for file in files:
                write(root, file["path"], file["content"], file["mode"])
            # Last, because in a folder that is somebody else's we could not write.
            for file in files:
                if file["owner"]:
                    give(root, file["path"], file["owner"])
            os.close(os.open("configured", os.O_CREAT | os.O_EXCL, dir_fd=lab))
            open_gate(lab)
    finally:
        os.close(root)
    return True


def furnish(pid, files):
    """Have a node's files say what they should, whatever has become of them since."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        for file in files:
            if not says(root, file):
                write(root, file["path"], file["content"], file["mode"])
    finally:
        os.close(root)


def says(root, file):
    """Whether there is such a file below the folder open as `root`, root's own, and just so."""
    parents, _, name = file["path"].rpartition("/")
    with folder(root, parents) as parent:
        try:
            found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        except OSError:
            return False
        try:
            kind = os.fstat(found)
            if (kind.st_mode, kind.st_uid) != (stat.S_IFREG | file["mode"], 0):
                return False
            wanted = file["content"].encode()
            return os.read(found, len(wanted) + 1) == wanted
        finally:
            os.close(found)


def keep(name, text=None):
    """What the lab keeps under `name`, for as long as it is there: `text`, unless it has some."""
    with contextlib.suppress(FileNotFoundError):
        return (KEPT / name).read_text()
    if text is None:
        return None
    KEPT.mkdir(mode=0o700, exist_ok=True)
    new = KEPT / f".{name}.{os.getpid()}"
    new.touch(mode=0o600)
    new.write_text(text)
    with contextlib.suppress(FileExistsError):  # whoever is first
        os.link(new, KEPT / name)
    new.unlink()
    return (KEPT / name).read_text()


@contextlib.contextmanager
def folder(root, path):
    """The folder `path` below the one open as `root`, open, and made where it is missing."""
    here = os.dup(root)
    try:
        for name in path.strip("/").split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=here)
            there = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = there
        yield here
    finally:
        os.close(here)


def write(root, path, content, mode):
    """Write a file below the folder open as `root`; whatever was there before makes way for it.

    Whoever reads it meanwhile finds the one or the other, whole.
    """
    parents, _, name = path.rpartition("/")
    new = f".{name}.{time.time_ns()}"
    with folder(root, parents) as parent:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
        with open(file, "w") as stream:  # noqa: PTH123
            os.fchmod(file, mode)
            stream.write(content)
            stream.flush()
            # Postfix waits before it reads a file written in the last seconds; ours claim to be
            # older.
            written = time.time() - 60
            os.utime(file, (written, written))
        try:
            os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:  # a folder is in the way
            os.unlink(new, dir_fd=parent)
            raise


def give(root, path, owner):
    """Make a file, and the folder it is in, somebody else's."""
    parents, _, name = path.rpartition("/")
    above, _, parent = parents.rpartition("/")
    for there, what in ((parents, name), (above, parent)):
        with folder(root, there) as place:
            os.chown(what, owner, owner, dir_fd=place, follow_symlinks=False)


def open_gate(lab):
    """Let a node's /lab/start go on; should it not wait yet, it will find that it need not."""
    try:
        gate = os.open("gate", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=lab)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return
    os.write(gate, b"go\n")
    os.close(gate)


def command(pid, argv):
    """Run a program of the fabric's in the network of process `pid`: its status and its output."""
    with inside(pid):
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return [done.returncode, done.stdout + done.stderr]


def frozen(pid):
    """Whether the first program that the init `pid` has started is stopped (proc_pid_stat(5))."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        said = pathlib.Path(f"/proc/{children[0]}/stat").read_text()
    except (OSError, IndexError):  # it has ended this instant
        return False
    return said.rpartition(") ")[2][0] in "Tt"


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


def ask_http(host, port):
    """True if the web server at host:port has a first page; all of it is read, as by a browser."""
    with socket.create_connection((host, port), timeout=TRY_SECONDS) as channel:
        channel.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        said = b"".join(iter(lambda: channel.recv(65536), b""))
        status = said.partition(b"\r\n")[0].decode(errors="replace")
        if " 200 " not in status:
            raise OSError(f"answered with {status!r}")


ASK = {"dns": ask_dns, "tcp": ask_tcp, "http": ask_http}


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
                    ASK[kind](*arguments)
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


def serve():
    """Answer requests until stdin ends."""
    verbs = {
        "interfaces": wires.interfaces,
        "bridges": wires.bridges,
        "configure": configure,
        "furnish": furnish,
        "keep": keep,
        "plug": wires.plug,
        "pull": wires.pull,
        "push": wires.push,
        "lead": wires.lead,
        "cable": wires.cable,
        "lend": lent.lend,
        "lent": lent.lent,
        "command": command,
        "frozen": frozen,
        "note": journal.note,
        "cross_out": journal.cross_out,
        "noted": journal.noted,
        "tell": journal.tell,
        "told": journal.told,
        "answering": answering,
        "listening": listening,
        "record": recording.record,
        "recorded_since": recording.since,
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
    threading.Thread(target=recording.keep_the_newest, daemon=True).start()
    with contextlib.suppress(Exception):
        serve()
    while True:
        signal.pause()


if __name__ == "__main__":
    if sys.argv[1] == "capture":
        sys.exit(recording.capture(sys.argv[2:]))
    if sys.argv[1] == "replay":
        sys.exit(recording.replay(sys.argv[2], "follow" in sys.argv[3:]))
    if sys.argv[1] == "hold":
        hold()
    serve()
