"""What a fault can be told: how long, how much, how often, as people write it and as numbers.

A parameter of a fault is a field of its dataclass made by `option`. In Python it takes the number
or the text (`delay("receiver-mail", by="200ms")`), on the command line the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field
from typing import Any, Generic, TypeVar, cast

from lab.units import parse_duration, write_duration

_T = TypeVar("_T")

_MULTIPLES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True)
class Kind(Generic[_T]):
    """A kind of value: `parse` raises ValueError saying what it should look like."""

    metavar: str
    parse: Callable[[str], _T]
    write: Callable[[_T], str]
    choices: tuple[str, ...] = ()


def _real_seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s|m)", text)
    if not found:
        raise ValueError("write real time as 200ms, 1.5s or 2m")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]]


def _write_real(seconds: float) -> str:
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def _share(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%", text)
    if not found or not 0 < float(found[1]) <= 100:
        raise ValueError("write a share as 5% or 0.1%, up to 100%")
    return float(found[1]) / 100


def _scaled(text: str, what: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([kmg]?)", text.lower())
    if not found or float(found[1]) <= 0:
        raise ValueError(f"write {what} as 56k or 1m")
    return round(float(found[1]) * _MULTIPLES[found[2]])


def _write_scaled(number: int) -> str:
    for unit, size in reversed(_MULTIPLES.items()):
        if number >= size and not number % size:
            return f"{number // size}{unit}"
    return str(number)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise ValueError("write a number from 1 on")
    return int(text)


LAB_TIME: Kind[int] = Kind("LABTIME", parse_duration, write_duration)
"""Lab seconds, written as `30m`, `1h30m`."""
REAL_TIME: Kind[float] = Kind("TIME", _real_seconds, _write_real)
"""Real seconds, written as `200ms`, `1.5s`: what packets are measured in."""
SHARE: Kind[float] = Kind("PERCENT", _share, lambda share: f"{share * 100:g}%")
"""A share from above 0 to 1, written as `30%`."""
RATE: Kind[int] = Kind("RATE", lambda text: _scaled(text, "bits a second"), _write_scaled)
"""Bits a second, written as `56k`, `1m`."""
SIZE: Kind[int] = Kind("SIZE", lambda text: _scaled(text, "octets"), _write_scaled)
"""Octets, written as `20k`."""
COUNT: Kind[int] = Kind("N", _count, str)
"""How many, from 1 on."""
YES: Kind[bool] = Kind("", lambda text: text == "yes", lambda value: "yes" if value else "no")
"""Whether or not: on the command line an option without a value."""


def one_of(*choices: str) -> Kind[str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"write one of {', '.join(choices)}")
        return text

    return Kind("|".join(choices), parse, str, choices)


def text(metavar: str) -> Kind[str]:
    """Any text in one line."""

    def parse(said: str) -> str:
        if not said or not said.isprintable():
            raise ValueError("write some text in one line")
        return said

    return Kind(metavar, parse, str)


def option(
    kind: Kind[_T], help: str, *, default: Any = MISSING, at_random: tuple[str, ...] = ()
) -> Any:
    """A field of a fault that can be told; without a default it has to be.

    `at_random` is what it can be where faults strike at random (lab.soak.nemesis).
    """
    if isinstance(default, str):
        default = kind.parse(default)
    metadata = {"kind": kind, "help": help, "at_random": at_random}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def spelled(name: str) -> str:
    """A parameter's name as people write it: `in_`, which Python would not let be `in`, as `in`."""
    return name.rstrip("_").replace("_", "-")


def kind_of(found: Field[Any]) -> Kind[Any]:
    """The kind of a field that `option` made."""
    return cast(Kind[Any], found.metadata["kind"])
