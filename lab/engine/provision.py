"""Seeing to a Docker engine: use the one that answers, else start or install one, else say how.

What to do is decided by `decide` from facts alone, and tested as a table; `ensure_engine` looks,
and does it. Nothing that runs is ever stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.engine.client import sdk
from lab.errors import EngineError

Progress = Callable[[str], None]
Step = Literal["install", "systemd", "service", "dockerd"]
Answer = Literal["ok", "silent", "refused"]

_LOG = Path("/var/log/dockerd.log")
_START_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LAST_LINES = 20


@dataclass(frozen=True)
class Machine:
    """What decides: how the engine answers (`refused`: this user may not), and what is here."""

    answer: Answer
    docker_host: str = ""  # DOCKER_HOST, if set
    platform: str = "linux"  # as sys.platform says it
    debian: bool = False  # or Ubuntu, or another of its children
    root: bool = False
    user: str = ""
    installed: bool = False  # the engine, dockerd; the docker command alone is only a client
    systemd: bool = False
    service: bool = False  # an init script for Docker


def decide(machine: Machine) -> tuple[Step, ...]:
    """The steps to a running engine; none if it answers.

    Of several ways to start it, each is for where the one before it did not help. Raises
    EngineError with what the user has to type where that is for the user to do.
    """
    if machine.answer == "ok":
        return ()
    if machine.docker_host:
        raise EngineError(
            "the Docker engine that DOCKER_HOST names does not answer"
            if machine.answer == "silent"
            else "the Docker engine that DOCKER_HOST names refuses this user",
            where=machine.docker_host,
            hint="start it, or use this machine's engine: unset DOCKER_HOST",
        )
    if machine.answer == "refused":
        raise EngineError(
            f"a Docker engine runs, but user {machine.user} may not use it",
            hint=f"sudo usermod -aG docker {machine.user}, then log out and in again",
        )
    if machine.platform != "linux":
        raise EngineError(
            "no Docker engine answers",
            hint="install Docker Desktop (https://docs.docker.com/desktop/) and start it",
        )
    if not machine.installed and not machine.debian:
        raise EngineError(
            "no Docker engine is installed",
            hint="install it (https://docs.docker.com/engine/install/), start it, then: lab doctor",
        )
    if not machine.root:
        if machine.installed:
            start = "systemctl start docker" if machine.systemd else "service docker start"
            raise EngineError("the Docker engine does not run", hint=f"sudo {start}")
        raise EngineError(
            "no Docker engine is installed",
            hint=f"sudo apt-get install docker.io; sudo usermod -aG docker {machine.user}, "
            "then log out and in again",
        )
    install: tuple[Step, ...] = () if machine.installed else ("install",)
    if machine.systemd:
        return (*install, "systemd")
    # A package not installed yet brings its init script along.
    service: tuple[Step, ...] = ("service",) if machine.service or install else ()
    return (*install, *service, "dockerd")


def ensure_engine(progress: Progress = lambda line: None) -> None:
    """An engine answers when this returns. Raises EngineError saying what to type if none can.

    Progress goes to `progress`, a line at a time.
    """
    machine = look()
    steps = decide(machine)
    for step in steps:
        if step == "install":
            _install(progress)
        elif _answers() == "ok":  # the package may have started it
            break
        else:
            _start(step, progress, last=step == steps[-1])


def look() -> Machine:
    """What this machine is like; quick, and changes nothing."""
    like = _os_release()
    return Machine(
        answer=_answers(),
        docker_host=os.environ.get("DOCKER_HOST", ""),
        platform=sys.platform,
        debian=bool({"debian", "ubuntu"} & like),
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        user=os.environ.get("USER") or os.environ.get("LOGNAME") or "$USER",
        installed=shutil.which("dockerd") is not None,
        systemd=Path("/run/systemd/system").is_dir(),
        service=Path("/etc/init.d/docker").exists() and shutil.which("service") is not None,
    )


def _answers() -> Answer:
    docker = sdk()
    from docker.errors import DockerException

    try:
        docker.from_env(version="auto", timeout=5).close()
    except DockerException as error:
        # The SDK wraps what the socket said in text only.
        return "refused" if "Permission denied" in str(error) else "silent"
    return "ok"


def _os_release() -> set[str]:
    """The distribution's ID and those it is like (os-release(5))."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return set()
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    words = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}"
    return set(words.replace('"', "").split())


def _install(progress: Progress) -> None:
    progress("installing docker.io (apt-get)")
    _apt("update")
    _apt("install", "-y", "docker.io")


def _apt(*arguments: str) -> None:
    try:
        _run("apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments)
    except subprocess.CalledProcessError as error:
        raise EngineError(
            f"apt-get {arguments[0]} fails, so the Docker engine can't be installed",
            detail=_tail(error.output),
            hint="apt-get install docker.io, and see what it says",
        ) from error


def _start(step: Step, progress: Progress, *, last: bool) -> None:
    """Start the engine one way; only the `last` way's failure is an error."""
    progress(f"starting the Docker engine ({step})")
    if step == "dockerd":
        _dockerd()
        return
    command = (
        ("systemctl", "start", "docker") if step == "systemd" else ("service", "docker", "start")
    )
    try:
        _run(*command)
        _wait()
    except (OSError, subprocess.CalledProcessError, TimeoutError) as error:
        if last:
            said = getattr(error, "output", None) or str(error)
            raise EngineError(
                "the Docker engine does not start",
                detail=_tail(said),
                hint="journalctl -u docker" if step == "systemd" else None,
            ) from error


def _dockerd() -> None:
    """Start dockerd by itself, outliving us: a session of its own, nothing of ours open."""
    with _LOG.open("ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    try:
        _wait(process)
    except TimeoutError as error:
        with _LOG.open("rb") as log:
            log.seek(began)
            said = log.read().decode(errors="replace")
        raise EngineError(
            f"the Docker engine does not start ({error})", where=str(_LOG), detail=_tail(said)
        ) from error
    finally:
        # It is init's from here on: no warning that we did not wait for it.
        process.returncode = process.returncode or 0


def _wait(process: subprocess.Popen[bytes] | None = None) -> None:
    """Until the engine answers. Raises TimeoutError when it is late, or `process` has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while _answers() != "ok":
        if process is not None and process.poll() is not None:
            raise TimeoutError(f"dockerd ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer after {_START_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


def _run(*command: str) -> None:
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_LAST_LINES:])
