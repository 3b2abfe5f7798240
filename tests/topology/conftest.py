"""What tests on real containers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lab.engine.client import client
from lab.errors import EngineError

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
