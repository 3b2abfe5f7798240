"""A wrong topology file is answered by words that a teacher can act on, and never by a traceback.

Every bad/NAME.yaml has its exact answer in bad/NAME.txt. After a change of wording, write the
answers anew and read each of them in the diff before it is committed:

    REWRITE_BAD=1 pytest tests/unit/test_loader.py
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.cli import cli
from lab.errors import LabError, TopologyError, UsageError
from lab.topology import wording
from lab.topology.loader import FOLDER, load, parse, topology_names
from lab.topology.model import Router, Schedule, Topology
from lab.topology.problem import FileError, Problem

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
TEXTBOOK = (FOLDER / "textbook.yaml").read_text(encoding="utf-8")
# What a message must never show: the words of pydantic, PyYAML and Python.
JARGON = re.compile(
    r"[Ii]nput should|[Vv]alue error|validation|pydantic|String should|Field required|Extra inputs"
    r"|dictionary|tuple|NoneType|None\b|True\b|False\b|discriminator|<block|<scalar|while parsing"
    r"|while scanning|<class|object at"
)


@pytest.fixture(autouse=True, scope="module")
def every_refusal_has_words_of_its_own() -> Iterator[None]:
    """No test may fall back on the words of last resort: the model's rules all have their own."""

    def missing(refusal: wording.Refusal) -> Problem:
        raise AssertionError(f"wording.WORDS has no words for this refusal: {refusal}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wording, "_other", missing)
        yield


def problems_in(content: str | bytes) -> list[FileError]:
    """What is wrong with a topology file; an empty list if nothing is."""
    try:
        parse(content.encode() if isinstance(content, str) else content, "lab.yaml")
    except TopologyError as error:
        assert error.problems, "an error without a problem"
        assert all(isinstance(problem, FileError) for problem in error.problems)
        return [problem for problem in error.problems if isinstance(problem, FileError)]
    return []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_is_answered_with_the_pinned_words(path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        parse(path.read_bytes(), path.name)
    answer = f"{caught.value}\n"
    pinned = path.with_suffix(".txt")
    if os.environ.get("REWRITE_BAD"):
        pinned.write_text(answer, encoding="utf-8")
    assert answer == pinned.read_text(encoding="utf-8")
    assert not JARGON.search(answer)


def test_every_bad_file_has_its_answer_and_there_are_enough_of_them() -> None:
    answers = {path.stem for path in (Path(__file__).parent / "bad").glob("*.txt")}
    assert answers == {path.stem for path in BAD}
    assert len(BAD) >= 50


def test_every_place_is_inside_its_file() -> None:
    for path in BAD:
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
        for problem in problems_in(path.read_bytes()):
            assert problem.spot is not None
            assert 1 <= problem.spot.line <= len(lines), path.name
            assert 1 <= problem.spot.column <= len(lines[problem.spot.line - 1]) + 1, path.name


def test_problems_come_in_the_order_of_the_file() -> None:
    text = TEXTBOOK.replace("retry: 30m", "retry: 30").replace("builder", "1234")
    places = [problem.where for problem in problems_in(text.replace("kind: dns", "kind: dsn"))]
    assert [int(place.split(":")[1]) for place in places if place] == [15, 33, 59]


def test_textbook_loads_by_name_and_by_path() -> None:
    by_name = load("textbook")
    assert by_name == load(FOLDER / "textbook.yaml") == load(str(FOLDER / "textbook.yaml"))
    assert by_name.schedule == Schedule(retry="30m", give_up="5d", delay_notice="4h")
    assert isinstance(by_name.nodes["internet"], Router)
    assert "textbook" in topology_names()


def test_a_topology_survives_json() -> None:
    topology = load("textbook")
    assert Topology.model_validate_json(topology.model_dump_json()) == topology


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        load("textbok")
    assert (
        str(caught.value) == "there is no topology called 'textbok'\n  → did you mean 'textbook'?"
    )
    with pytest.raises(UsageError, match="no topology called 'zzz'") as caught:
        load("zzz")
    assert str(caught.value.hint) == f"the topologies are: {', '.join(topology_names())}"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/none.yaml: there is no such file\n  → ")
    assert "textbook" in str(caught.value.hint)


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: this is a folder, not a file")


def test_errors_of_the_file_carry_the_path_as_typed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(TopologyError) as caught:
        load(str(file))
    assert caught.value.exit_status == 2
    assert str(caught.value).startswith(f"{file}:1:1: the topology has no 'title'")


def test_anchors_aliases_and_merge_keys_work() -> None:
    text = TEXTBOOK.replace(
        "  receiver-pc:\n    kind: pc\n    network: receiver-lan\n    address: 203.0.113.10\n",
        "  receiver-pc:\n    <<: *pc\n    network: receiver-lan\n    address: 203.0.113.10\n",
    )
    text = text.replace("  sender-pc:\n", "  sender-pc: &pc\n").replace("wonderland", "&same pass")
    text = text.replace("christmas", "*same")
    topology = parse(text.encode(), "lab.yaml")
    expected = load("textbook")
    assert topology.nodes["receiver-pc"] == expected.nodes["receiver-pc"]
    assert topology.nodes["sender-mail"].users["carol"].password == "pass"


def test_a_fault_behind_an_alias_is_told_once_where_it_stands() -> None:
    text = "name: a\ntitle: b\nnetworks: {n: &n {subnet: x, subnet: y}, m: *n}\nnodes: {}\n"
    twice = [problem for problem in problems_in(text) if "twice" in problem.what]
    assert [problem.where for problem in twice] == ["lab.yaml:3:30"]


def test_aliases_that_unfold_into_billions_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert [p.what for p in problems_in("\n".join(lines))] == [
        "the aliases of this file unfold into far too many values"
    ]


def test_merge_keys_that_unfold_into_billions_are_refused() -> None:
    lines = ["a0: &a0 {}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    assert "far too many" in problems_in("\n".join(lines))[0].what


def test_half_a_character_in_a_key_is_not_passed_over() -> None:
    text = TEXTBOOK.replace("networks:\n", '"\\ud800": 1\nnetworks:\n', 1)
    assert [problem.what for problem in problems_in(text)] == ["this value cannot be read"]


def test_deep_nesting_is_refused() -> None:
    assert "nested too deeply" in problems_in("[" * 5000)[0].what


def test_a_byte_order_mark_is_no_fault() -> None:
    assert problems_in(b"\xef\xbb\xbf" + TEXTBOOK.encode()) == []


def test_windows_line_ends_are_no_fault() -> None:
    assert problems_in(TEXTBOOK.replace("\n", "\r\n")) == []


@given(st.text() | st.binary())
def test_random_content_raises_nothing_but_lab_errors(content: str | bytes) -> None:
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    for problem in problems_in(data):
        assert not JARGON.search(re.sub(r"'[^']*'", "", problem.what))


# fmt: off
SCRAPS = st.sampled_from([
    "", " ", "\t", "\n", ":", "- ", "{", "}", "[", "]", "&a ", "*a", "<<: ", "!!int ", "!x ", "? ",
    "no", "null", "~", "5", "-1", "0x_", "1.5", ".nan", "'", '"', '"\\ud800"', "|\n", "2024-13-41",
    "network: ", "kind: ", "users: ", "pc", "router", "203.0.113.10", "192.0.2.0/24", "30m", "é",
])
# fmt: on


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(TEXTBOOK)), st.integers(0, 12), SCRAPS), max_size=4))
def test_mutated_textbook_raises_nothing_but_lab_errors(
    cuts: list[tuple[int, int, str]],
) -> None:
    text = TEXTBOOK
    for start, length, scrap in cuts:
        text = text[:start] + scrap + text[start + length :]
    for problem in problems_in(text):
        assert not JARGON.search(re.sub(r"'[^']*'", "", problem.what))


