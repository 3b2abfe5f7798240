"""One `lab` command changes a lab at a time.

The lock is the kernel's (flock), so it vanishes with its holder, kill -9 included; its file is
removed by whoever holds it last, so nothing is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabBusy


def _path(lab: str) -> Path:
    return Path(tempfile.gettempdir()) / f"maillab-{os.getuid()}-{lab}.lock"


def owner(lab: str) -> str:
    """The name of the lock that a scenario holds for as long as it owns `lab`."""
    return f"{lab}.scenario"


@contextmanager
def changing(lab: str, doing: str) -> Iterator[None]:
    """Hold `lab` while changing it; `doing` is what others are told. Raises LabBusy if taken."""
    path = _path(lab)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise LabBusy(
                f"lab '{lab}' is being changed by another command ({holder or 'just started'})",
                hint="wait for it to end, then try again",
            ) from None
        # Its last holder may have removed the file between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{doing}, process {os.getpid()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
