"""Debian itself, which all images start from: pulled, or made here where no registry answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

from lab.engine.images import FOLDER, OFFLINE_HINT, BuildStep, Progress
from lab.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

DEBIAN = "debian"
TAG = "trixie-slim"

# For as long nothing may come from the registry. The engine itself retries for minutes.
_SILENCE_SECONDS = 8


def ensure_debian(client: DockerClient, progress: Progress) -> None:
    """debian:trixie-slim is there when this returns. Raises EngineError if it can't be had."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(f"{DEBIAN}:{TAG}")
    except ImageNotFound:
        why = _pull(client, progress)
        if why:
            line = f"it can't be pulled ({why}): making it of Debian's packages"
            progress(BuildStep(DEBIAN, 1, 2, line))
            _bootstrap(client, progress)
        progress(BuildStep(DEBIAN, 2, 2, "there", done=True))


def _step(line: str) -> BuildStep:
    return BuildStep(DEBIAN, 0, 0, line)


def _pull(client: DockerClient, progress: Progress) -> str:
    """Pull the image; empty if it worked, else why it did not, in a few words."""
    from requests import RequestException

    progress(_step(f"pulling {DEBIAN}:{TAG}"))
    api = client.api
    try:
        # The SDK's own pull waits for ever.
        response = api.post(
            f"{api.base_url}/v{api.api_version}/images/create",
            params={"fromImage": DEBIAN, "tag": TAG},
            stream=True,
            timeout=_SILENCE_SECONDS,
        )
        with response:
            for line in response.iter_lines():
                event = json.loads(line)
                if problem := event.get("error") or event.get("message"):
                    return str(problem).rsplit(": ", 1)[-1]
                progress(_step(f"{event.get('id', '')} {event.get('status', '')}".strip()))
    except RequestException:
        return f"the registry is silent for {_SILENCE_SECONDS} s"
    return ""


def _bootstrap(client: DockerClient, progress: Progress) -> None:
    """Make the image with mmdebstrap, through a file: half an image must not become one."""
    from docker.errors import APIError

    _need_mmdebstrap(progress)
    with tempfile.TemporaryFile() as archive:
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            f"--dpkgopt={FOLDER / 'base' / 'slim.conf'}",
            "--aptopt=Acquire::Retries 1",
            TAG.removesuffix("-slim"),
            "-",
        ]
        _run(command, progress, stdout=archive)
        archive.seek(0)
        progress(_step("importing it"))
        try:
            # In pieces: given a file, the SDK announces pieces and sends none.
            pieces = iter(lambda: archive.read(1 << 20), b"")
            client.api.import_image_from_stream(
                pieces, repository=DEBIAN, tag=TAG, changes=['CMD ["bash"]']
            )
        except APIError as error:
            raise EngineError(f"the engine refuses the image made of Debian: {error}") from error


def _need_mmdebstrap(progress: Progress) -> None:
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise EngineError(
            f"no registry has {DEBIAN}:{TAG}, and mmdebstrap, which could make it, is not there",
            hint=f"on Debian or Ubuntu: sudo apt-get install mmdebstrap; elsewhere: {OFFLINE_HINT}",
        )
    progress(_step("installing mmdebstrap"))
    # The keyring by name: Ubuntu does not have Debian's.
    packages = ["mmdebstrap", "debian-archive-keyring"]
    _run(["apt-get", "update"], progress)
    _run(["apt-get", "install", "-y", "--no-install-recommends", *packages], progress)


def _run(command: list[str], progress: Progress, stdout: Any = subprocess.DEVNULL) -> None:
    """Run a program; what it says on stderr is progress, and if it fails the error's detail."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    ) as process:
        said = []
        for line in process.stderr or ():
            said.append(line.strip())
            progress(_step(line.strip()))
    if process.returncode:
        raise EngineError(
            f"{command[0]} can't make {DEBIAN}:{TAG} (it needs Debian's packages)",
            detail="\n".join(said[-20:]),
            hint=OFFLINE_HINT,
        )
