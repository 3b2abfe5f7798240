"""Trouble on a schedule: which fault, of what, from when to when. The same seed, the same trouble.

The schedule is made before anything happens, out of what the lab can be struck by; whatever then
happens does not change it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.errors import LabError, UsageError
from lab.faults import journal
from lab.faults.fault import Fault, catalogue, named
from lab.faults.parameters import (
    COUNT,
    LAB_TIME,
    RATE,
    REAL_TIME,
    SHARE,
    SIZE,
    Kind,
    kind_of,
    spelled,
)

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

_VALUES: Mapping[Kind[Any], Sequence[str]] = {
    LAB_TIME: ("5m", "10m", "20m"),
    REAL_TIME: ("20ms", "100ms", "300ms"),
    SHARE: ("5%", "10%", "30%"),
    RATE: ("64k", "256k", "1m"),
    SIZE: ("100", "1k", "10k"),
    COUNT: ("1", "2", "3"),
}
_TRIES = 200  # to find something that can strike at that moment


@dataclass(frozen=True)
class Strike:
    """`fault` is on from `begins` to `ends` (real seconds after the beginning)."""

    begins: float
    ends: float
    fault: Fault

    def __str__(self) -> str:
        told = " ".join(f"--{spelled(key)} {value}" for key, value in self.fault.written().items())
        words = f"{self.fault.name} {self.fault.target} {told}".rstrip()
        return f"{self.begins:8.1f} s  {self.ends - self.begins:5.1f} s  {words}"


@dataclass
class Stroke:
    """What became of a strike: its case in the journal, or why it could not be done."""

    strike: Strike
    began: float = 0.0
    ended: float = 0.0
    case: str | None = None
    refused: str | None = None


def able(lab: Lab, only: Sequence[str] = ()) -> dict[type[Fault], list[str]]:
    """What can strike what in `lab`; of the faults called `only`, if any are named.

    Raises UsageError for one that there is not, or that can strike nothing here.
    """
    for name in only:
        named(name)
    found = {}
    for name, fault in catalogue().items():
        if only and name not in only:
            continue
        targets = [one for one in fault.targets(lab.plan) if fault.probe(lab, one) is None]
        if targets:
            found[fault] = targets
        elif only:
            raise UsageError(f"{name} can strike nothing in this topology", hint="lab fault list")
    return found


def schedule(
    able: Mapping[type[Fault], Sequence[str]],
    plan: Plan,
    *,
    seed: int,
    count: int,
    seconds: float,
    intensity: float,
    fits: Callable[[Fault], bool] = lambda fault: True,
) -> list[Strike]:
    """`count` strikes within `seconds` (real time), on average `intensity` of them at a time.

    Only what `fits` can be done. Fewer than `count`, if not all find room beside one another.
    """
    chance = random.Random(f"nemesis {seed}")  # noqa: S311  reproducible, not secret
    usual = intensity * seconds / max(count, 1)
    strikes: list[Strike] = []
    for begins in sorted(chance.uniform(0, seconds) for _ in range(count)):
        ends = min(seconds, begins + usual * chance.uniform(0.4, 1.6))
        for _ in range(_TRIES):
            kind = chance.choice(list(able))
            target = chance.choice(able[kind])
            fault = kind.told(target, _told(kind, chance) | kind.by_chance(plan, target, chance))
            strike = Strike(begins, ends, fault)
            if fits(fault) and all(_go_together(strike, other) for other in strikes):
                strikes.append(strike)
                break
    return strikes


def _told(fault: type[Fault], chance: random.Random) -> dict[str, str]:
    found = {}
    for one in fault.parameters():
        kind = kind_of(one)
        values = one.metadata["at_random"] or kind.choices or _VALUES.get(kind, ())
        if values:
            found[one.name] = chance.choice(values)
    return found


def _go_together(one: Strike, other: Strike) -> bool:
    """Whether two strikes can be: not the same twice, and nobody works on a machine that is dead.

    A little apart: to put on and heal takes a moment.
    """
    if other.ends + 2 < one.begins or one.ends + 2 < other.begins:
        return True
    if (one.fault.name, one.fault.target) == (other.fault.name, other.fault.target):
        return False
    return one.fault.node != other.fault.node or one.fault.outside or other.fault.outside


def strike(
    lab: Lab,
    strikes: Sequence[Strike],
    began: float,
    tell: Callable[[Stroke], None],
    stop: threading.Event,
) -> list[Stroke]:
    """Put on and heal as the schedule says, from the moment `began` (time.monotonic) on.

    When this returns all are healed; `stop` hurries that. `tell` hears of each when it is over.
    """
    strokes = [Stroke(one) for one in strikes]
    moments = sorted(
        [(one.strike.begins, True, number) for number, one in enumerate(strokes)]
        + [(one.strike.ends, False, number) for number, one in enumerate(strokes)]
    )
    on: dict[int, journal.Case] = {}
    try:
        for moment, begins, number in moments:
            if stop.wait(max(0.0, began + moment - time.monotonic())):
                break
            stroke = strokes[number]
            if begins:
                stroke.began = time.time()
                try:
                    on[number] = journal.apply(lab, stroke.strike.fault)
                    stroke.case = on[number].id
                except LabError as error:
                    stroke.refused = error.what
                    tell(stroke)
            elif number in on:
                _heal(lab, on.pop(number), stroke)
                tell(stroke)
    finally:
        for number in sorted(on, reverse=True):
            _heal(lab, on[number], strokes[number])
    return strokes


def _heal(lab: Lab, case: journal.Case, stroke: Stroke) -> None:
    journal.heal(lab, case)
    stroke.ended = time.time()
