"""The stage undoes what a scenario did, whatever goes wrong in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from lab.errors import LabError
from lab.events import Event, EventLog
from lab.scenarios.stage import Stage
from lab.units import LabClock


@dataclass
class Fault:
    kind: ClassVar[str] = "power-cut"
    title: ClassVar[str] = "mail has no power"
    healed: ClassVar[str] = "mail has its power back"
    node: ClassVar[str] = "mail"

    did: list[str] = field(default_factory=list)
    refuses: bool = False

    def apply(self, lab: Any) -> None:
        self.did.append("apply")
        if self.refuses:
            raise LabError("half done")

    def revert(self, lab: Any) -> None:
        self.did.append("revert")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage without a lab: what it asks the engine is answered here."""
    found = object.__new__(Stage)
    found.lab = SimpleNamespace()  # type: ignore[assignment]
    found.log = EventLog(None, LabClock(0, 1))
    found._recorder = SimpleNamespace(settle=lambda: None)  # type: ignore[assignment]
    found._shown = []
    monkeypatch.setattr(Stage, "machine", lambda self, node: ("off", []))
    return found


def faults(stage: Stage) -> list[Event]:
    heard: list[Event] = []
    stage.log.listeners.append(heard.append)
    return heard


def test_an_outage_is_undone_though_the_logs_do_not_come_along(stage: Stage) -> None:
    def lost() -> None:
        raise LabError("the engine is gone")

    stage._recorder.settle = lost  # type: ignore[method-assign]
    heard, fault = faults(stage), Fault()
    with pytest.raises(LabError, match="the engine is gone"), stage.outage(fault):
        pass
    assert fault.did == ["apply", "revert"]
    assert [event.data["on"] for event in heard] == [True, False]


def test_an_outage_that_was_begun_by_half_is_undone(stage: Stage) -> None:
    fault = Fault(refuses=True)
    with pytest.raises(LabError, match="half done"), stage.outage(fault):
        pytest.fail("it never began")
    assert fault.did == ["apply", "revert"]


def test_what_goes_wrong_in_an_outage_comes_out_of_it(stage: Stage) -> None:
    fault = Fault()
    with pytest.raises(ZeroDivisionError), stage.outage(fault):
        1 / 0  # noqa: B018
    assert fault.did == ["apply", "revert"]
