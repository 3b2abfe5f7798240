"""Puts on record all that happens in a running lab: every network captured, every log followed.

Packets and log lines become events as they come, each after the file that proves it has been
written. Networks are captured, not cables, because a bridge stays up when a cable is pulled; a
machine that loses its power is waited for, and its log goes on where it ended.
"""

from __future__ import annotations

import io
import threading
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lab.errors import LabError
from lab.events import EventLog
from lab.observe import maillog
from lab.observe.capture import Listener, ListenerStream, Port, Replay, ports
from lab.observe.logbook import Logbook
from lab.observe.maillog import LogLine
from lab.observe.pcap import read_frames
from lab.observe.tap import Tap
from lab.record import CAPTURES, LOGS, write_log

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

    from lab.engine.lab import Lab

_ABSENT_SECONDS = 0.1  # between two looks whether a machine that was off writes again
_PATIENCE_SECONDS = 5.0  # for the log's follower, and for a capture to end


def nodes_by_address(lab: Lab) -> dict[str, str]:
    """Which machine has which IP address."""
    return {
        str(interface.address.ip): name
        for name, node in lab.plan.nodes.items()
        for interface in node.interfaces
    }


def about(lab: Lab) -> dict[str, Any]:
    """What a run's first event says of the lab it was in (see RunData)."""
    return {
        "lab": lab.name,
        "topology": lab.plan.topology.model_dump(mode="json"),
        "addresses": nodes_by_address(lab),
        "time_scale": lab.clock.scale,
        "started": lab.clock.started,
    }


def logging_nodes(lab: Lab) -> list[str]:
    """The machines that write a log."""
    return [name for name in lab.plan.nodes if lab.plan.health(name)]


def recorded_since(lab: Lab) -> float:
    """Since when the fabric of `lab` keeps a record (epoch seconds).

    Raises LabError if it does not.
    """
    with lab.fabric() as fabric:
        since = fabric.recorded_since()
    if since is None:
        raise LabError(f"what passes in lab '{lab.name}' is not on record", hint="lab up")
    return since


class Recorder:
    """Records `lab` into `folder` and `log` while the `with` block runs.

    With `past`, all is recorded that has happened since the lab was ready (its fabric keeps a
    record of what passes). `taps` are by network; `lines(node)` is all that a machine has written
    so far, also before. Raises LabError if a network can't be listened at.
    """

    def __init__(self, lab: Lab, folder: Path, log: EventLog, *, past: bool = False) -> None:
        self._lab = lab
        self._past = past
        self._folder = folder
        self._log = log
        self.taps = {
            network: Tap(network, f"{CAPTURES}/{network}.pcap", nodes_by_address(lab))
            for network in lab.plan.networks
        }
        self.ended_early: list[str] = []
        """Networks whose capture ended though nobody stopped it: what came after was not seen."""
        self.dropped = 0
        """Frames that passed too fast to be captured; known when the block has ended."""
        self._lines: dict[str, list[LogLine]] = {}
        self._book = Logbook()
        self._reading = threading.Lock()  # the book is one, its readers several
        self._stopping = threading.Event()
        self._followers: dict[str, maillog.Follower] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Recorder:
        with ExitStack() as stack:
            (self._folder / CAPTURES).mkdir(exist_ok=True)
            (self._folder / LOGS).mkdir(exist_ok=True)
            since = recorded_since(self._lab) if self._past else time.time()
            for node in logging_nodes(self._lab):
                self._lines[node] = maillog.read(self._lab, node)
            for line in sorted(chain(*self._lines.values()), key=lambda line: line.time):
                # The book reads all, so that it knows the messages that were queued before.
                for seen in self._book.read(line):
                    if line.time >= since:
                        self._log.record(seen)
            for port in ports(self._lab, self._lab.plan.networks):
                tap = self.taps[port.name]
                file = stack.enter_context((self._folder / tap.file).open("wb"))
                listener = self._listener(port)
                stack.callback(listener.close)
                self._in_thread(stack, self._capture, listener, tap, file)
                stack.callback(listener.stop)
            for node in self._lines:
                self._in_thread(stack, self._follow, node)
            stack.callback(self._stop_following)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.settle()
        finally:
            self._stack.close()
            for node, lines in self._lines.items():
                write_log(self._folder, node, lines)

    def _in_thread(self, stack: ExitStack, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        stack.callback(thread.join, _PATIENCE_SECONDS)

    # Packets ------------------------------------------------------------------------------------

    def _listener(self, port: Port) -> Listener | Replay:
        if self._past:
            return Replay(self._lab, port.name, follow=True)
        return Listener(self._lab, port)

    def _capture(self, listener: Listener | Replay, tap: Tap, file: BinaryIO) -> None:
        stream = io.BufferedReader(_Copied(ListenerStream(listener), file))
        for frame in read_frames(stream, on_cut=lambda cut: None):
            for seen in tap.feed(frame):
                self._log.record(seen)
        for seen in tap.finish():
            self._log.record(seen)
        self.dropped += listener.dropped
        if not listener.stopped:
            self.ended_early.append(listener.port.name)

    # Logs ---------------------------------------------------------------------------------------

    def lines(self, node: str) -> list[LogLine]:
        """All log lines of `node` that have come so far."""
        return list(self._lines[node])

    def settle(self) -> None:
        """Return when all that the machines have written by now is on record.

        Raises LabError if that takes very long.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for node, lines in self._lines.items():
            written = len(maillog.read(self._lab, node))
            while len(lines) < written:
                if time.monotonic() > deadline:
                    raise LabError(f"the log of {node} does not come along", hint="lab doctor")
                time.sleep(0.002)

    def _follow(self, node: str) -> None:
        lines = self._lines[node]
        while not self._stopping.is_set():
            follower = self._followers[node] = maillog.Follower(self._lab, node, len(lines))
            if self._stopping.is_set():  # before it could be told
                follower.close()
            for line in follower:
                with self._reading:
                    for seen in self._book.read(line):
                        self._log.record(seen)
                lines.append(line)
            self._stopping.wait(_ABSENT_SECONDS)

    def _stop_following(self) -> None:
        self._stopping.set()
        for follower in self._followers.values():
            follower.close()


class _Copied(io.RawIOBase):
    """A stream whose octets are in `file` before anybody reads them."""

    def __init__(self, source: io.RawIOBase, file: BinaryIO) -> None:
        self._source = source
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        count = self._source.readinto(view) or 0
        self._file.write(view[:count])
        self._file.flush()
        return count
