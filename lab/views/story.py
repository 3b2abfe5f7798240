"""A scenario's story on a terminal, told from its events as they come.

What is narrated is set apart from what is observed, and what is observed says where it was seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lab.observe.maillog import GIVEN_UP, LOCAL
from lab.observe.retries import Retries
from lab.scenarios.evidence import Evidence, summary
from lab.scenarios.narration import ENGLISH
from lab.units import LabClock, format_clock, format_duration, wall_clock
from lab.views import sentences
from lab.views.steps import Steps
from lab.views.visible import in_line, visible
from lab.views.words import Words
from lab.views.wrapped import fill

if TYPE_CHECKING:
    from lab.events import Event, EventLog
    from lab.scenarios.runner import Outcome
    from lab.scenarios.stage import Pause

_COLOURS = {"predict": "cyan", "explain": "green"}
_WIDTH = 100
_SHOWN_ALIKE = 3  # lines about as many messages tell the story of twenty


class Story:
    """Prints events to `file`, and on a terminal, below them, what is waited for.

    Behind each line is where it was seen; with `evidence` also what stands there. With `step` it
    waits where a class thinks. `lang` is the language of the words around what happened.
    """

    def __init__(
        self, file: TextIO, *, evidence: bool = False, step: bool = False, lang: str = ENGLISH
    ) -> None:
        self.console = Console(file=file, highlight=False, soft_wrap=False)
        self.console.width = min(self.console.width, _WIDTH) if self.console.is_terminal else _WIDTH
        self._evidence = evidence
        self._clock = LabClock(time.time(), 1)
        self._retries = Retries()
        self._attempts: list[tuple[Event, Event | None]] = []  # each with the one before it
        self._alike = ""  # what the lines last shown have in common, how many they were,
        self._shown = 0
        self._last_message: str | None = None  # and which message the last was about
        self._words = Words(lang)
        self._steps = Steps(self.console, self._words) if step else None
        self._lock = threading.RLock()  # events come from whoever noticed them
        self._held: list[Event] | None = None
        self._logged: dict[tuple[str | None, int], str] = {}
        self._status = self.console.status("") if self.console.is_terminal else None

    def follow(self, log: EventLog, clock: LabClock) -> None:
        """Print what comes into `log`."""
        self._clock = clock
        log.listeners.append(self.show)

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *error: object) -> None:
        self._still()

    def pause(self, what: Pause) -> None:
        """With `step`, wait for the class. Nothing is told meanwhile: they think, or write."""
        if self._steps is not None:
            self._still()
            with self.acting():
                self._steps.wait(what)

    def waiting(self, what: str) -> None:
        """On a terminal, say what is waited for, and let the lab's clock run."""
        if self._status is not None:
            lab_time = format_clock(self._clock.lab_time(time.time()))
            self._status.update(Text.assemble((f"{lab_time} ", "bold"), (in_line(what), "dim")))
            self._status.start()

    def _still(self) -> None:
        if self._status is not None:
            self._status.stop()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """What happens in the block is told at its end, in the order in which it happened.

        For it is known only then who did what led to it.
        """
        with self._lock:
            self._held = []
        try:
            yield
        finally:
            with self._lock:
                held, self._held = self._held, None
                for event in sorted(held or (), key=lambda event: (event.time, event.seq)):
                    self.show(event)

    def show(self, event: Event) -> None:
        """Print one event, if it belongs to the story."""
        with self._lock:
            if event.kind == "log":
                self._logged[event.node, event.data["line"]] = event.summary
            tell = _TOLD.get(event.kind)
            if tell is not None and self._held is not None:
                self._held.append(event)
            elif tell is not None:
                tell(self, event)

    def _run(self, event: Event) -> None:
        self.console.print()
        self.console.print(Rule(Text(in_line(event.summary), style="bold"), align="left"))
        self.console.print(Text(visible(_flowing(event.data["summary"]))))
        scale = event.data["time_scale"]
        self.console.print(
            "\n" + self._words("clocks", duration=format_duration(scale)) + "\n", style="dim"
        )

    def _narration(self, event: Event) -> None:
        self._still_more()
        role = event.data["role"]
        text, seen = visible(_flowing(event.summary)), in_line(summary(_places(event), 4))
        if role == "tell":
            self.console.print(Text("\n" + text))
            return
        said = self._steps.prediction() if self._steps and role == "explain" else ""
        guess = Text.assemble((self._words("you_predicted") + " ", "dim"), f"{said}\n\n")
        self.console.print(
            Panel(
                Text.assemble(guess if said else "", text),
                title=self._words(role),
                title_align="left",
                subtitle=Text(self._words("seen", places=seen), "dim") if seen else None,
                subtitle_align="right",
                border_style=_COLOURS[role],
                padding=(0, 1),
            )
        )

    def _line(
        self, event: Event, sign: str, colour: str, text: str, seen: Sequence[Evidence] = ()
    ) -> None:
        """A line of the story, with both clocks: lab time, then real time."""
        self._still_more()
        lab_time, real_time = format_clock(event.lab_time), wall_clock(event.time)
        clocks = Text.assemble(f" {lab_time} ", (f"{real_time} ", "dim"))
        self._indented(clocks, sign, colour, text, seen)

    def _indented(
        self, start: Text, sign: str, colour: str, text: str, seen: Sequence[Evidence] = ()
    ) -> None:
        """`text` behind `start`, and at its end, or under it, where it was `seen`."""
        indent = " " * (len(start) + 2)
        places = f"[{in_line(summary(seen, 2))}]" if seen else ""
        body = self._filled(f"{in_line(text)} {places}", indent).strip()
        line = Text.assemble(start, (f"{sign} ", colour), body)
        if places:  # they may have been broken over two lines
            line.stylize("dim", line.plain.rindex(places.split()[0]))
        self.console.print(line)
        for one in seen if self._evidence else ():
            shown = in_line(f"{one}  {one.says or ''}")
            self.console.print(Text(self._filled(shown, indent), "dim"))

    def _filled(self, text: str, indent: str) -> str:
        return fill(text.strip(), self.console.width, indent)

    def _many(self, event: Event, alike: str) -> bool:
        """Whether `event` is one of many alike about different messages, and need not be shown.

        The first few of them are; how many more there were is said when something else happens.
        """
        same = alike == self._alike and event.refs.queue_id != self._last_message
        self._last_message = event.refs.queue_id
        if not same:
            self._still_more()
            self._alike, self._shown = alike, 0
        self._shown += 1
        return self._shown > _SHOWN_ALIKE and not self._evidence

    def _still_more(self) -> None:
        if self._shown > _SHOWN_ALIKE and not self._evidence:
            more = self._shown - _SHOWN_ALIKE
            self._indented(Text(" " * 19), "…", "dim", self._words("more_like_this", more=more))
        self._alike, self._shown = "", 0

    def _action(self, event: Event) -> None:
        alike, shown = f"{event.node} {event.data.get('by', event.seq)}", self._shown
        if not self._many(event, alike):
            shown = self._shown
            self._line(event, "→", "cyan", event.summary, _places(event))
            self._alike, self._shown = alike, shown

    def _fault(self, event: Event) -> None:
        on = event.data["on"]
        sign, colour = ("✗", "red") if on else ("✓", "green")
        self._line(event, sign, colour, event.summary, _places(event))

    def _mailbox(self, event: Event) -> None:
        self._line(event, "·", "default", sentences.mailbox(event), _itself(event))

    def _queue(self, event: Event) -> None:
        self._line(event, "·", "default", event.summary, _itself(event))
        for entry in event.data["entries"][:3]:
            if entry["next_attempt"]:
                text = sentences.queued(entry, event.lab_time, self._clock)
                self._line(event, " ", "default", text)

    def _queue_change(self, event: Event) -> None:
        """Of all that happens in queues, that a server writes to a sender."""
        if event.data["what"] == "dsn":
            seen = self._in_log(event)
            said = (seen[0].says or "").rpartition(": sender ")[2].partition(":")[0]
            text = f"{event.node} writes to the sender of {event.refs.queue_id}: {said}"
            self._line(event, "→", "cyan", text, seen)

    def _in_log(self, event: Event) -> list[Evidence]:
        """The line of a log that an event was read from."""
        line = event.data["line"]
        says = self._logged.get((event.node, line))
        return [Evidence("log", node=event.node, line=line, says=says)]

    def _attempt(self, event: Event) -> None:
        if event.data["program"] in LOCAL and event.data["status"] not in GIVEN_UP:
            return  # into a mailbox, where it will be found
        before = self._retries.before(event)
        self._attempts.append((event, before))
        status = event.data["status"]
        alike = f"{event.node} {status}"
        if self._many(event, alike):
            return
        shown = self._shown
        sign, colour = ("✓", "green") if status == "sent" else ("✗", "yellow")
        # What became of it was known only at its end; the table tells when it was begun.
        ended = event.data["ended"]
        told = replace(event, time=ended, lab_time=self._clock.lab_time(ended))
        self._line(told, sign, colour, sentences.attempt(event, before), self._in_log(event))
        self._alike, self._shown = alike, shown

    def _dsn(self, event: Event) -> None:
        parts = event.data["parts"]
        for number, part in enumerate(parts, 1):
            text = Text(visible(part["text"].replace("\r\n", "\n")).strip())
            of = {"number": number, "count": len(parts), "type": in_line(part["type"])}
            title = Text(self._words("part", **of))
            self.console.print(Panel(text, title=title, title_align="left", border_style="yellow"))

    def _verdict(self, event: Event) -> None:
        """Without a clock: a verdict is about what came before it."""
        self._still_more()
        ok = event.data["ok"]
        text = f"{event.data['id']}: {event.data['observed']}"
        sign, colour = ("✓", "bold green") if ok else ("✗", "bold red")
        self._indented(Text(" "), sign, colour, text, _places(event))

    def end(self, outcome: Outcome) -> None:
        """The closing tables: attempts, expectations, and where the record is."""
        self._still()
        self._still_more()
        if len(self._attempts) > 4 or any(before for _, before in self._attempts):
            self.console.print()
            self.console.print(self._attempts_table())
        self.console.print()
        self.console.print(_verdicts_table(outcome, self._words))
        word = (
            (self._words("as_expected"), "bold green")
            if outcome.ok
            else (self._words("not_as_expected" if outcome.verdicts else "no_verdict"), "bold red")
        )
        took = self._words(
            "took",
            scenario=outcome.scenario,
            lab=format_duration(outcome.lab_seconds),
            real=format_duration(outcome.real_seconds),
        )
        self.console.print(
            Group(
                Text.assemble("\n", word, f": {took}"),
                Text(self._words("record", run=outcome.run), "dim"),
                Text(self._words("report", report=outcome.report), "dim")
                if outcome.report
                else Text(self._words("no_report", why=in_line(outcome.unreported)), "yellow"),
            )
        )
        if outcome.dropped:
            self.console.print(Text(self._words("missed", frames=outcome.dropped), "yellow"))

    def _attempts_table(self) -> Table:
        words = self._words
        table = Table(title=words("attempts"), title_justify="left", title_style="bold")
        for key in ("attempt", "message", "begun", "real_time", "since_the_last", "outcome"):
            right = key in ("attempt", "since_the_last")
            table.add_column(words(key), justify="right" if right else "left")
        table.columns[-1].overflow = "fold"
        rows = list(enumerate(self._attempts, 1))
        whom = {(event.refs.queue_id, event.data["recipient"]) for event, _ in self._attempts}
        several = len(whom) > len({queue_id for queue_id, _ in whom})
        more = len(rows) - 15
        for number, (event, before) in rows if more < 2 else rows[:12] + rows[-3:]:
            if more >= 2 and number == more + 13:
                table.add_row("…", "…", "…", "…", "…", words("more", more=more))
            table.add_row(
                str(number),
                _text(f"{event.refs.queue_id} → {event.data['recipient']}")
                if several
                else _text(event.refs.queue_id or ""),
                format_clock(event.lab_time),
                wall_clock(event.time),
                self._words.duration(round(event.lab_time - before.lab_time)) if before else "",
                _text(f"{event.data['status']}: {event.data['reason']}"),
            )
        return table


