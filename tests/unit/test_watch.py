"""The screen of `lab watch`, without a terminal: what is on it, and what the keys do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ladderevents import FAR, MAIL, STARTED, Scene, real

from lab.events import Event
from lab.views.ladder.layout import Ladder
from lab.views.ladder.model import Layout, View
from lab.views.screen import Keyboard, keys
from lab.views.watch import Watch
from lab.views.watchlines import HELP

WIDTH, HEIGHT = 100, 30


def watching(events: list[Event], **options: bool) -> Watch:
    watch = Watch(clock=lambda: events[-1].time + 0.2, stepped=options.get("stepped", False))
    watch.begin(events[0], "a-run", live=not options.get("over", True))
    watch.add(events[1:])
    if options.get("over", True):
        watch.over()
    return watch


def seen(watch: Watch) -> list[str]:
    return [line.plain.rstrip() for line in watch.lines(WIDTH, HEIGHT)]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return real("receiver-down")


def test_the_screen_is_full_and_says_what_is_watched(events: list[Event]) -> None:
    lines = seen(watching(events))
    assert len(lines) == HEIGHT
    assert "The receiver's mail server is down" in lines[0]
    assert lines[0].endswith("over")
    assert re.search(r"lab time 02:17:15  real \d\d:\d\d:\d\d", lines[0])
    assert lines[1].split()[3:] == ["sender-pc", "sender-mail", "dns", "receiver-mail"]
    assert "into the mailbox, leaves the queue" in lines[-3]
    assert "row 97/97 · commands" in lines[-2]


@pytest.mark.parametrize(("width", "height"), [(40, 8), (80, 24), (120, 40), (200, 50)])
def test_it_fits_any_terminal(events: list[Event], width: int, height: int) -> None:
    watch = watching(events)
    for key in ("", "e", "w", "f", "x", "escape", "?"):
        watch.key(key)
        lines = watch.lines(width, height)
        assert len(lines) == height
        assert all(line.cell_len <= width for line in lines)


def test_a_run_that_is_over_is_stepped_through(events: list[Event]) -> None:
    watch = watching(events, stepped=True)
    assert "row 1/97" in seen(watch)[-2]
    assert "MAIL FROM" not in "\n".join(seen(watch))  # nobody sees what is to be predicted
    for _ in range(3):
        watch.key("right")
    watch.key("p")
    lines = seen(watch)
    assert "row 3/97" in lines[-2]
    assert lines[5].startswith("❯")
    assert "stopped" in lines[0]
    watch.key(" ")
    assert "row 97/97" in seen(watch)[-2]


def test_a_stopped_picture_stands_while_more_happens(events: list[Event]) -> None:
    watch = watching(events[:150], over=False)
    before = seen(watch)
    watch.key(" ")
    stopped = seen(watch)
    assert before[3:-3] == [line.replace("❯", " ") for line in stopped[3:-3]]
    watch.add(events[150:])
    # What was on its way may have arrived; nothing else changes.
    assert [line.replace("╌", "─") for line in seen(watch)[3:-3]] == [
        line.replace("╌", "─") for line in stopped[3:-3]
    ]
    watch.key(" ")
    assert seen(watch)[3:-3] != stopped[3:-3]
    assert "live" in seen(watch)[0]


def test_what_comes_late_and_belongs_before_does_not_move_a_stopped_picture() -> None:
    scene = Scene()
    scene.happens(1, "syn", (MAIL, FAR, 25))
    scene.happens(1.2, "accepted", (MAIL, FAR, 25))
    watch = watching(scene.events, over=False)
    watch.key(" ")
    assert "row 2/2" in seen(watch)[-2]
    scene.asks(0.9, "MX receiver.example", "10 mail.receiver.example")
    watch.add(scene.events[5:])
    lines = seen(watch)
    assert "row 4/4" in lines[-2]
    assert "accepts (SYN ACK)" in next(line for line in lines if line.startswith("❯"))


def test_the_status_says_what_waits_and_what_is_broken(events: list[Event]) -> None:
    watch = watching(events, stepped=True)
    for _ in range(40):
        watch.key("n")
    status = seen(watch)[-2]
    assert "⧗ sender-mail: 1 in the queue" in status
    assert "✗ receiver-mail has no power" in status
    watch.key(" ")
    assert "⧗" not in seen(watch)[-2]
    assert "✗" not in seen(watch)[-2]


def test_a_live_picture_says_how_long_nothing_has_happened() -> None:
    scene = Scene()
    scene.changes(1, "queued", "A1")
    watch = Watch(clock=lambda: STARTED + 13.4)
    watch.begin(scene.events[0], "a-run", live=True)
    watch.add(scene.events[1:])
    assert any("12m pass (12s of real time) · 1 message waits" in line for line in seen(watch))
    watch.key("up")  # who looks at a row is not disturbed
    assert not any("12m pass" in line for line in seen(watch))


def test_time_alone_settles_what_became_of_a_call() -> None:
    scene = Scene()
    scene.happens(1, "syn", (MAIL, FAR, 25))
    now = [STARTED + 1.01]
    watch = Watch(clock=lambda: now[0])
    watch.begin(scene.events[0], "a-run", live=True)
    watch.add(scene.events[1:])

    def fate() -> str:
        layout = watch.layout
        assert layout is not None
        return layout.items[0].fate

    assert fate() == "pending"
    now[0] += 0.3
    assert fate() == "pending"
    now[0] += 0.3
    assert fate() == "unanswered"


def test_a_layout_is_made_only_when_something_can_have_changed(
    monkeypatch: pytest.MonkeyPatch, events: list[Event]
) -> None:
    made: list[Layout] = []
    layout = Ladder.layout

    def counted(*arguments: Any) -> Layout:
        made.append(layout(*arguments))
        return made[-1]

    monkeypatch.setattr(Ladder, "layout", counted)
    watch = watching(events[:150], over=False)
    for _ in range(20):
        seen(watch)
    assert len(made) == 1


def test_looking_around(events: list[Event]) -> None:
    watch = watching(events)
    seen(watch)
    watch.key("home")
    assert "receiver-mail has no power ✗" in seen(watch)[3]
    watch.key("page down")
    marked = next(number for number, line in enumerate(seen(watch)) if line.startswith("❯"))
    assert marked == HEIGHT - 2 - 2  # a page is what is seen, less two rows to hold on to
    for _ in range(5):
        watch.key("down")
    top = seen(watch)[3]
    watch.key("up")
    assert seen(watch)[3] == top  # the page stands, the mark moves
    watch.key("end")
    assert not any(line.startswith("❯") for line in seen(watch))
    assert "into the mailbox" in seen(watch)[-3]


def test_more_and_less_detail_at_the_same_moment(events: list[Event]) -> None:
    watch = watching(events)
    watch.key("home")
    for _ in range(33):
        watch.key("down")
    assert "attempt 1 in vain" in next(line for line in seen(watch) if line.startswith("❯"))
    levels = []
    for _ in range(3):
        watch.key("d")
        levels.append(seen(watch)[-2].split(" · ")[1].strip())
        assert "attempt 1 in vain" in next(line for line in seen(watch) if line.startswith("❯"))
    assert levels == ["packets", "messages", "commands"]


def typed(watch: Watch, text: str) -> None:
    for letter in text:
        watch.key(letter)


def test_a_filter_is_typed(events: list[Event]) -> None:
    watch = watching(events)
    watch.key("f")
    typed(watch, "dnsq")  # q is a letter here
    watch.key("backspace")
    assert " only: dns▏" in seen(watch)[-1]
    watch.key("enter")
    lines = seen(watch)
    assert "only dns" in lines[-2]
    assert not watch.quit
    assert not any("MAIL FROM" in line for line in lines)
    watch.key("f")
    typed(watch, "x")
    watch.key("escape")
    assert "only dns" in seen(watch)[-2]


def test_evidence_of_a_packet_and_of_a_log_line(events: list[Event]) -> None:
    watch = watching(events)
    watch.key("home")
    for _ in range(31):
        watch.key("down")
    watch.key("e")
    where, what = seen(watch)[-4:-2]
    assert "captures/sender-lan.pcap, frame 36" in where
    assert "198.51.100.25:48888 → 203.0.113.25:25: calls" in what
    watch.key("down")
    watch.key("down")
    where, what = seen(watch)[-4:-2]
    assert "log sender-mail:15" in where
    assert what.startswith(" Nov 24 06:55:15 mail postfix/smtp[26]: 8024B18C013: to=<bob@")


def test_the_narrators_words_are_there_if_wanted(events: list[Event]) -> None:
    watch = watching(events, stepped=True)
    watch.key(" ")
    watch.key("home")
    assert "alice@sender.example is about to write" not in "\n".join(seen(watch))
    watch.key("w")
    watch.key("home")
    assert "alice@sender.example is about to write" in "\n".join(seen(watch))


def test_help_names_every_key(events: list[Event]) -> None:
    watch = watching(events)
    watch.key("?")
    lines = "\n".join(seen(watch))
    assert all(words in lines for _, words in HELP)
    watch.key("x")
    assert HELP[0][1] not in "\n".join(seen(watch))


def test_a_run_that_is_over_plays_as_fast_as_wanted(events: list[Event]) -> None:
    now = [1000.0]
    watch = Watch(stepped=True, speed=2, clock=lambda: now[0])
    watch.begin(events[0], "a-run", live=False)
    watch.add(events[1:])
    watch.over()
    assert "row 1/97" in seen(watch)[-2]
    assert "played ×2" in seen(watch)[0]
    now[0] += 1.0  # two of the run's seconds
    assert "attempt 1 in vain" in seen(watch)[-2 - 1] or "attempt 1" in "\n".join(seen(watch))
    watch.key(" ")
    stopped = seen(watch)
    now[0] += 60
    assert seen(watch) == stopped
    watch.key(" ")
    now[0] += 60
    assert "row 97/97" in seen(watch)[-2]
    assert "over" in seen(watch)[0]


def test_a_new_run_takes_the_screen(events: list[Event]) -> None:
    watch = watching(events)
    watch.wait("waiting for something")
    assert "waiting for something" in "\n".join(seen(watch))
    scene = Scene()
    watch.begin(scene.events[0], "another", live=True)
    assert "A small story" in seen(watch)[0]
    assert "nothing has happened yet" in "\n".join(seen(watch))


def test_a_key_that_comes_in_two_parts_is_one_key() -> None:
    for parts in (("\x1b", "[A"), ("n\x1b[", "A"), ("\x1bO", "A"), ("\x1b[1", "~")):
        keyboard = Keyboard()
        pressed = keyboard.typed(parts[0].encode(), 1.00)
        assert keyboard.patience(1.00) == pytest.approx(0.05)
        pressed += keyboard.typed(b"", 1.03)  # woken by something else
        pressed += keyboard.typed(parts[1].encode(), 1.04)
        assert pressed[-1] in ("up", "home")
        assert pressed[:-1] == (["n"] if "n" in parts[0] else [])
        assert keyboard.patience(1.04) == float("inf")


def test_escape_is_a_key_if_nothing_follows() -> None:
    keyboard = Keyboard()
    assert keyboard.typed(b"\x1b", 1.00) == []
    assert keyboard.typed(b"", 1.04) == []
    assert keyboard.typed(b"", 1.051) == ["escape"]
    assert keyboard.typed(b"[", 1.06) == ["["]


def test_half_a_letter_waits_for_the_other() -> None:
    keyboard = Keyboard()
    first, second = "한".encode()[:1], "한".encode()[1:]
    assert keyboard.typed(first, 1.0) + keyboard.typed(second, 9.0) == ["한"]


def test_keys_are_read_as_terminals_send_them() -> None:
    sent = "n\x1b[A\x1bOB\x1b[5~\x1b[1~\x1b[F\x7f\r한\x1b[99;1~"
    names = ["n", "up", "down", "page up", "home", "end", "backspace", "enter", "한"]
    assert list(keys(sent)) == names
    assert list(keys("\x1b")) == ["escape"]


def test_a_view_is_what_was_asked_for() -> None:
    assert Watch(View("messages", ("smtp",))).view == View("messages", ("smtp",), False)
