"""What tests on real containers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import new_name, removed_afterwards, textbook
from played import Play, Run, played
from sitting import seat
from wired import traces

from lab.engine import images
from lab.engine.client import client
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import Plan
from lab.errors import EngineError
from lab.faults import journal
from lab.seats.ssh import Connection, connect

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """The Docker engine; without one, the test is skipped and says so."""
    try:
        found = client()
    except EngineError as error:
        pytest.skip(f"needs a Docker engine: {error.what} (lab doctor --fix)")
    yield found


@pytest.fixture(scope="session")
def standing(engine: DockerClient) -> Iterator[Plan]:
    """The textbook's lab, of each worker its own, kept up for the whole session."""
    images.build(engine, lambda step: None)
    with removed_afterwards(new_name()) as name:
        yield up(textbook(name)).plan


@pytest.fixture
def lab(standing: Plan) -> Lab:
    """The session's lab, whole whatever the test before has done to it."""
    return up(standing)


@pytest.fixture(scope="module")
def whole(standing: Plan) -> Lab:
    """The session's lab, whole as a module's tests begin."""
    return up(standing)


@pytest.fixture
def wires(whole: Lab) -> Iterator[Lab]:
    """The same; a test has to leave cables, routers and the journal as it has found them."""
    before = traces(whole)
    yield whole
    after = traces(whole)
    if after != before:  # the next test is not to blame
        journal.heal_all(whole)
        up(whole.plan)
    assert after == before


@pytest.fixture
def bob(whole: Lab) -> Iterator[Connection]:
    """Bob's seat in the session's lab."""
    with connect(whole, seat(whole)) as seated:
        yield seated


@pytest.fixture
def play(engine: DockerClient, tmp_path: Path) -> Play:
    """Runs a scenario as a user does, in a folder of its own."""

    def run(name: str, *options: str) -> Run:
        return played(tmp_path, name, *options)

    return run


@pytest.fixture
def name(engine: DockerClient) -> Iterator[str]:
    """A name for a lab of the test's own; what is there of it afterwards is removed."""
    images.build(engine, lambda step: None)
    with removed_afterwards(new_name()) as name:
        yield name
