"""What a function of a scenario is about, read from its source: does it judge, and by what?

It is not called for that. So a handout can say where to look before anything has happened.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

ACTS, JUDGES = "acts", "judges"
PLACES = ("packets", "log", "queue", "mailbox")
"""Where evidence can be: a capture, a machine's log, a snapshot of a queue or a mailbox."""

# What is named in the source of who does it.
_SIGNS = {
    "acting": ACTS,
    "_act": ACTS,
    "logged": "log",
    "queue": "queue",
    "mailbox": "mailbox",
    **dict.fromkeys(("syn", "steps", "turn", "commands", "packet", "packets"), "packets"),
    **dict.fromkeys(("question", "lookups", "calls_to", "carrying", "showing"), "packets"),
}
_WITHIN = "lab.scenarios"


@cache
def about(function: Callable[..., Any], owner: type | None = None) -> frozenset[str]:
    """What `function` (a method of `owner`) and what it calls do: ACTS, JUDGES, any of PLACES."""
    found: set[str] = set()
    _look(function, owner, found, set())
    return frozenset(found)


def _look(
    function: Callable[..., Any], owner: type | None, found: set[str], seen: set[Callable[..., Any]]
) -> None:
    function = inspect.unwrap(function)
    if function in seen or not isinstance(function, FunctionType):
        return
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        name = getattr(node, "attr", None) or getattr(node, "id", None)
        if name in _SIGNS:
            found.add(_SIGNS[name])
        elif isinstance(node, ast.Call):
            found |= _recorded(node)
    for called, of in _called(tree, function, owner):
        _look(called, of, found, seen)


def _recorded(call: ast.Call) -> set[str]:
    """What a call puts on record: a verdict, or what somebody did (`log.add("action", …)`)."""
    name = getattr(call.func, "attr", "")
    first = call.args[0] if call.args else None
    if name == "check" and len(call.args) + len(call.keywords) == 5:  # Stage.check
        return {JUDGES}
    if name == "add" and isinstance(first, ast.Constant) and first.value == "action":
        return {ACTS}
    return set()


def _called(
    tree: ast.AST, function: FunctionType, owner: type | None
) -> Iterator[tuple[Callable[..., Any], type | None]]:
    """The functions of scenarios, and the methods of `owner`, that are named in `tree`."""
    for node in ast.walk(tree):
        of: type | None = None
        target: Any = None
        if isinstance(node, ast.Name):
            target = function.__globals__.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            holder = function.__globals__.get(node.value.id)
            if node.value.id == "self":
                holder = of = owner
            if isinstance(holder, (ModuleType, type)):
                target = getattr(holder, node.attr, None)
        if isinstance(target, FunctionType) and target.__module__.startswith(_WITHIN):
            yield target, of
