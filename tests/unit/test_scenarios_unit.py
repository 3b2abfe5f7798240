"""Scenarios without a lab: no verdict without evidence, words for every story, settings checked."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from string import Formatter

import click
import pytest
import yaml

from lab import scenarios
from lab.cli.scenario import _parameters
from lab.errors import LabError, TopologyError, UsageError
from lab.observe.pcap import read_frames
from lab.observe.tap import Tap
from lab.scenarios.evidence import Evidence, Verdict, packet, summary
from lab.scenarios.narration import Narration
from lab.scenarios.runner import Outcome, scheduled
from lab.scenarios.wire import Wire
from lab.topology.loader import load as load_topology

NAMES = scenarios.names()
RECORD = Path(__file__).parents[1] / "records" / "delivery"
LOG = Evidence("log", node="sender-mail", line=7)
QUEUE = Evidence("queue", node="sender-mail", event=12)
PACKET = packet("captures/sender-lan.pcap", 42, "SYN")


def verdict(*evidence: Evidence, ok: bool = True) -> Verdict:
    return Verdict("delivered", "once", "1 there", ok, evidence)


def outcome(*verdicts: Verdict) -> Outcome:
    return Outcome("delivery", Path("runs/x"), 7200.04, 120.006, verdicts)


def told(scenario: scenarios.Scenario) -> dict[str, set[str]]:
    """The keys a scenario tells, read from its source, each with the values it gives."""
    source = scenario.narration.with_suffix(".py").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for call in ast.walk(ast.parse(source)):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in ("tell", "predict", "explain")
        ):
            (key,) = call.args
            assert isinstance(key, ast.Constant), "a key that is not written out can't be checked"
            values = {str(keyword.arg) for keyword in call.keywords}
            assert found.setdefault(str(key.value), values) == values
    return found


def written(scenario: scenarios.Scenario) -> dict[str, set[str]]:
    """The texts in a scenario's narration, each with the values it names."""
    texts = yaml.safe_load(scenario.narration.read_text(encoding="utf-8"))
    return {
        key: {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        for key, text in texts.items()
    }


# --- Evidence --------------------------------------------------------------------------------


def test_nothing_is_met_without_evidence() -> None:
    with pytest.raises(LabError, match="'delivered' is said to be met without any evidence"):
        verdict()
    assert not verdict(ok=False).ok


def test_evidence_has_the_shape_that_is_promised() -> None:
    place = {"file": "captures/sender-lan.pcap", "frame": 42}
    assert PACKET.as_json() == {"kind": "packet", **place, "says": "SYN"}
    assert LOG.as_json() == {"kind": "log", "node": "sender-mail", "line": 7}
    assert QUEUE.as_json() == {"kind": "queue", "node": "sender-mail", "event": 12}


def test_evidence_is_named_so_that_it_can_be_looked_up() -> None:
    said = summary([PACKET, LOG, QUEUE]).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "sender-lan#42, sender-mail:7, event 12"
    assert summary([LOG] * 5) == ", ".join(["sender-mail:7"] * 3) + " (+2)"


def test_an_outcome_has_the_shape_that_is_promised() -> None:
    assert outcome(verdict(PACKET, LOG)).as_json() == {
        "scenario": "delivery",
        "ok": True,
        "run": "runs/x",
        "lab_seconds": 7200.0,
        "real_seconds": 120.01,
        "dropped": 0,
        "expectations": [
            {
                "id": "delivered",
                "expected": "once",
                "observed": "1 there",
                "ok": True,
                "evidence": [PACKET.as_json(), LOG.as_json()],
            }
        ],
    }


def test_a_run_is_ok_only_if_something_was_expected_and_all_of_it_met() -> None:
    assert not outcome().ok
    assert outcome(verdict(LOG), verdict(PACKET)).ok
    assert not outcome(verdict(LOG), verdict(LOG, ok=False)).ok


def test_the_answer_to_a_question_is_found_on_the_wire() -> None:
    file = "captures/sender-lan.pcap"
    tap = Tap("sender-lan", file, {}, keep=True)
    with (RECORD / file).open("rb") as capture:
        for frame in read_frames(capture):
            list(tap.feed(frame))
    wire = Wire({"sender-lan": tap})
    asked = wire.question("sender-lan", "receiver.example", "MX")
    found = wire.answer("sender-lan", "receiver.example", "MX")
    assert asked and found
    records, evidence = found
    assert records == ["10 mail.receiver.example"]
    assert evidence.says == "MX receiver.example: 10 mail.receiver.example"
    assert (evidence.frame or 0) > (asked.frame or 0)
    assert wire.answer("sender-lan", "nowhere.example", "MX") is None
    [lookup] = wire.lookups("sender-lan", "receiver.example", "MX", client="198.51.100.25")
    assert (lookup.question, lookup.status) == (asked, "NOERROR")
    assert lookup.answer and lookup.answer.frame == evidence.frame
    assert wire.lookups("sender-lan", "receiver.example", "MX", client="198.51.100.10") == []


# --- Stories ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_story_is_loaded_by_its_name(name: str) -> None:
    found = scenarios.load(name)
    assert found.name == name
    assert all(re.fullmatch(r"N\d+", row) for row in found.rows)
    assert found.lab_seconds > 0
    assert f"def {name.replace('-', '_')}(stage: Stage" in found.source()


@pytest.mark.parametrize("name", NAMES)
def test_a_story_fits_its_topology(name: str) -> None:
    found = scenarios.load(name)
    topology = load_topology(found.topology)
    changed = scheduled(topology, found, found.time_scale or topology.time_scale)
    assert found.schedule.items() <= changed.schedule.model_dump(mode="json").items()
    assert changed.nodes == topology.nodes


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_told_with_the_values_it_names(name: str) -> None:
    found = scenarios.load(name)
    texts = written(found)
    assert texts.pop("title") == texts.pop("summary") == set()
    assert texts == told(found)


def test_there_are_stories() -> None:
    assert {
        "backup-mx",
        "delivery",
        "dns-outage",
        "duplicate",
        "give-up",
        "greylisting",
        "hung-server",
        "mailbox-full",
        "mid-data-cut",
        "persistent-connection",
        "receiver-down",
        "slow-link",
        "two-receivers",
        "unknown-user",
    } <= set(NAMES)


def test_a_misspelt_story_is_guessed_and_others_listed() -> None:
    with pytest.raises(UsageError) as caught:
        scenarios.load("recever-down")
    assert str(caught.value) == (
        "there is no scenario 'recever-down'\n  → did you mean 'receiver-down'?"
    )
    with pytest.raises(UsageError) as caught:
        scenarios.load("xyz")
    assert caught.value.hint == "one of: " + ", ".join(NAMES)


def test_a_story_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my_story.py"
    decorated = "@scenario(rows=('N1',), lasts='1h')\ndef my_story(stage, often=3):\n    pass\n"
    file.write_text("from lab.scenarios import scenario\n\n" + decorated, encoding="utf-8")
    found = scenarios.load(str(file))
    assert (found.name, found.lab_seconds, found.parameters) == ("my-story", 3600, {"often": 3})
    assert found.narration == tmp_path / "my_story.yaml"


def test_a_file_without_a_story_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        scenarios.load(str(file))
    assert str(caught.value) == (
        f"{file}: 0 scenarios in one file; there must be one function with @scenario"
    )


def test_a_text_or_a_value_that_is_missing_is_named_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "story.yaml"
    file.write_text("title: A story\nwaiting: It waits at {server}.\n", encoding="utf-8")
    narration = Narration(file)
    assert narration.text("waiting", server="sender-mail") == "It waits at sender-mail."
    for key, told in (
        ("after", "the narration has no 'after'\n  → add the text under that key"),
        (
            "waiting",
            "the text 'waiting' can't be filled in: 'server'\n"
            "  → the names in braces that the scenario gives it: sever",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            narration.text(key, sever="sender-mail")
        assert str(caught.value) == f"{file}: {told}"
    with pytest.raises(UsageError, match="can't read the narration"):
        Narration(tmp_path / "none.yaml")


# --- Settings --------------------------------------------------------------------------------


def test_a_schedule_that_does_not_fit_is_refused_in_words() -> None:
    story = replace(scenarios.load("give-up"), schedule={"retry": "5h", "give_up": "4h"})
    with pytest.raises(TopologyError) as caught:
        scheduled(load_topology("textbook"), story, 60)
    assert [problem.what for problem in caught.value.problems] == [
        "mail is given up after 4h, before it is first tried again after 5h",
        "delay_notice 4h is not before give_up 4h, so no notice would ever be sent",
    ]


def test_a_time_scale_too_fast_for_the_schedule_is_refused_in_words() -> None:
    with pytest.raises(TopologyError) as caught:
        scheduled(load_topology("textbook"), scenarios.load("give-up"), 3600)
    assert [problem.what for problem in caught.value.problems] == [
        "at time scale 3600, retry 30m lasts 0.5 real seconds"
    ]
    assert caught.value.exit_status == 2


def test_parameters_keep_the_type_of_their_defaults() -> None:
    story = scenarios.load("receiver-down")
    assert _parameters(story, ()) == {"attempts": 4}
    assert _parameters(story, ("attempts=2", "attempts=6")) == {"attempts": 6}
    assert _parameters(scenarios.load("delivery"), ("later=90m",)) == {"later": "90m"}


@pytest.mark.parametrize(
    ("name", "setting", "answer"),
    [
        (
            "receiver-down",
            "tries=2",
            "'tries=2'; the parameters of receiver-down, with their defaults: attempts=4",
        ),
        (
            "receiver-down",
            "attempts",
            "'attempts'; the parameters of receiver-down, with their defaults: attempts=4",
        ),
        ("receiver-down", "attempts=many", "attempts takes a value like 4, not 'many'"),
        ("receiver-down", "attempts=0", "attempts takes a value like 4, not '0'"),
        ("delivery", "later=soon", "later takes a value like 2h, not 'soon'"),
        ("give-up", "x=1", "'x=1'; the parameters of give-up, with their defaults: none"),
    ],
)
def test_a_wrong_parameter_is_answered_with_what_there_is(
    name: str, setting: str, answer: str
) -> None:
    with pytest.raises(click.BadParameter) as caught:
        _parameters(scenarios.load(name), (setting,))
    assert (caught.value.message, caught.value.param_hint) == (answer, "--set")
