"""What tests of seats share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness import LAB

from lab.engine.lab import Lab
from lab.seats.seat import Seat, find

PC = "receiver-pc"


def seat(lab: Lab, said: str = "bob") -> Seat:
    return find(lab.plan.topology, said)


def seated(lab: Lab) -> bool:
    """Whether an sshd runs on Bob's PC."""
    return b"sshd" in lab.run(PC, ["ps", "-e", "-o", "args"]).check("ps").stdout


def hello(host: str, port: int) -> tuple[str, str]:
    """What a server at host:port greets with, and its goodbye."""
    with socket.create_connection((host, port), timeout=10) as line:
        said = line.recv(1000).decode()
        line.sendall(b"QUIT\r\n")
        return said, line.recv(1000).decode()


@contextmanager
def terminal(lab: Lab, *words: str) -> Iterator[Callable[[str, str], str]]:
    """The command on a terminal of 33 rows and 101 columns: say something, wait for an answer."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        os.execv(LAB[0], [*LAB, "--lab", lab.name, *words])
    heard = bytearray()

    def wait_for(what: str) -> None:
        deadline = time.monotonic() + 30
        while what.encode() not in heard:
            ready, _, _ = select.select([master], [], [], deadline - time.monotonic())
            assert ready, heard.decode(errors="replace")
            try:
                heard.extend(os.read(master, 9999))
            except OSError as error:  # the other end has closed
                raise AssertionError(heard.decode(errors="replace")) from error

    def say(line: str, until_: str) -> str:
        wait_for("$ ")
        os.write(master, line.encode())
        wait_for(until_)
        return heard.decode()

    try:
        yield say
    finally:
        os.close(master)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)
