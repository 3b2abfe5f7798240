"""The faults that are on in a lab: put on, found and healed by any process.

Before anything is done it is written down in the lab itself (images/fabric/journal.py), and it is
crossed out when all of it is undone. So whoever is killed in between, at whatever instant, leaves
nothing that `heal` in another process does not find.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.engine import lock
from lab.engine.interrupt import put_off
from lab.errors import LabBusy, LabError, UsageError
from lab.faults.fault import Fault
from lab.faults.unknown import Unknown

if TYPE_CHECKING:
    from lab.engine.lab import Lab

PATIENCE_SECONDS = 60.0  # for others who put on or heal faults of the same lab
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Case:
    """A fault of a lab: its number there, and since when, until when (epoch seconds) it is on.

    `state` is `applying`, `on` or `healing`: in the first and the last somebody is at it, or was
    killed while they were.
    """

    id: str
    fault: Fault
    state: str
    applied: float
    until: float | None = None
    by: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it is written down."""
        return {
            "id": self.id,
            **self.fault.as_json(),
            "state": self.state,
            "applied": self.applied,
            "until": self.until,
            "by": self.by,
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> Case:
        """What `as_json` wrote. What can't be read of it is an `Unknown` fault."""
        try:
            fault = Fault.of(record)
        except (UsageError, KeyError, TypeError, ValueError, AttributeError):
            fault = Unknown(str(record.get("target")), record)
        return cls(
            record["id"],
            fault,
            record["state"],
            record["applied"],
            record.get("until"),
            record.get("by", ""),
        )

    def event(self, *, on: bool) -> dict[str, Any]:
        """The data of the event that it went on, or off (FaultData, without its evidence)."""
        written = self.fault.as_json()
        return {
            "id": self.id,
            "on": on,
            "fault": f"{written['fault']} {written['target']}",
            "what": written["fault"],
            "title": self.fault.title,
            "healed": self.fault.healed,
            "parameters": written["parameters"],
        }

    def told(self, *, on: bool) -> dict[str, Any]:
        """The same for the lab's own record, with the node it strikes and who did it."""
        return {**self.event(on=on), "node": self.fault.node, "by": self.by}


def cases(lab: Lab) -> list[Case]:
    """The faults that are on in `lab`, in the order in which they were put on."""
    with lab.fabric() as fabric:
        return [Case.of(one) for one in fabric.noted()]


def apply(lab: Lab, fault: Fault, *, lasts: float | None = None, by: str = "") -> Case:
    """Put `fault` on; it is in effect when this returns.

    `lasts` is for how many real seconds it is meant to be on, `by` is put on record with it: who
    records themselves what they do know it by that. Raises UsageError if there is no such target
    or if it is on already, LabError if it can't be done; then, as after a Ctrl-C, nothing is left
    of it.
    """
    with ExitStack() as held:
        held.enter_context(_changing(lab, f"lab fault apply {fault.name}"))
        fabric = held.enter_context(lab.fabric())
        check(lab, fault)
        for one in cases(lab):
            if (one.fault.name, one.fault.target) == (fault.name, fault.target):
                raise UsageError(
                    f"{one.fault.title} already ({one.id})", hint=f"lab fault heal {one.id}"
                )
        case = Case("", fault, "applying", time.time(), by=by)
        try:
            with put_off():
                case = replace(case, id=fabric.note(case.as_json()))
            fault.apply(lab, case.id)
            if not fault.verify(lab, case.id):
                raise LabError(f"{fault.name} has no effect on {fault.target}", hint="lab doctor")
            with put_off():
                case = _on(lab, case, lasts)
                held.close()
        except BaseException as error:
            with put_off():
                _take_back(lab, case, error)
            raise
        return case


def _take_back(lab: Lab, case: Case, error: BaseException) -> None:
    """Undo what was done of a fault before `error` came in between."""
    try:
        if case.id:
            _undo(lab, case, told=case.state == "on")
    except LabError as stuck:
        raise LabError(
            f"{case.fault.name} could not be put on, and is not wholly undone",
            detail=f"{error}\n{stuck}",
            hint=f"lab up, then lab fault heal {case.id}",
        ) from error


def check(lab: Lab, fault: Fault) -> None:
    """Raises UsageError if `fault` has no target in `lab`, LabError if it can't be put on there."""
    targets = fault.targets(lab.plan)
    if fault.target not in targets:
        raise UsageError(
            f"{fault.name} can't strike '{fault.target}' in lab '{lab.name}'",
            hint="one of: " + ", ".join(targets) if targets else "lab fault list",
        )
    if misfit := fault.misfit(lab.plan):
        raise UsageError(
            f"{fault.name} can't be done so: {misfit}", hint=f"lab fault apply {fault.name} --help"
        )
    why_not = fault.probe(lab, fault.target)
    if why_not:
        raise LabError(f"{fault.name} can't be done here: {why_not}", hint="lab fault list")


def _on(lab: Lab, case: Case, lasts: float | None) -> Case:
    now = time.time()
    until = None if lasts is None else now + lasts
    case = replace(case, state="on", applied=now, until=until)
    with lab.fabric() as fabric:
        fabric.note(case.as_json())
        fabric.tell(case.told(on=True))
    return case


def heal(lab: Lab, case: Case) -> bool:
    """Undo a fault, whoever put it on; False if somebody else has done so meanwhile."""
    with _changing(lab, f"lab fault heal {case.id}"), lab.fabric():
        if all(one.id != case.id for one in cases(lab)):
            return False
        with put_off():
            _undo(lab, case, told=True)
        return True


def heal_all(lab: Lab) -> list[Case]:
    """Undo all faults, the last first; those that can't be are left. Raises nothing for them."""
    healed = []
    with suppress(LabError):  # without its fabric nothing can be undone, nor is there much to undo
        for case in reversed(cases(lab)):
            with suppress(LabError):
                if heal(lab, case):
                    healed.append(case)
    return healed


def _undo(lab: Lab, case: Case, *, told: bool) -> None:
    with lab.fabric() as fabric:
        fabric.note(replace(case, state="healing").as_json())
        case.fault.revert(lab, case.id)
        if told and case.fault.node in lab.plan.nodes:
            fabric.tell(case.told(on=False))
        fabric.cross_out(case.id)


def reassert(lab: Lab, node: str) -> None:
    """Put the faults on again that `node` lost as it was off: they are on until healed."""
    for case in cases(lab):
        fault = case.fault
        if case.state != "on" or fault.momentary or isinstance(fault, Unknown):
            continue
        if node in fault.holders(lab.plan):
            fault.apply(lab, case.id)


@contextmanager
def outage(lab: Lab, fault: Fault, *, by: str = "") -> Iterator[Case]:
    """`fault` is on while the block runs, and is undone whatever happens in it."""
    case = apply(lab, fault, by=by)
    try:
        yield case
    finally:
        heal(lab, case)


@contextmanager
def _changing(lab: Lab, doing: str) -> Iterator[None]:
    """One process at a time puts on and heals faults of a lab; the others wait for their turn."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        taken = lock.changing(lock.faults(lab.name), doing)
        try:
            taken.__enter__()
            break
        except LabBusy as error:
            if time.monotonic() > deadline:
                what = error.what.replace(lock.faults(lab.name), lab.name)
                raise LabBusy(what, hint=error.hint) from error
            time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        taken.__exit__(None, None, None)
