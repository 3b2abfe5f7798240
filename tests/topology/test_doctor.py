"""The doctor on a real engine: it tries things, leaves nothing, and finds what was left."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from lab.engine import doctor, images
from lab.engine.client import LABEL_KIND, LABEL_LAB

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture
def whole(engine: DockerClient) -> DockerClient:
    """An engine with a current fabric image."""
    images.build(engine, lambda step: None, ["fabric"])
    return engine


def test_wires_can_be_laid_here_and_nothing_stays(whole: DockerClient) -> None:
    states = {finding.check: finding.state for finding in doctor.examine()}
    assert states["engine"] == states["wires"] == "ok"
    assert not whole.containers.list(all=True, filters={"label": f"{LABEL_KIND}=probe"})


def test_without_its_capabilities_the_fabric_lays_no_wire(
    whole: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CAPABILITIES", {"fabric": ("NET_RAW",)})
    found = {finding.check: finding for finding in doctor.examine()}
    assert found["wires"].state == "missing"
    assert found["wires"].meaning == (
        "no wires, so no lab (RTNETLINK answers: Operation not permitted)"
    )
    # Everything tried needs NET_ADMIN: whatever says "ok" now would always say so.
    assert {found[feature.check].state for feature in doctor._FEATURES} == {"missing", "warning"}


def test_a_probe_that_is_interrupted_is_removed(
    whole: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(whole.api, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        doctor._probe(whole)
    assert not whole.containers.list(all=True, filters={"label": f"{LABEL_KIND}=probe"})


def test_a_lab_without_fabric_is_a_leftover(whole: DockerClient) -> None:
    lab = f"t{uuid4().hex[:8]}"
    left = whole.containers.create("maillab/base", labels={LABEL_LAB: lab, LABEL_KIND: "pc"})
    try:
        found = doctor._leftovers()
    finally:
        left.remove(force=True)
    assert found.state == "warning"
    assert lab in found.meaning
    assert f"lab --lab {lab} down" in found.advice
