"""Whatever is interrupted, killed, or fails: one clear error, and nothing that stays behind.

The random tests use few rounds; LAB_ABUSE_ROUNDS sets another number of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import (
    is_whole,
    lock_files,
    made,
    mail_works,
    new_name,
    processes_of,
    removed_afterwards,
    run_lab,
    textbook,
    until,
)

from lab.engine import containers, lock
from lab.engine.client import LABEL_LAB, LABEL_NODE, client
from lab.engine.lab import Lab
from lab.engine.lifecycle import down, up
from lab.engine.plan import FABRIC, NodePlan
from lab.errors import EngineError, LabBusy

ROUNDS = int(os.environ.get("LAB_ABUSE_ROUNDS", "2"))
# The `lab` command, which says on its standard output when Python has started.
STARTED = "import sys; from lab.cli import main; print(flush=True); sys.exit(main())"
SCENARIO = ("scenario", "run", "receiver-down", "--time-scale", "1800")


class Command:
    """A `lab` command that is not going to live long."""

    def __init__(self, name: str, *arguments: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", STARTED, "--lab", name, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        assert self._process.stdout
        self._process.stdout.readline()
        self.id = self._process.pid

    def hit(self, number: signal.Signals, after: float) -> None:
        """Send it a signal `after` some seconds, if it lives that long."""
        if self.lives(after):
            self._process.send_signal(number)

    def lives(self, seconds: float) -> bool:
        """Whether it goes on for so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it has said on stderr."""
        _, said = self._process.communicate(timeout=90)
        return self._process.returncode, said


def moments(longest: float) -> Iterator[tuple[int, float]]:
    """Seeds, and the moments (seconds after the start) that they choose."""
    base = int(os.environ.get("LAB_ABUSE_SEED", time.time_ns() % 1_000_000))
    for seed in range(base, base + ROUNDS):
        yield seed, random.Random(seed).uniform(0, longest)


def runs_of(command: Command) -> set[str]:
    """The labs whose owner, as their lock says, is the scenario that `command` runs."""
    found = set()
    for lab in lock.owned():
        with contextlib.suppress(OSError):  # it has just been released
            if f"process {command.id}" in lock._path(lock.owner(lab)).read_text():
                found.add(lab)
    return found


def nothing_left(name: str) -> bool:
    return not made(name) and not lock_files(name)


def test_an_interrupted_up_leaves_nothing(name: str, tmp_path: Path) -> None:
    for seed, moment in moments(2.0):
        command = Command(name, "up", "--time-scale", "1800", cwd=tmp_path)
        command.hit(signal.SIGINT, moment)
        status, said = command.end()
        where = f"seed {seed}, after {moment:.3f} s: {status}, {said}"
        assert "Traceback" not in said and "Exception ignored" not in said, where
        assert not lock_files(name), where
        if status == 0:  # it was done before
            assert len(made(name)) == 7, where
            down(name)
        else:
            assert status == 130, where
            assert said.endswith("lab: interrupted\n"), where
            assert nothing_left(name), where


def test_ctrl_c_pressed_again_and_again_leaves_nothing_either(name: str, tmp_path: Path) -> None:
    for seed, moment in moments(1.2):
        command = Command(name, "up", "--time-scale", "1800", cwd=tmp_path)
        for _ in range(5):
            command.hit(signal.SIGINT, moment)
            moment = 0.05
        status, said = command.end()
        where = f"seed {seed}: {status}, {said}"
        assert status == 130, where
        assert said.endswith("lab: interrupted\n"), where
        assert nothing_left(name), where


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_is_an_interruption(
    name: str, tmp_path: Path, number: signal.Signals
) -> None:
    command = Command(name, "up", cwd=tmp_path)
    until("the fabric is there", lambda: FABRIC in made(name))
    command.hit(number, 0)
    status, said = command.end()
    assert (status, said.splitlines()[-1]) == (130, "lab: interrupted")
    assert nothing_left(name)


def test_what_a_killed_up_leaves_is_removed_by_down_or_made_whole_by_up(
    name: str, tmp_path: Path
) -> None:
    for seed, moment in moments(2.0):
        command = Command(name, "up", "--time-scale", "1800", cwd=tmp_path)
        command.hit(signal.SIGKILL, moment)
        _, said = command.end()
        where = f"seed {seed}, after {moment:.3f} s: {said}"
        assert "Traceback" not in said, where
        if seed % 2:
            # In this process, so at once: the engine may still be busy for the one killed.
            lab = up(textbook(name))
            assert is_whole(lab), where
            mail_works(lab)
            assert len(made(name)) == 7, where
        identities = {one.id for one in made(name).values()}
        down(name)
        assert nothing_left(name), where
        until("the last process has gone", lambda i=identities: not processes_of(i), 5)
        # Nor does the engine bring one later that it was still making.
        assert not made_late(name), where


def made_late(name: str) -> bool:
    """Whether a container of lab `name` appears though nobody asks for one any more."""
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        if made(name):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_down_that_is_cut_short_is_finished_by_the_next(
    name: str, tmp_path: Path, number: signal.Signals
) -> None:
    for seed, moment in moments(0.8):
        up(textbook(name))
        command = Command(name, "down", cwd=tmp_path)
        command.hit(number, moment)
        status, said = command.end()
        where = f"seed {seed}, after {moment:.3f} s: {status}, {said}"
        assert "Traceback" not in said and "Exception ignored" not in said, where
        if number == signal.SIGINT:
            assert status in (0, 130), where
            assert len(made(name)) in (0, 7), where  # all or nothing
            assert not lock_files(name), where
        down(name)
        assert nothing_left(name), where


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_scenario_that_is_cut_short_leaves_nothing(
    name: str, tmp_path: Path, number: signal.Signals
) -> None:
    for seed, moment in moments(4.0):
        command = Command(name, *SCENARIO, cwd=tmp_path)
        owned: set[str] = set()
        ends = time.monotonic() + moment
        while time.monotonic() < ends and command.lives(0.01):
            owned |= runs_of(command)
        owned |= runs_of(command)
        command.hit(number, 0)
        status, said = command.end()
        where = f"seed {seed}, after {moment:.3f} s: {status}, {said}"
        assert "Traceback" not in said and "Exception ignored" not in said, where
        if number == signal.SIGKILL:
            done = run_lab(name, "down")
            assert done.returncode == 0, done.stderr
        elif status:
            assert (status, said.splitlines()[-1]) == (130, "lab: interrupted"), where
        for lab in owned:
            until(f"{lab} is gone ({where})", lambda lab=lab: nothing_left(lab), 5)


# --- The engine is slower than its clients die ---------------------------------------------------


SOCKET = Path("/var/run/docker.sock")


def ask_and_die(name: str, wanted: list[str]) -> None:
    """Ask the engine for containers, and end, as an `up` does that is killed in the middle."""
    lock._path(name).write_text("\n".join(["lab up, process 1", *wanted]))
    request = {
        "Image": f"maillab/{FABRIC}",
        "Labels": {LABEL_LAB: name, LABEL_NODE: "some"},
        "HostConfig": {"NetworkMode": "none"},
    }
    body = json.dumps(request).encode()
    for container in wanted:
        head = (
            f"POST /v1.41/containers/create?name={container} HTTP/1.1\r\nHost: docker\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(SOCKET))
            asking.sendall(head.encode() + body)


@pytest.mark.skipif(
    "DOCKER_HOST" in os.environ or not SOCKET.exists(), reason="needs the engine's own socket"
)
def test_down_waits_for_containers_that_the_engine_still_makes_for_a_killed_up(name: str) -> None:
    for _ in range(ROUNDS):
        ask_and_die(name, [f"maillab-{name}-{number}" for number in range(7)])
        down(name)
        assert nothing_left(name)
        assert not made_late(name)


# --- Two at once --------------------------------------------------------------------------------


def test_of_two_ups_at_once_one_works_and_the_other_says_so(name: str, tmp_path: Path) -> None:
    first = Command(name, "up", cwd=tmp_path)
    until("it has begun", lambda: lock_files(name) and lock_files(name)[0].read_text())
    os.kill(first.id, signal.SIGSTOP)  # or it might be done before the second has begun
    try:
        second = run_lab(name, "up")
    finally:
        os.kill(first.id, signal.SIGCONT)
    status, said = first.end()
    assert status == 0, said
    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr == (
        f"lab: lab '{name}' is being changed by another command "
        f"(lab up, process {first.id})\n  → wait for it to end, then try again\n"
    )
    assert is_whole(Lab.attach(name))


def test_down_all_goes_on_with_the_others_when_a_lab_is_busy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from lab.cli import cli

    with removed_afterwards(new_name()) as other:
        first, second = sorted((name, other))
        find = containers.find

        def find_mine(lab: str | None = None) -> list[containers.Container]:
            return find(lab) if lab is not None else find(first) + find(second)

        monkeypatch.setattr(containers, "find", find_mine)
        for one in (first, second):
            plan = textbook(one)
            containers.create(plan, plan.fabric(), time.time())
        with lock.changing(first, "lab up"):
            done = CliRunner().invoke(cli, ["down", "--all"])
        assert isinstance(done.exception, LabBusy)
        assert (len(made(first)), made(second)) == (1, {})


# --- Failures of the engine ---------------------------------------------------------------------


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
        done = run_lab(name, "up", "--time-scale", "1800")
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
