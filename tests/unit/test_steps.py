"""A story in steps before a class: on a terminal it waits, elsewhere it goes on."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A run as the runner makes it, with a thread that notices things meanwhile, as a `lab` verb.
PROGRAM = """
import socket, sys, threading, click
from lab.cli import main, status
from lab.events import EventLog
from lab.scenarios.stage import Stage
from lab.units import LabClock
from lab.views.story import Story

def act():
    log = EventLog(None, LabClock(0, 60))
    with Story(sys.stdout, step=True, lang=lang) as story:
        story.follow(log, LabClock(0, 60))
        stage = object.__new__(Stage)
        stage.log, stage.audience, stage._shown = log, story, []
        stage.narration = type("Narration", (), {"text": lambda self, key, **_: key})()
        stage.predict("what-will-happen")
        if line:
            threading.Thread(target=notice, args=(log,), daemon=True).start()
        stage.explain("because")
        stage.predict("and-then")
        stage.explain("the-end")
    print("over", flush=True)

def notice(log):
    while line.recv(1):
        log.add("action", "bob reads", data={"by": "bob", "evidence": []})
        line.sendall(b".")

status.command = click.Command("status", callback=act)
lang = sys.argv[1]
line = socket.socket(fileno=int(sys.argv[2])) if sys.argv[2:] else None
sys.argv = ["lab", "status"]
sys.exit(main())
"""


class Class:
    """A class at a terminal: sees what is shown, presses keys."""

    def __init__(self, lang: str = "en") -> None:
        self.master, terminal = pty.openpty()
        self._line, theirs = socket.socketpair()
        self.running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, lang, str(theirs.fileno())],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
            start_new_session=True,
            pass_fds=[theirs.fileno()],
            preexec_fn=lambda: os.close(os.open(os.ttyname(terminal), os.O_RDWR)),
        )
        os.close(terminal)
        theirs.close()
        self._all = b""
        self._read = 0

    def sees(self, words: str) -> str:
        """What is shown up to `words`, waited for; from where it last looked."""
        deadline = time.monotonic() + 20
        while words not in (text := self._plain()[self._read :]):
            assert time.monotonic() < deadline, f"not seen: {words!r} in {text!r}"
            self._more(0.5)
        end = text.index(words) + len(words)
        self._read += end
        return text[:end]

    def happens(self) -> None:
        """Bob reads, and that is noticed."""
        self._line.sendall(b".")
        assert self._line.recv(1) == b"."

    def types(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def hang_up(self) -> None:
        os.close(self.master)
        self._line.close()

    def ends(self) -> tuple[int, str]:
        """The exit status, and what was shown at the end."""
        while self._more(20):
            pass
        return self.running.wait(20), self._plain()[self._read :]

    def _plain(self) -> str:
        text = self._all.decode(errors="ignore").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    def _more(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            read = os.read(self.master, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self._all += read
        return bool(read)


@pytest.fixture
def classes() -> Iterator[list[Class]]:
    made: list[Class] = []
    yield made
    for one in made:
        if one.running.poll() is None:
            os.kill(one.running.pid, signal.SIGKILL)
            one.running.wait()
        one.hang_up()


@pytest.fixture
def room(classes: list[Class]) -> Class:
    classes.append(Class())
    return classes[-1]


def test_each_step_waits_for_a_key_and_enter_alone_will_do(room: Class) -> None:
    room.sees("what-will-happen")
    room.sees("q and Enter ends it: ")
    room.types("\n")
    room.sees("hear why; q ends it.")
    room.types(" ")
    explained = room.sees("Press any key to go on; q ends it.")
    assert "because" in explained and "You predicted" not in explained
    room.types("x")
    room.sees("q and Enter ends it: ")
    room.types("\n")
    room.sees("hear why; q ends it.")
    room.types("\x04")  # Ctrl-D is as good as any
    room.sees("go on; q ends it.")
    room.types("\n")
    status, shown = room.ends()
    assert (status, shown.strip()) == (0, "over")


def test_nothing_is_told_while_a_class_thinks(room: Class) -> None:
    room.sees("q and Enter ends it: ")
    room.types("\n")
    room.sees("hear why; q ends it.")
    room.happens()
    room.types("x")
    told = room.sees("go on; q ends it.")
    assert told.index("bob reads") < told.index("because")


@pytest.mark.parametrize("said", ["It waits in the queue.", "queue", "큐에서 기다립니다"])
def test_what_was_predicted_stands_beside_the_explanation_once(room: Class, said: str) -> None:
    room.sees("q and Enter ends it: ")
    room.types(said + "\n")
    room.sees("hear why; q ends it.")
    room.types("x")
    explained = room.sees("go on; q ends it.")
    assert f"You predicted: {said}" in explained
    room.types("x")
    room.sees("q and Enter ends it: ")
    room.types("\n")
    room.sees("hear why; q ends it.")
    room.types("x")
    assert "You predicted" not in room.sees("go on; q ends it.")


def test_what_was_typed_before_it_was_asked_for_answers_nothing(room: Class) -> None:
    room.types("\n\n\n")
    room.sees("q and Enter ends it: ")
    time.sleep(0.3)
    room.types("my guess\n")
    room.sees("hear why; q ends it.")


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_q_or_ctrl_c_ends_it_at_each_step(classes: list[Class], key: str) -> None:
    for steps in range(3):
        room = Class()
        classes.append(room)
        room.sees("q and Enter ends it: ")
        if steps > 0:
            room.types("\n")
            room.sees("hear why; q ends it.")
        if steps > 1:
            room.types("x")
            room.sees("go on; q ends it.")
        room.types("q\n" if key == "q" and not steps else key)
        status, shown = room.ends()
        assert status == 130
        assert shown.strip().endswith("lab: interrupted") and "Traceback" not in shown


def test_it_is_asked_in_korean(classes: list[Class]) -> None:
    room = Class("ko")
    classes.append(room)
    room.sees("예상해 봅시다")
    room.sees("끝냅니다: ")
    room.types("큐에 남는다\n")
    room.sees("이유를 설명합니다.")
    room.types("x")
    assert "여러분의 예상: 큐에 남는다" in room.sees("계속합니다.")
    room.types("ㅂ")  # q, on a Korean keyboard
    assert room.ends()[0] == 130


def test_without_a_terminal_it_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "en"],
        input="",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Your prediction" not in done.stdout and "any key" not in done.stdout
    assert done.stdout.rstrip().endswith("over")
