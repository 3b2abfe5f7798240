"""A run as it happens: the ladder on a whole screen, with keys to stop, step, and look closer.

It knows neither keyboard nor terminal: keys come in by name, lines go out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rich.text import Text

from lab.events import Event
from lab.views import watchlines
from lab.views.ladder.grid import cut
from lab.views.ladder.layout import Ladder
from lab.views.ladder.model import EVERYTHING, LEVELS, Item, Layout, Level, View
from lab.views.ladder.terminal import Terminal
from lab.views.visible import in_line
from lab.views.watchlines import filled

_IDLE_SECONDS = 1.0  # after which it is said that nothing happens


class Watch:
    """What is watched, and how it is looked at.

    `stepped`: it begins stopped at its first row. With `speed` it plays from there, so many times
    as fast as it was. `clock` tells the time in epoch seconds.
    """

    def __init__(
        self,
        view: View = EVERYTHING,
        *,
        stepped: bool = False,
        speed: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.view = view
        self.ended = False
        self.quit = False
        self.notice = ""
        self.next: str | None = None
        """The run that has begun while the picture is stopped."""
        self._clock = clock
        self._ladder: Ladder | None = None
        self._name = ""
        self._live = False
        self._logs: dict[tuple[str, int], str] = {}
        self._layout: Layout | None = None
        self._stale = False
        self._stepped = stepped
        self._speed = speed
        self._playing: tuple[float, float] | None = None  # since when, and which moment was shown
        self._shown: int | None = None  # rows, while the picture is stopped
        self._last: Item | None = None  # of them, by which they are found again
        self._selected: int | None = None
        self._top: int | None = None  # the first row on the screen, unless the end is followed
        self._page = 10
        self._typing: str | None = None
        self._evidence = False
        self._helping = False

    # What is watched ----------------------------------------------------------------------------

    def wait(self, words: str) -> None:
        """There is nothing to be watched; `words` say what is waited for."""
        self._ladder = self._layout = None
        self.notice = words

    def begin(self, run: Event, name: str, *, live: bool) -> None:
        """From here on, what is watched is `name`, which begins with the event `run`."""
        self._ladder = Ladder.of(run)
        self._name, self._live, self.ended, self.notice = name, live, False, ""
        self._logs, self._layout, self._stale = {}, None, True
        self._selected = self._top = self._last = None
        self._shown = 1 if self._stepped else None
        self._playing = None

    def add(self, events: Iterable[Event]) -> None:
        """What has happened since."""
        for event in events:
            if self._ladder is not None:
                self._ladder.add(event)
            if event.kind == "log" and event.node is not None:
                self._logs[event.node, event.data["line"]] = event.summary
            self._stale = True

    def over(self) -> None:
        """Nothing more will happen."""
        self.ended, self._live, self._stale = True, False, True
        if self._ladder is not None:
            self._ladder.ended = True
        if self._stepped and self._last is None:
            self._show(1)
            self._starts_playing()

    @property
    def layout(self) -> Layout | None:
        """The ladder as it is now, however much of it is shown."""
        if self._ladder is not None and (self._stale or self._overdue()):
            marked = self._marked()
            self._layout = self._ladder.layout(self.view, self._clock() if self._live else None)
            self._stale = False
            if self._shown is not None and self._last is not None:
                self._shown = self._row_of(self._last) + 1
            if marked is not None:
                self._selected = self._row_of(marked)
        return self._layout

    def _overdue(self) -> bool:
        """Whether the layout there is says that something is on its way that was given up since."""
        if self._layout is None:
            return True
        settles = self._layout.settles
        return self._live and settles is not None and self._clock() >= settles

    @property
    def paused(self) -> bool:
        """Whether the picture is stopped."""
        return self._shown is not None

    @property
    def reached(self) -> float:
        """The time of the last event there is (epoch seconds)."""
        return self._ladder.now if self._ladder is not None else 0.0

    def _play(self) -> None:
        """While a run that is over plays, show what had happened by now."""
        layout = self._layout
        if self._playing is None or layout is None or self._speed is None or self._shown is None:
            return
        began, moment = self._playing
        moment += (self._clock() - began) * self._speed
        rows = sum(1 for item in layout.items if item.time <= moment)
        if rows >= len(layout.items):
            self._playing = self._shown = self._last = self._selected = None
        elif rows > self._shown:
            self._show(rows)

    def _starts_playing(self) -> None:
        if self._speed is not None and self._last is not None:
            self._playing = (self._clock(), self._last.time)

    def _marked(self) -> Item | None:
        """The row that is marked in the layout there is, which may be stale."""
        if self._layout is None or not self._layout.items or self._selected is None:
            return None
        return self._layout.items[min(self._selected, len(self._layout.items) - 1)]

    def _row_of(self, item: Item) -> int:
        """Where a row of another layout is in this one: rows may have come before it."""
        if self._layout is None:
            return 0
        at = (item.time, item.seqs[:1])
        rows = [n for n, one in enumerate(self._layout.items) if (one.time, one.seqs[:1]) <= at]
        return rows[-1] if rows else 0

    # Keys ---------------------------------------------------------------------------------------

    def key(self, key: str) -> None:
        """A key was pressed."""
        if self._typing is not None:
            self._type(key)
            return
        self._helping = key == "?" and not self._helping
        action = _ACTIONS.get(key)
        if action is not None and (self.layout is not None or key == "q"):
            action(self)

    def _type(self, key: str) -> None:
        typed = self._typing or ""
        if key == "escape":
            self._typing = None
        elif key == "enter":
            self._typing = None
            self._look(View(self.view.level, tuple(typed.split()), self.view.narration))
        elif key == "backspace":
            self._typing = typed[:-1]
        elif len(key) == 1 and key.isprintable():
            self._typing = typed + key

    def _look(self, view: View) -> None:
        """Look at it differently, at the same moment."""
        self.view, self._stale, self._top = view, True, None

    def _stop_or_go(self) -> None:
        if self._playing is not None:
            self._playing = None
        elif self.paused and self._speed is not None:
            self._starts_playing()
        elif self.paused:
            self._shown = self._last = self._selected = self._top = None
        elif (layout := self.layout) is not None:
            self._show(len(layout.items) if self._selected is None else self._selected + 1)

    def _show(self, rows: int) -> None:
        layout = self.layout
        if layout is None or not layout.items:
            self._shown = 1
            return
        self._shown = min(max(rows, 1), len(layout.items))
        self._last = layout.items[self._shown - 1]
        self._selected, self._top = self._shown - 1, None

    def _step(self, rows: int) -> None:
        self._playing = None
        if not self.paused:
            self._stop_or_go()
        self._show((self._shown or 1) + rows)

    def _move(self, rows: int) -> None:
        last = self._rows() - 1
        at = last if self._selected is None else self._selected
        self._selected = min(max(at + rows, 0), max(last, 0))

    def _home(self) -> None:
        self._selected = 0

    def _end(self) -> None:
        self._selected = self._top = None

    def _detail(self) -> None:
        level: Level = LEVELS[(LEVELS.index(self.view.level) + 1) % len(LEVELS)]
        self._look(View(level, self.view.words, self.view.narration))

    def _filter(self) -> None:
        self._typing = " ".join(self.view.words)

    def _words(self) -> None:
        self._look(View(self.view.level, self.view.words, not self.view.narration))

    def _show_evidence(self) -> None:
        self._evidence = not self._evidence

    def _leave(self) -> None:
        self.quit = True

    # The picture --------------------------------------------------------------------------------

    def _rows(self) -> int:
        layout = self.layout
        found = len(layout.items) if layout is not None else 0
        return found if self._shown is None else min(self._shown, found)

    def _item(self) -> Item | None:
        layout, rows = self._layout, self._rows()
        if layout is None or not rows:
            return None
        return layout.items[rows - 1 if self._selected is None else min(self._selected, rows - 1)]

    def lines(self, width: int, height: int) -> list[Text]:
        """The whole screen."""
        layout = self.layout
        self._play()
        if self._helping:
            return filled([self._title(width), Text(), *watchlines.help_lines(width)], height)
        if layout is None or not layout.items:
            words = in_line(self.notice) or "nothing has happened yet"
            waiting = Text(f"  {words}", style="italic")
            top = [self._title(width), Text(), waiting]
            return [*filled(top, height - 1), watchlines.hint(width)]
        item = self._item() if self._evidence else None
        evidence = watchlines.evidence(item, self._logs, width) if item is not None else []
        terminal = Terminal(layout, width)
        idle = self._idle(terminal, layout)
        room = max(1, height - 5 - len(evidence) - len(idle))
        self._page = max(1, room - 2)
        rows = self._window(terminal, room)
        at = self._rows() - 1 if self._selected is None else min(self._selected, self._rows() - 1)
        head = [self._title(width), *terminal.heads(at)]
        body = filled([*rows[:room], *idle], room + len(idle))
        notice = f"{self.next} has begun (space goes on to it)" if self.next else self.notice
        status = watchlines.status(layout, at, self.view.words, notice, width)
        return [*head, *body, *evidence, status, self._foot(width)]

    def _window(self, terminal: Terminal, room: int) -> list[Text]:
        """The rows on the screen: those that end with the last, or around the marked one."""
        count = self._rows()
        at = count - 1 if self._selected is None else min(self._selected, count - 1)
        top = self._top if self._top is not None and self._selected is not None else count - room
        top = max(0, min(top, at))
        if at >= top + room:
            top = at - room + 1
        drawn = {
            row: terminal.lines(row, selected=row == self._selected) for row in range(top, at + 1)
        }
        while top < at and sum(map(len, drawn.values())) > room:
            del drawn[top]  # a row may take several lines, and the marked one has to be seen
            top += 1
        lines = [line for row in drawn.values() for line in row]
        for row in range(at + 1, count):
            if len(lines) >= room:
                break
            lines += terminal.lines(row)
        self._top = top
        return lines

    def _idle(self, terminal: Terminal, layout: Layout) -> list[Text]:
        """How long nothing has happened, where the end is followed and more may come."""
        if self.ended or self.paused or self._selected is not None:
            return []
        last = len(layout.items) - 1
        idle = self._clock() - layout.items[last].time
        return [terminal.idle(last, float(int(idle)))] if idle >= _IDLE_SECONDS else []

    def _title(self, width: int) -> Text:
        if self._ladder is None:
            return watchlines.title("lab watch", None, self._state(), width)
        name = f"  {self._name}" if width >= 110 else ""
        moment = self._moment()
        clocks = (self._ladder.clock.lab_time(moment), moment)
        return watchlines.title(f"{self._ladder.title}{name}", clocks, self._state(), width)

    def _moment(self) -> float:
        """The time that is shown: of the last row where the picture stands, else now."""
        layout = self._layout
        if layout is not None and layout.items and (self.paused or self.ended):
            return layout.items[max(0, self._rows() - 1)].time
        return self._clock()

    def _state(self) -> tuple[str, str]:
        if self._ladder is None:
            return "waiting", "black on orange3"
        if self._playing is not None:
            return f"played ×{self._speed:g}", "white on green4"
        if self.paused:
            return "stopped", "black on orange3"
        if self.ended:
            return "over", "white on grey37"
        return ("live", "white on green4") if self._live else ("recorded", "white on grey37")

    def _foot(self, width: int) -> Text:
        if self._typing is not None:
            return Text(cut(f" only: {self._typing}▏ (Enter; Esc leaves it as it was)", width))
        return watchlines.hint(width)


_ACTIONS: dict[str, Callable[[Watch], None]] = {
    " ": Watch._stop_or_go,
    "right": lambda watch: watch._step(1),
    "n": lambda watch: watch._step(1),
    "left": lambda watch: watch._step(-1),
    "p": lambda watch: watch._step(-1),
    "up": lambda watch: watch._move(-1),
    "down": lambda watch: watch._move(1),
    "page up": lambda watch: watch._move(-watch._page),
    "page down": lambda watch: watch._move(watch._page),
    "home": Watch._home,
    "end": Watch._end,
    "d": Watch._detail,
    "f": Watch._filter,
    "e": Watch._show_evidence,
    "w": Watch._words,
    "q": Watch._leave,
}
