"""Capture files: read them, while they grow too, and write several captures into one.

Two formats are in use. Classic pcap (what `tcpdump -w` writes) is a header and then records;
pcapng (what Wireshark writes) is a chain of blocks, and can say of each frame which interface it
was seen on. Sources: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

A capture cut off in its last record is nothing strange: it is what an interrupted tcpdump
leaves. Everything before the cut is delivered first, and whoever reads may choose to hear of the
cut instead of failing on it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

from lab.errors import LabError

# Wireshark's own limit for a block. A record that claims more is not a packet but damage, and
# must not make us allocate gigabytes.
_LARGEST = 16 << 20
_CHUNK = 1 << 18  # octets read at once
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_OPTION_NAME, _OPTION_RESOLUTION, _OPTION_OFFSET = 2, 9, 14
# First four octets of a classic capture: (byte order, nanoseconds in a tick).
_CLASSIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}


class CaptureError(LabError):
    """A file or stream is not a capture, or is damaged."""

    exit_status = 2


class CaptureCut(CaptureError):
    """A capture ends in the middle of a record; every frame before was delivered."""


class Frame(NamedTuple):
    """One frame as captured.

    `number` counts from 1 as Wireshark does, `ns` are nanoseconds since the epoch (0 where the
    capture has no times), `linktype` is tcpdump.org's LINKTYPE_ number, `interface` the name of
    the interface if the capture has it, `length` the octets on the wire (`data` may be fewer).
    """

    number: int
    ns: int
    linktype: int
    interface: str | None
    data: bytes
    length: int

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        return self.ns / 1_000_000_000  # integers: exact to the last digit a float has


# A named tuple's own constructor costs twice as much, and this runs for every frame.
_frame: Callable[[tuple[int, int, int, str | None, bytes, int]], Frame] = partial(
    tuple.__new__, Frame
)


def read_frames(
    stream: BinaryIO, on_cut: Callable[[CaptureCut], None] | None = None
) -> Iterator[Frame]:
    """The frames of a capture, each as soon as it has arrived.

    `stream` is a file, a pipe from `tcpdump -w -`, or anything whose `read(n)` waits for n octets
    (raw, unbuffered streams are buffered here). Raises CaptureError for what is no capture or is
    damaged, CaptureCut for one that ends within a record; with `on_cut`, that is called instead
    and the iteration ends. Both come only after all good frames were yielded.
    """
    raw = isinstance(stream, io.RawIOBase)
    source = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    try:
        yield from _records(source)
    except CaptureCut as cut:
        cut.where = _name(stream)
        if on_cut is None:
            raise
        on_cut(cut)
    except CaptureError as error:
        error.where = _name(stream)
        raise
    finally:
        if raw and isinstance(source, io.BufferedReader):
            source.detach()  # or the caller's stream would be closed with our buffer


def _name(stream: BinaryIO) -> str | None:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else None


def _records(stream: BinaryIO) -> Iterator[Frame]:
    magic = stream.read(4)
    if magic in _CLASSIC:
        return _classic(stream, *_CLASSIC[magic])
    if magic == _SECTION.to_bytes(4, "big"):
        return _pcapng(stream, magic)
    if not magic:
        raise CaptureError("the capture is empty", hint="did tcpdump have time to start?")
    raise CaptureError(
        "this is not a capture (neither pcap nor pcapng)",
        hint="make one with: lab capture NODE, or tcpdump -i eth0 -w FILE",
    )


def _cut(number: int) -> CaptureCut:
    last = f"after frame {number}" if number else "before its first frame"
    return CaptureCut(
        f"the capture is cut off {last}", hint="it was copied or stopped while being written"
    )


def _classic(stream: BinaryIO, order: str, tick: int) -> Iterator[Frame]:
    header = stream.read(20)
    if len(header) < 20:
        raise _cut(0)
    # The upper half may tell the length of a checksum behind each frame; it is not part of the type
    linktype = struct.unpack(order + "16xI", header)[0] & 0xFFFF
    unpack = struct.Struct(order + "IIII").unpack_from
    buffer, at, end = b"", 0, 0
    number = 0
    while True:
        if at + 16 > end:
            buffer, at = _more(stream, buffer[at:], 16), 0
            end = len(buffer)
            if not end:
                return
            if end < 16:
                raise _cut(number)
        seconds, fraction, captured, length = unpack(buffer, at)
        at += 16
        if at + captured > end:
            if captured > _LARGEST:
                raise CaptureError(
                    f"frame {number + 1} claims {captured} octets: the capture is damaged there"
                )
            buffer, at = _more(stream, buffer[at:], captured), 0
            end = len(buffer)
            if end < captured:
                raise _cut(number)
        number += 1
        begin, at = at, at + captured
        ns = seconds * 1_000_000_000 + fraction * tick
        yield _frame((number, ns, linktype, None, buffer[begin:at], length))


def _more(stream: BinaryIO, have: bytes, need: int) -> bytes:
    """`have` and what follows, `need` octets or more; fewer only where the stream ends.

    Takes whatever has arrived and never waits for more than is needed: the capture may be live.
    """
    at_once = getattr(stream, "read1", None)
    while len(have) < need:
        data: bytes = at_once(_CHUNK) if at_once else stream.read(need - len(have))
        if not data:
            break
        have += data
    return have


class _Interface(NamedTuple):
    linktype: int
    name: str | None
    snaplen: int
    resolution: int  # ticks in a second
    offset: int  # seconds to add


def _pcapng(stream: BinaryIO, magic: bytes) -> Iterator[Frame]:
    """The frames of every section; blocks of other kinds are passed over."""
    number = 0
    order = "<"
    interfaces: list[_Interface] = []
    for start in _starts(stream, magic):
        if start == magic:  # reads the same in both byte orders; the next word tells which
            head = stream.read(8)
            order = _byte_order(head, number)
            interfaces = []
            size, body = struct.unpack(order + "I", head[:4])[0], head[4:]
        else:
            size, body = _word(stream.read(4), order, number), b""
        kind = struct.unpack(order + "I", start)[0]
        body = _body(stream, order, size, body, number)
        try:
            if kind == _ENHANCED:
                which, high, low, captured, length = struct.unpack_from(order + "IIIII", body)
                interface = interfaces[which]
                if captured > len(body) - 20:
                    raise CaptureError(f"frame {number + 1} is longer than its block")
                ticks = high << 32 | low
                ns = ticks * 1_000_000_000 // interface.resolution
                ns += interface.offset * 1_000_000_000
                data = body[20 : 20 + captured]
            elif kind == _SIMPLE:  # no time, and the first interface is meant
                interface = interfaces[0]
                length = struct.unpack_from(order + "I", body)[0]
                captured = min(length, interface.snaplen or length, len(body) - 4)
                ns, data = 0, body[4 : 4 + captured]
            else:
                if kind == _INTERFACE:
                    interfaces.append(_interface(body, order))
                continue
        except (struct.error, IndexError):
            raise CaptureError(f"the block after frame {number} is damaged") from None
        number += 1
        yield _frame((number, ns, interface.linktype, interface.name, data, length))


def _starts(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    """The first word of each block, until the capture ends between two blocks."""
    word = first
    while word:
        yield word
        word = stream.read(4)


def _word(octets: bytes, order: str, number: int) -> int:
    if len(octets) < 4:
        raise _cut(number)
    return int.from_bytes(octets, "little" if order == "<" else "big")


def _byte_order(head: bytes, number: int) -> str:
    if len(head) < 8:
        raise _cut(number)
    match head[4:]:
        case b"\x4d\x3c\x2b\x1a":
            return "<"
        case b"\x1a\x2b\x3c\x4d":
            return ">"
    raise CaptureError(f"the section after frame {number} has no byte order: it is damaged")


def _body(stream: BinaryIO, order: str, size: int, have: bytes, number: int) -> bytes:
    """What stands between a block's length and its closing length, which must agree."""
    if size < 12 + len(have) or size % 4 or size > _LARGEST:
        raise CaptureError(f"the block after frame {number} claims {size} octets: damaged")
    rest = stream.read(size - 8 - len(have))
    if len(rest) < size - 8 - len(have):
        raise _cut(number)
    if _word(rest[-4:], order, number) != size:
        raise CaptureError(f"the block after frame {number} has two lengths: damaged")
    return have + rest[:-4]


