"""A lab without machines, on whose journal and cables faults can be tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lab.engine.lab import Lab
from lab.engine.plan import plan
from lab.errors import LabError
from lab.faults.fault import Fault
from lab.topology.loader import load


class Fabric:
    """What of images/fabric/journal.py the lab's journal is asked for."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.number = 0

    def note(self, case: dict[str, Any]) -> str:
        self.number += not case["id"]
        id = case["id"] or f"f{self.number}"
        self.written[id] = {**case, "id": id}
        return id

    def cross_out(self, id: str) -> None:
        del self.written[id]

    def noted(self) -> list[dict[str, Any]]:
        return list(self.written.values())

    def tell(self, event: dict[str, Any]) -> None:
        self.history.append(event)


class FaultyLab(Lab):
    """The textbook's picture, its fabric a list."""

    def __init__(self) -> None:
        super().__init__(plan(load("textbook"), "unit-faults"), 0.0, {})
        self.journal = Fabric()

    @contextmanager
    def fabric(self) -> Iterator[Any]:
        yield self.journal


@dataclass(frozen=True)
class Trouble(Fault):
    """A fault that remembers what was asked of it."""

    name = "trouble"
    help = "it does nothing"
    did: ClassVar[list[str]] = []

    refuses: bool = field(default=False)
    without_effect: bool = field(default=False)

    @property
    def title(self) -> str:
        return f"{self.node} is in trouble"

    @property
    def healed(self) -> str:
        return f"{self.node} is out of trouble"

    def apply(self, lab: Lab, id: str) -> None:
        self.did.append(f"apply {id}")
        if self.refuses:
            raise LabError("half done")

    def verify(self, lab: Lab, id: str) -> bool:
        return not self.without_effect

    def revert(self, lab: Lab, id: str) -> None:
        self.did.append(f"revert {id}")


def known(monkeypatch: Any) -> None:
    """Have `Trouble` in the catalogue."""
    from lab.faults import fault

    everything = {**fault.catalogue(), "trouble": Trouble}
    monkeypatch.setattr(fault, "catalogue", lambda: everything)
    Trouble.did.clear()
