"""What `lab watch` watches: a run that is over, one in progress, or the lab that is up."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from lab import events, record
from lab.errors import LabError, LabNotUp, UsageError
from lab.events import Event

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.observe.recorder import Recorder

_LOOK_SECONDS = 0.2  # between two looks for a run that begins
_ASK_SECONDS = 1.0  # between two questions to the engine
_DOWN_SECONDS = 15.0  # which a lab takes to go down, at most
_RECENT = 8  # runs, the newest, among which one in progress is looked for


@dataclass(frozen=True)
class Begins:
    """What is watched from here on."""

    run: Event
    name: str
    live: bool


@dataclass(frozen=True)
class Over:
    """The run has ended."""


@dataclass(frozen=True)
class Waits:
    """Nothing is there to be watched yet; `words` say what is waited for."""

    words: str


@dataclass(frozen=True)
class Failed:
    """It can't be watched (any longer)."""

    error: LabError


News: TypeAlias = Begins | Event | Over | Waits | Failed


def writing() -> Path | None:
    """The newest run in progress, as its folder."""
    for name in reversed(record.names()[-_RECENT:]):
        folder = record.RUNS / name
        with contextlib.suppress(OSError):
            if events.being_written(folder / events.FILE):
                return folder
    return None


@contextmanager
def recorded(lab: Lab, hear: Callable[[Event], None]) -> Iterator[Recorder]:
    """`hear` of all that has happened in a running lab, and of what happens in the block.

    Nothing of it is kept: the lab keeps its own record. Raises LabError if it can't be heard.
    """
    from lab.observe.live import begin
    from lab.observe.recorder import Recorder

    with events.EventLog(None, lab.clock) as log:
        log.listeners.append(hear)
        begin(log, lab)
        with Recorder(lab, log, None) as recorder:
            yield recorder


def _short(name: str) -> str:
    """A run's name without the moment it began."""
    return re.sub(r"^\d{8}-\d{6}-", "", name)


def _is_there(lab: Lab) -> bool:
    """Whether anything is left of this very `lab`: another of its name may be up by now."""
    from lab.engine import containers

    known = set(lab.containers.values())
    return any(container.id in known for container in containers.find(lab.name))


class _Heard:
    """What was heard of a lab: kept back until it is certain that it can be watched."""

    def __init__(self, say: Callable[[News], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._kept: list[Event] | None = []

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._kept is None:
                self._say(event)
            else:
                self._kept.append(event)

    def begins(self) -> None:
        """Now it is; a recording begins with what it is of."""
        with self._lock:
            kept, self._kept = self._kept or [], None
            self._say(Begins(kept[0], "", live=True))
            for event in kept:
                self._say(event)


class Feed:
    """Finds what there is to watch, in a thread of its own, and puts the news into `news`.

    `woken` is called whenever there are any. `run` is a run's name or folder; None for the run
    in progress, or else the lab called `lab_name`, or whichever of the two comes first.

    While it is `held`, what is watched stays, whatever begins; `next` is what it would go on to.
    """

    def __init__(self, run: str | None, lab_name: str, woken: Callable[[], None]) -> None:
        self.news: SimpleQueue[News] = SimpleQueue()
        self._folder = record.find(run) if run is not None else None
        self._lab_name = lab_name
        self._woken = woken
        self.held = False
        self.next: str | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join(20)  # a recording settles what it has seen before it ends

    @property
    def finished(self) -> bool:
        """Whether it is of a run that was over before anybody watched."""
        return self._folder is not None and not events.being_written(self._folder / events.FILE)

    def _another(self, than: Path | None = None) -> Path | None:
        """A run in progress to go on to."""
        found = writing()
        if found is None or found == than:
            self.next = None
            return None
        self.next = found.name
        return None if self.held else found

    def _say(self, news: News) -> None:
        self.news.put(news)
        self._woken()

    def _work(self) -> None:
        try:
            if self._folder is not None:
                self._follow(self._folder)
            else:
                self._whatever_comes()
        except LabError as error:
            self._say(Failed(error))
        except Exception as error:  # a thread that dies silently leaves a picture that stands still
            self._say(Failed(LabError(f"can't go on watching: {error!r}", hint="lab doctor")))

    def _whatever_comes(self) -> None:
        shown = story = False
        asked = -_ASK_SECONDS
        while not self._ending.is_set():
            folder = self._another()
            if folder is not None:
                self._follow(folder)
                shown = story = True  # it stays on the screen until another begins
            elif not (story or self.held) and time.monotonic() - asked >= _ASK_SECONDS:
                asked = time.monotonic()
                # A lab that was taken down stays, too, until it is up again.
                shown = self._record(quiet=shown) or shown
            self._ending.wait(_LOOK_SECONDS)

    def _follow(self, folder: Path) -> None:
        """Tell of a run from its beginning to its end; a new one takes its place."""
        begun = False
        looked = time.monotonic()
        pending: list[Event] = []
        for event in events.follow(folder / events.FILE):
            if self._ending.is_set():
                return
            if event is not None and not begun:
                pending.append(event)
                if event.kind == "run":
                    live = events.being_written(folder / events.FILE)
                    self._say(Begins(event, _short(folder.name), live))
                    begun = True
                    for one in pending:
                        self._say(one)
            elif event is not None:
                self._say(event)
            elif self._folder is None and time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                if self._another(than=folder) is not None:
                    return
        if not begun:
            error = UsageError("the record does not say what it is of", where=str(folder))
            self._say(Failed(error))
        self._say(Over())

    def _record(self, *, quiet: bool) -> bool:
        """Watch the lab that is up, until a scenario begins or it is down; whether there is one.

        If `quiet`, nothing is said before it can be watched: something else is on the screen.
        """
        from lab.engine.lab import Lab

        def waits(words: str) -> bool:
            if not quiet:
                self._say(Waits(words))
            return False

        try:
            lab = Lab.attach(self._lab_name)
        except LabNotUp:
            other = "" if self._lab_name == "lab" else f"--lab {self._lab_name} "
            return waits(f"waiting for `lab {other}up`, or for `lab scenario run …`")
        heard = _Heard(self._say)
        with ExitStack() as stack:
            try:
                recorder = stack.enter_context(recorded(lab, heard))
            except LabError as error:  # it is only just coming up, or going down
                return waits(f"waiting for lab '{lab.name}': {error.what}")
            heard.begins()
            try:
                self._until_over(lab, recorder)
            except LabError:
                if not self._goes_down(lab):
                    raise
        self._say(Over())
        return True

    def _until_over(self, lab: Lab, recorder: Recorder) -> None:
        asked = time.monotonic()
        while not self._ending.wait(_LOOK_SECONDS):
            if self._another() is not None:
                return
            recorder.check()
            if time.monotonic() - asked > _ASK_SECONDS:
                asked = time.monotonic()
                if not _is_there(lab):
                    return

    def _goes_down(self, lab: Lab) -> bool:
        """Whether a lab that can't be heard any more is being taken down: soon nothing is left."""
        until = time.monotonic() + _DOWN_SECONDS
        while _is_there(lab):
            if time.monotonic() > until or self._ending.wait(_LOOK_SECONDS):
                return False
        return True
