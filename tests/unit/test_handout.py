"""A handout says what a scenario would tell, do and look at, and does nothing of it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_languages import texts
from wcwidth import wcswidth

from lab import scenarios
from lab.cli import cli
from lab.scenarios.blank import Blank
from lab.scenarios.insight import about
from lab.scenarios.narration import LANGUAGES, Narration
from lab.scenarios.rehearsal import Rehearsed, rehearse
from lab.views import pages
from lab.views.handout import Handout, handout
from lab.views.handout_text import markdown, plain

DOCS = Path(__file__).parents[2] / "docs/scenarios"
ROWS = [f"N{number}" for number in range(1, 20)]
NAMES = scenarios.names()


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is started and nobody is called."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a handout has executed something")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def rehearsed(name: str) -> Rehearsed:
    found = scenarios.load(name)
    return rehearse(found, Narration(found.narration))


def page(name: str, lang: str = "en") -> Handout:
    return handout(scenarios.load(name), lang)


# --- The rows of the lecture -----------------------------------------------------------------


def test_every_row_of_the_lecture_has_a_scenario() -> None:
    covered = {row for name in NAMES for row in scenarios.load(name).rows}
    assert [row for row in ROWS if row not in covered] == []
    assert covered <= set(ROWS)


def test_the_list_says_which_rows_each_covers() -> None:
    output = CliRunner().invoke(cli, ["scenario", "list", "--lang", "en"]).output
    assert re.search(r"(?m)^persistent-connection +Many messages, one connection +N12 ", output)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_index_has_what_the_lecture_says_and_the_scenarios_that_show_it(lang: str) -> None:
    said = pages.statements(lang)
    assert list(said) == ROWS and all(said.values())
    folder = "" if lang == "en" else f"{lang}/"
    index = dict(pages.pages())[f"{folder}README.md"].splitlines()
    for row, text in said.items():
        [line] = [one for one in index if one.startswith(f"| {row} | {text} | ")]
        shown = [name for name in NAMES if row in scenarios.load(name).rows]
        assert shown and sorted(re.findall(r"\[(.+?)\]\(\1\.md\)", line)) == shown


def test_the_list_goes_as_the_lecture_goes_and_what_is_beyond_it_comes_last() -> None:
    output = CliRunner().invoke(cli, ["scenario", "list", "--json"]).output
    listed = [(one["name"], one["rows"]) for one in json.loads(output)]
    assert sorted(name for name, _ in listed) == NAMES
    keys = [(int(rows[0][1:]) if rows else 99, name) for name, rows in listed]
    assert keys == sorted(keys) and keys[0] == (1, "delivery") and not listed[-1][1]


# --- Every scenario --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_scenario_tells_is_told_in_order(name: str) -> None:
    told = [one.key for one in rehearsed(name).steps if one.kind in ("tell", "predict", "explain")]
    assert set(told) == set(texts(scenarios.load(name).narration)) - {"title", "summary"}
    once = list(dict.fromkeys(scenarios.load(name).keys()))
    assert [key for key in dict.fromkeys(told) if key in once] == sorted(
        dict.fromkeys(told), key=told.index
    )


@pytest.mark.parametrize("name", NAMES)
def test_something_is_done_and_looked_at(name: str) -> None:
    kinds = {one.kind for one in rehearsed(name).steps}
    assert {"predict", "explain", "look"} <= kinds
    for step in rehearsed(name).steps:
        assert step.text and "`" not in step.text and "<lab." not in step.text, step


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_handout_prints_on_paper(name: str, lang: str) -> None:
    found = page(name, lang)
    text = plain(found)
    assert text.startswith(found.narration.title)
    assert "\x1b" not in text
    story = text[text.index("\n" + found.words("the_story") + "\n-") :]
    assert max(wcswidth(line) for line in story.splitlines()) <= 78
    reasons = [piece for piece in found.pieces if piece.kind == "explain"]
    body, _, after = text.rpartition(found.words("afterwards") + "\n--")
    for reason in reasons:
        words = " ".join(reason.text.split())[:30]
        assert words in " ".join(after.split()) and words not in " ".join(body.split())
    for machine, address, _, hostname in found.wire:
        assert re.search(rf"(?m)^{machine} +{re.escape(address)} .* {re.escape(hostname)}$", text)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_pages_are_those_of_the_scenarios(lang: str) -> None:
    """docs/scenarios is made by `make docs`."""
    folder = "" if lang == "en" else f"{lang}/"
    made = {place: text for place, text in pages.pages() if place.startswith(folder)}
    made = {place: text for place, text in made.items() if folder or "/" not in place}
    stale = [
        place
        for place, text in made.items()
        if not (DOCS / place).is_file() or (DOCS / place).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "these pages of docs/scenarios are not current; type: make docs"
    there = {f"{folder}{file.name}" for file in (DOCS / folder).glob("*.md")}
    assert there == made.keys(), "there are pages of no scenario; type: make docs"


# --- What it says ----------------------------------------------------------------------------


def test_a_step_says_who_does_what_and_where_it_is_seen() -> None:
    steps = rehearsed("receiver-down").steps
    [sent] = [one for one in steps if one.key == "Person.send"]
    assert (sent.kind, sent.of, sent.values["to"], sent.values["subject"]) == (
        "act",
        "alice",
        "bob",
        "Lunch?",
    )
    [deferred] = [one for one in steps if one.key == "MessageExpectation.deferred"]
    assert (deferred.of, deferred.places) == ('"Lunch?"', ("log", "queue"))
    assert deferred.text.startswith("At least 4 attempts fail")
    order = [one.kind for one in steps if one.kind in ("fault", "healed", "act")]
    assert order == ["fault", "act", "healed"]


def test_what_only_a_run_can_tell_is_left_blank() -> None:
    text = plain(page("hung-server"))
    assert "____, ____, ____: the same loss, at three prices" in " ".join(text.split())
    assert "with the values" not in text
    [row] = [
        line for line in markdown(page("hung-server")).splitlines() if "at three prices" in line
    ]
    assert row.startswith(r"**4.** \_\_\_\_, \_\_\_\_, \_\_\_\_: the same loss")


def test_many_alike_are_told_as_one() -> None:
    text = plain(page("persistent-connection"))
    assert 'alice writes "Note 1" to bob\n  … and 19 more like this' in text
    assert "Note 2" not in text


def test_settings_and_commands_can_be_typed() -> None:
    text = plain(page("receiver-down", "ko"))
    assert "    lab scenario run receiver-down --lang ko --set attempts=4\n" in text
    assert "lab scenario run give-up\n" in plain(page("give-up"))


def test_show_prints_the_handout_or_the_source() -> None:
    show = ["scenario", "show", "give-up"]
    run = CliRunner().invoke
    assert run(cli, [*show, "--lang", "en"]).output == plain(page("give-up"))
    assert run(cli, [*show, "--lang", "ko"]).output == plain(page("give-up", "ko"))
    assert run(cli, [*show, "--lang", "en", "--markdown"]).output == markdown(page("give-up"))
    assert run(cli, [*show, "--source"]).output == scenarios.load("give-up").source()
    missing = run(cli, ["scenario", "show"])
    assert missing.exit_code == 2 and "which scenario?" in missing.output


def test_pages_of_scenarios_that_are_no_more_go(tmp_path: Path) -> None:
    (tmp_path / "ko").mkdir()
    for old in (tmp_path / "old-story.md", tmp_path / "ko/old-story.md"):
        old.write_text("")
    assert CliRunner().invoke(cli, ["scenario", "show", "--all", str(tmp_path)]).exit_code == 0
    assert {file.stem for file in tmp_path.glob("*.md")} == {*NAMES, "README"}
    assert {file.stem for file in tmp_path.glob("ko/*.md")} == {*NAMES, "README"}


# --- A story of one's own ----------------------------------------------------------------------

MACHINERY = """
from lab.faults.cable import cable_pulled
from lab.scenarios import scenario, direct
from lab.scenarios.stage import Stage
import os, subprocess, time

