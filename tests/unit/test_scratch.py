"""Folders to work in: gone with the command, and should that be killed, with the next one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab.engine import scratch

HOLD = """
import sys
from lab.engine.scratch import folder
with folder("lab") as path:
    (path / "events.jsonl").write_text("{}")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for temporary files, here and in subprocesses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a folder until its standard input is closed."""
    argv = [sys.executable, "-c", HOLD]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_there_while_it_is_needed(files: Path) -> None:
    with scratch.folder("lab") as path:
        (path / "kept").mkdir()
        assert path.parent == files
        assert path.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


def test_what_the_killed_have_left_is_removed(files: Path) -> None:
    process, path = holder()
    with process:
        scratch.tidy("lab")
        assert (path / "events.jsonl").exists(), "it is in use"
        process.kill()
        process.wait()
    assert path.exists()
    scratch.tidy("lab-2")
    scratch.tidy("la")
    assert path.exists(), "it is another lab's"
    scratch.tidy("lab")
    assert list(files.iterdir()) == []


def test_the_next_to_work_there_removes_it_too(files: Path) -> None:
    process, path = holder()
    with process:
        process.kill()
    with scratch.folder("lab") as mine:
        assert list(files.iterdir()) == [mine]
    assert path != mine


def test_nothing_of_somebody_elses_making_is_followed(files: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with scratch.folder("lab") as path:
        prefix = path.name.partition("scratch-")[0] + "scratch-"
    (files / f"{prefix}link").symlink_to(elsewhere)
    (files / f"{prefix}file").write_text("")
    scratch.tidy("lab")
    assert elsewhere.is_dir()
