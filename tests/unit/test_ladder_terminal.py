"""The ladder on a terminal: legible at any width, in any language, without colours.

pytest tests/unit/test_ladder_terminal.py --snapshot-update
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from ladderevents import FAR, MAIL, PC, Scene, ladder_of, real
from rich.console import Console
from syrupy.assertion import SnapshotAssertion
from wcwidth import wcswidth

from lab.views.ladder.lines import Lines
from lab.views.ladder.model import LEVELS, Layout, View
from lab.views.ladder.terminal import Terminal

SUBMIT = (PC, MAIL, 587)
RELAY = (MAIL, FAR, 25)


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wall clock of no machine in particular."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def page(layout: Layout, width: int) -> str:
    """All of it, as on paper."""
    terminal = Terminal(layout, width)
    rows = [line for row in range(len(layout.items)) for line in terminal.lines(row)]
    return "\n".join(line.plain.rstrip() for line in [*terminal.heads(), *rows])


def test_an_outage_on_a_projector(snapshot: SnapshotAssertion) -> None:
    assert page(ladder_of(real("receiver-down")).layout(), 100) == snapshot


def test_a_delivery_whole_messages_on_a_narrow_terminal(snapshot: SnapshotAssertion) -> None:
    assert page(ladder_of(real("delivery")).layout(View("messages")), 80) == snapshot


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["receiver-down", "delivery"])
def test_every_line_is_as_wide_as_the_terminal(name: str, level: str, width: int) -> None:
    layout = ladder_of(real(name)).layout(View(level, narration=True))  # type: ignore[arg-type]
    terminal = Terminal(layout, width)
    lines = [line for row in range(len(layout.items)) for line in terminal.lines(row)]
    assert lines
    for line in [*terminal.heads(), *lines]:
        assert wcswidth(line.plain) == width


@pytest.mark.parametrize("width", [80, 100, 120])
def test_lifelines_stand_where_they_stood_whatever_is_said(width: int) -> None:
    """In a picture that grows, nothing but a new column moves the others."""
    events = real("receiver-down")
    heads = set()
    for count in range(40, len(events), 60):
        layout = ladder_of(events[:count], ended=False).layout()
        heads.add(Terminal(layout, width).heads(0)[0].plain.replace("✗", " "))
    assert len(heads) == 1


def test_korean_is_as_wide_as_it_is_shown(snapshot: SnapshotAssertion) -> None:
    scene = Scene()
    data = {"by": "alice@sender.example", "subject": "점심?", "to": [], "evidence": []}
    words = 'alice가 bob에게 "점심 같이 먹을래? 열두 시에 정문에서 봐!"라고 쓴다'
    scene.add(1, "action", words, PC, data)
    scene.says(1.1, "client", "NOOP 안녕하세요", SUBMIT)
    scene.happens(1.2, "syn", RELAY)
    scene.add(1.3, "action", words, FAR, data)
    assert page(scene.ladder().layout(), 80) == snapshot


def test_fates_can_be_told_apart(snapshot: SnapshotAssertion) -> None:
    scene = Scene()
    scene.fault(0.9, on=True)
    scene.happens(1, "syn", RELAY, number=1)
    scene.happens(1.1, "syn", RELAY, number=2, only="sender-lan")
    scene.happens(1.2, "syn", RELAY, number=3, only="sender-lan")
    scene.fault(1.6, on=False)
    scene.happens(1.9, "syn", RELAY, number=3, only="receiver-lan")
    scene.happens(1.91, "reset", RELAY, number=3, side="server")
    scene.happens(2, "syn", RELAY, number=4)
    scene.happens(2.01, "accepted", RELAY, number=4)
    scene.says(2.02, "server", "220 hello", RELAY, what="greeting", number=4)
    scene.says(2.03, "server", "421 lost reply", RELAY, number=4, only="receiver-lan")
    assert page(scene.ladder().layout(), 100) == snapshot


def test_a_queue_says_how_many_messages_are_in_it() -> None:
    scene = Scene()
    for number in range(1, 13):
        scene.changes(1 + number * 0.01, "queued", f"A{number}")
    scene.happens(1.5, "syn", RELAY)
    lines = page(scene.ladder().layout(), 100).splitlines()
    assert "┏1┓" in lines[2]
    assert "┃3┃ … 9 more in the queue" in lines[4]
    assert "12  ● in the queue: A12" in lines[5]


def test_without_colours_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    layout = ladder_of(real("receiver-down")).layout()
    terminal = Terminal(layout, 100)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    for row in range(len(layout.items)):
        for line in terminal.lines(row):
            console.print(line)
    shown = file.getvalue()
    assert "38;5" not in shown
    for sign in ("✗", "⧗", "┊", "▒", "┏1┓", "╌╌", "20m2s pass (2s of real time)"):
        assert sign in shown


def test_from_the_second_day_on_the_clock_has_room() -> None:
    scene = Scene()
    scene.happens(86400 / 60 + 3, "syn", RELAY)
    assert " 1d 00:03:00 " in page(scene.ladder().layout(), 80)


# Line by line ----------------------------------------------------------------------------------


def test_lines_that_come_one_by_one_are_in_the_end_those_of_the_whole() -> None:
    events = real("receiver-down")
    lines = Lines(100)
    printed: list[str] = []
    for count in range(1, len(events), 25):
        ladder = ladder_of(events[:count], ended=False)
        printed += lines.new(ladder.layout(now=ladder.now), ladder.now - 1)
    printed += lines.new(ladder_of(events).layout(), None)
    whole = page(ladder_of(events).layout(), 100).splitlines()
    missing = set(whole[2:]) - set(printed)
    # It was unanswered when it was printed; only later did it turn out to be on its way still.
    assert missing == {line for line in whole if "(SYN) …" in line}


def test_a_message_under_way_is_printed_once_when_it_is_known_what_became_of_it() -> None:
    scene = Scene()
    scene.happens(1, "syn", SUBMIT)
    scene.happens(1.001, "accepted", SUBMIT)
    scene.message(1.1, SUBMIT, 1, steps=7)
    lines, messages = Lines(100), View("messages")
    ladder = scene.ladder(ended=False)
    assert not list(lines.new(ladder.layout(messages), ladder.now + 60))
    scene.says(1.2, "server", "250 2.0.0 Ok: queued as A0001", SUBMIT)
    (*_, row) = lines.new(scene.ladder(ended=False).layout(messages), ladder.now + 60)
    assert "250, queued as A0001" in row
    assert not list(lines.new(scene.ladder().layout(messages), None))


def test_a_row_whose_words_grow_is_printed_once() -> None:
    scene = Scene()
    scene.says(1, "server", "* 1 EXISTS", (PC, MAIL, 143), what="untagged")
    lines = Lines(100)
    assert len(list(lines.new(scene.ladder(ended=False).layout(), None))) == 3  # with two of heads
    scene.says(1.1, "server", "* 0 RECENT", (PC, MAIL, 143), what="untagged")
    layout = scene.ladder(ended=False).layout()
    assert layout.items[0].label == "* 1 EXISTS (+1 line)"
    assert not list(lines.new(layout, None))


def test_a_row_is_printed_once() -> None:
    layout = ladder_of(real("delivery")).layout()
    lines = Lines(100)
    assert list(lines.new(layout, None))
    assert not list(lines.new(layout, None))
