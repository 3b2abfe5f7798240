"""What is told is told in Korean as well: every key, every value, every word around it."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
import yaml
from click.testing import CliRunner
from test_cli import completions
from wcwidth import wcswidth

from lab import scenarios
from lab.cli import cli
from lab.errors import UsageError
from lab.scenarios.narration import LANGUAGES, Narration, language
from lab.scenarios.rehearsal import rehearse
from lab.views.words import Words
from lab.views.wrapped import fill

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "lab/views/templates"
OTHERS = [lang for lang in LANGUAGES if lang != "en"]
VARIABLES = ("LAB_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
HANGUL = re.compile("[가-힣]")


def texts(file: Path) -> dict[str, str]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def named(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


# --- Stories ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", OTHERS)
@pytest.mark.parametrize("name", scenarios.names())
def test_every_story_is_told_in_every_language(name: str, lang: str) -> None:
    found = scenarios.load(name)
    file = found.narration.with_suffix(f".{lang}.yaml")
    assert file.is_file(), (
        f"write {file.relative_to(ROOT)}, with the keys of {found.narration.name}"
    )
    english, other = texts(found.narration), texts(file)
    assert other.keys() == english.keys()
    for key, text in english.items():
        assert named(other[key]) == named(text), key
    Narration(found.narration, lang).need(found.keys())


@pytest.mark.parametrize("name", scenarios.names())
def test_what_is_explained_in_korean_is_korean_and_cites_what_the_english_cites(name: str) -> None:
    file = scenarios.load(name).narration
    english, korean = texts(file), texts(file.with_suffix(".ko.yaml"))
    for key, text in english.items():
        assert HANGUL.search(korean[key]), key
        cited = set(re.findall(r"RFC \d+", " ".join(text.split())))
        assert cited <= set(re.findall(r"RFC \d+", " ".join(korean[key].split()))), key


def test_names_and_terms_are_written_one_way_in_korean() -> None:
    """People as in the packets (Alice), and the lecture's terms (메일 박스) as in its notes."""
    files = [*(ROOT / "scenarios").glob("*.ko.yaml"), *TEMPLATES.glob("*.ko.yaml")]
    other = re.compile(r"앨리스|에린|(?<![가-힣])밥(?=[이은의]\b|에게)|메일박스|메일함")
    found = {file.name: other.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize("name", scenarios.names())
def test_what_follows_a_name_in_korean_fits_its_sound(name: str) -> None:
    """A machine's name or an address ends with a consonant (mail, example) or not (pc, dns)."""
    found = scenarios.load(name)
    for step in rehearse(found, Narration(found.narration, "ko")).steps:
        wrong = re.search(r"(mail|example)(가|는|를|와|라는)(?![가-힣])", step.text)
        wrong = wrong or re.search(r"(pc|dns)(이|은|을|과)(?![가-힣])", step.text)
        assert not wrong, f"{step.key}: {wrong and wrong[0]}"


def test_a_story_without_a_translation_is_told_in_english(tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text("title: A story\n", encoding="utf-8")
    narration = Narration(tmp_path / "story.yaml", "ko")
    assert (narration.lang, narration.title) == ("en", "A story")
    (tmp_path / "story.ko.yaml").write_text("title: 이야기\n", encoding="utf-8")
    narration = Narration(tmp_path / "story.yaml", "ko")
    assert (narration.lang, narration.title) == ("ko", "이야기")


# --- Which language --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "variables", "found"),
    [
        (None, {}, "en"),
        (None, {"LANG": "ko_KR.UTF-8"}, "ko"),
        (None, {"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "en_US.UTF-8", "LAB_LANG": "ko"}, "ko"),
        ("en", {"LAB_LANG": "ko"}, "en"),
    ],
)
def test_the_language_is_what_is_said_or_the_users(
    said: str | None, variables: dict[str, str], found: str, env: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        env.setenv(name, value)
    assert language(said) == found


@pytest.mark.parametrize("verb", ["list", "show delivery", "run delivery"])
def test_a_language_that_nobody_speaks_is_answered_with_those_there_are(verb: str) -> None:
    result = CliRunner().invoke(cli, ["scenario", *verb.split(), "--lang", "xx"])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        "nothing is told in 'xx' here\n  → one of: en (English), ko (한국어)"
    )


def test_the_tab_key_knows_the_languages() -> None:
    for verb in ("list", "show delivery", "run delivery"):
        assert completions(f"scenario {verb} --lang") == list(LANGUAGES)
    assert completions("scenario run --lang", "k") == ["ko"]


def test_a_list_in_korean_stands_in_columns(env: pytest.MonkeyPatch) -> None:
    lines = CliRunner().invoke(cli, ["scenario", "list", "--lang", "ko"]).output.splitlines()
    assert "이야기" in lines[0] and "다루는 것" in lines[0]
    starts = [found.start() for found in re.finditer(r"(?<!-)-+", lines[1])]
    for line in lines:
        column, cells = 0, []
        for letter in line:
            cells += [letter] + [""] * (wcswidth(letter) - 1)
            column += wcswidth(letter)
        for start in starts[1:]:
            assert cells[start - 1 : start] in ([" "], []), line


# --- Words -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", OTHERS)
def test_every_word_is_there_in_every_language(lang: str) -> None:
    english, other = (texts(TEMPLATES / f"words.{one}.yaml") for one in ("en", lang))
    assert other.keys() == english.keys()
    for key, text in english.items():
        assert named(other[key]) == named(text), key
    assert Words(lang)("took", scenario="x", lab="2h", real="1m") != ""


def test_every_word_is_said_somewhere() -> None:
    said = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("views", "cli", "scenarios")
        for file in (ROOT / "lab" / folder).glob("*.py")
    )
    assert [
        key
        for key in texts(TEMPLATES / "words.en.yaml")
        if not re.search(rf"[\"']{key}[\"']", said)
    ] == []


def test_what_a_handout_says_in_two_languages_is_the_same_steps() -> None:
    english, korean = (texts(TEMPLATES / f"steps.{lang}.yaml") for lang in ("en", "ko"))
    for key in english.keys() & korean.keys():
        assert named(korean[key]) <= named(english[key]) | {"self"}, key


def test_every_sentence_of_a_handout_is_said_in_some() -> None:
    every = (
        rehearse(one, Narration(one.narration)) for one in map(scenarios.load, scenarios.names())
    )
    said = {step.key for rehearsed in every for step in rehearsed.steps}
    for lang in LANGUAGES:
        stale = texts(TEMPLATES / f"steps.{lang}.yaml").keys() - said
        assert not stale, f"steps.{lang}.yaml: no scenario calls these any more"


def test_korean_is_wrapped_as_wide_as_it_is_shown() -> None:
    text = "송신자의 서버는 메시지를 큐에 간직하고, 30분마다 다시 시도합니다. " * 5 + "가" * 60
    lines = fill(text, 40, "  ").split("\n")
    assert max(map(wcswidth, lines)) <= 40
    assert all(line.startswith("  ") for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert fill("one two", 40, "    ", "1 ") == "1 one two"
