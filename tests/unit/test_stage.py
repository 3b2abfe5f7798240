"""The stage undoes what a scenario did, whatever goes wrong in between."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from faultylab import FaultyLab, Trouble, known

from lab.errors import LabError
from lab.events import Event, EventLog
from lab.scenarios.stage import Stage
from lab.units import LabClock


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage without a lab: what it asks the engine is answered here."""
    known(monkeypatch)
    found = object.__new__(Stage)
    found.lab = FaultyLab()
    found.log = EventLog(None, LabClock(0, 1))
    found._recorder = SimpleNamespace(settle=lambda: None, token="")  # type: ignore[assignment]
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
    heard = faults(stage)
    with (
        pytest.raises(LabError, match="the engine is gone"),
        stage.outage(Trouble("receiver-mail")),
    ):
        pass
    assert Trouble.did == ["apply f1", "revert f1"]
    assert [event.data["on"] for event in heard] == [True, False]


def test_an_outage_that_was_begun_by_half_is_undone(stage: Stage) -> None:
    heard = faults(stage)
    fault = Trouble("receiver-mail", refuses=True)
    with pytest.raises(LabError, match="half done"), stage.outage(fault):
        pytest.fail("it never began")
    assert Trouble.did == ["apply f1", "revert f1"]
    assert heard == []


def test_what_goes_wrong_in_an_outage_comes_out_of_it(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError), stage.outage(Trouble("receiver-mail")):
        1 / 0  # noqa: B018
    assert Trouble.did == ["apply f1", "revert f1"]
