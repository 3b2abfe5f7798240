"""`lab watch`: what it finds to be watched, and a terminal that is left as it was."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from types import SimpleNamespace

import pytest
from ladderevents import FAR, MAIL, RECORDS, STARTED, Scene

from lab import record
from lab.cli import _watched
from lab.cli._watched import Begins, Failed, Feed, Over, Waits
from lab.engine import containers
from lab.engine.lab import Lab
from lab.errors import LabError, LabNotUp
from lab.events import FILE, Event, EventLog
from lab.units import LabClock

WIDTH, HEIGHT = 100, 30
PATIENCE = 8.0  # seconds, for what takes a fraction of one
CLOSED = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"  # the last that is written to a terminal


# What there is to watch ------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs/, in which one is over."""
    monkeypatch.chdir(tmp_path)
    over = tmp_path / "runs" / "20261124-065513-receiver-down"
    over.mkdir(parents=True)
    (over / FILE).write_bytes((RECORDS / "receiver-down" / FILE).read_bytes())
    return tmp_path


class Writer:
    """A run in progress."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.scene = Scene()
        self.log = EventLog(folder / FILE, LabClock(STARTED, 60))
        self._written = 0

    def write(self) -> None:
        """What the scene has that is not written yet."""
        for event in self.scene.events[self._written :]:
            self.log.add(
                event.kind,
                event.summary,
                node=event.node,
                when=event.time,
                data=event.data,
                refs=event.refs,
            )
        self._written = len(self.scene.events)


@pytest.fixture
def begins(here: Path) -> Iterator[Callable[[str], Writer]]:
    """Begins a run."""
    writers: list[Writer] = []

    def begin(name: str) -> Writer:
        writers.append(Writer(here / "runs" / name))
        writers[-1].write()
        return writers[-1]

    yield begin
    for writer in writers:
        writer.log.close()


@pytest.fixture
def no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(name: str) -> Lab:
        raise LabNotUp(f"lab '{name}' is not up")

    monkeypatch.setattr(Lab, "attach", attach)


def news(feed: Feed, kind: type[object]) -> object:
    """The next of that kind."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            found = feed.news.get(timeout=0.1)
        except Empty:
            continue
        if isinstance(found, kind):
            return found
        assert not isinstance(found, Failed), found.error
    raise AssertionError(f"waited in vain for {kind.__name__}")


def test_without_anything_it_waits_and_says_for_what(here: Path, no_lab: None) -> None:
    with Feed(None, "mine", lambda: None) as feed:
        waits = news(feed, Waits)
    assert isinstance(waits, Waits)
    assert waits.words == "waiting for `lab --lab mine up`, or for `lab scenario run …`"


def test_a_scenario_that_begins_is_followed_and_the_next_one_too(
    here: Path, no_lab: None, begins: Callable[[str], Writer]
) -> None:
    with Feed(None, "mine", lambda: None) as feed:
        news(feed, Waits)
        first = begins("20261124-070000-first")
        begun = news(feed, Begins)
        assert isinstance(begun, Begins)
        assert (begun.name, begun.live) == ("first", True)
        first.log.close()
        news(feed, Over)
        begins("20261124-070001-second")
        begun = news(feed, Begins)
        assert isinstance(begun, Begins)
        assert begun.name == "second"


def test_a_scenario_that_begins_meanwhile_takes_over(
    here: Path, no_lab: None, begins: Callable[[str], Writer]
) -> None:
    begins("20261124-070000-watch")
    with Feed(None, "mine", lambda: None) as feed:
        news(feed, Begins)
        begins("20261124-070001-second")
        begun = news(feed, Begins)
        assert isinstance(begun, Begins)
        assert begun.name == "second"


def test_what_is_stopped_stays_whatever_begins(
    here: Path, no_lab: None, begins: Callable[[str], Writer]
) -> None:
    begins("20261124-070000-first")
    with Feed(None, "mine", lambda: None) as feed:
        news(feed, Begins)
        feed.held = True
        begins("20261124-070001-second")
        deadline = time.monotonic() + PATIENCE
        while feed.next != "20261124-070001-second":
            assert time.monotonic() < deadline, "that another has begun is not known"
            time.sleep(0.01)
        while not feed.news.empty():
            assert not isinstance(feed.news.get(), Begins)
        feed.held = False
        begun = news(feed, Begins)
        assert isinstance(begun, Begins) and begun.name == "second"


