"""The words that a view puts around what happened, in each language: `templates/words.LANG.yaml`.

What happened, and the verdicts on it, are data: they stay as they were recorded.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lab.scenarios.narration import ENGLISH, filled
from lab.units import format_duration

_FOLDER = Path(__file__).parent / "templates"


@cache
def _catalogue(name: str) -> dict[str, str]:
    import yaml

    return {
        key: str(text).strip()
        for key, text in yaml.safe_load((_FOLDER / name).read_text(encoding="utf-8")).items()
    }


class Words:
    """The words of a language: `Words("ko")("predict")`."""

    def __init__(self, lang: str = ENGLISH) -> None:
        self.lang = lang
        self._texts = _catalogue(f"words.{lang}.yaml")

    def __call__(self, key: str, **values: object) -> str:
        """The words of `key`, with `values` in the places that they name."""
        return filled(self._texts[key], self.lang, values)

    def duration(self, seconds: float) -> str:
        """A duration as it is written in the language: `2h30m`, `2시간 30분`."""
        return filled("{lasts}", self.lang, {"lasts": format_duration(seconds)})


def sentence(lang: str, key: str) -> str | None:
    """How `lang` says what a handout else says in English (`templates/steps.LANG.yaml`), if it can.

    `key` names a fault (`power-cut`), or a function or method by its class or module
    (`MessageExpectation.deferred`, `direct.send`).
    """
    if not (_FOLDER / f"steps.{lang}.yaml").is_file():
        return None
    return _catalogue(f"steps.{lang}.yaml").get(key)
