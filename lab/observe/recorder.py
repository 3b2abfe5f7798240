"""Puts on record all that happens in a running lab: every network captured, every log followed.

Packets and log lines become events as they come, each after the file that proves it has been
written. Networks are captured, not cables, because a bridge stays up when a cable is pulled; a
machine that loses its power is waited for, and its log goes on where it ended.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lab.engine import containers
from lab.errors import LabError
from lab.events import EventLog, Observation
from lab.observe import maillog
from lab.observe.capture import Listener, ListenerStream, Port, Replay, ports
from lab.observe.logbook import Logbook
from lab.observe.maillog import LogLine
from lab.observe.pcap import read_frames
from lab.observe.tap import Tap
from lab.record import CAPTURES, write_log

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

    from lab.engine.lab import Lab

_FAULT_SECONDS = 0.2  # between two looks whether somebody has put on or healed a fault
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


def fault(told: dict[str, Any]) -> Observation:
    """That a fault went on or off, as it was put on the lab's own record."""
    apart = ("time", "node", "by")
    data = {key: value for key, value in told.items() if key not in apart} | {"evidence": []}
    words = told["title"] if told["on"] else told["healed"]
    return Observation("fault", words, told["time"], told["node"], data)


class Recorder:
    """Puts on record all that happens in `lab` while the `with` block runs, as events of `log`.

    With a `folder` it begins now, and captures and logs are kept there. Without one it begins when
    the lab was ready (its fabric keeps a record of what passes), and nothing is kept but events.
    Raises LabError if a network can't be listened at.
    """

    def __init__(self, lab: Lab, log: EventLog, folder: Path | None) -> None:
        self._lab = lab
        self._log = log
        self._folder = folder
        keep = folder is not None
        self.taps = {
            network: Tap(network, f"{CAPTURES}/{network}.pcap", nodes_by_address(lab), keep=keep)
            for network in lab.plan.networks
        }
        self.dropped = 0
        """Frames that passed too fast to be captured; known when the block has ended."""
        self._failure: Exception | None = None
        self._lines: dict[str, list[LogLine]] = {}
        self._book = Logbook()
        self._reading = threading.Lock()  # the book is one, its readers several
        self.token = os.urandom(4).hex()
        """What faults are put on `by` by whoever records them in the same log themselves."""
        self._stopping = threading.Event()
        self._followers: dict[str, maillog.Follower] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Recorder:
        with ExitStack() as stack:
            since = time.time() if self._folder else recorded_since(self._lab)
            for node in logging_nodes(self._lab):
                self._lines[node] = maillog.read(self._lab, node)
            for line in sorted(chain(*self._lines.values()), key=lambda line: line.time):
                # The book reads all, so that it knows the messages that were queued before.
                for seen in self._book.read(line):
                    if line.time >= since:
                        self._log.record(seen)
            for port in ports(self._lab, self._lab.plan.networks):
                self._begin(stack, port)
            for node in self._lines:
                self._in_thread(stack, f"following the log of {node}", self._follow, node)
            self._in_thread(stack, "following the faults", self._follow_faults)
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
            if error is None and self._folder:
                self.settle()
        finally:
            self._stack.close()
            if self._folder:
                for node, lines in self._lines.items():
                    write_log(self._folder, node, lines)

    def check(self) -> None:
        """Raises what has kept something from being recorded: what came after was not seen."""
        if isinstance(self._failure, LabError | BrokenPipeError):  # who listens, has heard enough
            raise self._failure
        if self._failure is not None:
            raise LabError(
                "not all that happens is on record any more",
                detail=f"{type(self._failure).__name__}: {self._failure}",
                hint="lab doctor",
            ) from self._failure

    def _in_thread(
        self, stack: ExitStack, what: str, target: Callable[..., None], *arguments: object
    ) -> None:
        def guarded() -> None:
            try:
                target(*arguments)
            except Exception as error:  # told to whoever asks next: a thread has nobody to tell
                self._failure = self._failure or error

        def join() -> None:
            thread.join(_PATIENCE_SECONDS)
            if thread.is_alive():
                self._failure = self._failure or LabError(f"{what} does not end")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        stack.callback(join)

    # Packets ------------------------------------------------------------------------------------

    def _begin(self, stack: ExitStack, port: Port) -> None:
        """Listen at a network."""
        tap, file = self.taps[port.name], None
        listener: Listener | Replay
        if self._folder:
            path = self._folder / tap.file
            path.parent.mkdir(exist_ok=True)
            file = stack.enter_context(path.open("wb"))
            listener = Listener(self._lab, port)
        else:
            listener = Replay(self._lab, port.name, follow=True)
        stack.callback(listener.close)
        self._in_thread(stack, f"capturing {port.name}", self._capture, listener, tap, file)
        stack.callback(listener.stop)

    def _capture(self, listener: Listener | Replay, tap: Tap, file: BinaryIO | None) -> None:
        source: io.RawIOBase = ListenerStream(listener)
        stream = io.BufferedReader(_Copied(source, file) if file else source)
        for frame in read_frames(stream, on_cut=lambda cut: None):
            for seen in tap.feed(frame):
                self._log.record(seen)
        for seen in tap.finish():
            self._log.record(seen)
        self.dropped += listener.dropped
        if not listener.stopped:
            raise LabError(
                f"the capture at {listener.port.name} ended while things went on",
                hint="somebody ended tcpdump, or the fabric; lab up repairs it",
            )

    # Logs ---------------------------------------------------------------------------------------

    def lines(self, node: str) -> list[LogLine]:
        """All log lines of `node` that have come so far, also before the recording."""
        return list(self._lines[node])

    def settle(self) -> None:
        """See to it that all that the machines have written by now is on record."""
        for node in self._lines:
            for line in maillog.read(self._lab, node):
                self._take(node, line)

    def _take(self, node: str, line: LogLine) -> None:
        with self._reading:
            lines = self._lines[node]
            if line.number <= len(lines):
                return  # it is on record
            for seen in self._book.read(line):
                self._log.record(seen)
            lines.append(line)

    def _follow(self, node: str) -> None:
        """A log as it is written; it ends when its machine does, and goes on when that is back."""
        from docker.errors import APIError

        while not self._stopping.is_set():
            with suppress(APIError):  # its lab is being taken down
                if containers.process(self._lab.container(node)):
                    self._read_along(node)
            self._stopping.wait(_ABSENT_SECONDS)

    def _read_along(self, node: str) -> None:
        follower = self._followers[node] = maillog.Follower(self._lab, node, len(self._lines[node]))
        if self._stopping.is_set():  # before it could be told
            follower.close()
        try:
            for line in follower:
                self._take(node, line)
        except Exception:
            if not self._stopping.is_set():  # else it was closed as it read
                raise

    # Faults -------------------------------------------------------------------------------------

    def _follow_faults(self) -> None:
        """What anybody does to the lab on purpose; with a folder, from now on."""
        with self._lab.fabric() as fabric:
            number = len(fabric.told()) if self._folder else 0
            while True:
                last = self._stopping.wait(_FAULT_SECONDS)
                for event in fabric.told(number):
                    number += 1
                    if event.get("by") != self.token:
                        self._log.record(fault(event))
                if last:
                    return

    def _stop_following(self) -> None:
        self._stopping.set()
        for follower in list(self._followers.values()):
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
