"""How far somebody is with an exercise: judged from the record of the lab that is up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.errors import UsageError
from lab.exercises import Exercise, Item
from lab.exercises.answers import Answer, parse
from lab.exercises.cast import Cast
from lab.exercises.notebook import Check, Course, Notebook
from lab.exercises.work import Work

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.record import Record
    from lab.units import LabClock


@dataclass(frozen=True)
class Grade:
    """What is done of an exercise, and what is not. `course` is None if it was not begun."""

    lab: str
    clock: LabClock
    exercise: Exercise
    cast: Cast
    course: Course | None
    items: tuple[Item, ...]
    hint: bool = False
    """Whether it is time for the hint."""

    @property
    def met(self) -> int:
        """How many items are met."""
        return sum(item.met for item in self.items)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.items)

    @property
    def done(self) -> bool:
        """Whether all are."""
        return self.met == self.total

    @property
    def when(self) -> float | None:
        """Since when all are (epoch seconds); None if not all are."""
        return max(item.when or 0.0 for item in self.items) if self.done else None

    def lab_time(self, epoch: float | None) -> float | None:
        """A moment in lab seconds since the lab began, as `--json` has it."""
        return None if epoch is None else round(self.clock.lab_time(epoch), 3)

    def as_json(self, lang: str) -> dict[str, Any]:
        """The grade as `lab exercise check --json` prints it, with texts in a language."""
        texts = self.exercise.texts(lang)
        values = self.cast.values(self.lab)
        items = [
            {
                "item": item.key,
                "text": texts.text(item.key, **values),
                "met": item.met,
                "note": texts.text(f"{item.key}-{item.note}", **values, **item.values)
                if item.note
                else None,
                "evidence": [proof.evidence.as_json() for proof in item.proofs],
            }
            for item in self.items
        ]
        return {
            "lab": self.lab,
            "exercise": self.exercise.name,
            "title": texts.title,
            "started": self.lab_time(self.course.started if self.course else None),
            "done": self.done,
            "when": self.lab_time(self.when),
            "met": self.met,
            "total": self.total,
            "checks": len(self.course.checks) if self.course else 0,
            "items": items,
            "hint": texts.text("hint", **values) if self.hint else None,
        }


@dataclass(frozen=True)
class Begun:
    """An exercise that begins at `started` (epoch seconds), perhaps once `again`."""

    lab: str
    clock: LabClock
    exercise: Exercise
    cast: Cast
    started: float
    again: bool

    @property
    def values(self) -> Mapping[str, object]:
        """What its texts may name."""
        return self.cast.values(self.lab)

    def as_json(self, lang: str) -> dict[str, Any]:
        """What `lab exercise start --json` prints, with texts in a language."""
        texts = self.exercise.texts(lang)
        return {
            "lab": self.lab,
            "exercise": self.exercise.name,
            "title": texts.title,
            "task": texts.text("task", **self.values),
            "items": {key: texts.text(key, **self.values) for key in self.exercise.items},
            "answer": self.exercise.answer,
            "started": round(self.clock.lab_time(self.started), 3),
            "again": self.again,
        }


def begin(lab: Lab, exercise: Exercise) -> Begun:
    """Note that an exercise begins now.

    Raises UsageError if it can't be done in `lab`, LabError if that keeps no record.
    """
    from lab.observe.recorder import recorded_since

    cast = Cast.of(lab)
    with lab.fabric() as fabric:
        recorded_since(lab)  # without, there will be nothing to judge
        book = Notebook(fabric.keep)
        before = book.course(exercise.name) is not None
        now = time.time()
        book.start(exercise.name, now)
    return Begun(lab.name, lab.clock, exercise, cast, now, before)


def check(lab: Lab, exercise: Exercise, text: str | None) -> Grade:
    """Judge an exercise that was begun, with the answer `text` or else the last one given.

    It is noted that somebody has asked: who asks once more without having got further is given the
    hint, once. Raises UsageError if it was not begun, or the answer can't be one.
    """
    from lab.observe.live import record_of

    with lab.fabric() as fabric:
        book = Notebook(fabric.keep)
        course = book.course(exercise.name)
        if course is None:
            raise UsageError(
                f"exercise {exercise.name} was not begun in lab '{lab.name}'",
                hint=f"lab exercise start {exercise.name}",
            )
        now = time.time()
        answer = parse(exercise, text, lab.plan.networks, now) if text is not None else None
        answer = answer or _last_answer(lab, exercise, course)
        with record_of(lab, wires=False) as record:
            grade = _judged(lab, exercise, Cast.of(lab), course, record, answer)
        hint = _is_stuck(course, grade)
        words, given = (str(answer), answer.given) if answer else (None, None)
        keys = tuple(item.key for item in grade.items if item.met)
        asked = Check(now, keys, words, given, hint, grade.when)
        book.add(exercise.name, asked)
    course = Course(course.started, (*course.checks, asked))
    return Grade(lab.name, lab.clock, exercise, grade.cast, course, grade.items, hint)


def sheet(lab: Lab, exercises: Iterable[Exercise]) -> list[Grade]:
    """Judge all of these, begun or not. Nothing is noted of it: a teacher has asked."""
    from lab.observe.live import record_of

    cast = Cast.of(lab)
    with lab.fabric() as fabric, record_of(lab, wires=False) as record:
        book = Notebook(fabric.keep)
        return [
            _judged(lab, one, cast, course, record, _last_answer(lab, one, course))
            for one in exercises
            for course in [book.course(one.name)]
        ]


def courses(lab: Lab, exercises: Iterable[Exercise]) -> Iterator[tuple[Exercise, Course | None]]:
    """How each of these went so far, as its checks said."""
    with lab.fabric() as fabric:
        book = Notebook(fabric.keep)
        for one in exercises:
            yield one, book.course(one.name)


def _judged(
    lab: Lab,
    exercise: Exercise,
    cast: Cast,
    course: Course | None,
    record: Record,
    answer: Answer | None,
) -> Grade:
    items = [Item(key) for key in exercise.items]
    if course:
        items = exercise.judge(Work(record, course.started, cast, answer))
    return Grade(lab.name, lab.clock, exercise, cast, course, tuple(items))


def _last_answer(lab: Lab, exercise: Exercise, course: Course | None) -> Answer | None:
    last = course.last if course else None
    if last is None or last.answer is None or last.answered is None:
        return None
    return parse(exercise, last.answer, lab.plan.networks, last.answered)


def _is_stuck(course: Course, grade: Grade) -> bool:
    """Whether somebody asks once more, and is no further than before."""
    if grade.done or course.hinted or course.last is None:
        return False
    return grade.met <= len(course.last.met)
