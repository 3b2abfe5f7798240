"""One `lab` command changes a lab at a time.

The lock is the kernel's (flock), so it vanishes with its holder, kill -9 included; its file is
removed by whoever holds it last. A file that was left behind tells whoever holds the lock next
that its holder was killed, and which containers the engine may still be making for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.engine.interrupt import put_off
from lab.errors import LabBusy

_OWNER = ".scenario"


def _path(lab: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{_prefix()}{lab}.lock"


def _prefix() -> str:
    return f"maillab-{os.getuid()}-"


def owner(lab: str) -> str:
    """The name of the lock that a scenario holds for as long as it owns `lab`."""
    return f"{lab}{_OWNER}"


def faults(lab: str) -> str:
    """The name of the lock of whoever puts on or heals a fault of `lab`."""
    return f"{lab}.faults"


def owned() -> set[str]:
    """The labs that a scenario owns, or owned when it was killed."""
    files = Path(tempfile.gettempdir()).glob(f"{_prefix()}*{_OWNER}.lock")
    return {
        path.name.removeprefix(_prefix()).removesuffix(f"{_OWNER}.lock")
        for path in files
        if _said(path)  # an empty one is being taken at this moment
    }


def _said(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has just been released
        return ""


@contextmanager
def changing(lab: str, doing: str, making: Iterable[str] = ()) -> Iterator[set[str]]:
    """Hold `lab` while changing it; `doing` is what others are told. Raises LabBusy if taken.

    `making` are the names of containers that the engine will be asked for. The block is given
    those of a holder that was killed: the engine may be making them still.
    """
    path = _path(lab)
    descriptor = None
    try:
        with put_off():
            descriptor = _taken(path, lab)
        _, *names = os.read(descriptor, 1 << 20).decode(errors="replace").splitlines() or [""]
        text = "\n".join([f"{doing}, process {os.getpid()}", *sorted({*making, *names})])
        # In this order, so that a kill in between loses no name.
        os.pwrite(descriptor, text.encode(), 0)
        os.ftruncate(descriptor, len(text.encode()))
        yield set(names)
    finally:
        if descriptor is not None:
            with put_off():
                path.unlink(missing_ok=True)
                os.close(descriptor)


def tidy(lab: str) -> None:
    """Remove what a killed holder has left of the lock `lab`; one that is held stays."""
    with contextlib.suppress(LabBusy), changing(lab, "tidying up"):
        pass


def _taken(path: Path, lab: str) -> int:
    """A descriptor that holds the lock. Raises LabBusy if somebody else does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").partition("\n")[0].strip()
            os.close(descriptor)
            raise LabBusy(
                f"lab '{lab}' is being changed by another command ({holder or 'just started'})",
                hint="wait for it to end, then try again",
            ) from None
        # Its last holder may have removed the file between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