def test_the_run_in_progress_is_the_newest_that_is_being_written(
    here: Path, begins: Callable[[str], Writer]
) -> None:
    assert _watched.writing() is None
    begins("20261124-070000-first")
    second = begins("20261124-070001-second")
    assert _watched.writing() == record.RUNS / "20261124-070001-second"
    second.log.close()
    assert _watched.writing() == record.RUNS / "20261124-070000-first"


# A lab that is up, and is not any more ---------------------------------------------------------


class Machines:
    """A lab's containers, and who records what happens in it."""

    def __init__(self) -> None:
        self.up: dict[str, str] = {}
        self.failure: LabError | None = None
        self.ready = True
        self.looks = 0  # for a run in progress, after each of which comes one for the lab

    def looked(self) -> None:
        """Wait until it was looked around once more from beginning to end."""
        until, deadline = self.looks + 3, time.monotonic() + PATIENCE
        while self.looks < until:
            assert time.monotonic() < deadline, "nobody looks around"
            time.sleep(0.005)

    def attach(self, name: str) -> SimpleNamespace:
        """As Lab.attach."""
        if not self.up:
            raise LabNotUp(f"lab '{name}' is not up")
        return SimpleNamespace(name=name, containers=dict(self.up))

    def find(self, name: str) -> list[SimpleNamespace]:
        """As containers.find."""
        return [SimpleNamespace(id=found) for found in self.up.values()]

    @contextmanager
    def recorded(
        self, lab: SimpleNamespace, hear: Callable[[Event], None]
    ) -> Iterator[SimpleNamespace]:
        """As lab.cli._watched.recorded."""
        scene = Scene()
        hear(scene.events[0])
        if not self.ready:
            raise LabError("what passes is not on record")
        yield self

    def check(self) -> None:
        """As Recorder.check."""
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def machines(here: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """A lab, which is up."""
    found = Machines()
    found.up = {"dns": "first"}
    monkeypatch.setattr(Lab, "attach", found.attach)
    monkeypatch.setattr(containers, "find", found.find)
    monkeypatch.setattr(_watched, "recorded", found.recorded)
    writing = _watched.writing

    def looks() -> Path | None:
        found.looks += 1
        return writing()

    monkeypatch.setattr(_watched, "writing", looks)
    monkeypatch.setattr(_watched, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(_watched, "_ASK_SECONDS", 0)
    monkeypatch.setattr(_watched, "_DOWN_SECONDS", 0.1)
    return found


def test_a_lab_that_comes_up_again_is_watched_again(machines: Machines) -> None:
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        machines.up = {}
        news(feed, Over)
        machines.ready, machines.up = False, {"dns": "second"}  # it is only just coming up
        machines.looked()
        assert feed.news.empty()  # the last picture stays
        machines.ready = True
        found = feed.news.get(timeout=PATIENCE)
        assert isinstance(found, Begins) and found.live


def test_a_lab_that_was_exchanged_for_another_is_over(machines: Machines) -> None:
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        machines.up = {"dns": "second"}  # lab down && lab up, between two looks
        news(feed, Over)
        news(feed, Begins)


def test_so_it_is_if_the_recording_ended_with_it(machines: Machines) -> None:
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        machines.up, machines.failure = {"dns": "second"}, LabError("the capture ended")
        news(feed, Over)
        machines.failure = None
        news(feed, Begins)


def test_a_recording_that_fails_while_the_lab_is_up_is_told(machines: Machines) -> None:
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        machines.failure = LabError("the capture ended while things went on")
        while not isinstance(found := feed.news.get(timeout=PATIENCE), Failed):
            assert not isinstance(found, Over)
        assert found.error is machines.failure


def test_after_a_scenario_the_lab_does_not_take_its_place(
    machines: Machines, begins: Callable[[str], Writer]
) -> None:
    machines.up = {}
    writer = begins("20261124-070000-first")
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        writer.log.close()
        news(feed, Over)
        machines.up = {"dns": "first"}
        machines.looked()
        assert feed.news.empty()
        begins("20261124-070001-second")
        begun = news(feed, Begins)
        assert isinstance(begun, Begins) and begun.name == "second"


def test_a_stopped_picture_of_a_lab_stays_when_it_comes_up_again(machines: Machines) -> None:
    with Feed(None, "lab", lambda: None) as feed:
        news(feed, Begins)
        feed.held = True
        machines.up = {}
        news(feed, Over)
        machines.up = {"dns": "second"}
        machines.looked()
        assert feed.news.empty()
        feed.held = False
        news(feed, Begins)


# In a terminal ---------------------------------------------------------------------------------


class Seat:
    """`lab watch` in a pseudo-terminal, and who sits there; `alone`: without a shell's session."""

    def __init__(self, folder: Path, *arguments: str, alone: bool = False) -> None:
        self.keyboard, self.terminal = pty.openpty()
        termios.tcsetwinsize(self.terminal, (HEIGHT, WIDTH))
        self.before = termios.tcgetattr(self.terminal)
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab", "--lab", "nobodys", "watch", *arguments],
            cwd=folder,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=subprocess.PIPE,
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=alone,
            process_group=None if alone else 0,
        )
        self.output = ""

    def press(self, keys: str) -> None:
        """Type, forgetting what was on the screen before."""
        self.output = ""
        os.write(self.keyboard, keys.encode())

    def sees(self, pattern: str) -> str:
        """What was written to the screen, once it has `pattern`."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, plain(self.output)):
            assert time.monotonic() < deadline, f"{pattern!r} is not in {plain(self.output)!r}"
            if select.select([self.keyboard], [], [], 0.1)[0]:
                self.output += os.read(self.keyboard, 65536).decode(errors="replace")
        return plain(self.output)

    def reads(self) -> None:
        """All that was written so far."""
        while select.select([self.keyboard], [], [], 0)[0]:
            self.output += os.read(self.keyboard, 65536).decode(errors="replace")

    def leaves(self) -> int:
        """The exit status; the terminal is as it was before."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            if select.select([self.keyboard], [], [], 0.05)[0]:
                self.output += os.read(self.keyboard, 65536).decode(errors="replace")
        self.reads()
        assert self.output.endswith(CLOSED)
        assert termios.tcgetattr(self.terminal) == self.before
        return self.process.wait()

    def close(self) -> None:
        """Nobody is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.keyboard)
        os.close(self.terminal)


def plain(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)


@pytest.fixture
def sits(here: Path) -> Iterator[Callable[..., Seat]]:
    """Somebody sits down at a terminal."""
    seats: list[Seat] = []

    def sit(*arguments: str, alone: bool = False) -> Seat:
        seats.append(Seat(here, *arguments, alone=alone))
        return seats[-1]

    yield sit
    for seat in seats:
        seat.close()


def test_stepping_filtering_and_quitting(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down")
    seat.sees(r"row 1/97")
    seat.press("nn")
    seat.sees(r"alice writes \"Lunch\?\"[\s\S]*row 3/97")
    seat.press(" ")
    seat.sees(r"over[\s\S]*row 97/97")
    seat.press("fdns\r")
    seat.sees(r"only dns")
    seat.press("q")
    assert seat.leaves() == 0


def test_ctrl_c_is_one_way_to_quit(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down")
    seat.sees(r"row 1/97")
    seat.process.send_signal(signal.SIGINT)
    assert seat.leaves() == 0


def test_a_kill_leaves_the_terminal_as_it_was(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down")
    seat.sees(r"row 1/97")
    seat.process.send_signal(signal.SIGTERM)
    assert seat.leaves() == 0


def test_a_terminal_that_is_closed_ends_it_quietly(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down", alone=True)
    seat.sees(r"row 1/97")
    os.close(seat.keyboard)
    seat.keyboard = os.open(os.devnull, os.O_RDONLY)
    _, said = seat.process.communicate(timeout=PATIENCE)
    assert (seat.process.returncode, said) == (0, b"")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down")
    seat.sees(r"row 1/97")
    during = termios.tcgetattr(seat.terminal)
    assert during != seat.before
    seat.process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(seat.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(seat.terminal) == seat.before
    seat.reads()
    assert seat.output.endswith(CLOSED)
    seat.output = ""
    seat.process.send_signal(signal.SIGCONT)
    seat.sees(r"lab time[\s\S]*row 1/97")  # all of it, as it was
    assert seat.output.startswith("\x1b[?1049h")
    assert termios.tcgetattr(seat.terminal) == during
    seat.press("n")
    seat.sees(r"row 2/97")
    seat.press("q")
    assert seat.leaves() == 0


def test_without_a_shell_to_go_on_from_ctrl_z_does_not_end_it(sits: Callable[..., Seat]) -> None:
    """The kernel does not stop whom nobody could let go on."""
    seat = sits("20261124-065513-receiver-down", alone=True)
    seat.sees(r"row 1/97")
    seat.output = ""
    seat.process.send_signal(signal.SIGTSTP)
    seat.sees(r"lab time[\s\S]*row 1/97")
    seat.press("q")
    assert seat.leaves() == 0


def test_so_does_an_error(here: Path, sits: Callable[..., Seat]) -> None:
    odd = here / "runs" / "odd"
    odd.mkdir()
    (odd / FILE).write_text("")
    seat = sits("odd")
    assert seat.leaves() == 2
    assert seat.process.stderr is not None
    assert "the record does not say what it is of" in seat.process.stderr.read().decode()


def test_what_happens_is_seen_at_once(
    sits: Callable[..., Seat], begins: Callable[[str], Writer]
) -> None:
    writer = begins("20261124-080000-now")
    seat = sits()
    seat.sees(r"A small story[\s\S]*live")
    writer.scene.happens(1, "syn", (MAIL, FAR, 25))
    writer.write()
    seat.sees(r"calls port 25")
    seat.press(" ")
    seat.sees(r"stopped")
    writer.scene.happens(1.1, "accepted", (MAIL, FAR, 25))
    writer.write()
    seat.sees(r"row 1/2")
    seat.press("n")
    seat.sees(r"accepts \(SYN ACK\)[\s\S]*row 2/2")
    writer.log.close()
    seat.press(" ")
    seat.sees(r"over")
    seat.press("q")
    assert seat.leaves() == 0


def test_a_narrower_terminal_is_drawn_anew(sits: Callable[..., Seat]) -> None:
    seat = sits("20261124-065513-receiver-down")
    seat.sees(r"row 1/97")
    seat.output = ""
    termios.tcsetwinsize(seat.terminal, (24, 80))
    seat.sees(r"lab time +sender-pc")
    seat.press("q")
    assert seat.leaves() == 0


def lab_watch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`lab watch` with its output in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "lab", "watch", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100"},
        check=False,
    )


def test_into_a_pipe_the_lines_are_printed(here: Path) -> None:
    done = lab_watch(here, "20261124-065513-receiver-down", "--level", "messages")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split()[-2:] == ["receiver-mail", "✗"]
    assert "“Lunch?”: 250, queued as 8F8EB18C068" in done.stdout
    assert "\x1b" not in done.stdout


def test_only_a_screen_can_play(here: Path) -> None:
    done = lab_watch(here, "20261124-065513-receiver-down", "--speed", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "lab: only a screen can play a run\n  → leave --speed out: all is printed\n"
    )


def test_into_a_pipe_a_call_in_vain_does_not_hold_up_what_follows(
    here: Path, begins: Callable[[str], Writer]
) -> None:
    """Nothing more happens, and still it is told what became of the call."""
    writer = begins("20261124-080000-now")
    writer.scene.happens(1, "syn", (MAIL, FAR, 25), only="sender-lan")
    writer.scene.changes(1.2, "queued", "A1")
    writer.write()
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "watch"],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE * 3, process.kill)
        watchdog.start()
        lines = [process.stdout.readline() for _ in range(4)]
        watchdog.cancel()
        process.kill()
    assert "calls port 25 (SYN)" in lines[2]
    assert "in the queue: A1" in lines[3]


def test_into_a_pipe_a_run_in_progress_is_followed_to_its_end(
    here: Path, begins: Callable[[str], Writer]
) -> None:
    writer = begins("20261124-080000-now")
    writer.scene.happens(1, "syn", (MAIL, FAR, 25))
    writer.write()
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "watch"],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE * 3, process.kill)
        watchdog.start()
        heads = [process.stdout.readline(), process.stdout.readline()]
        assert MAIL in heads[0]
        assert "calls port 25 (SYN)" in process.stdout.readline()
        writer.scene.happens(1.1, "accepted", (MAIL, FAR, 25))
        writer.write()
        writer.log.close()
        rest = process.stdout.read()
        watchdog.cancel()
    assert process.returncode == 0
    assert "accepts (SYN ACK)" in rest


def test_whoever_reads_along_may_have_seen_enough(here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "lab", "watch", "20261124-065513-receiver-down"],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_damaged_record_is_told_with_its_place(here: Path) -> None:
    folder = here / "runs" / "damaged"
    folder.mkdir()
    first, *_ = (RECORDS / "delivery" / FILE).read_text(encoding="utf-8").splitlines()
    (folder / FILE).write_text(f"{first}\n{{no event\n", encoding="utf-8")
    done = lab_watch(here, "damaged")
    assert done.returncode == 2
    assert done.stderr == "lab: runs/damaged/events.jsonl:2:1: this is no event\n"


def test_a_run_that_is_not_there_is_said_so(here: Path) -> None:
    done = lab_watch(here, "20261124-065513-reciever-down")
    assert done.returncode == 2
    assert done.stderr == (
        "lab: there is no run '20261124-065513-reciever-down'\n"
        "  → did you mean '20261124-065513-receiver-down'?\n"
    )
