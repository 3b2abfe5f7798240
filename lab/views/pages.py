"""The pages about the scenarios in docs/scenarios, made from the scenarios themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lab import scenarios
from lab.scenarios import Scenario
from lab.scenarios.narration import LANGUAGES
from lab.views import handout_text
from lab.views.handout import Handout, handout

INDEX = "README.md"
_TEMPLATES = Path(__file__).parent / "templates"


def as_lectured(one: Scenario) -> tuple[float, str]:
    """The sort key that puts the scenarios in the order of the lecture, those beyond it last."""
    first = one.rows[0].removeprefix("N") if one.rows else ""
    return (int(first) if first.isdigit() else math.inf, one.name)


def statements(lang: str) -> dict[str, str]:
    """What the lecture says, a line for each row (N1 ...): `templates/rows.LANG.yaml`."""
    import yaml

    file = _TEMPLATES / f"rows.{lang}.yaml"
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def pages() -> Iterator[tuple[str, str]]:
    """Each page: its place below docs/scenarios, and its text. Korean ones are below `ko`."""
    for lang in LANGUAGES:
        folder = "" if lang == "en" else f"{lang}/"
        every = sorted(map(scenarios.load, scenarios.names()), key=as_lectured)
        found = [handout(one, lang) for one in every]
        for one in found:
            yield f"{folder}{one.scenario.name}.md", handout_text.markdown(one)
        yield f"{folder}{INDEX}", _index(found)


def write(folder: Path) -> None:
    """Write all pages into `folder`, and remove those of scenarios that are no more."""
    made = {folder / place: text for place, text in pages()}
    for old in set(folder.glob("**/*.md")) - made.keys():
        old.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _index(found: list[Handout]) -> str:
    words = found[0].words
    rows = [
        (
            _link(one),
            one.narration.title,
            " ".join(one.scenario.rows),
            one.scenario.topology,
            words.duration(one.scenario.lab_seconds),
            words.duration(round(one.scenario.lab_seconds / one.time_scale)),
        )
        for one in found
    ]
    heads = [*map(words, ("scenario", "story", "covers", "topology", "lab_time", "lasts"))]
    parts = (
        f"<!-- {words('generated')} -->",
        f"# {words('index')}",
        words("other_language", name=INDEX.removesuffix(".md")),
        words("index_intro"),
        handout_text.markdown_table(heads, rows),
        f"## {words('lecture')}",
        _lecture(found),
    )
    return "\n\n".join(parts) + "\n"


def _lecture(found: list[Handout]) -> str:
    """Each row of the lecture, and the scenarios that show it."""
    words = found[0].words
    rows = [
        (row, said, ", ".join(_link(one) for one in found if row in one.scenario.rows))
        for row, said in statements(words.lang).items()
    ]
    return handout_text.markdown_table([*map(words, ("row", "says", "shown_by"))], rows)


def _link(one: Handout) -> str:
    return f"[{one.scenario.name}]({one.scenario.name}.md)"
