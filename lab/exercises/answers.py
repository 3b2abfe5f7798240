"""What a student answers: a frame of the record, or one of several answers to choose from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.exercises import Exercise

_FRAME = re.compile(r"\s*(?P<network>[^#\s]+)\s*#\s*(?P<number>[0-9]{1,9})\s*")


@dataclass(frozen=True)
class Frame:
    """Frame `number` of the record of a network; `given` is when it was answered (epoch s)."""

    network: str
    number: int
    given: float

    def __str__(self) -> str:
        return f"{self.network}#{self.number}"


@dataclass(frozen=True)
class Choice:
    """One of CHOICES; `given` is when it was answered (epoch seconds)."""

    letter: str
    given: float

    def __str__(self) -> str:
        return self.letter


Answer: TypeAlias = Frame | Choice


def parse(exercise: Exercise, text: str, networks: Collection[str], given: float) -> Answer:
    """The answer that `text` is. Raises UsageError if it can't be one to this exercise."""
    from lab.exercises import CHOICES

    if exercise.answer is None:
        raise UsageError(
            f"exercise {exercise.name} asks for no answer: it is judged by what is done",
            hint=f"lab exercise check {exercise.name}",
        )
    if exercise.answer == "choice":
        letter = text.strip().lower()
        if letter not in CHOICES:
            raise UsageError(
                f"'{text}' is none of the answers", hint="one of: " + ", ".join(CHOICES)
            )
        return Choice(letter, given)
    found = _FRAME.fullmatch(text)
    if found is None:
        raise UsageError(
            f"'{text}' names no frame",
            hint=f"a network and a number, as lab trace shows them: {min(networks)}#12",
        )
    if found["network"] not in networks:
        raise UsageError(
            f"there is no network '{found['network']}' in this lab",
            hint="one of: " + ", ".join(networks),
        )
    return Frame(found["network"], int(found["number"]), given)
