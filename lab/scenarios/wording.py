"""A call in words: what its function says of itself, with what it was given put in.

A docstring names an argument in backticks: "`by` fetches it" becomes "bob fetches it".
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from lab.scenarios.blank import SHOWN, Blank

_NAMED = re.compile(r"`([^`]+)`")


def arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What `function` was given, by name, and what goes without saying (its defaults)."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):  # it can't be called so: that is for the scenario to find out
        return dict(kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def values(given: Mapping[str, Any], of: Blank | None) -> dict[str, str]:
    """What was `given` to a call (of a method of `of`) as text, by name."""
    known = {**of._known, **given} if of is not None else given
    return {name: _text(value) or SHOWN for name, value in known.items()}


def sentence(function: Callable[..., Any], given: Mapping[str, Any], of: Blank | None) -> str:
    """What a call of `function` does or expects, in a sentence or two."""
    doc = (inspect.getdoc(function) or f"{function.__name__.replace('_', ' ')}.").split("\n\n")[0]
    named: set[str] = set()
    known = {**of._known, **given} if of is not None else given

    def put(found: re.Match[str]) -> str:
        name = found[1]
        named.add(name)
        value = known.get(name)
        return _text(value) if not isinstance(value, bool) and _text(value) else _spaced(name)

    said = _NAMED.sub(put, " ".join(doc.split())).removesuffix(".")
    rest = [
        words for name, value in given.items() if (words := _beside(function, name, value, named))
    ]
    return said + (f" ({', '.join(rest)})" if rest else "")


def name(result: Blank, given: Mapping[str, Any]) -> None:
    """What is known of the `result` of a call from what was `given`: a message has its subject."""
    fields = getattr(result._kind, "__annotations__", {})
    result._known.update({name: value for name, value in given.items() if name in fields})
    if isinstance(given.get("self"), Blank):
        kept = given["self"]._known.items()
        result._known.update({name: value for name, value in kept if name in fields})
    if type(subject := given.get("subject")) is str:
        result._label = f'"{subject}"'
    elif not result._label:  # of what was given, what has a subject
        labels = (one._label for one in given.values() if isinstance(one, Blank))
        result._label = next((one for one in labels if one.startswith('"')), "")


def subject(given: Mapping[str, Any]) -> str:
    """Which message a call is about."""
    found = (given.get(name) for name in ("message", "letter"))
    return next((one._label for one in found if isinstance(one, Blank)), "")


def _beside(function: Callable[..., Any], name: str, value: Any, named: set[str]) -> str:
    """What is said of an argument that its function's words do not name."""
    parameter = inspect.signature(function).parameters.get(name)
    if name in ("self", "stage", "lab", "subject") or parameter is None:
        return ""
    if value is parameter.default or value == parameter.default:
        return ""
    if isinstance(value, bool):
        return _spaced(name) if value else f"not {_spaced(name)}"
    if name in named:
        return ""
    if value is None:
        return f"no {_spaced(name)}"
    return f"{_spaced(name)}: {text}" if (text := _text(value)) else ""


def _spaced(name: str) -> str:
    return name.strip("_").replace("_", " ")


def _text(value: Any) -> str:
    """A value in a sentence; empty if it says nothing there."""
    if isinstance(value, Blank):
        return value._label
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(_text, value)))
    if isinstance(value, str):
        return value if len(value) <= 60 and "\n" not in value else ""
    return str(value) if isinstance(value, (int, float)) else ""
