"""How fast captures are read, stage by stage, beside tshark on the same file.

The capture is made for the purpose and always the same: SMTP in many small segments, each
acknowledged, which is the worst that mail does to a decoder. Every stage includes those before
it and runs in a process of its own, whose peak memory is its own too. What counts is processor
time, not the clock: it says the same when the machine is busy with something else.

    python -m lab.observe.bench STAGE FILE    measures one stage and prints it as JSON
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from lab.observe.dialogue import listen
from lab.observe.packets import ACK, FIN, PSH, SYN, decode
from lab.observe.pcap import Frame, read_frames
from lab.observe.tcp import follow

_SEGMENT = 128  # octets of a message in one packet
_MESSAGES = 6  # in each connection
_ENDS = {"C": bytes([198, 51, 100, 25]), "S": bytes([203, 0, 113, 25])}
_head = struct.Struct(">12xHBxHxxHBBxx4s4sHHIIBBHxxxx")


@dataclass(frozen=True)
class Speed:
    """One stage: packets, seconds of processor time they took, the process's peak memory."""

    stage: str
    packets: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Packets per second of processor time."""
        return self.packets / self.seconds


def bench_decode(
    size: int, rounds: int, progress: Callable[[str], None] = lambda line: None
) -> list[Speed]:
    """The best of `rounds` for each stage, on a capture of `size` octets; tshark last, if it is
    installed.
    """
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        path = Path(folder) / "smtp.pcap"
        progress(f"making a capture of {size / 1e6:.0f} MB")
        packets = generate(path, size)
        contenders: dict[str, Callable[[], Speed]] = {
            stage: partial(_ours, stage, path) for stage in _STAGES
        }
        if shutil.which("tshark"):
            contenders["tshark"] = partial(_tshark, path, packets)
        best: dict[str, Speed] = {}
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            for name, measure in contenders.items():
                speed = measure()
                if name not in best or speed.seconds < best[name].seconds:
                    best[name] = speed
    return list(best.values())


def generate(path: Path, size: int) -> int:
    """Write the capture, of about `size` octets; returns how many packets it has."""
    conversation = list(_conversation())
    count = written = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for port in range(1024, 65536):
            if written >= size:
                break
            for src, dst, flags, seq, ack, text in conversation:
                ports = (port, 25) if src == "C" else (25, port)
                ends = _ENDS[src], _ENDS[dst]
                head = (0x0800, 0x45, 40 + len(text), 0, 64, 6, *ends, *ports, seq, ack)
                frame = _head.pack(*head, 0x50, flags, 64240) + text
                stamp = struct.pack(
                    "<IIII",
                    1_700_000_000 + count // 10_000,
                    count % 10_000 * 100,
                    *[len(frame)] * 2,
                )
                written += file.write(stamp + frame)
                count += 1
    return count


def _conversation() -> Iterator[tuple[str, str, int, int, int, bytes]]:
    """Sender, receiver, flags, sequence number, acknowledgement and payload of each segment."""
    place = {"C": 1000, "S": 5000}

    def segment(src: str, flags: int, text: bytes = b"") -> tuple[str, str, int, int, int, bytes]:
        dst = "S" if src == "C" else "C"
        ack = place[dst] if flags & ACK else 0
        made = (src, dst, flags, place[src], ack, text)
        place[src] += len(text) + (1 if flags & (SYN | FIN) else 0)
        return made

    yield segment("C", SYN)
    yield segment("S", SYN | ACK)
    yield segment("C", ACK)
    for src, text in _script():
        for at in range(0, len(text), _SEGMENT):
            yield segment(src, PSH | ACK, text[at : at + _SEGMENT])
            yield segment("S" if src == "C" else "C", ACK)
    yield segment("C", FIN | ACK)
    yield segment("S", FIN | ACK)
    yield segment("C", ACK)


def _script() -> Iterator[tuple[str, bytes]]:
    line = b"A line of a message that somebody wrote to somebody else.\r\n"
    yield "S", b"220 mail.receiver.example ESMTP\r\n"
    yield "C", b"EHLO mail.sender.example\r\n"
    yield "S", b"250-mail.receiver.example\r\n250-8BITMIME\r\n250 SIZE\r\n"
    for number in range(_MESSAGES):
        yield "C", b"MAIL FROM:<alice@sender.example>\r\n"
        yield "S", b"250 2.1.0 Ok\r\n"
        yield "C", b"RCPT TO:<bob@receiver.example>\r\n"
        yield "S", b"250 2.1.5 Ok\r\n"
        yield "C", b"DATA\r\n"
        yield "S", b"354 End data with <CR><LF>.<CR><LF>\r\n"
        yield "C", b"Message-ID: <%d@sender.example>\r\n\r\n%s.\r\n" % (number, line * 40)
        yield "S", b"250 2.0.0 Ok: queued as 4ABC\r\n"
    yield "C", b"QUIT\r\n"
    yield "S", b"221 2.0.0 Bye\r\n"


# What is measured --------------------------------------------------------------------------------


def _lines(frames: Iterator[Frame]) -> Iterator[bytes]:
    """Every line that was said, in the order of its last octet."""
    begun: dict[tuple[int, str], bytes] = {}
    for step in follow(frames):
        if step.kind == "data":
            key = step.stream.number, step.side
            *lines, begun[key] = (begun.get(key, b"") + step.data).split(b"\n")
            yield from lines
        elif step.kind == "over":
            begun.pop((step.stream.number, "client"), None)
            begun.pop((step.stream.number, "server"), None)


_STAGES: Mapping[str, Callable[[Iterator[Frame]], Iterator[object]]] = {
    "read": lambda frames: frames,
    "decode": lambda frames: map(decode, frames),
    "reassembly": follow,
    "lines": _lines,
    "dialogue": listen,
}


def _measure(stage: str, path: Path) -> Speed:
    """Run a stage here and now."""
    packets = 0

    def counted(frames: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal packets
        for frame in frames:
            packets = frame.number
            yield frame

    with path.open("rb") as file:
        work = _STAGES[stage](read_frames(file))
        began = time.process_time()
        deque(work, maxlen=0)
        seconds = time.process_time() - began
        file.seek(0)
        deque(counted(read_frames(file)), maxlen=0)
    return Speed(stage, packets, seconds, _peak())


def _peak() -> int:
    """This process's peak memory in octets.

    Linux counts the parent's memory too in what getrusage tells of a process just started.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return _octets(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _octets(maxrss: int) -> int:
    """getrusage(2): kilobytes, but octets on macOS."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def _ours(stage: str, path: Path) -> Speed:
    argv = [sys.executable, "-m", "lab.observe.bench", stage, str(path)]
    done = subprocess.run(argv, capture_output=True, check=True)
    return Speed(**json.loads(done.stdout))


def _tshark(path: Path, packets: int) -> Speed:
    fields = ["frame.number", "tcp.stream", "smtp.req.command", "smtp.response.code"]
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    argv += [word for field in fields for word in ("-e", field)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # it was waited for
    return Speed("tshark", packets, used.ru_utime + used.ru_stime, _octets(used.ru_maxrss))


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(sys.argv[1], Path(sys.argv[2])))))  # noqa: T201
