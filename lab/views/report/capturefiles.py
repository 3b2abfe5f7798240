"""The captures of a run as files: what is in each, and the frames that are wanted of it.

A run's folder may have been copied without them, or one may be cut off: then the report says so.
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lab.observe.pcap import CaptureCut, CaptureError, Frame, read_frames
from lab.record import CAPTURES, Record
from lab.units import counted
from lab.views.report.text import Moment, moment, size

_EMBEDDED = 500_000  # octets of all captures together, up to which they are carried in the page


@dataclass
class CaptureFile:
    """A capture: how many frames it has, from when to when, and what is wrong with it."""

    file: str
    path: Path
    octets: int = 0
    frames: int = 0
    first: Moment | None = None
    last: Moment | None = None
    trouble: str = ""
    missing: bool = False
    wanted: dict[int, Frame] = field(default_factory=dict)
    href: str | None = None

    @property
    def name(self) -> str:
        """The file's name alone."""
        return PurePosixPath(self.file).name

    @property
    def network(self) -> str:
        """The network it is of."""
        return PurePosixPath(self.file).stem

    @property
    def size(self) -> str:
        """Its size, for reading."""
        return size(self.octets)


def read(record: Record, named: Iterable[tuple[str, int]]) -> dict[str, CaptureFile]:
    """The captures of `record`, by their path in its folder, and of each the frames `named`."""
    wanted: dict[str, set[int]] = {}
    for file, frame in named:
        wanted.setdefault(file, set()).add(frame)
    known = {event.refs.file for event in record.of("packet") if event.refs.file}
    there = {f"{CAPTURES}/{path.name}" for path in (record.folder / CAPTURES).glob("*.pcap*")}
    found = {
        file: _read(record, file, wanted.get(file, ()))
        for file in sorted(known | there | set(wanted))
    }
    _linked(found.values())
    return found


def _read(record: Record, file: str, wanted: Collection[int]) -> CaptureFile:
    capture = CaptureFile(file, record.folder / file)
    if PurePosixPath(file).parent != PurePosixPath(CAPTURES):
        capture.missing, capture.trouble = True, f"{file} is no capture of this run"
        return capture
    try:
        found = capture.path.stat()
        if not stat.S_ISREG(found.st_mode):  # to read a pipe or a device may never end
            capture.missing, capture.trouble = True, f"{file} is not a file"
            return capture
        capture.octets = found.st_size
        with capture.path.open("rb") as stream:
            _frames(record, capture, stream, wanted)
    except (OSError, ValueError) as error:  # the name may be none
        capture.missing = True
        capture.trouble = f"{file} can't be read: {getattr(error, 'strerror', error)}"
    except CaptureError as error:
        capture.trouble = error.what
    return capture


def _frames(
    record: Record, capture: CaptureFile, stream: BinaryIO, wanted: Collection[int]
) -> None:
    def cut(error: CaptureCut) -> None:
        capture.trouble = error.what

    frame = None
    for frame in read_frames(stream, on_cut=cut):
        if capture.first is None:
            capture.first = moment(record.clock, frame.time)
        if frame.number in wanted:
            capture.wanted[frame.number] = frame
    if frame is not None:
        capture.frames = frame.number
        capture.last = moment(record.clock, frame.time)


def _linked(captures: Collection[CaptureFile]) -> None:
    """How each is downloaded: out of the page if they are small, else from beside it."""
    there = [capture for capture in captures if not capture.missing]
    small = sum(capture.octets for capture in there) <= _EMBEDDED
    for capture in there:
        capture.href = capture.file
        if small:
            octets = base64.b64encode(capture.path.read_bytes()).decode("ascii")
            capture.href = f"data:application/vnd.tcpdump.pcap;base64,{octets}"


def absent(capture: CaptureFile | None, frame: int) -> str:
    """Why a frame can't be shown."""
    if capture is None or capture.missing:
        return capture.trouble if capture else "there is no such capture"
    if capture.trouble:
        return capture.trouble
    return f"{capture.file} has only {counted(capture.frames, 'frame')}, not {frame}"
