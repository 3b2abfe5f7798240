"""One `lab` command changes a lab at a time, whatever becomes of the others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.engine import lock
from lab.errors import LabBusy

HOLD = """
import sys
from lab.engine.lock import changing
with changing("lab", "lab up"):
    print("inside", flush=True)
    sys.stdin.read()
"""
# Goes in and out, and fails if anybody else is inside at the same time.
RACE = """
import os, sys
from lab.engine.lock import changing
from lab.errors import LabBusy
entered = 0
while entered < 300:
    try:
        with changing("lab", "a race"):
            os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
            entered += 1
            os.unlink(sys.argv[1])
    except LabBusy:
        pass
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which locks are kept, here and in subprocesses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def holder() -> subprocess.Popen[str]:
    """A process that has the lock, until its standard input is closed."""
    process = python(HOLD)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def test_a_second_command_is_refused_and_told_who_was_first() -> None:
    with lock.changing("lab", "lab up"), pytest.raises(LabBusy) as caught:
        lock.changing("lab", "lab down").__enter__()
    assert str(caught.value) == (
        f"lab 'lab' is being changed by another command (lab up, process {os.getpid()})\n"
        "  → wait for it to end, then try again"
    )


def test_another_process_is_named_and_its_end_opens_the_lock() -> None:
    with holder() as first:
        with pytest.raises(LabBusy, match=rf"\(lab up, process {first.pid}\)"):
            lock.changing("lab", "lab down").__enter__()
        first.communicate()
    with lock.changing("lab", "lab down"):
        pass


def test_labs_are_locked_each_for_itself() -> None:
    names = ("lab", "second", lock.owner("lab"))
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(lock.changing(name, "lab up"))
        for name in names:
            with pytest.raises(LabBusy):
                lock.changing(name, "lab down").__enter__()


def test_nothing_is_left_behind(files: Path) -> None:
    with lock.changing("lab", "lab up"):
        (file,) = files.iterdir()
        assert file.stat().st_mode & 0o077 == 0
    assert list(files.iterdir()) == []


def test_a_refusal_leaves_the_lock_with_its_holder(files: Path) -> None:
    with lock.changing("lab", "lab up"):
        for _ in range(2):
            with pytest.raises(LabBusy):
                lock.changing("lab", "lab down").__enter__()
        assert len(list(files.iterdir())) == 1


def test_an_error_inside_opens_the_lock(files: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.changing("lab", "lab up"):
        raise ZeroDivisionError
    assert list(files.iterdir()) == []
    with lock.changing("lab", "lab down"):
        pass


def test_a_killed_holder_is_no_obstacle_and_its_file_goes_with_the_next(files: Path) -> None:
    with holder() as killed:
        killed.kill()
        killed.wait()
    assert len(list(files.iterdir())) == 1
    with (
        lock.changing("lab", "lab down"),
        pytest.raises(LabBusy, match=rf"\(lab down, process {os.getpid()}\)"),
    ):
        lock.changing("lab", "lab up").__enter__()
    assert list(files.iterdir()) == []


def test_processes_that_race_are_never_inside_together(files: Path) -> None:
    inside = files / "inside"
    racers = [python(RACE, inside) for _ in range(3)]
    assert [racer.wait(timeout=120) for racer in racers] == [0, 0, 0]
    assert list(files.iterdir()) == []
