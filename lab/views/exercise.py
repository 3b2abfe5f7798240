"""Exercises on the screen: the sheet, a task, how far somebody is, and a class as CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from wcwidth import wcswidth

from lab.scenarios.evidence import Evidence
from lab.scenarios.narration import Narration
from lab.units import format_clock
from lab.views.tables import paint, table
from lab.views.visible import in_line

if TYPE_CHECKING:
    from lab.exercises import Exercise, Item
    from lab.exercises.grade import Begun, Grade
    from lab.exercises.notebook import Course
    from lab.units import LabClock

_WORDS = Path(__file__).parents[1] / "exercises" / "words.yaml"
_WIDTH = 92  # columns of a projector
_PLACES = 4  # of evidence in a line


def words(lang: str) -> Narration:
    """What is said around the exercises, in a language."""
    return Narration(_WORDS, lang)


def catalogue(
    exercises: Iterable[Exercise], courses: Mapping[str, Course], clock: LabClock | None, lang: str
) -> str:
    """The sheet: what there is to do, and how far it is done in a lab (of which `clock` is)."""
    say = words(lang)
    rows = []
    for one in exercises:
        course = courses.get(one.name)
        state = _state(one, course, clock, say) if course and clock else say.text("nothing")
        rows.append((one.name, one.texts(lang).title, " ".join(one.rows), state))
    title = say.text("head-title")
    return table(_heads(say, "exercise", "title", "rows", "state"), rows, {title: 46})


def _heads(say: Narration, *columns: str) -> tuple[str, ...]:
    return tuple(say.text(f"head-{column}") for column in columns)


def _state(one: Exercise, course: Course, clock: LabClock, say: Narration) -> str:
    last = course.last
    if last is None:
        return say.text("state-begun", moment=format_clock(clock.lab_time(course.started)))
    if last.done is not None:
        return say.text("state-done", moment=format_clock(clock.lab_time(last.done)))
    return say.text("state-checked", met=len(last.met), total=len(one.items))


def task(begun: Begun, lang: str) -> str:
    """What is to be done, and what to type when it is."""
    exercise, say = begun.exercise, words(lang)
    texts, values = exercise.texts(lang), begun.values
    answer = say.text(f"answer-{exercise.answer}") if exercise.answer else ""
    moment = format_clock(begun.clock.lab_time(begun.started))
    parts = [
        say.text("begun", title=paint(texts.title, bold=True), moment=moment),
        *([say.text("again")] if begun.again else []),
        _paragraphs(texts.text("task", **values)),
        "\n".join(_wrapped(f"  [ ] {texts.text(key, **values)}", 6) for key in exercise.items),
        say.text("then", lab=values["lab"], name=exercise.name, answer=f" {answer}".rstrip()),
    ]
    return "\n\n".join(parts)


def _paragraphs(text: str) -> str:
    """A task, a line of it a paragraph; those that are indented are answers to choose from."""
    return "\n".join(_wrapped(line, 5 if line[:1] == " " else 0) for line in text.split("\n"))


def grade(found: Grade, lang: str) -> str:
    """What is done and what is missing, item by item, and where it was seen."""
    say, texts, values = words(lang), found.exercise.texts(lang), found.cast.values(found.lab)
    if found.when is not None:
        moment = format_clock(found.clock.lab_time(found.when))
        first = say.text("done", name=found.exercise.name, moment=moment)
    else:
        name = found.exercise.name
        first = say.text("undone", name=name, met=found.met, total=found.total)
    lines = [paint(first, bold=True)]
    for item in found.items:
        lines += _item(item, texts, values)
    if found.hint:
        lines += ["", _wrapped(say.text("hint", text=texts.text("hint", **values)), 0)]
    return "\n".join(lines)


def _item(item: Item, texts: Narration, values: Mapping[str, object]) -> list[str]:
    sign = paint("✓", "green") if item.met else paint("✗", "red")
    lines = [_wrapped(f"  {sign} {texts.text(item.key, **values)}", 4)]
    if item.note:
        seen = {key: in_line(str(value)) for key, value in item.values.items()}
        lines.append(_wrapped("    " + texts.text(f"{item.key}-{item.note}", **values, **seen), 4))
    if item.proofs:
        places = [_place(proof.evidence) for proof in item.proofs]
        more = f" (+{len(places) - _PLACES})" if len(places) > _PLACES else ""
        lines.append(paint(f"    [{', '.join(places[:_PLACES])}{more}]", dim=True))
    return lines


def _place(evidence: Evidence) -> str:
    """A fault is on nobody's log: it is named by what it strikes."""
    return f"lab fault: {evidence.node}" if evidence.kind == "fault" else str(evidence)


def _wrapped(text: str, indent: int) -> str:
    """`text` in lines that fit, Korean as wide as it is shown; those after the first indented.

    Line breaks of its own are kept. (textwrap counts letters, and Korean ones are two columns.)
    """
    lines = []
    for line in text.split("\n"):
        start = line[: len(line) - len(line.lstrip())]
        lines.append(start)
        for word in line.split():
            longer = lines[-1] + (" " if lines[-1].strip() else "") + word
            if wcswidth(click.unstyle(longer)) > _WIDTH and lines[-1].strip():
                lines.append(" " * indent + word)
            else:
                lines[-1] = longer
    return "\n".join(lines)


COLUMNS = ("lab", "exercise", "title", "done", "when", "met", "total")


def sheet(grades: Iterable[Grade], lang: str) -> str:
    """A line for each exercise of each lab."""
    say = words(lang)
    rows = [
        (lab, name, title, say.text(done), when, f"{met}/{total}")
        for lab, name, title, done, when, met, total in _rows(grades, lang)
    ]
    heads = _heads(say, "lab", "exercise", "title", "done", "when", "items")
    return table(heads, rows, {say.text("head-title"): 40})


def as_csv(grades: Iterable[Grade], lang: str) -> str:
    """The same as CSV (RFC 4180); `when` is lab time since the lab began."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_rows(grades, lang))
    return text.getvalue()


def _rows(grades: Iterable[Grade], lang: str) -> Iterable[tuple[str, str, str, str, str, str, str]]:
    for one in grades:
        when = "" if one.when is None else format_clock(one.clock.lab_time(one.when))
        title = one.exercise.texts(lang).title
        done = "yes" if one.done else "no"
        yield (one.lab, one.exercise.name, title, done, when, str(one.met), str(one.total))


def write(text: str) -> None:
    """Print CSV as it is: its line ends are its own."""
    sys.stdout.buffer.write(text.encode())
