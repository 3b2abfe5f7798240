"""Draws the two pictures of the web server's page: python images/web-server/draw.py.

They are in site/, made by this and the same wherever it is run (a test sees to that): PNG
(ISO/IEC 15948) whose octets are not compressed, since compressors differ.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

SITE = Path(__file__).parent / "site"
Colour = tuple[int, int, int]


def sun(width: int, height: int, *, high: float, sky: Colour, haze: Colour) -> bytes:
    """A sun over the sea as a PNG: `high` is where it stands, from 0 (the horizon) to 1."""
    horizon = round(height * 0.62)
    centre, radius = round(horizon * (1 - high)), height // 8

    def colour(x: int, y: int) -> Colour:
        if y < horizon and math.hypot(x - width / 2, y - centre) < radius:
            return 255, 236, 170
        if y < horizon:
            return _mixed(sky, haze, y / horizon)
        depth = (y - horizon) / (height - horizon)
        glitter = abs(x - width / 2 + 3 * math.sin(1.7 * y)) < radius * (0.3 + depth)
        return _mixed(haze if glitter and y % 3 else (30, 60, 110), (8, 24, 56), depth)

    return _png(width, height, colour)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _png(width: int, height: int, colour: Callable[[int, int], Colour]) -> bytes:
    rows = (
        b"\0" + b"".join(bytes(colour(x, y)) for x in range(width)) for y in range(height)
    )  # each after its filter: none
    header = struct.pack(
        ">IIBBBBB", width, height, 8, 2, 0, 0, 0
    )  # 8 bits each of red, green, blue
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(_stored(b"".join(rows)))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored(data: bytes) -> Iterator[bytes]:
    """`data` as zlib has it (RFC 1950), in blocks that are stored as they are (RFC 1951 §3.2.4)."""
    yield b"\x78\x01"
    blocks = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)]
    for number, block in enumerate(blocks, 1):
        yield struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF)
        yield block
    yield struct.pack(">I", zlib.adler32(data))


def pictures() -> dict[str, bytes]:
    """The pictures, by the names they have on the page."""
    return {
        "sunrise.png": sun(128, 96, high=0.35, sky=(120, 170, 230), haze=(255, 200, 150)),
        "sunset.png": sun(160, 112, high=0.1, sky=(60, 40, 110), haze=(255, 130, 60)),
    }


if __name__ == "__main__":
    for name, octets in pictures().items():
        (SITE / name).write_bytes(octets)