def both(stage, message, to):
    stage.expect(message).delivered(to=to)
    stage.expect(message).read(by=to, not_before="1h")

@scenario(rows=(), lasts="1h")
def story(stage: Stage, often: int = 2) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    began = time.time()
    subprocess.run(["touch", "/nowhere/at/all"])
    os.remove("/nowhere/at/all")
    stage.lab.run(alice.seat, ["dig", "mx"])
    with stage.outage(cable_pulled(bob.server)) as case:
        message = alice.send(to=bob, subject="Lunch?")
        tried = stage.expect(message).deferred(times=often)
    there = len(stage.mailbox(bob.address)[0])
    took = sum(one.ended - one.began for one in tried) / len(tried) * 2
    if took > 3 and case.applied < began:
        both(stage, message, bob)
    entries, evidence = stage.queue(alice.server)
    rest = ", ".join(entry.queue_id for entry in entries)
    spam = direct.send(stage, alice.seat, to=bob, mail_from="x@y.example", subject="Spam")
    spam.refused(code=450)
    stage.explain("moral", took=f"{took:.1f}", rest=rest, code=spam.mail.code, there=there)
"""


def test_a_story_is_rehearsed_whatever_it_does(tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text(MACHINERY, encoding="utf-8")
    (tmp_path / "story.yaml").write_text(
        "title: A story\nsummary: Short.\nmoral: 'Took {took}, {rest} is left, {code}, {there}.'\n"
    )
    found = scenarios.load(str(tmp_path / "story.py"))
    steps = rehearse(found, Narration(found.narration)).steps
    assert [(one.kind, one.key) for one in steps] == [
        ("fault", "cable-pulled"),
        ("act", "Person.send"),
        ("look", "MessageExpectation.deferred"),
        ("healed", "cable-pulled healed"),
        ("look", "MessageExpectation.delivered"),
        ("look", "MessageExpectation.read"),
        ("act", "direct.send"),
        ("look", "Direct.refused"),
        ("explain", "moral"),
    ]
    assert steps[-1].text == "Took ____, ____ is left, ____, ____."
    assert steps[-2].values["to"] == "bob" and steps[-2].of == '"Spam"'
    assert "bob's server says 450" in steps[-2].text


def test_a_blank_stays_blank_whatever_is_asked_of_it() -> None:
    blank = Blank()
    assert f"{blank} {blank.any.thing(1)[2]:.3f} {blank + 1} {2 * blank} {round(blank, 1)}" == (
        "____ ____ ____ ____ ____"
    )
    assert [str(one) for one in blank] == ["____"]
    assert blank < 3 and blank > 3


def test_where_to_look_is_read_from_what_a_function_does() -> None:
    from lab.scenarios.expect import MessageExpectation
    from lab.scenarios.people import Person

    assert about(MessageExpectation.delivered, MessageExpectation) >= {"judges", "log", "mailbox"}
    assert "queue" not in about(MessageExpectation.delivered, MessageExpectation)
    assert about(MessageExpectation.relayed, MessageExpectation) >= {"judges", "packets"}
    assert "judges" not in about(Person.send, Person) and "acts" in about(Person.send, Person)
    assert not about(Person.__str__, Person)
