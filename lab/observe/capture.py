"""Live captures at the cable: what passes a node's plug or a network, as it passes.

tcpdump runs in the fabric, outside the nodes: nobody in a node can see or stop it, and the
node's own tools stay out of the picture. Every byte of the file is tcpdump's own.
"""

from __future__ import annotations

import contextlib
import io
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from lab.engine.exec import STDERR, STDOUT, Exec
from lab.engine.fabric import AGENT
from lab.engine.plan import FABRIC
from lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from lab.engine.lab import Lab

_COUNT = re.compile(r"(\d+) packets? (captured|dropped by kernel)")


@dataclass(frozen=True)
class Port:
    """A place to listen at: a name for people, and the interface in the fabric."""

    name: str
    interface: str


def ports(lab: Lab, targets: Sequence[str]) -> list[Port]:
    """Where to listen for `targets`: nodes, networks, or NODE:NETWORK for one of a router's cables.

    Raises UsageError for a name that is neither.
    """
    found: list[Port] = []
    for target in targets:
        node, _, network = target.partition(":")
        if target in lab.plan.networks:
            found.append(Port(target, target))
            continue
        cables = [
            interface
            for interface in (lab.plan.nodes[node].interfaces if node in lab.plan.nodes else ())
            if network in ("", interface.network)
        ]
        if not cables:
            raise UsageError(
                f"there is no machine or network '{target}' in lab '{lab.name}'",
                hint="one of: " + ", ".join([*lab.plan.nodes, *lab.plan.networks]),
            )
        only_one = len(lab.plan.nodes[node].interfaces) == 1
        found += [
            Port(node if only_one else f"{node}:{cable.network}", cable.port) for cable in cables
        ]
    return list(dict.fromkeys(found))


class Listener:
    """One tcpdump at one port. `read(n)` gives the bytes of its pcap as a file would.

    It listens when the constructor returns. Raises UsageError for a filter that tcpdump refuses.
    """

    def __init__(self, lab: Lab, port: Port, expression: str = "", *, text: bool = False) -> None:
        self.port = port
        self.captured = self.dropped = 0
        options = ["-l", "-n"] if text else ["-w", "-"]
        argv = [
            AGENT,
            "capture",
            "-i",
            port.interface,
            *options,
            *([expression] if expression else []),
        ]
        self._program = Exec(lab.container(FABRIC), argv)
        self._frames = self._program.frames()
        self._said = bytearray()
        self._pending = bytearray()
        self._stopping = threading.Lock()
        self._stopped = False
        self._wait_listening(expression)

    def _wait_listening(self, expression: str) -> None:
        for stream, data in self._frames:
            if stream == STDOUT:
                self._pending += data
            else:
                self._said += data
            if b"listening on" in self._said:
                return
        said = self._said.decode(errors="replace").strip()
        self._program.close()
        if expression and "No such device" not in said:
            raise UsageError(
                f"tcpdump does not understand the filter {expression!r}",
                detail=said.splitlines()[-1].removeprefix("tcpdump: "),
                hint="write it as in pcap-filter(7): tcp port 25 and host 203.0.113.25",
            )
        raise LabError(f"could not listen at {self.port.name}", detail=said, hint="lab status")

    def chunks(self) -> Iterator[bytes]:
        """What tcpdump writes, as it writes it, until it is stopped."""
        if self._pending:
            yield bytes(self._pending)
            self._pending.clear()
        for stream, data in self._frames:
            if stream == STDERR:
                self._said += data
            else:
                yield data
        for count, what in _COUNT.findall(self._said.decode(errors="replace")):
            if what == "captured":
                self.captured = int(count)
            else:
                self.dropped = int(count)

    def stop(self) -> None:
        """Let tcpdump write out what it holds, and end; `chunks` then ends too. From any thread."""
        with self._stopping:
            if not self._stopped:
                self._stopped = True
                with contextlib.suppress(OSError):
                    self._program.close_stdin()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped

    def close(self) -> None:
        """Hang up without waiting for the rest."""
        self._program.close()


class Replay:
    """What has passed on a network since its lab was ready, and (with `follow`) what passes now.

    As a Listener, but of the record that the fabric keeps by itself.
    """

    def __init__(self, lab: Lab, network: str, *, follow: bool) -> None:
        self.port = Port(network, network)
        self.dropped = 0  # as far as we know
        argv = [AGENT, "replay", network, *(["follow"] if follow else [])]
        self._program = Exec(lab.container(FABRIC), argv)
        self.stopped = not follow

    def chunks(self) -> Iterator[bytes]:
        """The octets of a pcap, until it is stopped, or (not to follow) all have come."""
        return (data for stream, data in self._program.frames() if stream == STDOUT)

    def stop(self) -> None:
        """No more is wanted; `chunks` then ends. From any thread."""
        if not self.stopped:
            self.stopped = True
            with contextlib.suppress(OSError):
                self._program.close_stdin()

    def close(self) -> None:
        """Hang up."""
        self._program.close()


def write(listeners: Sequence[Listener | Replay], sink: BinaryIO) -> None:
    """Write what listeners hear into `sink`, until all have ended: one as it is, several merged."""
    if len(listeners) != 1:
        merged(listeners, sink)
        return
    for data in listeners[0].chunks():
        sink.write(data)
        sink.flush()


def merged(listeners: Sequence[Listener | Replay], sink: BinaryIO) -> None:
    """Write several listeners' packets into one pcapng, each port an interface with its name.

    Returns when all of them have ended.
    """
    from lab.observe.pcap import Frame, PcapngWriter, read_frames

    arrived: queue.SimpleQueue[tuple[int, Frame | None]] = queue.SimpleQueue()

    def read(index: int, listener: Listener | Replay) -> None:
        try:
            for frame in read_frames(io.BufferedReader(ListenerStream(listener))):
                arrived.put((index, frame))
        finally:
            arrived.put((index, None))

    writer = PcapngWriter(sink)
    for index, listener in enumerate(listeners):
        writer.add_interface(listener.port.name, 1)  # LINKTYPE_ETHERNET
        threading.Thread(target=read, args=(index, listener), daemon=True).start()
    open_count = len(listeners)
    while open_count:
        index, frame = arrived.get()
        if frame is None:
            open_count -= 1
        else:
            writer.write(frame, index)
            sink.flush()


class ListenerStream(io.RawIOBase):
    """A listener as a raw stream, for whoever reads a capture as a file."""

    def __init__(self, listener: Listener | Replay) -> None:
        self._chunks = listener.chunks()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        if not self._left:
            self._left = next(self._chunks, b"")
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
