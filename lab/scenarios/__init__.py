"""Scenarios: stories that happen. Each is one file in scenarios/, its narration beside it.

A scenario is a function that is given a stage (lab.scenarios.stage) and acts on it:

    @scenario(rows=("N4",), time_scale=60, lasts="2h")
    def receiver_down(stage: Stage) -> None:
        alice, bob = stage.person("alice"), stage.person("bob")
        with stage.outage(power_cut("receiver-mail")):
            message = alice.send(to=bob, subject="Lunch?")
            stage.expect(message).deferred(times=3)
        stage.expect(message).delivered(to=bob)
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from lab.units import parse_duration

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"

Act = Callable[..., None]


@dataclass(frozen=True)
class Scenario:
    """A story and what it needs: see `scenario`."""

    name: str
    act: Act
    rows: tuple[str, ...]
    topology: str
    time_scale: float | None
    lab_seconds: int
    schedule: Mapping[str, str]
    narration: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def keys(self) -> list[str]:
        """The keys of the narration that it tells, as far as they stand in it as they are."""
        tree = ast.parse(textwrap.dedent(self.source()))
        return [
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("tell", "predict", "explain")
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ]

    def source(self) -> str:
        """The scenario itself, as it is written."""
        return inspect.getsource(self.act)


def scenario(
    *,
    rows: tuple[str, ...],
    lasts: str,
    topology: str = "textbook",
    time_scale: float | None = None,
    schedule: Mapping[str, str] | None = None,
) -> Callable[[Act], Act]:
    """Make a function a scenario; its name, with hyphens, is the scenario's.

    `rows` are the requirements it shows, `lasts` about how long it takes in lab time. `schedule`
    replaces parts of the topology's schedule. Keyword parameters of the function can be set by the
    user; their defaults say what they are: a count (an int) or a duration (`"2h"`).
    """

    def mark(act: Act) -> Act:
        parameters = {
            name: parameter.default
            for name, parameter in inspect.signature(act).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        source = Path(inspect.getfile(act))
        act.scenario = Scenario(  # type: ignore[attr-defined]
            name=act.__name__.replace("_", "-"),
            act=act,
            rows=rows,
            topology=topology,
            time_scale=time_scale,
            lab_seconds=parse_duration(lasts),
            schedule=dict(schedule or {}),
            narration=source.with_suffix(".yaml"),
            parameters=parameters,
        )
        return act

    return mark


def names() -> list[str]:
    """The scenarios there are."""
    return sorted(file.stem.replace("_", "-") for file in FOLDER.glob("[a-z]*.py"))


def load(name: str) -> Scenario:
    """The scenario called `name`, or in the file `name`. Raises UsageError if there is none."""
    file = Path(name) if name.endswith(".py") else FOLDER / f"{name.replace('-', '_')}.py"
    if not file.is_file() and name.endswith(".py"):
        raise UsageError("there is no such file", where=name, hint="lab scenario list")
    if not file.is_file():
        from difflib import get_close_matches

        close = get_close_matches(name, names(), 1)
        raise UsageError(
            f"there is no scenario '{name}'",
            hint=f"did you mean '{close[0]}'?" if close else "one of: " + ", ".join(names()),
        )
    spec = importlib.util.spec_from_file_location(f"scenarios.{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [act.scenario for act in vars(module).values() if hasattr(act, "scenario")]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} scenarios in one file; there must be one function with @scenario",
            where=str(file),
        )
    return found[0]  # type: ignore[no-any-return]
