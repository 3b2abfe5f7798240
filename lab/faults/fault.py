"""What a fault is: a small frozen object that can be probed, applied, verified and reverted.

    @dataclass(frozen=True)
    class CablePulled(Fault):
        name = "cable-pulled"
        help = "the machine runs on, cut off: its cable is out at the far end"
        …

A class with a name is in the catalogue as soon as its module is (`catalogue`): the command line,
its completion, the soak and the list of faults know it from here on. Its fields made by `option`
are what it can be told.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lab.errors import UsageError
from lab.faults.parameters import kind_of, spelled

if TYPE_CHECKING:
    from random import Random

    from lab.engine.lab import Lab
    from lab.engine.plan import Plan


@dataclass(frozen=True)
class Fault:
    """One bad thing that is done to a lab, and how it is undone.

    All of its verbs may be called again: to apply what is on, or to revert what is off, changes
    nothing. `id` is the fault's own in the lab's journal; what is made bears it, so that nothing
    else is undone.
    """

    name: ClassVar[str] = ""
    """As typed: `cable-pulled`."""
    help: ClassVar[str] = ""
    """What it does, in one line."""
    kinds: ClassVar[tuple[str, ...]] = ("mail-server", "pc", "dns", "web-server", "router")
    """The kinds of nodes it can strike."""
    needs: ClassVar[str] = ""
    """What it needs that not every lab has, in words."""
    strikes: ClassVar[str] = "a machine"
    """What its target is, in words."""
    outside: ClassVar[bool] = False
    """Whether it is done outside its target: whatever state that is in, it can be put on, healed,
    and go together with others.
    """
    momentary: ClassVar[bool] = False
    """Whether it is over as soon as it has happened, and only its traces remain to be undone."""

    target: str
    """What it strikes: a node, or, where `targets` says so, something on one."""

    def __post_init__(self) -> None:
        for found in self.parameters():
            value = getattr(self, found.name)
            if isinstance(value, str):
                object.__setattr__(self, found.name, kind_of(found).parse(value))

    # --- What it is ----------------------------------------------------------------------

    @property
    def node(self) -> str:
        """The node it strikes."""
        return self.target

    @property
    def title(self) -> str:
        """What it is, for people: `receiver-mail has no power`."""
        raise NotImplementedError

    @property
    def healed(self) -> str:
        """What its end is, for people: `receiver-mail has its power back`."""
        raise NotImplementedError

    @classmethod
    def targets(cls, plan: Plan) -> list[str]:
        """What it can strike in a lab."""
        return [name for name, node in plan.nodes.items() if node.kind in cls.kinds]

    @classmethod
    def by_chance(cls, plan: Plan, target: str, chance: Random) -> dict[str, str]:
        """What it is told besides where faults strike at random, as people write it."""
        return {}

    @classmethod
    def parameters(cls) -> tuple[dataclasses.Field[Any], ...]:
        """What it can be told."""
        return tuple(one for one in dataclasses.fields(cls) if "kind" in one.metadata)

    def holders(self, plan: Plan) -> list[str]:
        """The nodes that lose it when they go off: when one is back it is put on again."""
        return [self.node]

    def written(self) -> dict[str, str]:
        """Its parameters as people write them, those that are as usual left out."""
        return {
            one.name: kind_of(one).write(getattr(self, one.name))
            for one in self.parameters()
            if getattr(self, one.name) not in (None, one.default)
        }

    # --- What it does --------------------------------------------------------------------

    @classmethod
    def probe(cls, lab: Lab, target: str) -> str | None:
        """Why it can't be done to `target` of this lab (a sentence's end); None if it can."""
        return None

    def misfit(self, plan: Plan) -> str | None:
        """Why it can't be done to its target as it was told (a sentence's end); None if it can."""
        return None

    def apply(self, lab: Lab, id: str) -> None:
        """Do it; it is on when this returns. Raises LabError if it can't be done."""
        raise NotImplementedError

    def verify(self, lab: Lab, id: str) -> bool:
        """Whether it is in effect, by looking."""
        raise NotImplementedError

    def revert(self, lab: Lab, id: str) -> None:
        """Undo it, whatever has become of its target meanwhile."""
        raise NotImplementedError

    # --- As a record ---------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """As it is written in the journal: `of` reads it."""
        return {"fault": self.name, "target": self.target, "parameters": self.written()}

    @staticmethod
    def of(record: Mapping[str, Any]) -> Fault:
        """The fault that `as_json` wrote. Raises UsageError if there is none like it."""
        return named(record["fault"]).told(record["target"], record["parameters"])

    @classmethod
    def told(cls, target: str, values: Mapping[str, str]) -> Self:
        """This fault of `target`, with its parameters as people write them.

        Raises UsageError naming what can't be understood, or what is missing.
        """
        known = {one.name: one for one in cls.parameters()}
        parsed = {}
        for name, value in values.items():
            option = spelled(name)
            if name not in known:
                raise UsageError(
                    f"{cls.name} can't be told '{option}'",
                    hint="it can be told: " + (", ".join(map(spelled, known)) or "nothing"),
                )
            try:
                parsed[name] = kind_of(known[name]).parse(value)
            except ValueError as error:
                raise UsageError(f"--{option} {value}: {error}") from None
        missing = [
            name
            for name, one in known.items()
            if one.default is dataclasses.MISSING and name not in parsed
        ]
        if missing:
            raise UsageError(
                f"{cls.name} has to be told --{spelled(missing[0])}",
                hint=f"lab fault apply {cls.name} --help",
            )
        return cls(target, **parsed)


@cache
def catalogue() -> Mapping[str, type[Fault]]:
    """All faults there are, by name, family by family."""
    import lab.faults

    families = [
        importlib.import_module(f"lab.faults.{module.name}")
        for module in pkgutil.iter_modules(lab.faults.__path__)
    ]
    return {
        found.name: found
        for family in families
        for found in vars(family).values()
        if isinstance(found, type) and issubclass(found, Fault) and found.name
    }


def named(name: str) -> type[Fault]:
    """The fault called `name`. Raises UsageError with the nearest if there is none."""
    known = catalogue()
    if name in known:
        return known[name]
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    raise UsageError(
        f"there is no fault '{name}'",
        hint=f"did you mean '{near[0]}'?" if near else "lab fault list",
    )
