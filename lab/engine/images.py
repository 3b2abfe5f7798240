"""The images the nodes are made of: which there are, whether they are current, how they are built.

An image is current when its label `maillab.source` equals the digest of what it is made from: the
files of its folder and, through its base's digest, those of every image below it. Nothing else
decides, so building twice builds nothing the second time, and an image loaded from a file counts
as much as one built here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.engine.client import client as connect
from lab.errors import EngineError, UsageError

if TYPE_CHECKING:
    from docker import DockerClient

LABEL_SOURCE = "maillab.source"
FOLDER = Path(__file__).parents[2] / "images"
OFFLINE_HINT = (
    "on a machine with Internet type: lab images save FILE, then here: lab images load FILE"
)

_STEP_SECONDS = 600  # a build step may be silent while one large package is fetched
_LAST_LINES = 20

# What apt says when there is no mirror to be had, whatever else it says then.
_OFFLINE_SIGNS = (
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Cannot initiate the connection",
    "Unable to connect",
    "Network is unreachable",
    "Connection timed out",
)


@dataclass(frozen=True)
class Image:
    """One image: `name` is its folder under images/, `base` the image it is built on.

    One that is not `common` is built when a topology needs it, or when all are asked for.
    """

    name: str
    base: str | None = "base"
    common: bool = True

    @property
    def tag(self) -> str:
        """Its name for Docker."""
        return f"maillab/{self.name}"

    @property
    def folder(self) -> Path:
        """What it is built from."""
        return FOLDER / self.name


# In an order in which they can be built.
IMAGES = (
    Image("base", base=None),
    Image("mail-server"),
    Image("pc"),
    Image("router"),
    Image("dns"),
    Image("fabric"),
    Image("web-server", common=False),
    Image("webmail-server", base="mail-server", common=False),
)


@dataclass(frozen=True)
class BuildStep:
    """Progress: `image` is at `step` of `steps` (0 of 0 if not known) and has printed `line`."""

    image: str
    step: int
    steps: int
    line: str
    done: bool = False


Progress = Callable[[BuildStep], None]


@dataclass(frozen=True)
class Built:
    """An image as `lab images list` shows it; `size` in bytes, `built` in epoch seconds."""

    image: Image
    size: int | None
    built: float | None
    current: bool


def by_name(name: str) -> Image:
    """The image called `name`. Raises UsageError naming the ones there are."""
    for image in IMAGES:
        if name in (image.name, image.tag):
            return image
    known = ", ".join(image.name for image in IMAGES)
    raise UsageError(f"there is no image '{name}'", hint=f"one of: {known}")


def digest(image: Image) -> str:
    """Hexadecimal digest of everything `image` is made from, its base included.

    A file counts with its path, its content and whether it is executable: what git keeps. Times
    and owners don't count, so two checkouts agree. Raises EngineError without the folder.
    """
    parts = [digest(by_name(image.base)) if image.base else ""]
    for path in _files(image):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        parts.append(f"{path.relative_to(image.folder)} {_mode(path):o} {content}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def missing(client: DockerClient, only: Collection[str] | None = None) -> list[Image]:
    """The images to be built before a lab can be: absent, or made from other sources than ours.

    Of those named in `only`, and what they are built on.
    """
    wanted = _founded(map(by_name, only)) if only else IMAGES
    return [built.image for built in listing(client) if not built.current and built.image in wanted]


def listing(client: DockerClient) -> list[Built]:
    """Every image and what the engine knows of it; one question to the engine."""
    there: dict[str, dict[str, Any]] = {
        tag.removesuffix(":latest"): found
        for found in client.api.images(filters={"label": LABEL_SOURCE})
        for tag in found["RepoTags"] or ()
    }
    result = []
    for image in IMAGES:
        found = there.get(image.tag)
        if found is None:
            result.append(Built(image, None, None, current=False))
            continue
        current = found["Labels"][LABEL_SOURCE] == digest(image)
        result.append(Built(image, found["Size"], float(found["Created"]), current))
    return result


def build(
    client: DockerClient,
    progress: Progress,
    only: Collection[str] | None = None,
    *,
    force: bool = False,
) -> list[Image]:
    """Build what is missing (of the images named in `only`, and what they are built on).

    `force` builds them anew even if current, and what is built on them too. Images that don't
    need each other are built side by side (`progress` is called from several threads). The
    images built, in order. Raises EngineError, with the last output, if one fails; the others
    are then given up as well.
    """
    todo = _plan(missing(client), [by_name(name) for name in only or ()] or IMAGES, force)
    if any(image.base is None for image in todo):
        from lab.engine.bootstrap import ensure_debian

        ensure_debian(client, progress)
    began = time.time()
    waiting = list(todo)
    while waiting:
        names = {image.name for image in waiting}
        _side_by_side([i for i in waiting if i.base not in names], progress, force)
        waiting = [i for i in waiting if i.base in names]
    if todo:
        _remove_replaced(client, began)
    return todo


def _plan(stale: Collection[Image], wanted: Collection[Image], force: bool) -> list[Image]:
    """Which of all images to build, in order: what is wanted, and what that stands on."""
    founded = _founded(wanted)
    todo: dict[str, Image] = {}
    for image in IMAGES:
        needed = image in founded
        on_new_base = image.base is not None and image.base in todo
        if (needed and image in stale) or (force and (image in wanted or on_new_base)):
            todo[image.name] = image
    return list(todo.values())


def _founded(wanted: Iterable[Image]) -> set[Image]:
    """`wanted`, and everything that stands under it."""
    founded: set[Image] = set()
    for image in wanted:
        founded.add(image)
        while image.base is not None:
            founded.add(image := by_name(image.base))
    return founded


def _side_by_side(images: list[Image], progress: Progress, force: bool) -> None:
    """Build `images`, a thread each; the first failure (or Ctrl-C) ends them all."""
    given_up = threading.Event()
    with ThreadPoolExecutor(len(images)) as pool:
        work = [pool.submit(_build, image, progress, force, given_up) for image in images]
        try:
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
            for future in work:
                if future in done:
                    future.result()
        finally:
            given_up.set()


def _build(image: Image, progress: Progress, force: bool, given_up: threading.Event) -> None:
    """Build one image. The engine itself stops when its output is no longer read."""
    from docker.errors import APIError

    try:
        output = connect().api.build(
            fileobj=_context(image),
            custom_context=True,
            tag=image.tag,
            labels={LABEL_SOURCE: digest(image)},
            buildargs=_proxies(),
            network_mode="host",  # Debian's mirror is reached as this machine reaches it
            nocache=force,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=_STEP_SECONDS,
        )
        for step in _follow(image, output):
            if given_up.is_set():
                return
            progress(step)
    except APIError as error:
        raise EngineError(f"the engine refuses to build image {image.name}: {error}") from error


def _remove_replaced(client: DockerClient, began: float) -> None:
    """Remove images of ours that lost their name to a newer one, but for those in use.

    The newest are spared: another `lab` may be building them, and about to name them.
    """
    from docker.errors import APIError

    for found in client.api.images(filters={"label": LABEL_SOURCE, "dangling": True}):
        if found["Created"] < began - _STEP_SECONDS:
            with contextlib.suppress(APIError):
                client.api.remove_image(found["Id"])


def _follow(image: Image, output: Iterator[dict[str, Any]]) -> Iterator[BuildStep]:
    """The engine's output as steps. Raises EngineError where the build ends in one."""
    step = steps = 0
    last: deque[str] = deque(maxlen=_LAST_LINES)
    offline = False
    for event in output:
        text = event.get("stream") or event.get("error") or ""
        for line in filter(None, map(str.strip, text.splitlines())):
            last.append(line)
            offline = offline or any(sign in line for sign in _OFFLINE_SIGNS)
            words = line.split(maxsplit=3)
            if words[0] == "Step" and "/" in words[1]:
                step, steps = map(int, words[1].split("/"))
                line = words[-1]
            yield BuildStep(image.name, step, steps, line)
        if "error" in event:
            if offline:
                raise EngineError(
                    f"image {image.name} needs Debian's packages, and no mirror answers",
                    detail="\n".join(last),
                    hint=OFFLINE_HINT,
                )
            raise EngineError(
                f"image {image.name} does not build (step {step} of {steps})",
                where=str(image.folder / "Dockerfile"),
                detail="\n".join(last),
            )
    yield BuildStep(image.name, steps, steps, "built", done=True)


def _files(image: Image) -> list[Path]:
    found = sorted(
        path
        for path in image.folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith("~")
    )
    if not found:
        raise EngineError(
            f"nothing to build image {image.name} from",
            where=str(image.folder),
            hint="run lab from a checkout (pip install -e .), or: lab images load FILE",
        )
    return found


def _mode(path: Path) -> int:
    """Executable or not: the rest depends on the umask of whoever checked the files out."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _context(image: Image) -> io.BytesIO:
    """What the engine builds from, a tar file: the same bytes wherever the same files are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in _files(image):
            entry = tarfile.TarInfo(str(path.relative_to(image.folder)))
            content = path.read_bytes()
            entry.size, entry.mode = len(content), _mode(path)
            tar.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def _proxies() -> dict[str, str]:
    """A proxy this machine needs, a build needs too (Docker keeps these out of the image)."""
    import os

    names = ("http_proxy", "https_proxy", "no_proxy")
    return {
        name: value
        for lower in names
        for name in (lower, lower.upper())
        if (value := os.environ.get(name))
    }
