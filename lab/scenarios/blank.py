"""What is not known before it has happened: a blank, which a handout leaves open.

A blank stands for an object of some class. Whatever is asked of it is blank too, so that a story
can be told to its end without a lab; who made it answers the calls of its methods.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

SHOWN = "____"

Answer = Callable[[Any, Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]
"""Answers a call: on which blank (or None), of what function, with which arguments."""


class Blank(str):
    """Nothing is known of it but its class (`kind`) and what is in `known`."""

    _kind: type | None
    _item: type | None
    _known: dict[str, Any]
    _answer: Answer | None
    _label: str

    def __new__(
        cls,
        kind: type | None = None,
        answer: Answer | None = None,
        *,
        item: type | None = None,
        label: str = "",
        **known: Any,
    ) -> Blank:
        made = super().__new__(cls, SHOWN)
        made._kind, made._item, made._known = kind, item, known
        made._answer, made._label = answer, label
        return made

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        if name in self._known:
            return self._known[name]
        found = inspect.getattr_static(self._kind, name, None) if self._kind else None
        if isinstance(found, property) and found.fget:
            return blank_for(found.fget, self)
        return _method(self, found) if inspect.isfunction(found) else Blank(answer=self._answer)

    def __call__(self, *args: Any, **kwargs: Any) -> Blank:
        return Blank(answer=self._answer)

    def __enter__(self) -> Blank:
        return Blank(self._item, self._answer) if self._item else self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        return iter((Blank(self._item, self._answer),))

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True

    def __format__(self, form: str) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return id(self)

    def __int__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0


def _calculated(self: Blank, *_: object) -> Blank:
    return Blank(answer=self._answer)


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "mod"),
    *("neg", "abs", "round", "lt", "le", "gt", "ge", "getitem"),
):
    setattr(Blank, f"__{_name}__", _calculated)


def _method(of: Blank, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if of._answer:
            return of._answer(of, function, args, kwargs)
        return blank_for(function, of)

    return call


def blank_for(
    function: Callable[..., Any], of: Blank | None = None, answer: Answer | None = None
) -> Any:
    """What `function` would give: a blank of what it says that it returns, or a tuple of such."""
    written = inspect.unwrap(function).__annotations__.get("return")
    answer = of._answer if of is not None else answer
    if not isinstance(written, str):
        return Blank(answer=answer)
    annotation = ast.parse(written, mode="eval").body
    return _blank_of(annotation, getattr(function, "__globals__", {}), of, answer)


def _blank_of(
    node: ast.expr, names: Mapping[str, Any], of: Blank | None, answer: Answer | None
) -> Any:
    if isinstance(node, ast.BinOp):  # X | None
        node = node.left
    if isinstance(node, ast.Subscript):
        inner = node.slice
        items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        endless = isinstance(items[-1], ast.Constant)  # tuple[X, ...]
        if getattr(node.value, "id", "") == "tuple" and not endless:
            return tuple(_blank_of(one, names, of, answer) for one in items)
        return Blank(answer=answer, item=_class(items[0], names, of))
    # What is said of a message is about the message still; what a person makes is not the person.
    label = of._label if of is not None and of._label.startswith('"') else ""
    return Blank(_class(node, names, of), answer, label=label)


def _class(node: ast.expr, names: Mapping[str, Any], of: Blank | None) -> type | None:
    name = getattr(node, "id", "")
    if name == "Self" and of is not None:
        return of._kind
    found = names.get(name) or _classes().get(name)
    return found if isinstance(found, type) and found.__module__.startswith("lab.") else None


@cache
def _classes() -> Mapping[str, type]:
    """The classes of lab.scenarios, by name: an annotation may name what is not imported."""
    import lab.scenarios

    return {
        found.__name__: found
        for module in pkgutil.iter_modules(lab.scenarios.__path__)
        for found in vars(importlib.import_module(f"lab.scenarios.{module.name}")).values()
        if isinstance(found, type) and found.__module__.startswith("lab.scenarios")
    }
