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
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import (
    is_whole,
    lock_files,
    made,
    mail_works,
    new_name,
    nothing_left,
    processes_of,
    removed_afterwards,
    run_lab,
    textbook,
    until,
)

from lab.engine import containers, lock
from lab.engine.client import LABEL_LAB, LABEL_NODE
from lab.engine.lab import Lab
from lab.engine.lifecycle import down, up
from lab.engine.plan import FABRIC
from lab.errors import LabBusy

ROUNDS = int(os.environ.get("LAB_ABUSE_ROUNDS", "2"))
# The `lab` command, which says on its standard output when Python has started.
STARTED = "import sys; from lab.cli import main; print(flush=True); sys.exit(main())"
SCENARIO = ("scenario", "run", "receiver-down", "--time-scale", "600")


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


def test_an_interrupted_up_leaves_nothing(name: str, tmp_path: Path) -> None:
    for seed, moment in moments(2.0):
        command = Command(name, "up", "--time-scale", "600", cwd=tmp_path)
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
        command = Command(name, "up", "--time-scale", "600", cwd=tmp_path)
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
        command = Command(name, "up", "--time-scale", "600", cwd=tmp_path)
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
