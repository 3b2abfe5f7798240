"""Stand-ins for what a scenario imports from the lab: so it can be acted where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import FunctionType, ModuleType
from typing import Any, Protocol

from lab.faults.fault import Fault
from lab.scenarios import wording
from lab.scenarios.blank import Blank

_SIDE_EFFECTS = {"os", "socket", "subprocess", "time"}  # modules that a rehearsal has no use for


class Listener(Protocol):
    """Who hears what is called."""

    def answer(
        self,
        of: Blank | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """What a call gives, of a method of `of` or of a function."""


def rebound(act: FunctionType, stage: Listener) -> FunctionType:
    """`act` with stand-ins for all that it would call outside its own file."""
    own = act.__globals__
    names: dict[str, Any] = {"len": _length}
    for name, value in own.items():
        if isinstance(value, FunctionType) and value.__globals__ is own:
            names[name] = _with(value, names)
        else:
            names[name] = _stand_in(value, stage)
    return _with(act, names)


def _length(of: Any) -> Any:
    """How long something is; of what is blank, that is blank, too (len itself gives numbers)."""
    return Blank() if isinstance(of, Blank) else len(of)


def _with(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    made = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _stand_in(value: Any, stage: Listener) -> Any:
    """What takes the place of `value`, which a scenario has imported."""
    if isinstance(value, ModuleType):
        if value.__name__ in _SIDE_EFFECTS:
            return Blank()
        return _Module(value, stage) if value.__name__.startswith("lab.") else value
    module = getattr(value, "__module__", None) or ""
    if not module.startswith("lab.") or not callable(value):
        return value
    if isinstance(value, type):
        if issubclass(value, (Fault, Enum, Exception)):
            return value
        return _Class(value, stage)
    return _Function(value, stage)


class _Module:
    """A module of the lab, with a stand-in for each thing in it."""

    def __init__(self, module: ModuleType, stage: Listener) -> None:
        self._module, self._stage = module, stage

    def __getattr__(self, name: str) -> Any:
        return _stand_in(getattr(self._module, name), self._stage)


class _Function:
    """A function of the lab. One that has to do with no lab is called; others are noted."""

    def __init__(self, function: Callable[..., Any], stage: Listener) -> None:
        self._function, self._stage = function, stage

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        blank = any(
            isinstance(one, Blank) or one is self._stage for one in (*args, *kwargs.values())
        )
        pure = self._function.__module__.startswith(("lab.units", "lab.scenarios."))
        if pure and not blank:
            return self._function(*args, **kwargs)
        return self._stage.answer(None, self._function, args, kwargs)


class _Class:
    """A class of the lab: its objects are blank, what else it has is as it is."""

    def __init__(self, kind: type, stage: Listener) -> None:
        self._kind, self._stage = kind, stage

    def __call__(self, *args: Any, **kwargs: Any) -> Blank:
        made = Blank(self._kind, self._stage.answer)
        wording.name(made, wording.arguments(self._kind, args, kwargs))
        return made

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kind, name)
        return _Function(found, self._stage) if callable(found) else found
