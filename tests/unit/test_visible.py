"""What others wrote does nothing on a terminal, and makes no line of its own, wherever it is told.

A real record is told in which a subject and the reasons of a server are hostile.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ladderevents import RECORDS, ROOT, STARTED, real
from recording import a_pipe_in_greenwich  # noqa: F401  (autouse)

from lab import events
from lab.cli import cli
from lab.engine.lab import Lab
from lab.engine.plan import plan
from lab.events import Event
from lab.observe import maillog
from lab.observe.maillog import LogLine
from lab.observe.trace import trace
from lab.observe.trace.messages import nothing_named
from lab.record import Record
from lab.scenarios.evidence import Evidence, Verdict
from lab.scenarios.runner import Outcome
from lab.services import dovecot, postfix
from lab.services.dovecot import StoredMessage
from lab.services.postfix import QueueEntry
from lab.topology.loader import load
from lab.views.ladder.layout import Ladder
from lab.views.story import Story
from lab.views.trace.table import rendered
from lab.views.trace.waterfall import show
from lab.views.visible import in_line, visible
from lab.views.watch import Watch

# A title for the window, a colour, a cursor sent home, a direction turned; and a line of its own.
HOSTILE = "[/b]\x1b]0;mine\x07\x1b[31m\x9b2J\u202e\r\nFORGED\nFORGED"


def harmless(printed: str) -> str:
    """`printed`, once it is clear that nothing acts in it and nothing was made up."""
    assert "FORGED" in printed  # it was told
    acts = re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e]", printed)
    assert acts == []
    assert not re.search(r"^ *FORGED", printed.replace("␊FORGED", ""), re.MULTILINE)
    return printed


@pytest.fixture
def hostile(tmp_path: Path) -> Record:
    """A run in which what came from mail and logs is hostile."""
    text = (RECORDS / "receiver-down" / events.FILE).read_text(encoding="utf-8")
    for word in ("Lunch?", "Connection timed out"):
        text = text.replace(word, json.dumps(HOSTILE)[1:-1])
    (tmp_path / events.FILE).write_text(text, encoding="utf-8")
    return Record.load(tmp_path)


def test_a_line_is_one_line() -> None:
    assert in_line("a\tb\r\nc\x1b") == "a␉b␍␊c␛"
    assert visible("a\tb\r\nc\x1b") == "a\tb␍\nc␛"


def test_a_trace(hostile: Record, capsys: pytest.CaptureFixture[str]) -> None:
    found = trace(hostile, None)
    heading, *_ = harmless(rendered(found)).splitlines()
    assert heading.startswith('"[/b]␛]0;mine␇␛[31m⟨U+009B⟩2J⟨U+202E⟩␍␊FORGED␊FORGED"')
    show(found)
    harmless(capsys.readouterr().out)


def test_messages_that_are_listed(hostile: Record) -> None:
    lines = str(nothing_named(hostile)).splitlines()
    assert not [line for line in lines if line.startswith("  | FORGED")]


def test_evidence_on_the_screen(hostile: Record) -> None:
    watch = Watch(stepped=True, clock=lambda: hostile.events[-1].time)
    watch.begin(hostile.run, HOSTILE, live=False)
    watch.add(hostile.events)
    watch.over()
    watch.key("e")
    pages = []
    for _ in range(len(watch.layout.items) if watch.layout else 0):
        lines = watch.lines(300, 40)
        assert all("\n" not in line.plain for line in lines)
        pages += [line.plain for line in lines]
        watch.key("n")
    harmless("\n".join(pages))


def test_what_is_waited_for_on_the_screen() -> None:
    watch = Watch()
    watch.wait(HOSTILE)
    harmless("\n".join(line.plain for line in watch.lines(100, 30)))


def test_a_story(hostile: Record) -> None:
    page = io.StringIO()
    story = Story(page, evidence=True)
    for event in hostile.events:
        story.show(event)
    seen = (Evidence("log", node="sender-mail", line=1, says=HOSTILE),)
    verdict = Verdict("delivered", HOSTILE, HOSTILE, True, seen)
    story.end(Outcome("x", Path("runs/x"), 1, 1, (verdict,), 0, None, unreported=HOSTILE))
    harmless(page.getvalue())


@pytest.mark.parametrize("kind", ["note", "indented", "tell", "filled", "line"])
def test_an_event_of_a_kind_that_is_not_known_is_passed_over(kind: Any) -> None:
    event = Event(1, STARTED, 0, "dns", kind, "?", {})
    Story(page := io.StringIO()).show(event)
    assert page.getvalue() == ""
    ladder = Ladder.of(real("delivery")[0])
    ladder.add(event)
    assert ladder.layout().items == ()


# Verbs -----------------------------------------------------------------------------------------


@pytest.fixture
def run_lab(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The output of a verb, of a lab whose machines say what is hostile."""
    lab = Lab(plan(load(ROOT / "topologies" / "textbook.yaml"), "lab", 60), STARTED, {})
    message = StoredMessage(HOSTILE, 1, HOSTILE, "", HOSTILE, "", 9, (HOSTILE,), STARTED)
    entry = QueueEntry(
        "sender-mail", "A1", None, HOSTILE, (HOSTILE,), "deferred", 9, STARTED, 1, HOSTILE, None
    )
    monkeypatch.setattr(Lab, "attach", lambda name: lab)
    monkeypatch.setattr(maillog, "read", lambda lab, node: [LogLine(node, 1, STARTED, HOSTILE)])
    monkeypatch.setattr(dovecot, "mailbox", lambda lab, address: [message])
    monkeypatch.setattr(postfix, "queue", lambda lab, server: [entry])

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    return run


@pytest.mark.parametrize("words", [("logs", "dns"), ("mailbox", "bob"), ("queue", "sender-mail")])
def test_verbs_that_show_what_others_wrote(
    words: tuple[str, ...], run_lab: Callable[..., str]
) -> None:
    harmless(run_lab(*words))


def test_json_is_what_was_written(run_lab: Callable[..., str]) -> None:
    assert json.loads(run_lab("logs", "dns", "--json"))["text"] == HOSTILE


def test_an_error_quotes_what_does_nothing() -> None:
    program = (
        "from lab.cli import main, cli\nfrom lab.errors import *\nimport sys, click\n"
        f"words = {HOSTILE!r}\n"
        "def act():\n"
        "    raise LabError(words, where=words, hint=words, detail=words + '\\x85tail')\n"
        "from lab.cli import status\nstatus.command = click.Command('status', callback=act)\n"
        "sys.argv = ['lab', 'status']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 3
    sign = "[/b]␛]0;mine␇␛[31m⟨U+009B⟩2J⟨U+202E⟩"
    one = f"{sign}␍␊FORGED␊FORGED"
    assert done.stderr.decode() == (
        f"lab: {one}: {one}\n  | {sign}\n  | FORGED\n  | FORGED⟨U+0085⟩tail\n  → {one}\n"
    )
