"""Captures at the cable: every packet, at once, whole, and no tcpdump left behind."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from harness import ALICE, BOB, LAB, delivered, made, processes_of, run_lab, send, until

from lab.engine.exec import Exec, run
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC
from lab.observe.packets import FIN, Tcp, decode
from lab.observe.pcap import Frame, read_frames

PING = ("ping", "-c1", "-W2")
RECEIVER_PC = "203.0.113.10"


@contextmanager
def capturing(lab: Lab, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lab capture` at work; listening when the block begins, gone when it has ended."""
    with subprocess.Popen(
        [*LAB, "--lab", lab.name, "capture", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr
            assert process.stderr.readline().startswith(b"listening at ")
            yield process
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """Ctrl-C; what it had still to say on stdout and stderr. It has to end well."""
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    return output, said.decode()


def frames(file: Path) -> list[Frame]:
    """What is in a capture file by now."""
    if not file.exists() or not file.stat().st_size:
        return []
    with file.open("rb") as stream:
        return list(read_frames(stream, on_cut=lambda cut: None))


def whole(content: bytes) -> list[Frame]:
    """What is in a capture that has ended, of which nothing may be missing."""
    return list(read_frames(io.BytesIO(content)))


def ping(lab: Lab) -> None:
    lab.run("sender-pc", [*PING, RECEIVER_PC]).check("ping")


def tcpdumps(lab: Lab) -> list[int]:
    """The tcpdump processes in the fabric, without those of its own record."""
    found = []
    for process in processes_of({made(lab)[FABRIC].id}, "tcpdump"):
        with contextlib.suppress(OSError):  # it has just ended
            if b"/lab/record/" not in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def test_a_burst_is_captured_whole(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "burst.pcap"
    with capturing(lab, "sender-lan", "-w", str(file), "--filter", "icmp") as process:
        # No more at once than a kernel lets wait on its way (net.core.netdev_max_backlog, 1000).
        burst = ["ping", "-q", "-c300", "-l300", "-s1400", "-i0.002", "198.51.100.25"]
        assert "300 received" in lab.run("sender-pc", burst).check("ping").text
        _, said = interrupt(process)
    assert "dropped" not in said
    assert len(frames(file)) == 600


def test_the_file_is_what_tcpdump_itself_would_have_written(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mail.pcap"
    expression = "tcp port 25"
    beside = ["tcpdump", "-U", "--immediate-mode", "-Z", "root", "-s", "2048", "-i", "sender-mail"]
    fabric = made(lab)[FABRIC].id
    with (
        capturing(lab, "sender-mail", "-w", str(file), "--filter", expression) as process,
        Exec(fabric, [*beside, "-w", "/tmp/beside.pcap", expression]) as other,
    ):
        next(data for _, data in other.frames() if b"listening on" in data)
        delivered(lab, BOB, send(lab, ALICE, BOB))

        def read() -> bytes:
            return run(fabric, ["cat", "/tmp/beside.pcap"]).stdout

        # The connection has ended when both sides have said so (FIN).
        until("the connection has ended", lambda: len(fins(whole_so_far(read()))) == 2)
        until("we have as much", lambda: len(frames(file)) == len(whole_so_far(read())))
        interrupt(process)
        expected = read()
        # The fabric sees every process of the machine: only its own are to be ended.
        run(fabric, ["kill", *map(str, tcpdumps(lab))])
    content = file.read_bytes()
    assert content[:24] == expected[:24]
    ours, theirs = whole(content), whole_so_far(expected)
    assert [(f.data, f.length, f.linktype) for f in ours] == [
        (f.data, f.length, f.linktype) for f in theirs
    ]
    assert any(b"MAIL FROM:<alice@sender.example>" in frame.data for frame in ours)
    until("no tcpdump is left", lambda: not tcpdumps(lab), 5)


def whole_so_far(content: bytes) -> list[Frame]:
    return list(read_frames(io.BytesIO(content), on_cut=lambda cut: None)) if content else []


def fins(found: list[Frame]) -> list[Frame]:
    return [f for f in found if isinstance(tcp := decode(f), Tcp) and tcp.flags & FIN]


def test_ctrl_c_ends_a_capture_with_its_last_packet_in_the_file(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "ping.pcap"
    with capturing(lab, "sender-pc", "-w", str(file), "--filter", "icmp") as process:
        for _ in range(3):
            ping(lab)
        # At once: the last answer may still be on its way from tcpdump to us.
        _, said = interrupt(process)
    assert len(whole(file.read_bytes())) == 6
    assert said == "6 packets\n"
    until("no tcpdump is left", lambda: not tcpdumps(lab), 5)


def test_a_packet_that_tcpdump_has_not_read_at_ctrl_c_is_not_lost(lab: Lab) -> None:
    with capturing(lab, "sender-pc", "-w", "-", "--filter", "icmp") as process:
        (dump,) = tcpdumps(lab)
        os.kill(dump, signal.SIGSTOP)  # as if the machine were too busy to run it
        try:
            ping(lab)
            process.send_signal(signal.SIGINT)
            # An agent that does not care has now passed the SIGINT on; a careful one waits.
            with contextlib.suppress(AssertionError):
                until("a SIGINT is pending", lambda: pending(dump) & 1 << signal.SIGINT - 1, 0.5)
        finally:
            os.kill(dump, signal.SIGCONT)
        output, _ = process.communicate(timeout=10)
    assert len(whole(output)) == 2


def pending(process: int) -> int:
    """The signals that wait for a process to run again, as bits (proc(5))."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(dict(line.split(":\t", 1) for line in text.splitlines())["ShdPnd"], 16)


def test_a_packet_is_in_the_file_as_soon_as_it_has_passed(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "ping.pcap"
    waits = []
    with capturing(lab, "sender-pc", "-w", str(file), "--filter", "icmp"):
        for count in range(1, 8):
            ping(lab)
            seen = until(
                "both packets are there",
                lambda count=count: found if len(found := frames(file)) == 2 * count else None,
            )
            waits.append(time.time() - seen[-1].time)
    # tcpdump by default hands on what it has every half second or so; a busy machine is late
    # now and then, not mostly.
    assert statistics.median(waits) < 0.2, waits


@pytest.mark.parametrize(
    "places",
    [
        ("sender-lan", "receiver-pc", "receiver-lan"),
        ("internet:sender-lan", "internet:receiver-lan", "receiver-pc"),
    ],
    ids=["networks", "cables of a router"],
)
def test_several_places_go_into_one_file_each_under_its_name(
    lab: Lab, tmp_path: Path, places: tuple[str, ...]
) -> None:
    file = tmp_path / "several.pcapng"
    with capturing(lab, *places, "-w", str(file), "--filter", "icmp") as process:
        ping(lab)
        until("all have seen it", lambda: len(frames(file)) == 6)
        interrupt(process)
    seen_at = Counter(frame.interface for frame in whole(file.read_bytes()))
    assert seen_at == dict.fromkeys(places, 2)


def test_packets_go_into_a_pipe(lab: Lab) -> None:
    with capturing(lab, "receiver-lan", "-w", "-", "--filter", "icmp") as process:
        ping(lab)
        output, said = interrupt(process)
    assert len(whole(output)) == 2
    assert said == "2 packets\n"


def test_a_reader_that_has_seen_enough_ends_the_capture(lab: Lab) -> None:
    with capturing(lab, "receiver-lan", "-w", "-", "--filter", "icmp") as process:
        assert process.stdout
        process.stdout.close()
        ping(lab)
        process.wait(10)
        assert process.stderr and process.stderr.read() == b""
    until("no tcpdump is left", lambda: not tcpdumps(lab), 5)


def test_without_a_file_each_packet_is_a_line(lab: Lab) -> None:
    with capturing(lab, "sender-pc", "--filter", "icmp") as process:
        ping(lab)
        output, _ = interrupt(process)
    asked, answered = output.decode().splitlines()
    assert "IP 198.51.100.10 > 203.0.113.10: ICMP echo request" in asked
    assert "IP 203.0.113.10 > 198.51.100.10: ICMP echo reply" in answered


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ["sender-pc", "--filter", "tcp prot 25"],
            2,
            "lab: tcpdump does not understand the filter 'tcp prot 25'\n"
            "  | can't parse filter expression: syntax error\n"
            "  → write it as in pcap-filter(7): tcp port 25 and host 203.0.113.25\n",
        ),
        (
            ["sender-cp"],
            2,
            "lab: there is no machine or network 'sender-cp' in lab '{lab}'\n"
            "  → one of: internet, dns, sender-mail, sender-pc, receiver-mail, receiver-pc, "
            "sender-lan, dns-lan, receiver-lan\n",
        ),
        (
            ["sender-pc", "-w", "/nonexistent/x.pcap"],
            3,
            "listening at sender-pc (Ctrl-C to stop)\n"
            "lab: /nonexistent/x.pcap: can't write the capture: No such file or directory\n",
        ),
    ],
)
def test_what_can_not_be_captured_is_one_error(
    lab: Lab, arguments: list[str], status: int, said: str
) -> None:
    done = run_lab(lab.name, "capture", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == said.replace("{lab}", lab.name)
    until("no tcpdump is left", lambda: not tcpdumps(lab), 5)


def test_a_capture_that_is_killed_leaves_no_tcpdump(lab: Lab, tmp_path: Path) -> None:
    with capturing(lab, "sender-lan", "dns-lan", "-w", str(tmp_path / "x.pcapng")) as process:
        until("they listen", lambda: len(tcpdumps(lab)) == 2)
        process.kill()
        process.wait()
        until("no tcpdump is left", lambda: not tcpdumps(lab), 5)


@pytest.mark.parametrize("user", ["root", "alice"])
def test_a_student_runs_tcpdump_on_their_own_pc(lab: Lab, user: str) -> None:
    file = f"/tmp/{user}.pcap"
    argv = ["timeout", "20", "tcpdump", "-i", "eth0", "-c2", "-U", "-w", file, "icmp"]
    with Exec(lab.container("sender-pc"), argv, user=user) as dump:
        said = bytearray()
        for _, data in dump.frames():
            said += data
            if b"listening on eth0" in said:
                break
        pinging = Thread(target=ping, args=(lab,))
        pinging.start()
        for _, data in dump.frames():
            said += data
        pinging.join()
        assert dump.status() == 0, said
    assert len(whole(lab.run("sender-pc", ["cat", file], user=user).stdout)) == 2
    read = lab.run("sender-pc", ["tcpdump", "-n", "-r", file], user=user).check("reading it").text
    assert "198.51.100.10 > 203.0.113.10: ICMP echo request" in read


def test_wireshark_is_given_the_packets_as_they_come(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in takes Wireshark's place: what it is called with, and what it is given."""
    program = tmp_path / "wireshark"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nexec cat > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with capturing(lab, "sender-pc", "--wireshark", "--filter", "icmp") as process:
        ping(lab)
        until("it shows both packets", lambda: len(frames(tmp_path / "shown")) == 2)
        interrupt(process)
    assert (tmp_path / "asked").read_text() == "-k -i -\n"
    assert len(whole((tmp_path / "shown").read_bytes())) == 2


def test_without_wireshark_the_way_out_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run_lab(lab.name, "capture", "sender-pc", "--wireshark")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "lab: Wireshark is not installed\n"
        "  → apt-get install wireshark, or write a file with -w and open it elsewhere\n"
    )
