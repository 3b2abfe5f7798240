"""Labs for tests: the `lab` fixture of pytest, and the mark that says which.

    @pytest.mark.topology("textbook", time_scale=600)
    def test_it(lab): ...

A lab is put up when the first test asks for it, is made whole and healed of every fault before
each, and is gone when pytest is; should pytest be killed, the next `lab down` removes it. With
pytest-xdist each worker has labs of its own, with the same addresses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

Standing = Callable[[str, float | None], "Plan"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option: what a missing engine is."""
    parser.getgroup("maillab").addoption(
        "--lab-required",
        action="store_true",
        help="tests that need a lab fail, instead of being skipped, where there is no engine",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known (--strict-markers)."""
    config.addinivalue_line(
        "markers",
        "topology(source, time_scale=None): the lab that the test needs; "
        "a name of `lab up`, or a file",
    )


@pytest.fixture(scope="session")
def lab_engine(pytestconfig: pytest.Config) -> None:
    """A Docker engine answers; else the test is skipped, or fails (--lab-required)."""
    from lab.engine.client import client
    from lab.errors import EngineError

    try:
        client()
    except EngineError as error:
        reason = f"needs a Docker engine: {error.what} (lab doctor --fix)"
        if pytestconfig.getoption("--lab-required"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def standing_labs(lab_engine: None) -> Iterator[Standing]:
    """Gives the plan of the session's lab of a topology and a time scale, which is up."""
    from lab.engine.plan import plan
    from lab.prepare import load_for, own_lab

    plans: dict[tuple[str, float | None], Plan] = {}
    with contextlib.ExitStack() as labs:

        def standing(source: str, time_scale: float | None) -> Plan:
            key = source, time_scale
            if key not in plans:
                name = f"pytest-{os.getpid()}-{len(plans) + 1}"
                planned = plan(load_for(source, time_scale), name, time_scale)
                labs.enter_context(own_lab(planned, "pytest"))
                plans[key] = planned
            return plans[key]

        yield standing


@pytest.fixture
def lab(request: pytest.FixtureRequest, standing_labs: Standing) -> Lab:
    """The lab of the test's `topology` mark (default: the textbook's), whole and without faults."""
    from lab.errors import LabError
    from lab.prepare import mended

    mark = request.node.get_closest_marker("topology")
    try:
        return mended(standing_labs(*_wanted(mark)))[0]
    except LabError as error:  # it says all there is to say
        pytest.fail(str(error), pytrace=False)


def _wanted(mark: pytest.Mark | None) -> tuple[str, float | None]:
    def told(
        source: str | os.PathLike[str] = "textbook", time_scale: float | None = None
    ) -> tuple[str, float | None]:
        return os.fspath(source), None if time_scale is None else float(time_scale)

    try:
        return told(*mark.args, **mark.kwargs) if mark else told()
    except (TypeError, ValueError):
        pytest.fail('it is @pytest.mark.topology("textbook", time_scale=600)', pytrace=False)
