"""Runs a scenario: on a lab of its own that is gone afterwards, or on the one that is up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import events, prepare, record
from lab.engine.lab import Lab
from lab.engine.plan import plan
from lab.errors import LabError, TopologyError
from lab.events import EventLog
from lab.observe.recorder import about
from lab.prepare import load_for
from lab.record import Record
from lab.scenarios import Scenario
from lab.scenarios.evidence import Verdict
from lab.scenarios.narration import ENGLISH, Narration
from lab.scenarios.stage import Audience, Stage
from lab.topology.check import check
from lab.topology.model import Schedule, Topology
from lab.units import LabClock


@dataclass(frozen=True)
class Outcome:
    """How a run went; `run` is its folder, `dropped` the frames that its captures missed.

    `report` is the page for reading; without one, `unreported` says why.
    """

    scenario: str
    run: Path
    lab_seconds: float
    real_seconds: float
    verdicts: tuple[Verdict, ...]
    dropped: int = 0
    report: Path | None = None
    unreported: str = ""

    @property
    def ok(self) -> bool:
        """Whether every expectation was met (and there were any)."""
        return bool(self.verdicts) and all(verdict.ok for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """The outcome as `lab scenario run --json` prints it."""
        return {
            "scenario": self.scenario,
            "ok": self.ok,
            "run": str(self.run),
            "lab_seconds": round(self.lab_seconds, 1),
            "real_seconds": round(self.real_seconds, 2),
            "dropped": self.dropped,
            "expectations": [verdict.as_json() for verdict in self.verdicts],
        }


def scheduled(topology: Topology, scenario: Scenario, time_scale: float) -> Topology:
    """`topology` with the scenario's own schedule. Raises TopologyError if the two don't fit."""
    own = topology.schedule.model_dump(mode="json") | dict(scenario.schedule)
    changed = topology.model_copy(
        update={"schedule": Schedule.model_validate(own), "time_scale": time_scale}
    )
    problems = [LabError(problem.what, hint=problem.hint) for problem in check(changed)]
    if problems:
        raise TopologyError(problems)
    return changed


@contextmanager
def own_lab(scenario: Scenario, time_scale: float | None) -> Iterator[Lab]:
    """A fresh lab for one run of `scenario`, removed afterwards whatever happens."""
    topology = load_for(scenario.topology, time_scale)
    scale = time_scale or scenario.time_scale or topology.time_scale
    name = f"{scenario.name}-{os.urandom(2).hex()}"
    planned = plan(scheduled(topology, scenario, scale), name, scale, scenario=scenario.name)
    with prepare.own_lab(planned, f"scenario {scenario.name}") as lab:
        yield lab


def run(
    scenario: Scenario,
    lab: Lab,
    *,
    parameters: Mapping[str, Any],
    audience: Audience,
    follow: Callable[[EventLog, LabClock], None],
    lang: str = ENGLISH,
) -> Outcome:
    """Act `scenario` on `lab` before `audience`. `follow` is given the events before the first.

    What is told is told, and recorded, in the language `lang`.

    Raises LabError if it can't go on, leaving the run's folder with all that happened.
    """
    folder = record.new(scenario.name)
    narration = Narration(scenario.narration, lang)
    began = time.time()
    verdicts: list[Verdict] = []

    def outcome(dropped: int = 0) -> Outcome:
        real = time.time() - began
        seconds = real * lab.clock.scale
        return Outcome(scenario.name, folder, seconds, real, tuple(verdicts), dropped)

    try:
        with EventLog(folder / events.FILE, lab.clock) as log:
            follow(log, lab.clock)
            log.add(
                "run",
                narration.title,
                data={
                    "scenario": scenario.name,
                    "rows": list(scenario.rows),
                    "summary": narration.summary,
                    "language": narration.lang,
                    **about(lab),
                    "parameters": dict(parameters),
                },
            )
            try:
                with Stage(lab, folder, log, narration, audience) as stage:
                    verdicts = stage.verdicts
                    scenario.act(stage, **parameters)
            except LabError as error:
                stopped = {**outcome().as_json(), "ok": False, "error": str(error)}
                log.add("outcome", "could not go on", data=stopped)
                raise
            done = outcome(stage.dropped)
            log.add("outcome", "ok" if done.ok else "failed", data=done.as_json())
    except BaseException:
        _reported(folder)
        raise
    page, problem = _reported(folder)
    return replace(done, report=page, unreported=problem)


def _reported(folder: Path) -> tuple[Path | None, str]:
    """The report of a run, or why there is none: that takes nothing away from the run."""
    from lab.views import report

    try:
        return report.write(Record.load(folder)), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