VALUES = st.recursive(
    st.sampled_from([None, True, 0, -1, 5, 1.5, float("nan"), float("inf"), "", "x", "30m", "é\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@st.composite
def wrong_data(draw: st.DrawFn) -> object:
    """The textbook's data with one value, anywhere in it, exchanged for another."""
    data = yaml.safe_load(TEXTBOOK)
    place = data
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            place[key] = draw(VALUES)
            return data
        place = place[key]


@settings(max_examples=300)
@given(wrong_data())
def test_any_value_anywhere_is_accepted_or_answered_in_plain_words(data: object) -> None:
    for problem in problems_in(yaml.safe_dump(data, allow_unicode=True)):
        assert not JARGON.search(re.sub(r"'[^']*'", "", problem.what)), problem.what
        assert not JARGON.search(re.sub(r"'[^']*'", "", problem.hint or "")), problem.hint


def test_validate_says_ok_and_counts() -> None:
    result = CliRunner().invoke(cli, ["validate", "textbook"])
    assert (result.exit_code, result.output) == (
        0,
        "textbook: ok (6 nodes, 3 networks, 4 mailboxes)\n",
    )


def test_validate_tells_the_problems_of_every_file_on_stderr() -> None:
    files = [str(path) for path in BAD if path.stem in ("bad-kind", "no-dns")]
    result = CliRunner().invoke(cli, ["validate", files[0], "textbook", files[1], "nowhere.yaml"])
    assert result.exit_code == 2
    assert result.stdout == "textbook: ok (6 nodes, 3 networks, 4 mailboxes)\n"
    assert [line.split(": ")[0] for line in result.stderr.splitlines() if line[0] != " "] == [
        f"{files[0]}:8:11",
        f"{files[1]}:5:1",
        "nowhere.yaml",
    ]


def test_validate_as_json() -> None:
    bad = next(str(path) for path in BAD if path.stem == "bad-kind")
    result = CliRunner().invoke(cli, ["validate", "--json", "textbook", bad, "nowhere.yaml"])
    assert result.exit_code == 2
    good, wrong, missing = json.loads(result.stdout)
    assert good == {"file": "textbook", "ok": True, "problems": []}
    assert wrong == {
        "file": bad,
        "ok": False,
        "problems": [
            {
                "line": 8,
                "column": 11,
                "message": "node 'mail' has the unknown kind 'mailserver'",
                "hint": "did you mean 'mail-server'?",
            }
        ],
    }
    assert missing["problems"][0]["line"] is None


def test_load_raises_only_lab_errors_for_strange_names() -> None:
    for name in ("", ".", "..", "a\0b.yaml", "x" * 5000 + ".yaml", "/dev/null/x.yaml"):
        with pytest.raises(LabError):
            load(name)
