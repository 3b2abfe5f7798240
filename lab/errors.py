"""Errors are something the user reads, so each says what is wrong, where, and what to type next.

The exit statuses are part of the interface: 0 done, 1 an expectation failed, 2 wrong usage or a
bad file, 3 the environment (no engine, a missing kernel feature, a node that does not come up),
130 interrupted.
"""

from __future__ import annotations


class LabError(Exception):
    """Anything the lab tells its user instead of a traceback.

    `what` is one sentence without a full stop, `where` a place (file:line:col, a node, a path),
    `hint` the next thing to type or do, `detail` further lines shown as they are (a program's
    last output, say).
    """

    exit_status = 3

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, detail: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.detail = detail.rstrip()

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        lines += [f"  | {line}" for line in self.detail.splitlines()]
        if self.hint:
            lines.append(f"  → {self.hint}")
        return "\n".join(lines)


class UsageError(LabError):
    """The command line asks for something that does not exist or makes no sense."""

    exit_status = 2


class TopologyError(LabError):
    """A topology file is wrong; `problems` holds every fault found, each with its place."""

    exit_status = 2

    def __init__(self, problems: list[LabError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class EngineError(LabError):
    """There is no Docker engine, or it refuses what the lab needs."""


class NodeFailed(LabError):
    """A node did not come up; `detail` carries its last output."""


class LabBusy(LabError):
    """Another `lab` command is changing the same lab at this moment."""


class LabNotUp(LabError):
    """The lab the user means is not running."""
