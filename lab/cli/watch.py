"""`lab watch`: what happens in a lab, as a ladder of commands and replies, while it happens."""

from __future__ import annotations

import sys
import time
from queue import Empty
from typing import TYPE_CHECKING

import click

from lab.cli import _complete

if TYPE_CHECKING:
    from lab.cli._watched import Feed
    from lab.events import Event
    from lab.views.ladder.model import View
    from lab.views.watch import Watch

_FRAME_SECONDS = 0.08  # between two pictures, however much happens
_TICK_SECONDS = 0.25  # for the clock, when nothing does
_SETTLED_SECONDS = 1.0  # a line that is printed stays: what may still come before it is waited for


@click.command(short_help="What happens, as it happens, as a ladder")
@click.argument("run", required=False, shell_complete=_complete.runs)
@click.option(
    "--level",
    type=click.Choice(["messages", "commands", "packets"]),
    default="commands",
    show_default=True,
    help="How much is told.",
)
@click.option(
    "--filter",
    "words",
    metavar="WORDS",
    default="",
    help="Only what has to do with these: hosts, protocols, a message.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Play a run that is over, S times as fast as it was.",
)
@click.pass_obj
def command(lab_name: str, run: str | None, level: str, words: str, speed: float | None) -> None:
    """Show what happens as a ladder: machines side by side, an arrow for each command and reply.

    RUN is a run in runs/, over or in progress: one that is over begins stopped, to be stepped
    through. Without it, it is the run in progress that is watched, or else the lab that is up, from
    when it was ready, or whichever of the two comes first.

    Keys: space stops the picture, arrows step and scroll, d, f, e and w change what is shown, ?
    tells them all, q quits. Where standard output is no terminal, the lines are printed as they
    come, until the run is over.

    \b
    Example:
      lab watch
      lab watch 20261124-065513-receiver-down
      lab watch --filter smtp --level messages
    """
    from typing import cast

    from lab.errors import UsageError
    from lab.views.ladder.model import Level, View

    view = View(cast("Level", level), tuple(words.split()))
    if sys.stdout.isatty() and sys.stdin.isatty():
        _on_screen(run, lab_name, view, speed)
    elif speed is not None:
        raise UsageError("only a screen can play a run", hint="leave --speed out: all is printed")
    else:
        _printed(run, lab_name, view)


def _on_screen(run: str | None, lab_name: str, view: View, speed: float | None) -> None:
    from lab.cli._watched import Feed
    from lab.errors import UsageError
    from lab.views.screen import Screen
    from lab.views.watch import Watch

    screen = Screen()
    feed = Feed(run, lab_name, screen.wake)
    finished = feed.finished
    if speed is not None and not finished:
        raise UsageError("only a run that is over can be played", hint="lab watch RUN --speed 1")
    watch = Watch(view, stepped=finished, speed=speed if finished else None)
    with feed, screen.opened():
        try:
            drawn = 0.0
            took = 0.0
            while not watch.quit and not screen.hung_up:
                now = time.monotonic()
                busy = max(_FRAME_SECONDS, 4 * took)  # a slow terminal is not to be drowned
                pressed = screen.wait(_TICK_SECONDS if now - drawn > busy else busy - (now - drawn))
                for key in pressed:
                    watch.key(key)
                news = _take(feed, watch)
                feed.held = watch.paused
                watch.next = feed.next if watch.paused else None
                if pressed or time.monotonic() - drawn >= (busy if news else _TICK_SECONDS):
                    began = time.monotonic()
                    screen.draw(watch.lines(*screen.size))
                    drawn = time.monotonic()
                    took = drawn - began
        except KeyboardInterrupt:
            return  # that is one way to quit


def _take(feed: Feed, watch: Watch) -> bool:
    """Give `watch` the news there are; whether there were any. Raises what kept `feed` from it."""
    from lab.cli._watched import Begins, Failed, Over, Waits

    batch: list[Event] = []
    any_ = False
    while True:
        try:
            news = feed.news.get_nowait()
        except Empty:
            break
        any_ = True
        match news:
            case Begins():
                batch = []
                watch.begin(news.run, news.name, live=news.live)
            case Over():
                watch.add(batch)
                batch = []
                watch.over()
            case Waits():
                watch.wait(news.words)
            case Failed():
                raise news.error
            case _:
                batch.append(news)
    watch.add(batch)
    return any_


def _printed(run: str | None, lab_name: str, view: View) -> None:
    """The ladder line by line, for a file or a pipe, until the run is over."""
    import shutil
    import threading

    from lab.cli._watched import Feed
    from lab.views.ladder.lines import Lines
    from lab.views.visible import in_line
    from lab.views.watch import Watch

    woken = threading.Event()
    watch = Watch(view)
    lines = Lines(max(80, shutil.get_terminal_size((100, 24)).columns))
    told, heard = "", time.monotonic()
    with Feed(run, lab_name, woken.set) as feed:
        while not watch.ended:
            woken.wait(_TICK_SECONDS)
            woken.clear()
            if _take(feed, watch):
                heard = time.monotonic()
            if watch.notice and watch.notice != told:
                told = watch.notice
                click.echo(f"lab: {in_line(told)}", err=True)
            layout = watch.layout
            if layout is not None:
                quiet = time.monotonic() - heard > _SETTLED_SECONDS
                last = time.time() if quiet else watch.reached
                until = None if watch.ended else last - _SETTLED_SECONDS
                for line in lines.new(layout, until):
                    click.echo(line)
                sys.stdout.flush()
