"""What is told around a scenario: its words, kept beside it in a file of their own.

The file maps keys to texts; `title` and `summary` are always there. A text may name values in
braces ({server}), which the scenario gives when it tells it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.errors import UsageError


class Narration:
    """The texts of one scenario."""

    def __init__(self, path: Path) -> None:
        import yaml

        self._path = path
        try:
            self._texts = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise UsageError(f"can't read the narration: {error}", where=str(path)) from error

    def need(self, keys: Iterable[str]) -> None:
        """Raises UsageError naming those of `keys` that there are no texts for."""
        missing = [key for key in ("title", "summary", *keys) if key not in self._texts]
        if missing:
            raise UsageError(
                f"the narration has no {', '.join(map(repr, missing))}",
                where=str(self._path),
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
        """The text of `key`, with `values` in their places. Raises UsageError for a wrong key."""
        try:
            return str(self._texts[key]).strip().format(**values)
        except KeyError as error:
            raise UsageError(
                f"the narration has no {error} (needed for '{key}')", where=str(self._path)
            ) from error
