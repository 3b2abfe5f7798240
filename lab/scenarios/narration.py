"""What is told around a scenario: its words, kept beside it in files of their own.

A file maps keys to texts; `title` and `summary` are always there. A text may name values in
braces ({server}), which the scenario gives when it tells it. `story.yaml` is English, and
`story.ko.yaml` beside it the same in Korean: the same keys, the same names in braces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.errors import UsageError
from lab.scenarios import korean

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "ko": "한국어"}


def language(said: str | None = None) -> str:
    """The language to tell in: `said`, else LAB_LANG, else the locale's, else English.

    Raises UsageError if `said`, or LAB_LANG, is none that is spoken here.
    """
    wanted = said or os.environ.get("LAB_LANG")
    if wanted:
        if wanted not in LANGUAGES:
            spoken = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
            raise UsageError(f"nothing is told in '{wanted}' here", hint=f"one of: {spoken}")
        return wanted
    # In the order of locale(7). "C" and "POSIX" are nobody's language.
    variables = map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, variables), "").replace("-", "_")
    code = locale.partition("_")[0].partition(".")[0]
    return code if code in LANGUAGES else ENGLISH


def filled(text: str, lang: str, values: Mapping[str, object]) -> str:
    """`text`, which is in `lang`, with `values` in the places that it names (str.format).

    Raises KeyError for a name that is not in `values`, ValueError for braces without sense.
    """
    return korean.written(text, values) if lang == "ko" else text.format(**values)


class Narration:
    """The texts of one scenario, in a language; in English where they are not in that."""

    def __init__(self, path: Path, lang: str = ENGLISH) -> None:
        import yaml

        other = path.with_suffix(f".{lang}.yaml")
        self.lang = lang if lang != ENGLISH and other.is_file() else ENGLISH
        self.path = path if self.lang == ENGLISH else other
        try:
            self.texts = dict(yaml.safe_load(self.path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise UsageError(f"can't read the narration: {error}", where=str(self.path)) from error

    def need(self, keys: Iterable[str]) -> None:
        """Raises UsageError naming those of `keys` that there are no texts for."""
        missing = [key for key in ("title", "summary", *keys) if key not in self.texts]
        self._lacks(missing)

    def _lacks(self, missing: list[str]) -> None:
        if missing:
            raise UsageError(
                f"the narration has no {', '.join(map(repr, missing))}",
                where=str(self.path),
                hint="add the text under that key",
            )

    @property
    def title(self) -> str:
        """One line."""
        return self.text("title")

    @property
    def summary(self) -> str:
        """A paragraph."""
        return self.text("summary")

    def text(self, key: str, **values: object) -> str:
        """The text of `key`, with `values` in their places.

        Raises UsageError for a key that there is not, and for a name that is not among `values`.
        """
        self._lacks([key] if key not in self.texts else [])
        try:
            return filled(str(self.texts[key]).strip(), self.lang, values)
        except (KeyError, ValueError, IndexError) as error:
            named = ", ".join(values) or "none"
            raise UsageError(
                f"the text '{key}' can't be filled in: {error}",
                where=str(self.path),
                hint=f"the names in braces that the scenario gives it: {named}",
            ) from error
