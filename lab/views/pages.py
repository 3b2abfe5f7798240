"""The pages about the scenarios in docs/scenarios, made from the scenarios themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab import scenarios
from lab.scenarios.narration import LANGUAGES
from lab.units import format_duration
from lab.views import handout_text
from lab.views.handout import Handout, handout

INDEX = "README.md"


def pages() -> Iterator[tuple[str, str]]:
    """Each page: its place below docs/scenarios, and its text. Korean ones are below `ko`."""
    for lang in LANGUAGES:
        folder = "" if lang == "en" else f"{lang}/"
        found = [handout(scenarios.load(name), lang) for name in scenarios.names()]
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
            f"[{one.scenario.name}]({one.scenario.name}.md)",
            one.narration.title,
            " ".join(one.scenario.rows),
            one.scenario.topology,
            format_duration(one.scenario.lab_seconds),
            format_duration(round(one.scenario.lab_seconds / one.time_scale)),
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
    )
    return "\n\n".join(parts) + "\n"
