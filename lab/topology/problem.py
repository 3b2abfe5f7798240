"""What a topology file does wrong: problems named by key, before they get a line and a column.

The checks know keys (`nodes`, `dns`, `address`); only the loader knows where in the file these
stand. A problem is therefore found as a `Problem` and shown as a `FileError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from lab.errors import LabError

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value, outermost first; () is the whole file."""


@dataclass(frozen=True, order=True)
class Spot:
    """A place in a text file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One fault of a topology, at `path`; `on_key` when the key itself is wrong, not its value."""

    path: KeyPath
    what: str
    hint: str | None = None
    on_key: bool = False


class FileError(LabError):
    """One fault of a file, shown as `file:line:column: what`; `spot` is None for a whole file."""

    exit_status = 2

    def __init__(self, what: str, *, file: str, spot: Spot | None, hint: str | None = None) -> None:
        where = f"{file}:{spot.line}:{spot.column}" if spot else file
        super().__init__(what, where=where, hint=hint)
        self.file = file
        self.spot = spot


def named(path: KeyPath) -> str:
    """The thing at `path` as a person would call it: `node 'dns'`, `'retry' of the schedule`."""
    match path:
        case ():
            return "the topology"
        case ("schedule",):
            return "the schedule"
        case (key,):
            return f"'{key}'"
        case ("networks", name):
            return f"network '{name}'"
        case ("nodes", name):
            return f"node '{name}'"
        case ("nodes", node, "users", str(user)):
            return f"user '{user}' of '{node}'"
        case ("nodes", node, "interfaces", network):
            return f"the address of node '{node}' in '{network}'"
        case (*owner, int(index)):
            return f"entry {index + 1} of {named(tuple(owner))}"
        case _:
            return f"'{path[-1]}' of {named(path[:-1])}"


def nearest(wrong: str, choices: Iterable[str], alike: float = 0.6) -> str | None:
    """The choice most like `wrong`, if one is alike; `alike` is difflib's ratio, 1 for equal."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=alike)
    return by_lower[close[0]] if close else None


def suggest(wrong: str, choices: Iterable[str], otherwise: str, alike: float = 0.6) -> str:
    """The hint `did you mean 'x'?` or, when nothing is alike, `otherwise` and all choices."""
    known = list(choices)
    meant = nearest(wrong, known, alike)
    return f"did you mean '{meant}'?" if meant else f"{otherwise}: {', '.join(known) or 'none'}"


def shown(text: str, limit: int = 60) -> str:
    """`text` in quotes and on one line, shortened to `limit` characters, for use in a message."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f"'{line}'" if len(line) <= limit else f"'{line[: limit - 1]}…'"
