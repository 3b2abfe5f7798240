"""Folders for what is worked out of a lab, for as long as a command works on it.

Each is locked by the command that made it, whatever becomes of that (flock). One that was left by
a command that was killed is removed by `lab down`, or by the next command that makes one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(lab: str) -> Iterator[Path]:
    """A new folder, which is there while the block runs."""
    tidy(lab)
    while True:
        path = Path(tempfile.mkdtemp(prefix=_prefix(lab)))
        with contextlib.ExitStack() as held:
            if not held.enter_context(_holding(path)):
                continue  # somebody has tidied up since
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
            return


def tidy(lab: str) -> None:
    """Remove the folders of commands that were killed; those in use stay."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix(lab)}*"):
        with _holding(path) as held:
            if held:
                shutil.rmtree(path, ignore_errors=True)


def _prefix(lab: str) -> str:
    return f"maillab-{os.getuid()}-{lab}.scratch-"


@contextmanager
def _holding(path: Path) -> Iterator[bool]:
    """Hold the lock of a folder, if it is there still and nobody else does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it has just been removed, or is no folder of ours
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(descriptor).st_uid == os.getuid() and os.fstat(descriptor).st_nlink > 0
    except BlockingIOError:
        ours = False
    try:
        yield ours
    finally:
        os.close(descriptor)
