"""A scenario acted without a lab: what is told, done and looked at in it, in order.

People, machines and addresses are the topology's; whatever else would come out is blank. Nothing is
run: the functions that a scenario calls are replaced by ones that only note that they were called.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal, TypeAlias, cast

from lab.engine.lab import Lab
from lab.engine.plan import Plan, plan
from lab.errors import LabError, UsageError
from lab.faults.fault import Fault
from lab.prepare import load_for
from lab.scenarios import Scenario, wording
from lab.scenarios.batch import BatchExpectation
from lab.scenarios.blank import Blank, blank_for
from lab.scenarios.expect import MessageExpectation
from lab.scenarios.insight import ACTS, JUDGES, PLACES, about
from lab.scenarios.narration import Narration
from lab.scenarios.people import Person
from lab.scenarios.runner import scheduled
from lab.scenarios.stage import Stage
from lab.scenarios.standin import rebound
from lab.units import counted, format_duration

Kind: TypeAlias = Literal["tell", "predict", "explain", "act", "fault", "healed", "look"]


@dataclass(frozen=True)
class Step:
    """Something in a story. `text` says it in English, from what its function says of itself.

    `of` is who does it, or which message it is about. `key` and `values` are for those who say it
    in their own words: a function's name, and its arguments (of what is told: its key). `places`
    are where it is to be seen (lab.scenarios.insight.PLACES).
    """

    kind: Kind
    text: str
    of: str = ""
    key: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rehearsed:
    """A scenario as far as it is known before it happens."""

    plan: Plan
    time_scale: float
    steps: tuple[Step, ...]


def rehearse(scenario: Scenario, narration: Narration) -> Rehearsed:
    """Act `scenario` with its parameters' defaults, told by `narration`. Runs nothing.

    Raises UsageError for a text that is missing, and where the scenario does with a blank what
    can't be done with one; TopologyError for a topology that does not fit.
    """
    topology = load_for(scenario.topology, None)
    scale = scenario.time_scale or topology.time_scale
    planned = plan(scheduled(topology, scenario, scale), scenario.name, scale)
    stage = _DryStage(Lab(planned, 0.0, {}), narration)
    act = rebound(cast(FunctionType, scenario.act), stage)
    try:
        act(stage, **scenario.parameters)
    except LabError:
        raise
    except Exception as error:
        raise _not_blank(scenario, error) from error
    return Rehearsed(planned, scale, tuple(stage.steps))


def _not_blank(scenario: Scenario, error: Exception) -> UsageError:
    """What to tell the author of a story that can be played, but not rehearsed."""
    file = inspect.getfile(scenario.act)
    lines = [
        one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == file
    ]
    return UsageError(
        f"{scenario.name} can't be rehearsed: {error}",
        where=f"{file}:{lines[-1]}" if lines else file,
        hint="what only a run can tell is blank here: it can't be unpacked or indexed (slice it); "
        "begin the file with: from __future__ import annotations",
    )


class _DryStage:
    """What a Stage is to a scenario, without a lab behind it."""

    def __init__(self, lab: Lab, narration: Narration) -> None:
        self._lab = lab
        self.narration = narration
        self.steps: list[Step] = []
        self.lab = Blank(Lab, self.answer, plan=lab.plan, clock=lab.clock, name=lab.name)

    def __getattr__(self, name: str) -> Any:
        return getattr(Blank(Stage, self.answer), name)

    # --- As a Stage ----------------------------------------------------------------------

    def tell(self, key: str, **values: object) -> None:
        self.steps.append(Step("tell", self.narration.text(key, **values), key=key))

    def predict(self, key: str, **values: object) -> None:
        self.steps.append(Step("predict", self.narration.text(key, **values), key=key))

    def explain(self, key: str, **values: object) -> None:
        self.steps.append(Step("explain", self.narration.text(key, **values), key=key))

    @property
    def patience(self) -> str:
        return format_duration(self._lab.plan.topology.schedule.give_up)

    def person(self, name: str) -> Blank:
        real = Person(cast(Stage, self), name)  # which only asks where they sit
        known = {one: getattr(real, one) for one in ("address", "name", "seat", "server")}
        return Blank(Person, self.answer, label=real.name, **known)

    def address(self, node: str) -> str:
        return self._lab.plan.site.address(self._lab.node(node))

    def network(self, node: str) -> str:
        return self._lab.plan.nodes[self._lab.node(node)].interfaces[0].network

    @contextmanager
    def outage(self, fault: Fault) -> Iterator[Blank]:
        values = {"node": fault.node, **fault.written()}
        self.steps.append(Step("fault", fault.title, key=fault.name, values=values))
        yield Blank()
        healed = f"{fault.name} healed"
        self.steps.append(Step("healed", fault.healed, key=healed, values=values))

    @contextmanager
    def operator(self, node: str, **settings: object) -> Iterator[None]:
        shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
        text = f"the operator of {node} sets {shown}"
        values = {"node": node, "settings": shown}
        self.steps.append(Step("act", text, key="Stage.operator", values=values))
        yield

    def expect(self, message: Blank) -> Blank:
        return Blank(MessageExpectation, self.answer, label=message._label)

    def expect_all(self, messages: list[Blank]) -> Blank:
        return Blank(BatchExpectation, self.answer, label=counted(len(messages), "message"))

    def check(self, id: str, *_: object, **__: object) -> bool:
        self.steps.append(Step("look", id))
        return True

    # --- Listening -----------------------------------------------------------------------

    def answer(
        self,
        of: Blank | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Note that `function` was called, if it acts or judges, and give a blank result."""
        owner = of._kind if of is not None else None
        given = wording.arguments(function, args if of is None else (of, *args), kwargs)
        found = about(function, owner)
        if found & {ACTS, JUDGES}:
            holder = owner.__name__ if owner else function.__module__.rpartition(".")[2]
            self.steps.append(
                Step(
                    "look" if JUDGES in found else "act",
                    wording.sentence(function, given, of),
                    of._label if of is not None else wording.subject(given),
                    f"{holder}.{function.__name__}",
                    wording.values(given, of),
                    tuple(place for place in PLACES if place in found),
                )
            )
        result = blank_for(function, of, self.answer)
        if isinstance(result, Blank):
            wording.name(result, given)
        return result
