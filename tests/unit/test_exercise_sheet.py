"""Exercises beside their judging: the notebook and the hint, answers, texts, what is printed."""

from __future__ import annotations

import csv
import io
import string
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from exercisebench import CAST
from recording import STARTED

from lab.cli import cli
from lab.engine.lab import Lab
from lab.errors import LabError, LabNotUp, UsageError
from lab.exercises import Exercise, Item, Proof, catalogue, grade, named
from lab.exercises.answers import parse
from lab.exercises.grade import Grade, _is_stuck
from lab.exercises.notebook import Check, Course, Notebook
from lab.scenarios.evidence import Evidence
from lab.units import LabClock
from lab.views import exercise as view

NETWORKS = ("sender-lan", "dns-lan", "receiver-lan")


def test_what_is_met_has_evidence() -> None:
    with pytest.raises(LabError, match="without any evidence"):
        Item("taken", met=True)


# The notebook, and the hint ---------------------------------------------------------------------


class Kept:
    """What a lab keeps: the first text under each name."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def __call__(self, name: str, text: str | None) -> str | None:
        return self.texts.get(name) if text is None else self.texts.setdefault(name, text)


def asked(*met: str, hint: bool = False, answer: str | None = None) -> Check:
    return Check(9.0, met, answer, 8.0 if answer else None, hint, None)


def test_the_notebook_knows_what_happened_since_the_last_start() -> None:
    kept = Kept()
    book = Notebook(kept)
    assert book.course("bounce") is None
    book.start("bounce", 1.5)
    book.add("bounce", asked("queued", answer="a"))
    book.start("waits", 2.0)
    course = Notebook(kept).course("bounce")
    assert course == Course(1.5, (asked("queued", answer="a"),))
    book.start("bounce", 5.0)
    assert book.course("bounce") == Course(5.0)


def test_two_who_write_at_once_both_have_a_page() -> None:
    kept = Kept()

    def first_somebody_else(name: str, text: str | None) -> str | None:
        if text is not None and name not in kept.texts and len(kept.texts) == 1:
            kept(name, '{"what": "start", "time": 7.0}')
        return kept(name, text)

    Notebook(kept).start("bounce", 1.0)
    Notebook(first_somebody_else).start("bounce", 2.0)
    assert len(kept.texts) == 3
    assert Notebook(kept).course("bounce") == Course(2.0)


def graded(*met: str) -> Grade:
    proof = Proof(Evidence("log", node="x", line=1), STARTED + 60)
    exercise = named("bounce")
    items = tuple(Item(key, key in met, (proof,) if key in met else ()) for key in exercise.items)
    clock = LabClock(STARTED, 60)
    return Grade("lab", clock, exercise, CAST, Course(STARTED), items)


@pytest.mark.parametrize(
    ("checks", "now", "hint"),
    [
        ((), (), False),
        ((asked(),), (), True),
        ((asked("queued"),), ("queued",), True),
        ((asked(),), ("queued",), False),
        ((asked(), asked(hint=True)), (), False),
        ((asked("queued"),), named("bounce").items, False),
    ],
)
def test_the_hint_comes_at_the_second_check_without_progress_and_once(
    checks: tuple[Check, ...], now: tuple[str, ...], hint: bool
) -> None:
    assert _is_stuck(Course(1.0, checks), graded(*now)) == hint


# Answers, texts, the command line ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("responsibility", "frame 12", "'frame 12' names no frame"),
        ("responsibility", "sender-lan#", "names no frame"),
        ("responsibility", "lan#3", "there is no network 'lan' in this lab"),
        ("came-back", "because", "'because' is none of the answers"),
        ("by-hand", "a", "exercise by-hand asks for no answer"),
        ("responsibility", "", "'' names no frame"),
        ("came-back", " ", "' ' is none of the answers"),
    ],
)
def test_what_can_be_no_answer_is_said(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        parse(named(name), text, NETWORKS, 0)
    assert error.value.hint


def test_an_answer_may_be_written_as_people_write() -> None:
    assert str(parse(named("password"), " receiver-lan #7", NETWORKS, 0)) == "receiver-lan#7"
    assert str(parse(named("came-back"), "C ", NETWORKS, 0)) == "c"


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("path", [*(one.narration for one in catalogue().values()), view._WORDS])
def test_texts_are_the_same_in_both_languages(path: Path) -> None:
    english = yaml.safe_load(path.read_text())
    korean = yaml.safe_load(path.with_suffix(".ko.yaml").read_text())
    assert list(english) == list(korean)
    for key, text in english.items():
        assert placeholders(text) == placeholders(korean[key]), key


@pytest.mark.parametrize("exercise", catalogue().values(), ids=catalogue())
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_exercise_has_its_texts(lang: str, exercise: Exercise) -> None:
    texts = exercise.texts(lang)
    assert texts.lang == lang
    texts.need(["task", "hint", *exercise.items])
    for key in ("title", "task", "hint", *exercise.items):
        assert texts.text(key, **CAST.values("lab"))


def test_the_sheet_is_in_order_and_has_at_least_eight() -> None:
    found = list(catalogue().values())
    assert [one.number for one in found] == list(range(1, len(found) + 1)) and len(found) >= 8


def test_a_class_is_a_csv_file() -> None:
    done, begun = graded(*named("bounce").items), graded("queued")
    text = view.as_csv([done, begun], "en")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [list(row.values()) for row in rows] == [
        ["lab", "bounce", "Return to sender", "yes", "01:00:00", "4", "4"],
        ["lab", "bounce", "Return to sender", "no", "", "1", "4"],
    ]


def test_what_is_printed_says_what_is_met_and_where() -> None:
    shown = view.grade(graded("queued"), "en").splitlines()
    assert shown[0] == "bounce: not yet; 1 of 4"
    assert shown[1].startswith("  ✓ ") and shown[2].strip() == "[x:1]"
    assert shown[3].startswith("  ✗ ")
    korean = view.grade(graded(*named("bounce").items), "ko")
    assert korean.startswith("bounce: 완료 (랩 시간 01:00:00)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "which exercise?"),
        (["check", "bounce", "--all"], "one exercise is named, and all are asked for"),
        (["check", "--all", "--answer", "a"], "an answer is to one exercise"),
        (["check", "bounce", "--csv"], "CSV is for a class"),
        (["check", "--all", "--csv", "--json"], "two ways to print the same"),
        (["check", "bounce", "--lab", "anna"], "several labs are for --all"),
        (["start", "bonce"], "there is no exercise 'bonce'"),
        (["start", "zzz"], "there is no exercise 'zzz'"),
        (["start", "bounce", "--lang", "fr"], "nothing is told in 'fr' here"),
    ],
)
def test_wrong_usage_is_told_in_words(words: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["exercise", *words])
    assert isinstance(result.exception, UsageError)
    assert said in result.exception.what and result.exception.hint


@pytest.mark.parametrize("answer", ["", "#"])
def test_an_empty_answer_is_one_too(answer: str) -> None:
    kept = Kept()
    Notebook(kept).start("responsibility", 1.0)
    plan = SimpleNamespace(networks=NETWORKS)
    fabric = nullcontext(SimpleNamespace(keep=kept))
    lab: Any = SimpleNamespace(name="lab", plan=plan, fabric=lambda: fabric)
    with pytest.raises(UsageError, match=f"'{answer}' names no frame"):
        grade.check(lab, named("responsibility"), answer)


def test_a_lab_that_is_not_up_costs_the_class_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(name: str) -> str:
        if name == "ben":
            raise LabNotUp("lab 'ben' is not up", hint="lab --lab ben up")
        return name

    monkeypatch.setattr(Lab, "attach", attach)
    monkeypatch.setattr(grade, "sheet", lambda lab, exercises: [graded(*named("bounce").items)])
    words = ["exercise", "check", "--all", "--csv"]
    done = CliRunner().invoke(cli, [*words, "--lab", "anna", "--lab", "ben", "--lab", "cho"])
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 2
    assert "lab: lab 'ben' is not up\n  → lab --lab ben up" in done.stderr
    assert done.exit_code == 3
    alone = CliRunner().invoke(cli, [*words, "--lab", "ben"])
    assert isinstance(alone.exception, LabNotUp)


@pytest.mark.parametrize("name", ["by-hand", "one-connection", "came-back"])
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_who_types_is_told_where_to_sit_and_how_lines_end(lang: str, name: str) -> None:
    text = named(name).texts(lang).text("task", **CAST.values("anna"))
    assert "lab --lab anna ssh " in text and "nc -C" in text


def test_the_tab_key_knows_the_exercises() -> None:
    found = ShellComplete(cli, {}, "lab", "_LAB_COMPLETE")
    for verb in ("start", "check"):
        items = found.get_completions(["exercise", verb], "bo")
        assert [item.value for item in items] == ["bounce"]
