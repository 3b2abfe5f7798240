"""What an image is made of decides whether it is current; and what goes wrong reads well."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.engine import bootstrap, imagefile, images
from lab.engine.images import IMAGES, BuildStep, Image, by_name, digest
from lab.errors import EngineError, UsageError

RARE = [image.name for image in IMAGES if not image.common]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An images/ folder of small images."""
    for image in IMAGES:
        (tmp_path / image.name).mkdir()
        (tmp_path / image.name / "Dockerfile").write_text(f"FROM {image.base}\n")
    (tmp_path / "pc" / "start").write_text("#!/bin/sh\n")
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    return tmp_path


class FakeApi:
    """An engine that holds `images`, and answers a build with `output`."""

    base_url, api_version, timeout = "http://engine", "1.41", 60

    def __init__(self, output: list[dict[str, Any]] | None = None) -> None:
        self.there: dict[str, str] = {}
        self.output = output or [{"stream": "Step 1/1 : FROM x\n"}]
        self.built: list[str] = []
        self.removed: list[str] = []
        self.loaded: list[dict[str, Any]] = []
        self.saved: list[bytes] = [b"tar"]

    def images(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if filters.get("dangling"):
            return [{"Id": "old", "Created": 0}, {"Id": "new", "Created": 1 << 40}]
        return [
            {"RepoTags": [f"{tag}:latest"], "Labels": {filters["label"]: source}}
            | {"Created": 1, "Size": 2}
            for tag, source in self.there.items()
        ]

    def build(self, tag: str, labels: dict[str, str], **_: Any) -> list[dict[str, Any]]:
        self.built.append(tag.removeprefix("maillab/"))
        self.there[tag] = labels[images.LABEL_SOURCE]
        return self.output

    def remove_image(self, identity: str) -> None:
        self.removed.append(identity)

    def get(self, url: str, **_: Any) -> Any:
        return SimpleNamespace(
            raise_for_status=lambda: None, iter_content=lambda size: iter(self.saved)
        )

    def load_image(self, archive: Any, quiet: bool) -> list[dict[str, Any]]:
        return self.loaded


@pytest.fixture
def api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A fake engine, which every thread talks to."""
    fake = FakeApi()
    monkeypatch.setattr(images, "connect", lambda: SimpleNamespace(api=fake))
    monkeypatch.setattr(bootstrap, "ensure_debian", lambda client, progress: None)
    return fake


def client(api: FakeApi) -> Any:
    return SimpleNamespace(api=api)


def digests() -> dict[str, str]:
    return {image.name: digest(image) for image in IMAGES}


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, value in digests().items() if value != before[name]}


def test_content_changes_the_digest_of_its_image_alone(folder: Path) -> None:
    before = digests()
    (folder / "pc" / "start").write_text("#!/bin/sh\nexit\n")
    assert changed(before) == {"pc"}


def test_a_new_name_changes_the_digest(folder: Path) -> None:
    before = digests()
    (folder / "pc" / "start").rename(folder / "pc" / "begin")
    assert changed(before) == {"pc"}


def test_being_executable_changes_the_digest(folder: Path) -> None:
    before = digests()
    (folder / "pc" / "start").chmod(0o755)
    assert changed(before) == {"pc"}


def test_a_change_of_the_base_changes_all(folder: Path) -> None:
    before = digests()
    (folder / "base" / "Dockerfile").write_text("FROM elsewhere\n")
    assert changed(before) == {image.name for image in IMAGES}


def test_times_umask_and_litter_change_nothing(folder: Path) -> None:
    before = digests()
    start = folder / "pc" / "start"
    os.utime(start, (1, 1))
    start.chmod(0o600)
    (folder / "pc" / "__pycache__").mkdir()
    (folder / "pc" / "__pycache__" / "agent.pyc").write_text("")
    (folder / "pc" / "start~").write_text("")
    assert not changed(before)


def test_every_base_comes_before_what_is_built_on_it() -> None:
    seen: set[str | None] = {None}
    for image in IMAGES:
        assert image.base in seen
        seen.add(image.name)


def test_every_image_of_the_repository_has_its_folder_and_is_known() -> None:
    in_repository = {path.parent.name for path in images.FOLDER.glob("*/Dockerfile")}
    assert in_repository == {image.name for image in IMAGES}


def test_the_context_does_not_depend_on_the_checkout(folder: Path) -> None:
    image = by_name("pc")
    before = images._context(image).getvalue()
    os.utime(folder / "pc" / "start", (1, 1))
    (folder / "pc" / "start").chmod(0o600)
    assert images._context(image).getvalue() == before
    with tarfile.open(fileobj=io.BytesIO(before)) as tar:
        assert {entry.name: entry.mode for entry in tar} == {"Dockerfile": 0o644, "start": 0o644}


def test_builds_what_is_missing_and_then_nothing(api: FakeApi) -> None:
    steps: list[BuildStep] = []
    names = [image.name for image in IMAGES]
    assert [image.name for image in images.build(client(api), steps.append)] == names
    assert api.built[0] == "base"
    assert sorted(api.built) == sorted(names)
    assert {step.image for step in steps if step.done} == set(names)
    assert api.removed == ["old"]  # what lost its name long ago; the new may be someone's
    assert images.build(client(api), steps.append) == []


@pytest.mark.parametrize(
    ("stale", "wanted", "force", "planned"),
    [
        (["base", "pc", "dns"], [], False, ["base", "pc", "dns"]),
        (["base", "pc", "dns"], ["pc"], False, ["base", "pc"]),
        (["pc"], ["dns"], False, []),
        (["base", "mail-server", "webmail-server"], ["mail-server"], False,
         ["base", "mail-server"]),
        (["base", "webmail-server"], ["webmail-server"], False, ["base", "webmail-server"]),
        ([], ["dns"], True, ["dns"]),
        ([], ["base"], True, [image.name for image in IMAGES]),
    ],
)  # fmt: skip
def test_plan(stale: list[str], wanted: list[str], force: bool, planned: list[str]) -> None:
    chosen = [by_name(name) for name in wanted] or IMAGES
    todo = images._plan([by_name(name) for name in stale], chosen, force)
    assert [image.name for image in todo] == planned


def test_missing_is_what_is_asked_for_and_what_that_stands_on(api: FakeApi) -> None:
    def missing(*only: str) -> list[str]:
        return [image.name for image in images.missing(client(api), only)]

    assert missing("webmail-server") == ["base", "mail-server", "webmail-server"]
    assert missing("maillab/pc", "dns") == ["base", "pc", "dns"]
    assert missing() == [image.name for image in IMAGES]
    api.there = {image.tag: digest(image) for image in IMAGES if image.common}
    assert missing("pc", "mail-server") == []
    assert missing("webmail-server") == ["webmail-server"]


def build_error(api: FakeApi, folder: Path, *output: dict[str, Any]) -> str:
    api.output = list(output)
    with pytest.raises(EngineError) as caught:
        images.build(client(api), lambda step: None, ["base"])
    assert caught.value.exit_status == 3
    return str(caught.value).replace(str(folder), "images")


def test_a_step_that_fails_is_named_with_the_last_output(api: FakeApi, folder: Path) -> None:
    noise = "".join(f"line {number}\n" for number in range(40))
    error = build_error(
        api,
        folder,
        {"stream": "Step 2/7 : RUN make\n"},
        {"stream": noise},
        {"error": "The command 'make' returned a non-zero code: 2"},
    )
    assert error.splitlines()[:2] == [
        "images/base/Dockerfile: image base does not build (step 2 of 7)",
        "  | line 21",
    ]
    assert error.splitlines()[-1] == "  | The command 'make' returned a non-zero code: 2"
    assert len(error.splitlines()) == 21


def test_without_a_mirror_the_way_out_is_named(api: FakeApi, folder: Path) -> None:
    assert build_error(
        api,
        folder,
        {"stream": "Step 6/7 : RUN apt-get update\n"},
        {"stream": "W: Temporary failure resolving 'mirror.example'\n"},
        {"error": "returned a non-zero code: 100"},
    ) == (
        "image base needs Debian's packages, and no mirror answers\n"
        "  | Step 6/7 : RUN apt-get update\n"
        "  | W: Temporary failure resolving 'mirror.example'\n"
        "  | returned a non-zero code: 100\n"
        "  → on a machine with Internet type: lab images save FILE, "
        "then here: lab images load FILE"
    )


def test_an_unknown_image_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError) as caught:
        by_name("web")
    assert str(caught.value) == (
        "there is no image 'web'\n  → one of: " + ", ".join(image.name for image in IMAGES)
    )


def test_nothing_to_build_from(folder: Path) -> None:
    with pytest.raises(EngineError) as caught:
        digest(Image("gone", base=None))
    assert str(caught.value).replace(str(folder), "images") == (
        "images/gone: nothing to build image gone from\n"
        "  → run lab from a checkout (pip install -e .), or: lab images load FILE"
    )


@pytest.fixture
def built(api: FakeApi) -> FakeApi:
    """The fake engine with all images current."""
    api.there = {image.tag: digest(image) for image in IMAGES}
    return api


def test_save_leaves_the_file_or_nothing(built: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "all.tar"
    assert imagefile.save(client(built), file) == 3
    assert file.read_bytes() == b"tar"
    assert built.timeout == 60  # as before

    def full() -> Any:
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    built.saved = full()
    with pytest.raises(EngineError) as caught:
        imagefile.save(client(built), tmp_path / "full.tar")
    assert str(caught.value).replace(str(tmp_path), "disk") == (
        "disk/full.tar: no space left for the images (about 450 MB, 160 MB as .gz)\n"
        "  → choose a FILE on another disk, ending in .gz"
    )
    assert not list(tmp_path.glob("full.tar*"))


def test_save_where_nothing_can_be_written(built: FakeApi, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        imagefile.save(client(built), tmp_path / "nowhere" / "all.tar")
    assert str(caught.value).replace(str(tmp_path), "disk") == (
        "disk/nowhere/all.tar: can't write it: No such file or directory\n"
        "  → choose a FILE in a folder that exists and is yours"
    )


def test_save_of_images_not_built(api: FakeApi, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        imagefile.save(client(api), tmp_path / "all.tar")
    assert str(caught.value) == (
        f"not built, or out of date: {', '.join(image.name for image in IMAGES if image.common)}\n"
        "  → lab images build"
    )


def test_what_few_labs_need_is_carried_if_it_is_there(
    built: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    get = built.get
    monkeypatch.setattr(
        built, "get", lambda url, params, **more: asked.append(params["names"]) or get(url)
    )
    everything = [f"{image.tag}:latest" for image in IMAGES]
    imagefile.save(client(built), tmp_path / "all.tar")
    for name in RARE:
        del built.there[f"maillab/{name}"]
    imagefile.save(client(built), tmp_path / "most.tar")
    rare = {f"maillab/{name}:latest" for name in RARE}
    assert asked == [everything, [one for one in everything if one not in rare]]
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    loaded = imagefile.load(client(built), tmp_path / "some.tar")
    assert loaded == [image for image in IMAGES if image.common]


@pytest.mark.parametrize("content", [b"", b"From: alice@sender.example\n", b"\x1f\x8bbroken"])
def test_load_of_something_else(api: FakeApi, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "letter"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        imagefile.load(client(api), file)
    assert str(caught.value).replace(str(tmp_path), "disk") == (
        "disk/letter: this is not a file of images, or it is damaged\n"
        "  → make one with: lab images save FILE"
    )


def test_load_of_no_file(api: FakeApi, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        imagefile.load(client(api), tmp_path / "gone")
    assert str(caught.value).replace(str(tmp_path), "disk") == (
        "disk/gone: can't read it: No such file or directory"
    )


def test_load_of_another_versions_images(built: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "all.tar"
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    assert imagefile.load(client(built), file) == list(IMAGES)
    built.there["maillab/pc"] = "other"
    with pytest.raises(EngineError) as caught:
        imagefile.load(client(built), file)
    assert str(caught.value).replace(str(tmp_path), "disk") == (
        "disk/all.tar: made by another version of the lab: pc\n"
        "  → where there is Internet, with this version: lab images save FILE"
    )
