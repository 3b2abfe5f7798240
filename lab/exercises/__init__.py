"""Exercises: what a student does by hand in a lab that is up, judged by the lab's own record.

Each is one file in lab/exercises/tasks, its texts beside it:

    @exercise(number=3, rows=("N5",), items=("queued", "failed", "reported", "returned"))
    def bounce(work: Work) -> Iterator[list[Item]]:
        for message in work.written(work.cast.alice):
            yield [met("queued", message.proof), …]

It is given what was done since the exercise was started, and yields what each try of the student's
amounts to: which items of the task are met, and where that can be looked up.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lab.errors import LabError, UsageError
from lab.scenarios.evidence import Evidence

if TYPE_CHECKING:
    from lab.exercises.work import Work
    from lab.scenarios.narration import Narration

AnswerKind = Literal["frame", "choice"]
CHOICES = ("a", "b", "c", "d")
"""What a question with answers to choose from offers; its texts say which is which."""


class Proof(NamedTuple):
    """A place of the record, and when it was there (epoch seconds)."""

    evidence: Evidence
    time: float


@dataclass(frozen=True)
class Item:
    """A part of a task: met or not, and where that was seen.

    `note` is the key of what there is to say of it besides, with `values` in its places; `since`
    is when it was met, where no proof says so: an answer is on no wire.
    """

    key: str
    met: bool = False
    proofs: tuple[Proof, ...] = ()
    note: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    since: float | None = None

    def __post_init__(self) -> None:
        if self.met and not self.proofs and self.since is None:
            raise LabError(f"item '{self.key}' is said to be met without any evidence")

    @property
    def when(self) -> float | None:
        """When it was met (epoch seconds); None if it is not."""
        times = [proof.time for proof in self.proofs]
        return (self.since if self.since is not None else max(times)) if self.met else None


def met(key: str, *proofs: Proof, note: str | None = None, **values: object) -> Item:
    """An item that is met."""
    return Item(key, True, proofs, note, values)


def missing(key: str, *proofs: Proof, note: str | None = None, **values: object) -> Item:
    """An item that is not, and what was seen instead."""
    return Item(key, False, proofs, note, values)


Judge = Callable[["Work"], Iterable[list[Item]]]


@dataclass(frozen=True)
class Exercise:
    """A task and how it is judged: see `exercise`."""

    name: str
    number: int
    rows: tuple[str, ...]
    items: tuple[str, ...]
    answer: AnswerKind | None
    act: Judge
    narration: Path

    def judge(self, work: Work) -> list[Item]:
        """The items of the task as they stand, in the best of the student's tries.

        That is the first that has all; else the last of those that have most.
        """
        best = [Item(key) for key in self.items]
        for attempt in self.act(work):
            found = {item.key: item for item in attempt}
            items = [found.get(key, Item(key)) for key in self.items]
            if _count(items) >= _count(best):
                best = items
            if _count(items) == len(items):
                break
        return best

    def texts(self, lang: str) -> Narration:
        """Its texts in a language."""
        from lab.scenarios.narration import Narration

        return Narration(self.narration, lang)


def _count(items: Iterable[Item]) -> int:
    return sum(item.met for item in items)


def exercise(
    *,
    number: int,
    rows: tuple[str, ...],
    items: tuple[str, ...],
    answer: AnswerKind | None = None,
) -> Callable[[Judge], Judge]:
    """Make a function an exercise; its name, with hyphens, is the exercise's.

    `number` is its place on the sheet, `rows` the requirements it is about, `items` what has to be
    met, `answer` what the student has to give besides: a frame of the record (`sender-lan#12`), or
    one of CHOICES.
    """

    def mark(act: Judge) -> Judge:
        act.exercise = Exercise(  # type: ignore[attr-defined]
            act.__name__.replace("_", "-"),
            number,
            rows,
            items,
            answer,
            act,
            Path(inspect.getfile(act)).with_suffix(".yaml"),
        )
        return act

    return mark


@cache
def catalogue() -> Mapping[str, Exercise]:
    """All exercises by name, in the order of the sheet."""
    from lab.exercises import tasks

    found = sorted(_exercises(tasks.__path__, tasks.__name__), key=lambda one: one.number)
    return {one.name: one for one in found}


def _exercises(path: Iterable[str], package: str) -> Iterator[Exercise]:
    for module in pkgutil.iter_modules(list(path)):
        for value in vars(importlib.import_module(f"{package}.{module.name}")).values():
            found: Any = getattr(value, "exercise", None)
            if isinstance(found, Exercise):
                yield found


def named(name: str) -> Exercise:
    """The exercise called `name`. Raises UsageError if there is none."""
    known = catalogue()
    if name in known:
        return known[name]
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    raise UsageError(
        f"there is no exercise '{name}'",
        hint=f"did you mean '{near[0]}'?" if near else "one of: " + ", ".join(known),
    )
