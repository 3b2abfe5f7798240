"""All images in one file, for machines without Internet: what `docker save` writes and loads."""

from __future__ import annotations

import contextlib
import errno
import gzip
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from lab.engine.images import IMAGES, Image, missing
from lab.errors import EngineError, UsageError

if TYPE_CHECKING:
    from docker import DockerClient

# What an archive of images begins with: a layer or a configuration by its digest (to Docker 24),
# or the OCI layout (from 25 on).
_FIRST_MEMBER = re.compile(r"[0-9a-f]{64}|blobs|index\.json|manifest\.json|oci-layout")
_SILENCE_SECONDS = 600  # the engine packs or unpacks a layer without a word


def save(client: DockerClient, path: Path) -> int:
    """Write all images to `path` (compressed if it ends in .gz); its size in bytes.

    Those that few topologies need are left out if they are not built. `path` is there whole or
    not at all. Raises EngineError if others are missing or the file can't be written.
    """
    unbuilt = missing(client)
    absent = [image for image in unbuilt if image.common]
    if absent:
        raise EngineError(
            f"not built, or out of date: {', '.join(image.name for image in absent)}",
            hint="lab images build",
        )
    part = path.with_name(path.name + ".part")
    try:
        with _patience(client), _writer(part, path.suffix == ".gz") as file:
            for chunk in _export(client, [one for one in IMAGES if one not in unbuilt]):
                file.write(chunk)
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path.stat().st_size


def load(client: DockerClient, path: Path) -> list[Image]:
    """Load the images from a file `save` wrote; the images now there, all common ones among them.

    Raises UsageError for a file that is no such file, EngineError if the engine refuses it or
    the images are made from other sources than this lab's.
    """
    from docker.errors import APIError

    try:
        archive = path.open("rb")
    except OSError as error:
        raise UsageError(f"can't read it: {error.strerror}", where=str(path)) from error
    with archive:
        if not _has_images(path):
            raise UsageError(
                "this is not a file of images, or it is damaged",
                where=str(path),
                hint="make one with: lab images save FILE",
            )
        try:
            with _patience(client):
                for event in cast(Any, client.api).load_image(archive, quiet=True):
                    if "error" in event:
                        raise EngineError(
                            f"the engine can't load it: {event['error']}", where=str(path)
                        )
        except APIError as error:
            raise EngineError(
                f"the engine can't load it: {error.explanation or error}", where=str(path)
            ) from error
    unbuilt = missing(client)
    absent = [image for image in unbuilt if image.common]
    if absent:
        raise EngineError(
            f"made by another version of the lab: {', '.join(i.name for i in absent)}",
            where=str(path),
            hint="where there is Internet, with this version: lab images save FILE",
        )
    return [image for image in IMAGES if image not in unbuilt]


def _export(client: DockerClient, images: Iterable[Image]) -> Iterator[bytes]:
    """These images as one archive. The SDK can only ask for one, which would repeat their base."""
    api = client.api
    response = api.get(
        f"{api.base_url}/v{api.api_version}/images/get",
        params={"names": [f"{image.tag}:latest" for image in images]},
        stream=True,
        timeout=_SILENCE_SECONDS,
    )
    response.raise_for_status()
    chunks: Iterator[bytes] = response.iter_content(1 << 20)
    return chunks


def _writer(path: Path, compressed: bool) -> IO[bytes]:
    # Level 3: a third of the time of the usual 9, for a tenth more bytes.
    return cast(IO[bytes], gzip.open(path, "wb", 3)) if compressed else path.open("wb")


def _has_images(path: Path) -> bool:
    """Whether `path` is a tar file, compressed or not, that begins as Docker's do."""
    try:
        with tarfile.open(path) as tar:
            first = tar.next()
    except (tarfile.TarError, OSError, EOFError):
        return False
    return first is not None and _FIRST_MEMBER.match(first.name) is not None


@contextlib.contextmanager
def _patience(client: DockerClient) -> Iterator[None]:
    """For a while, `client` waits longer for a word than it usually does."""
    api: Any = client.api
    before, api.timeout = api.timeout, _SILENCE_SECONDS
    try:
        yield
    finally:
        api.timeout = before


def _unwritable(path: Path, error: OSError) -> EngineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(
            "no space left for the images (about 450 MB, 160 MB as .gz)",
            where=str(path),
            hint="choose a FILE on another disk, ending in .gz",
        )
    return EngineError(
        f"can't write it: {error.strerror or error}",
        where=str(path),
        hint="choose a FILE in a folder that exists and is yours",
    )