def _interface(body: bytes, order: str) -> _Interface:
    linktype, snaplen = struct.unpack_from(order + "HxxI", body)
    name, resolution, offset = None, 1_000_000, 0
    at = 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if code == 0:
            break
        if code == _OPTION_NAME:
            name = value.decode(errors="replace").rstrip("\0")
        elif code == _OPTION_RESOLUTION:
            power = value[0] & 0x7F
            resolution = 1 << power if value[0] & 0x80 else 10**power
        elif code == _OPTION_OFFSET:
            offset = struct.unpack(order + "q", value)[0]
        at += 4 + (size + 3 & ~3)
    return _Interface(linktype, name, snaplen, resolution, offset)


class PcapngWriter:
    """Writes frames of several interfaces into one pcapng file that Wireshark opens.

    Each call is a single `write` on `stream`, so a reader at the other end of a pipe never waits
    for half a block, and threads may share a writer whose stream locks (Python's buffered ones
    do) once all interfaces are added. Flushing is the caller's choice.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._write = stream.write
        self._interfaces = 0
        # Section length -1: unknown, because the capture may still grow.
        self._block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))

    def add_interface(self, name: str, linktype: int) -> int:
        """Declare an interface; returns the number by which `write` knows it."""
        octets = name.encode()
        options = struct.pack("<HH", _OPTION_NAME, len(octets)) + _padded(octets)
        options += struct.pack("<HHB3xHH", _OPTION_RESOLUTION, 1, 9, 0, 0)
        self._block(_INTERFACE, struct.pack("<HxxI", linktype, 0) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def write(self, frame: Frame, interface: int) -> None:
        """Append `frame` as seen on `interface`; its number will be its place in this file.

        Raises IndexError for an interface that was never added.
        """
        if not 0 <= interface < self._interfaces:
            raise IndexError(f"no interface {interface}")
        high, low = frame.ns >> 32 & 0xFFFFFFFF, frame.ns & 0xFFFFFFFF
        head = struct.pack("<IIIII", interface, high, low, len(frame.data), frame.length)
        self._block(_ENHANCED, head + _padded(frame.data))

    def _block(self, kind: int, body: bytes) -> None:
        size = len(body) + 12
        self._write(struct.pack("<II", kind, size) + body + struct.pack("<I", size))


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
