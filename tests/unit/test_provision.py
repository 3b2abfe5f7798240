"""Who has to do what for an engine to run: the whole table, with the exact words."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.engine import provision
from lab.engine.provision import Machine, Step, decide, ensure_engine
from lab.errors import EngineError

BARE = Machine("silent", user="alice")
DEBIAN = replace(BARE, debian=True)
ROOT = replace(DEBIAN, root=True)


@pytest.mark.parametrize(
    ("machine", "steps"),
    [
        (replace(BARE, answer="ok"), ()),
        (replace(BARE, answer="ok", docker_host="tcp://far:2375"), ()),
        (ROOT, ("install", "service", "dockerd")),
        (replace(ROOT, systemd=True), ("install", "systemd")),
        (replace(ROOT, installed=True), ("dockerd",)),
        (replace(ROOT, installed=True, service=True), ("service", "dockerd")),
        (replace(ROOT, installed=True, service=True, systemd=True), ("systemd",)),
        # What is installed can be started on any Linux.
        (replace(ROOT, debian=False, installed=True), ("dockerd",)),
    ],
)
def test_steps(machine: Machine, steps: tuple[Step, ...]) -> None:
    assert decide(machine) == steps


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (
            replace(ROOT, docker_host="tcp://far:2375"),
            "tcp://far:2375: the Docker engine that DOCKER_HOST names does not answer\n"
            "  → start it, or use this machine's engine: unset DOCKER_HOST",
        ),
        (
            replace(BARE, answer="refused"),
            "a Docker engine runs, but user alice may not use it\n"
            "  → sudo usermod -aG docker alice, then log out and in again",
        ),
        (
            replace(BARE, platform="darwin"),
            "no Docker engine answers\n"
            "  → install Docker Desktop (https://docs.docker.com/desktop/) and start it",
        ),
        (
            replace(BARE, root=True),
            "no Docker engine is installed\n"
            "  → install it (https://docs.docker.com/engine/install/), start it, then: lab doctor",
        ),
        (
            DEBIAN,
            "no Docker engine is installed\n"
            "  → sudo apt-get install docker.io; sudo usermod -aG docker alice, "
            "then log out and in again",
        ),
        (
            replace(DEBIAN, installed=True, systemd=True),
            "the Docker engine does not run\n  → sudo systemctl start docker",
        ),
        (
            replace(DEBIAN, installed=True),
            "the Docker engine does not run\n  → sudo service docker start",
        ),
    ],
)
def test_what_the_user_has_to_type(machine: Machine, text: str) -> None:
    with pytest.raises(EngineError) as caught:
        decide(machine)
    assert str(caught.value) == text
    assert caught.value.exit_status == 3


class Stage:
    """A machine in a play: which programs run, which fail, after which one the engine answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, machine: Machine, log: Path) -> None:
        self.ran: list[str] = []
        self.failing: set[str] = set()
        self.answers_after = ""
        self.status: int | None = None  # dockerd's, once it has ended
        self.log = log
        monkeypatch.setattr(provision, "look", lambda: machine)
        monkeypatch.setattr(provision, "_answers", self._answers)
        monkeypatch.setattr(provision, "_LOG", log)
        monkeypatch.setattr(provision, "_START_SECONDS", 0.05)
        monkeypatch.setattr(provision, "_POLL_SECONDS", 0.001)
        monkeypatch.setattr(subprocess, "run", self._run)
        monkeypatch.setattr(subprocess, "Popen", self._popen)

    def _answers(self) -> str:
        return "ok" if self.answers_after and self.answers_after in self.ran else "silent"

    def _run(self, command: tuple[str, ...], **_: Any) -> None:
        line = " ".join(command).replace("-o DPkg::Lock::Timeout=120 ", "")
        self.ran.append(line)
        if line in self.failing:
            raise subprocess.CalledProcessError(1, command, output="ulimit: not permitted\n")

    def _popen(self, command: list[str], **options: Any) -> Any:
        assert options["start_new_session"]
        assert options["stdin"] == subprocess.DEVNULL
        assert options["stdout"].name == str(self.log)
        self.ran.append(command[0])
        with self.log.open("a") as log:
            log.write("failed to mount cgroup\n")
        stage = self

        class Process:
            returncode = stage.status

            def poll(self) -> int | None:
                return stage.status

        return Process()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """dockerd's log, with something in it from an earlier run."""
    path = tmp_path / "dockerd.log"
    path.write_text("from yesterday\n")
    return path


def test_nothing_is_done_where_an_engine_answers(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    stage = Stage(monkeypatch, replace(ROOT, answer="ok"), log)
    ensure_engine()
    assert stage.ran == []


def test_an_engine_the_package_started_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    stage = Stage(monkeypatch, ROOT, log)
    stage.answers_after = "apt-get install -y docker.io"
    said: list[str] = []
    ensure_engine(said.append)
    assert stage.ran == ["apt-get update", "apt-get install -y docker.io"]
    assert said == ["installing docker.io (apt-get)"]


def test_where_the_init_script_fails_dockerd_is_started_by_itself(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    stage = Stage(monkeypatch, replace(ROOT, installed=True, service=True), log)
    stage.failing = {"service docker start"}
    stage.answers_after = "dockerd"
    said: list[str] = []
    ensure_engine(said.append)
    assert stage.ran == ["service docker start", "dockerd"]
    assert said == ["starting the Docker engine (service)", "starting the Docker engine (dockerd)"]


def test_a_dockerd_that_ends_is_an_error_with_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    stage = Stage(monkeypatch, replace(ROOT, installed=True), log)
    stage.status = 1
    with pytest.raises(EngineError) as caught:
        ensure_engine()
    assert str(caught.value).replace(str(log), "dockerd.log") == (
        "dockerd.log: the Docker engine does not start (dockerd ended with status 1)\n"
        "  | failed to mount cgroup"
    )


def test_a_dockerd_that_never_answers(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    Stage(monkeypatch, replace(ROOT, installed=True), log)
    with pytest.raises(EngineError, match=r"the Docker engine does not start \(no answer after"):
        ensure_engine()


def test_systemd_failing_is_an_error(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    stage = Stage(monkeypatch, replace(ROOT, installed=True, systemd=True), log)
    stage.failing = {"systemctl start docker"}
    with pytest.raises(EngineError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "the Docker engine does not start\n  | ulimit: not permitted\n  → journalctl -u docker"
    )


def test_apt_failing_is_an_error(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    stage = Stage(monkeypatch, ROOT, log)
    stage.failing = {"apt-get install -y docker.io"}
    with pytest.raises(EngineError) as caught:
        ensure_engine()
    assert str(caught.value) == (
        "apt-get install fails, so the Docker engine can't be installed\n"
        "  | ulimit: not permitted\n"
        "  → apt-get install docker.io, and see what it says"
    )
