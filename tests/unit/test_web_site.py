"""The web server's page: pictures that anybody can draw again, and nothing missing."""

from __future__ import annotations

import importlib.util
import struct
import zlib
from pathlib import Path
from types import ModuleType

import pytest

from lab.engine import images
from lab.scenarios.pages import PAGE, pictures_on

FOLDER = images.FOLDER / "web-server"
SITE = FOLDER / "site"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", FOLDER / "draw.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chunks(png: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG (its data in one), each found to be whole."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = {}, 8
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + size]
        [check] = struct.unpack_from(">I", png, at + 8 + size)
        assert check == zlib.crc32(kind + data)
        found[kind], at = data, at + 12 + size
    return found


def test_the_pictures_are_as_they_are_drawn(draw: ModuleType) -> None:
    drawn = draw.pictures()
    assert {path.name: path.read_bytes() for path in SITE.glob("*.png")} == drawn


@pytest.mark.parametrize("path", sorted(SITE.glob("*.png")), ids=lambda path: path.stem)
def test_a_picture_is_a_png_of_a_size_to_be_measured(path: Path) -> None:
    found = chunks(path.read_bytes())
    assert list(found) == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack_from(">II", found[b"IHDR"])
    assert len(zlib.decompress(found[b"IDAT"])) == height * (1 + 3 * width)
    assert 20_000 < path.stat().st_size < 60_000


def test_the_page_shows_all_that_lies_beside_it() -> None:
    shown = pictures_on((SITE / PAGE).read_bytes())
    assert sorted([PAGE, *shown]) == sorted(path.name for path in SITE.iterdir())
