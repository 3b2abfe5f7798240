"""The record that the fabric keeps of a network: one pcap, however many files it is kept in."""

from __future__ import annotations

import importlib.util
import io
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lab.observe.pcap import read_frames

Output = pytest.CaptureFixture[bytes]
RECORDING = Path(__file__).parents[2] / "images/fabric/recording.py"
HEADER = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that keeps it, its record in a folder of the test."""
    spec = importlib.util.spec_from_file_location("recording", RECORDING)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RECORD", tmp_path)
    return module


def record(number: int) -> bytes:
    data = bytes([number]) * 60
    return struct.pack("<IIII", 1_700_000_000 + number, 0, len(data), len(data)) + data


def keep(folder: Path, number: int, numbers: range, begun: int = 1) -> None:
    """Write the file of that number, as tcpdump names them."""
    file = folder / f"lan@{begun}.pcap{number or ''}"
    file.write_bytes(HEADER + b"".join(map(record, numbers)))


def frames(octets: bytes) -> list[int]:
    return [frame.data[0] for frame in read_frames(io.BytesIO(octets))]


def test_one_file_is_told_as_it_is(recording: Any, tmp_path: Path, capsysbinary: Output) -> None:
    keep(tmp_path, 0, range(1, 4))
    recording.replay("lan", False)
    assert frames(capsysbinary.readouterr().out) == [1, 2, 3]


def test_several_files_are_one_record_with_one_header(
    recording: Any, tmp_path: Path, capsysbinary: Output
) -> None:
    for number in range(12):  # the tenth comes after the second
        keep(tmp_path, number, range(10 * number, 10 * number + 2))
    keep(tmp_path, 0, range(200, 202), begun=2)  # tcpdump was started again
    recording.replay("lan", False)
    expected = [10 * number + more for number in range(12) for more in (0, 1)]
    assert frames(capsysbinary.readouterr().out) == [*expected, 200, 201]


def test_a_network_that_is_not_on_record_is_empty(recording: Any, capsysbinary: Output) -> None:
    recording.replay("lan", False)
    assert capsysbinary.readouterr().out == b""


def follow(recording: Any, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], None]) -> None:
    """Follow the record; whenever there is nothing more, one of the `steps` happens."""
    ended = threading.Event()
    monkeypatch.setattr(recording, "_stdin_ended", lambda: ended)
    left = iter([*steps, ended.set])
    monkeypatch.setattr(recording.time, "sleep", lambda seconds: next(left)())
    recording.replay("lan", True)


def test_following_goes_on_in_the_next_file(
    recording: Any, tmp_path: Path, capsysbinary: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, 0, range(1, 3))

    def grows() -> None:
        with (tmp_path / "lan@1.pcap").open("ab") as file:
            file.write(record(3))

    def next_is_begun() -> None:
        with (tmp_path / "lan@1.pcap").open("ab") as file:
            file.write(record(4))
        keep(tmp_path, 1, range(5, 7))

    follow(
        recording,
        monkeypatch,
        grows,
        next_is_begun,
        lambda: keep(tmp_path, 2, range(7, 8)),
    )
    assert frames(capsysbinary.readouterr().out) == list(range(1, 8))


def test_who_is_too_slow_misses_whole_files(
    recording: Any, tmp_path: Path, capsysbinary: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, 0, range(1, 3))

    def much_happens() -> None:
        with (tmp_path / "lan@1.pcap").open("ab") as file:
            file.write(record(3))
        for number in range(1, 5):
            keep(tmp_path, number, range(10 * number, 10 * number + 2))
        for number in ("", 1, 2):  # forgotten, the first of them while it is read
            (tmp_path / f"lan@1.pcap{number}").unlink()

    follow(recording, monkeypatch, much_happens)
    assert frames(capsysbinary.readouterr().out) == [1, 2, 3, 30, 31, 40, 41]


def test_of_a_record_the_newest_files_are_kept(
    recording: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    def enough(seconds: float) -> None:
        raise Enough

    (tmp_path / "lan.pid").write_text("1")
    for number in range(recording.RECORD_FILES + 3):
        keep(tmp_path, number, range(1))
    monkeypatch.setattr(recording.time, "sleep", enough)
    with pytest.raises(Enough):
        recording.keep_the_newest()
    left = sorted(int(file.name.partition(".pcap")[2] or 0) for file in tmp_path.glob("*.pcap*"))
    assert left == list(range(3, recording.RECORD_FILES + 3))
