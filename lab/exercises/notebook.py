"""What is noted of exercises in the lab itself: when each was begun, asked about, answered.

The lab keeps texts that are never changed (lab.engine.fabric), so a page is added for each thing,
and the notebook is gone with the lab.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Keep = Callable[[str, str | None], str | None]


@dataclass(frozen=True)
class Check:
    """Somebody has asked how far they are (epoch seconds): which items were met, the answer that
    counted, and whether they were given the hint.
    """

    time: float
    met: tuple[str, ...]
    answer: str | None
    answered: float | None
    hint: bool
    done: float | None
    """Since when all was met; None if it was not."""


@dataclass(frozen=True)
class Course:
    """An exercise that was begun at `started` (epoch seconds), and the checks since."""

    started: float
    checks: tuple[Check, ...] = ()

    @property
    def last(self) -> Check | None:
        """The newest check."""
        return self.checks[-1] if self.checks else None

    @property
    def hinted(self) -> bool:
        """Whether the hint was given: it is only once."""
        return any(one.hint for one in self.checks)


class Notebook:
    """The notebook of a lab; `keep` is its fabric's."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._free: dict[str, int] = {}  # the first page with nothing on it, as far as is known

    def course(self, exercise: str) -> Course | None:
        """How an exercise went since it was last begun; None if it was not."""
        course: Course | None = None
        for page in self._pages(exercise):
            if page["what"] == "start":
                course = Course(page["time"])
            elif course:
                values = {key: page[key] for key in Check.__dataclass_fields__}
                check = Check(**values | {"met": tuple(page["met"])})
                course = Course(course.started, (*course.checks, check))
        return course

    def start(self, exercise: str, when: float) -> None:
        """An exercise is begun, perhaps once more."""
        self._add(exercise, {"what": "start", "time": when})

    def add(self, exercise: str, check: Check) -> None:
        """Somebody has asked."""
        self._add(exercise, {"what": "check", **vars(check)})

    def _pages(self, exercise: str) -> Iterator[dict[str, Any]]:
        number = 1
        while (text := self._keep(_name(exercise, number), None)) is not None:
            yield json.loads(text)
            number += 1
        self._free[exercise] = number

    def _add(self, exercise: str, page: dict[str, Any]) -> None:
        text = json.dumps(page)
        number = self._free.get(exercise) or 1 + len(list(self._pages(exercise)))
        while self._keep(_name(exercise, number), text) != text:  # somebody else has written there
            number += 1


def _name(exercise: str, number: int) -> str:
    return f"exercise.{exercise}.{number}"
