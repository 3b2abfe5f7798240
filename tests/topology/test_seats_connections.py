"""Connections that start at a seat, by ports of this machine."""

from __future__ import annotations

import contextlib
import socket

import pytest
from harness import until
from outside import recorded
from sitting import hello, seat, terminal

from lab.engine.lab import Lab
from lab.errors import LabError
from lab.observe.pcap import read_frames
from lab.seats.forward import Wanted, forwarding
from lab.seats.ssh import Connection, NotReached, connect


def test_a_connection_starts_at_the_seat_and_crosses_its_cable(whole: Lab, bob: Connection) -> None:
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 110)]) as (port,),
        socket.create_connection(("127.0.0.1", port.port), timeout=10) as line,
    ):
        marker = f"marker{port.port}"
        assert line.recv(100).startswith(b"+OK")
        line.sendall(f"USER {marker}\r\n".encode())
        assert line.recv(100)
    frames = read_frames_of(recorded(whole, "receiver-lan"))
    (said,) = [frame for frame in frames if marker.encode() in frame]
    assert said[26:30] == bytes([203, 0, 113, 10]), "from Bob's PC"
    assert said[30:34] == bytes([203, 0, 113, 25])


def test_to_sit_down_leaves_nothing_on_the_wires(whole: Lab) -> None:
    before = len(recorded(whole, "receiver-lan"))
    with terminal(whole, "ssh", "bob") as said:
        said("exit\r", "logout")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    new = recorded(whole, "receiver-lan")[before:]
    assert b"UNKNOWN" not in new.upper(), "sshd asks for nobody's name"


def read_frames_of(octets: bytes) -> list[bytes]:
    import io

    return [bytes(frame.data) for frame in read_frames(io.BytesIO(octets))]


def test_each_side_may_end_first(bob: Connection) -> None:
    with (
        bob.program(["sh", "-c", "echo | nc -l -N 127.0.0.1 9100 & nc -l 127.0.0.1 9101"]) as nc,
        forwarding(bob, [Wanted(0, "127.0.0.1", 9100), Wanted(0, "127.0.0.1", 9101)]) as two,
    ):
        with until("nc listens", lambda: _connected(two[0].port)) as line:
            assert line.recv(10) == b"\n"
            assert line.recv(10) == b"", "it has said all"
        with until("nc listens", lambda: _connected(two[1].port)) as line:
            line.sendall(b"that is all")
            line.shutdown(socket.SHUT_WR)
            assert next(nc.frames())[1] == b"that is all"
            assert line.recv(10) == b""


def _connected(port: int) -> socket.socket | None:
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    line.settimeout(0.3)
    try:
        if line.recv(1, socket.MSG_PEEK):
            line.settimeout(10)
            return line
    except TimeoutError:  # it is there, and says nothing
        line.settimeout(10)
        return line
    except OSError:
        pass
    line.close()
    return None


def test_where_nobody_listens_that_is_told(bob: Connection) -> None:
    with pytest.raises(
        NotReached, match=r"mail\.receiver\.example:81 can't be reached: Connection refused$"
    ):
        bob.dial("mail.receiver.example", 81)
    with pytest.raises(NotReached, match=r"nowhere\.example:25 can't be reached: Name or service"):
        bob.dial("nowhere.example", 25)
    told: list[str] = []
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 81)], told.append) as (port,),
        socket.create_connection(("127.0.0.1", port.port), timeout=10) as line,
    ):
        assert line.recv(10) == b""
    assert len(told) == 1 and "mail.receiver.example:81" in told[0]


def test_a_port_is_open_on_this_machine_alone_and_closed_afterwards(bob: Connection) -> None:
    with forwarding(bob, [Wanted(0, "mail.receiver.example", 25)]) as (port,):
        assert port.listener.getsockname()[0] == "127.0.0.1"
        said, bye = hello("127.0.0.1", port.port)
        assert said.startswith("220 mail.receiver.example") and bye.startswith("221")
        with (
            pytest.raises(LabError, match=f"port {port.port} of this machine can't be opened"),
            forwarding(bob, [Wanted(0), Wanted(port.port)]),
        ):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.port), timeout=10)


def test_many_callers_at_once(bob: Connection) -> None:
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 110)]) as (port,),
        contextlib.ExitStack() as stack,
    ):
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=20))
            for _ in range(30)
        ]
        assert all(line.recv(100).startswith(b"+OK") for line in lines)
