"""The record that the fabric keeps of a network: one pcap, however many files it is kept in."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lab.observe.pcap import read_frames

Output = pytest.CaptureFixture[bytes]
AGENT = Path(__file__).parents[2] / "images/fabric/agent.py"
HEADER = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The agent, its record in a folder of the test."""
    spec = importlib.util.spec_from_file_location("agent", AGENT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RECORD", tmp_path)
    return module


def record(number: int) -> bytes:
    data = bytes([number]) * 60
    return struct.pack("<IIII", 1_700_000_000 + number, 0, len(data), len(data)) + data


def keep(folder: Path, index: int, numbers: range, *, mtime: int) -> None:
    file = folder / f"lan.pcap{index}"
    file.write_bytes(HEADER + b"".join(map(record, numbers)))
    os.utime(file, (mtime, mtime))


def frames(octets: bytes) -> list[int]:
    return [frame.data[0] for frame in read_frames(io.BytesIO(octets))]


def test_one_file_is_told_as_it_is(agent: Any, tmp_path: Path, capsysbinary: Output) -> None:
    keep(tmp_path, 0, range(1, 4), mtime=1)
    agent.replay("lan", False)
    assert frames(capsysbinary.readouterr().out) == [1, 2, 3]


@pytest.mark.parametrize("older", [0, 1])
def test_of_two_files_the_older_comes_first(
    agent: Any, tmp_path: Path, capsysbinary: Output, older: int
) -> None:
    keep(tmp_path, older, range(1, 4), mtime=1)
    keep(tmp_path, 1 - older, range(4, 6), mtime=2)
    agent.replay("lan", False)
    assert frames(capsysbinary.readouterr().out) == [1, 2, 3, 4, 5], "and one header"


def test_a_network_that_is_not_on_record_is_empty(agent: Any, capsysbinary: Output) -> None:
    agent.replay("lan", False)
    assert capsysbinary.readouterr().out == b""


def test_following_goes_on_in_the_next_file(
    agent: Any, tmp_path: Path, capsysbinary: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(agent, "_stdin_ended", lambda: ended)
    steps = iter(
        [
            lambda: keep(tmp_path, 0, range(1, 6), mtime=1),  # it grows
            lambda: keep(tmp_path, 1, range(6, 8), mtime=2),  # the next is begun
            lambda: keep(tmp_path, 1, range(6, 9), mtime=3),
            lambda: keep(tmp_path, 0, range(9, 11), mtime=4),  # and the first used again
            ended.set,
        ]
    )
    monkeypatch.setattr(agent.time, "sleep", lambda seconds: next(steps)())
    keep(tmp_path, 0, range(1, 3), mtime=0)
    agent.replay("lan", True)
    assert frames(capsysbinary.readouterr().out) == list(range(1, 11))


def test_what_was_overwritten_before_it_was_read_is_left_out(
    agent: Any, tmp_path: Path, capsysbinary: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(agent, "_stdin_ended", lambda: ended)

    def come_round() -> None:
        keep(tmp_path, 1, range(6, 8), mtime=2)
        keep(tmp_path, 0, range(8, 9), mtime=3)

    steps = iter([come_round, ended.set])
    monkeypatch.setattr(agent.time, "sleep", lambda seconds: next(steps)())
    keep(tmp_path, 0, range(1, 4), mtime=0)
    agent.replay("lan", True)
    assert frames(capsysbinary.readouterr().out) == [1, 2, 3, 6, 7, 8]
