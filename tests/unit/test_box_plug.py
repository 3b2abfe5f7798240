"""The plug of a box: the cable is out as long as anybody has left a mark."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boxmodules  # noqa: F401  (makes box importable)
import pytest
from box import Plug


class Port:
    """An interface that remembers whether it was switched on; None if it was left alone."""

    on: bool | None = None

    def switch(self, on: bool) -> None:
        self.on = on


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Somebody else is changing a cable."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def port() -> Port:
    return Port()


def marks(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "port.pulled").glob("*"))


@pytest.fixture
def plug(port: Port, tmp_path: Path) -> Plug:
    return Plug(port, tmp_path / "port.pulled")


def test_it_is_out_for_those_who_want_it_out(plug: Plug, port: Port, tmp_path: Path) -> None:
    assert plug.settle(set())
    assert port.on is None
    assert plug.settle({"a", "b"})
    assert (port.on, marks(tmp_path)) == (False, ["a", "b"])
    assert plug.settle({"b"})
    assert (port.on, marks(tmp_path)) == (False, ["b"])
    assert plug.settle(set())
    assert (port.on, marks(tmp_path)) == (True, [])


def test_it_stays_out_while_another_has_it_out(plug: Plug, port: Port, tmp_path: Path) -> None:
    plug.settle({"a"})
    (tmp_path / "port.pulled" / "other").touch()
    plug.settle(set())
    assert (port.on, marks(tmp_path)) == (False, ["other"])


def test_it_waits_for_nobody_and_asks_to_be_called_again(
    plug: Plug, port: Port, tmp_path: Path
) -> None:
    with locked(tmp_path):
        assert not plug.settle({"a"})
        assert (port.on, marks(tmp_path)) == (None, [])
    assert plug.settle({"a"})
    with locked(tmp_path):
        assert plug.settle(set(), wait=False)
    assert (port.on, marks(tmp_path)) == (True, [])
