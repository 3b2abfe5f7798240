"""What is wrong with this lab on purpose, and since when: it outlives whoever did it.

A fault is written down before anything is done, and crossed out when all of it is undone. The
journal lies with the lab's wires, so that any command, on any machine that reaches the engine,
finds it, and so that it is gone when the lab is.
"""

import contextlib
import json
import os
import pathlib
import time

JOURNAL = pathlib.Path("/lab/faults")
HISTORY = JOURNAL / "history"


def note(case):
    """Write a fault down (or what has become of it); with no `id` it is given one. The id."""
    JOURNAL.mkdir(exist_ok=True)
    case = dict(case)
    if not case.get("id"):
        case["id"] = _new()
    new = JOURNAL / f".{case['id']}"
    with new.open("w") as file:
        json.dump(case, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(JOURNAL / f"{case['id']}.json")
    return case["id"]


def _new():
    """The next number, which nobody else is given: `f7`."""
    number = 1
    with contextlib.suppress(FileNotFoundError, ValueError):
        number += int((JOURNAL / "last").read_text())
    while True:
        try:
            os.close(os.open(JOURNAL / f"f{number}.id", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            number += 1
            continue
        new = JOURNAL / ".last"
        new.write_text(str(number))
        new.replace(JOURNAL / "last")
        return f"f{number}"


def cross_out(id):
    """The fault `id` is no more."""
    (JOURNAL / f"{id}.json").unlink(missing_ok=True)
    (JOURNAL / f"{id}.id").unlink(missing_ok=True)


def noted():
    """The faults that are written down, in the order in which they were.

    Of one whose record is damaged there is at least its number, and a name that no fault has.
    """
    found = []
    for path in JOURNAL.glob("f[0-9]*.json"):
        with contextlib.suppress(FileNotFoundError):
            blank = {"fault": "?", "target": "?", "parameters": {}, "state": "on", "until": None}
            blank["applied"] = path.stat().st_mtime
            found.append(blank | _read(path.read_bytes()) | {"id": path.stem})
    return sorted(found, key=lambda case: int(case["id"][1:]))


def _read(line):
    """A record, empty if it can't be read."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def tell(event):
    """Put on record that a fault went on, or off, so that whoever looks later knows."""
    JOURNAL.mkdir(exist_ok=True)
    line = json.dumps({"time": time.time(), **event}) + "\n"
    with HISTORY.open("a") as file:  # shorter than a page: what several append does not mix
        file.write(line)


def told(after=0):
    """What was told, from number `after` on (the first is 0)."""
    try:
        lines = HISTORY.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [event for line in lines if (event := _read(line))][after:]