_TOLD: dict[str, Callable[[Story, Event], None]] = {
    "run": Story._run,
    "narration": Story._narration,
    "action": Story._action,
    "fault": Story._fault,
    "mailbox": Story._mailbox,
    "queue": Story._queue,
    "queue_change": Story._queue_change,
    "attempt": Story._attempt,
    "dsn": Story._dsn,
    "verdict": Story._verdict,
}


def _verdicts_table(outcome: Outcome, words: Words) -> Table:
    table = Table(
        title=words("expectations"), title_justify="left", title_style="bold", show_lines=True
    )
    for name in ("", *map(words, ("expected", "observed", "where_to_look"))):
        table.add_column(name, overflow="fold")
    for verdict in outcome.verdicts:
        mark = Text("✓", "green") if verdict.ok else Text("✗", "bold red")
        table.add_row(
            mark, _text(verdict.expected), _text(verdict.observed), _text(summary(verdict.evidence))
        )
    return table


def _text(words: str) -> Text:
    """What others wrote, for a cell of a table: neither markup nor anything else that acts."""
    return Text(in_line(words))


def _places(event: Event) -> list[Evidence]:
    """Where to look for what an event says."""
    return [Evidence.of(one) for one in event.data["evidence"]]


def _itself(event: Event) -> list[Evidence]:
    """A snapshot is its own evidence."""
    return [Evidence(event.kind, node=event.node, event=event.seq, says=event.summary)]


def _flowing(text: str) -> str:
    """Paragraphs without the line breaks of their file; the terminal makes its own."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
