"""An engine that is absent, dies, is full or lacks something: one clear error, nothing left."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import (
    lock_files,
    nothing_left,
    run_lab,
    textbook,
)

from lab.engine.client import client
from lab.engine.lifecycle import up
from lab.engine.plan import NodePlan
from lab.errors import EngineError

SOCKET = Path("/var/run/docker.sock")


@pytest.mark.parametrize(
    "verb", [["up"], ["down"], ["status"], ["exec", "sender-pc", "--", "true"], ["queue"]]
)
def test_an_engine_that_is_not_there_is_one_error(
    name: str, verb: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    done = run_lab(name, *verb)
    assert (done.returncode, done.stdout) == (3, "")
    first, *_, last = done.stderr.splitlines()
    assert first == "lab: no Docker engine answers"
    assert "No such file or directory" in done.stderr
    assert last == "  → lab doctor --fix"
    assert not lock_files(name)


def test_an_engine_that_goes_away_in_the_middle_is_one_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tmp_path / "docker.sock", requests=12) as proxy:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
        done = run_lab(name, "up")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
    assert "lab: the Docker engine fails\n" in done.stderr
    assert done.stderr.endswith("  → lab doctor\n")
    assert not lock_files(name)


class Proxy:
    """A socket that leads to the engine for so many connections, and then no more."""

    def __init__(self, path: Path, requests: int) -> None:
        self.path = path
        self._left = requests
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                there, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(there,), daemon=True).start()

    def _serve(self, there: socket.socket) -> None:
        with there, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(SOCKET))
            threading.Thread(target=self._copy, args=(engine, there), daemon=True).start()
            while data := there.recv(65536):
                self._left -= data.count(b" HTTP/1.1\r\n")
                if self._left < 0:
                    return
                engine.sendall(data)

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return


def test_a_missing_image_is_named_and_nothing_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = textbook(name)
    node: NodePlan = replace(plan.nodes["dns"], image="maillab/no-such-image")
    plan.nodes["dns"] = node
    with pytest.raises(EngineError) as caught:
        up(plan)
    assert str(caught.value) == (
        "dns: image maillab/no-such-image is missing\n  → lab images build"
    )
    assert caught.value.exit_status == 3
    assert nothing_left(name)


def test_a_name_taken_by_somebody_elses_container_is_named_and_left_alone(name: str) -> None:
    taken = f"maillab-{name}-dns"
    foreign = client().containers.create("maillab/base", name=taken)
    try:
        done = run_lab(name, "up", "--time-scale", "600")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.endswith(
            f"lab: dns: the container name {taken} is taken by a container that is not this lab's\n"
            f"  → choose another name (lab --lab NAME up), or: docker rm -f {taken}\n"
        )
        assert nothing_left(name)
        assert client().containers.get(taken).id == foreign.id
    finally:
        foreign.remove(force=True)


@pytest.mark.parametrize("step", ["create_container", "start"])
def test_a_full_disk_is_said_and_nothing_stays(
    name: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker import APIClient
    from docker.errors import APIError

    said = "mkdir /var/lib/docker/overlay2/0123: no space left on device"
    real = getattr(APIClient, step)
    count = iter(range(100))

    def full(api: APIClient, *arguments: Any, **options: Any) -> Any:
        if next(count) == 4:
            raise APIError("500 Server Error", explanation=said)
        return real(api, *arguments, **options)

    monkeypatch.setattr(APIClient, step, full)
    with pytest.raises(EngineError) as caught:
        up(textbook(name))
    what = "could not make node" if step == "create_container" else "could not start node"
    first, detail, hint = str(caught.value).splitlines()
    assert first.startswith(what) and first.endswith(": the engine's disk is full")
    assert detail == f"  | {said}"
    assert hint == (
        "  → free some space (docker system df shows what Docker uses), then lab up again"
    )
    assert nothing_left(name)
