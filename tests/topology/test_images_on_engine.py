"""Images on a real engine: built once, carried in a file, and failing clearly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from lab.engine import imagefile, images
from lab.engine.images import BuildStep, Image
from lab.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture
def small(
    engine: DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Image, ...]]:
    """Two small images of this test's own in the lab's place, one on the other."""
    name = f"test-{uuid4().hex[:8]}"
    chosen = (Image(name, base=None), Image(f"{name}-top", base=name))
    for image, dockerfile in zip(
        chosen,
        ("FROM scratch\nCOPY start /lab/start\n", f"FROM maillab/{name}\nCOPY start /lab/top\n"),
        strict=True,
    ):
        folder = tmp_path / "images" / image.name
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "start").write_text("#!/bin/sh\n")
    monkeypatch.setattr(images, "FOLDER", tmp_path / "images")
    monkeypatch.setattr(images, "IMAGES", chosen)
    monkeypatch.setattr(imagefile, "IMAGES", chosen)
    # These stand on nothing: they need no Debian, hence no network.
    monkeypatch.setattr("lab.engine.bootstrap.ensure_debian", lambda client, progress: None)
    yield chosen
    for image in reversed(chosen):
        if engine.images.list(image.tag):
            engine.images.remove(image.tag, force=True)


def build(engine: DockerClient) -> list[str]:
    steps: list[BuildStep] = []
    built = [image.name for image in images.build(engine, steps.append)]
    assert [step.image for step in steps if step.done] == built
    return built


def test_only_what_changed_is_built(engine: DockerClient, small: tuple[Image, ...]) -> None:
    bottom, top = small
    assert images.missing(engine) == [bottom, top]
    assert build(engine) == [bottom.name, top.name]
    before = engine.images.get(top.tag).id
    assert build(engine) == []
    (top.folder / "start").chmod(0o755)
    assert images.missing(engine) == [top]
    assert build(engine) == [top.name]
    assert engine.images.get(top.tag).id != before
    (bottom.folder / "start").write_text("#!/bin/sh\nexit\n")
    assert build(engine) == [bottom.name, top.name]


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz"])
def test_carried_in_a_file(
    engine: DockerClient, small: tuple[Image, ...], tmp_path: Path, name: str
) -> None:
    build(engine)
    before = {image.name: engine.images.get(image.tag).id for image in small}
    file = tmp_path / name
    assert imagefile.save(engine, file) == file.stat().st_size
    for image in reversed(small):
        engine.images.remove(image.tag, force=True)
    assert images.missing(engine) == list(small)
    assert imagefile.load(engine, file) == list(small)
    assert images.missing(engine) == []
    assert {image.name: engine.images.get(image.tag).id for image in small} == before


def test_a_file_cut_short_is_refused(
    engine: DockerClient, small: tuple[Image, ...], tmp_path: Path
) -> None:
    build(engine)
    file = tmp_path / "all.tar"
    imagefile.save(engine, file)
    file.write_bytes(file.read_bytes()[:3000])
    for image in reversed(small):
        engine.images.remove(image.tag, force=True)
    with pytest.raises(EngineError) as caught:
        imagefile.load(engine, file)
    assert caught.value.where == str(file)
    assert caught.value.what.startswith("the engine can't load it: ")
    assert images.missing(engine) == list(small)


def test_a_broken_dockerfile_is_named(engine: DockerClient, small: tuple[Image, ...]) -> None:
    bottom, _ = small
    (bottom.folder / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    with pytest.raises(EngineError) as caught:
        build(engine)
    error = caught.value
    assert error.where == str(bottom.folder / "Dockerfile")
    assert error.what == f"image {bottom.name} does not build (step 2 of 3)"
    assert "nothing" in error.detail.splitlines()[-1]
