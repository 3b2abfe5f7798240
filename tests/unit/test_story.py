"""The story of a run on paper: what was told, what was seen, and where to look it up.

pytest tests/unit/test_story.py --snapshot-update
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from recording import BOB, CAROL, SCALE, STARTED, a_pipe_in_greenwich  # noqa: F401  (autouse)
from syrupy.assertion import SnapshotAssertion
from wcwidth import wcswidth

from lab.events import EventLog, Refs
from lab.scenarios.evidence import Evidence, Verdict, packet
from lab.scenarios.runner import Outcome
from lab.units import LabClock
from lab.views.story import Story

REASON = "connect to mail.receiver.example[203.0.113.25]:25: Connection timed out"


@pytest.fixture
def page() -> io.StringIO:
    return io.StringIO()


class Run:
    """A run, told to a story on `page`; moments are real seconds since the lab began."""

    def __init__(
        self, folder: Path, page: io.StringIO, *, evidence: bool = False, lang: str = "en"
    ) -> None:
        clock = LabClock(STARTED, SCALE)
        self.log = EventLog(folder / "events.jsonl", clock)
        self.story = Story(page, evidence=evidence, lang=lang)
        self.story.follow(self.log, clock)

    def add(
        self, at: float, kind: str, summary: str, node: str = "sender-mail", /, **data: object
    ) -> None:
        refs = Refs(queue_id="65BE618487F") if kind == "attempt" else None
        self.log.add(kind, summary, node=node, when=STARTED + at, data=data, refs=refs)

    def attempt(
        self,
        at: float,
        status: str,
        reason: str,
        line: int,
        *,
        whom: str = BOB,
        node: str = "sender-mail",
        program: str = "smtp",
    ) -> None:
        said = f"postfix/{program}[27]: 65BE618487F: to=<{whom}>, status={status} ({reason})"
        self.add(at, "log", said, node, line=line, program=f"postfix/{program}")
        data = {"recipient": whom, "status": status, "reason": reason, "line": line}
        ended = STARTED + at + 0.5
        self.add(at, "attempt", reason, node, program=program, ended=ended, **data)

    def end(self, *verdicts: Verdict) -> None:
        self.story.end(
            Outcome(
                "receiver-down", Path("runs/x"), 3720, 62, verdicts, 0, Path("runs/x/report.html")
            )
        )


def tell(run: Run) -> None:
    """A short story with everything in it."""
    begin = {"summary": "Mail is\nasynchronous.\n", "rows": ["N4"], "time_scale": SCALE}
    run.add(0, "run", "The message waits", **begin)
    run.add(0, "narration", "Alice is about\nto write.", role="tell", key="before", evidence=[])
    off = {"kind": "machine", "node": "receiver-mail", "event": 3, "says": "receiver-mail is off"}
    run.add(1, "fault", "receiver-mail loses its power", "receiver-mail", on=True, evidence=[off])
    run.add(1, "narration", "What will happen?", role="predict", key="question", evidence=[])
    sent = packet("captures/sender-lan.pcap", 26, "250 2.0.0 Ok: queued as 65BE618487F").as_json()
    run.add(
        2, "action", 'alice writes "Lunch?" to bob@receiver.example', "sender-pc", evidence=[sent]
    )
    run.attempt(2, "deferred", REASON, 9)
    run.add(2.5, "log", "a line that is on record and not part of the story", line=10)
    entry = {"queue_id": "65BE618487F", "state": "deferred", "next_attempt": STARTED + 33}
    run.add(3, "queue", "1 in the queue of sender-mail", entries=[entry])
    run.add(30, "fault", "receiver-mail has power again", "receiver-mail", on=False, evidence=[])
    run.attempt(33, "sent", "250 2.0.0 Ok: queued as 6C6F8184884", 14)
    run.add(34, "machine", "receiver-mail is ready", "receiver-mail")
    found = [{"subject": "Lunch?"}]
    run.add(34, "mailbox", "1 in the mailbox of bob@receiver.example", messages=found)
    part = {"type": "text/plain", "text": "This is the mail system at host mail.sender.example.\n"}
    run.add(34, "dsn", "what alice finds in the mailbox", parts=[part])
    log = Evidence("log", node="sender-mail", line=14, says="status=sent")
    met = Verdict("delivered", "in the mailbox, once", "1 there", True, (log,))
    frames = tuple(packet("captures/sender-lan.pcap", frame, "SYN") for frame in range(1, 6))
    failed = Verdict("called in vain", "a SYN for each attempt", "none", False, frames)
    for verdict in (met, failed):
        run.add(35, "verdict", f"{verdict.id}: {verdict.observed}", **verdict.as_json())
    moral, shown = "Nobody had to be\nthere.\n\nThat is all.", [log.as_json()]
    run.add(35, "narration", moral, role="explain", key="after", evidence=shown)
    run.end(met, failed)


def test_a_story_as_it_is_told(tmp_path: Path, page: io.StringIO, snapshot: SnapshotAssertion):
    tell(Run(tmp_path, page))
    assert page.getvalue() == snapshot


def test_each_line_says_where_it_was_seen(tmp_path: Path, page: io.StringIO) -> None:
    tell(Run(tmp_path, page))
    text = " ".join(page.getvalue().replace("\N{NO-BREAK SPACE}", " ").split())
    assert "receiver-mail loses its power [event 3]" in text
    assert 'alice writes "Lunch?" to bob@receiver.example [sender-lan#26]' in text
    assert f"deferred ({REASON}) [sender-mail:9]" in text
    assert "delivered: 1 there [sender-mail:14]" in text
    assert "[sender-lan#1, sender-lan#2 (+3)]" in text
    assert "seen: sender-mail:14" in text
    assert "status=sent" not in text, "what stands there is for --evidence"


def test_evidence_is_shown_under_each_line_if_wanted(tmp_path: Path, page: io.StringIO) -> None:
    tell(Run(tmp_path, page, evidence=True))
    text = " ".join(page.getvalue().replace("\N{NO-BREAK SPACE}", " ").split())
    assert "[event 3] event 3 receiver-mail is off" in text
    assert "[sender-lan#26] sender-lan#26 250 2.0.0 Ok: queued as 65BE618487F" in text
    assert f"status=deferred ({REASON})" in text
    assert "[sender-mail:14] sender-mail:14 status=sent" in text
    assert text.count("sender-lan#5 SYN") == 1, "all five, not only the first"


def test_what_comes_while_somebody_acts_is_told_in_order(tmp_path: Path, page: io.StringIO) -> None:
    run = Run(tmp_path, page)
    with run.story.acting():
        run.attempt(3, "sent", "250 ok", 9)
        run.add(2, "action", "alice writes", "sender-pc", evidence=[])
        assert page.getvalue() == ""
    run.add(4, "action", "bob reads", "receiver-pc", evidence=[])
    text = page.getvalue()
    assert text.index("alice writes") < text.index("sent (250 ok)") < text.index("bob reads")


def test_a_page_that_is_no_terminal_gets_no_escape_codes(tmp_path: Path, page: io.StringIO) -> None:
    run = Run(tmp_path, page)
    tell(run)
    run.story.waiting("until something happens")
    run.story.pause("asked")
    assert "\x1b" not in page.getvalue()
    assert "until something happens" not in page.getvalue()


def test_the_attempts_stand_on_both_clocks(tmp_path: Path, page: io.StringIO) -> None:
    run = Run(tmp_path, page)
    run.attempt(2, "deferred", "no answer", 9)
    run.attempt(32, "sent", "250 ok", 14)
    run.end()
    rows = [line for line in page.getvalue().splitlines() if line.startswith("│")]
    first, second = ([cell.strip() for cell in row.split("│")[1:-1]] for row in rows)
    assert first == ["1", "65BE618487F", "00:02:00", "14:47:28", "", "deferred: no answer"]
    assert second == ["2", "65BE618487F", "00:32:00", "14:47:58", "30m", "sent: 250 ok"]


def test_each_recipient_has_attempts_and_pauses_of_their_own(
    tmp_path: Path, page: io.StringIO
) -> None:
    run = Run(tmp_path, page)
    for at in (2, 32):
        run.attempt(at, "deferred", "no answer", at, whom=BOB)
        run.attempt(at, "deferred", "no answer", at + 1, whom=CAROL)
    # Another machine may have another message under the same queue ID.
    run.attempt(40, "deferred", "no answer", 1, node="other-mail")
    run.end()
    told = page.getvalue()
    assert told.count("deferred (no answer)") == 3 and told.count("deferred (as before)") == 2
    rows = [line.split("│") for line in told.splitlines() if line.startswith("│")]
    whom = "".join(row[2].strip() for row in rows)  # a cell may be folded
    assert [one.strip("→") for one in whom.split("65BE618487F ")] == [
        "",
        BOB,
        CAROL,
        BOB,
        CAROL,
        BOB,
    ]
    assert [row[5].strip() for row in rows if row[1].strip()] == ["", "", "30m", "30m", ""]


def test_what_is_put_into_a_mailbox_is_told_by_the_mailbox(
    tmp_path: Path, page: io.StringIO
) -> None:
    run = Run(tmp_path, page)
    for line, program in enumerate(("lmtp", "virtual", "local", "error"), 1):
        run.attempt(2, "deferred", f"said by {program}", line, program=program)
    assert "said by error" in page.getvalue()
    assert page.getvalue().count("said by") == 1
    run.attempt(3, "bounced", "said of a full one", 5, program="lmtp")
    assert "said of a full one" in page.getvalue(), "it will never be found there"


def test_what_somebody_does_many_times_is_told_by_the_first_few(
    tmp_path: Path, page: io.StringIO
) -> None:
    run = Run(tmp_path, page)
    for number in range(20):
        data = {"by": "alice@sender.example", "evidence": []}
        refs = Refs(queue_id=f"A{number:05}")
        said, when = f'alice writes "{number}"', STARTED + 1 + number
        run.log.add("action", said, node="sender-pc", when=when, data=data, refs=refs)
    run.add(30, "fault", "receiver-mail has power again", "receiver-mail", on=False, evidence=[])
    told = [" ".join(line.split()[2:]) for line in page.getvalue().splitlines()]
    assert [one for one in told if "writes" in one] == [
        f'→ alice writes "{number}"' for number in range(3)
    ]
    assert "… and 17 more like this" in page.getvalue()


def test_of_many_attempts_the_first_and_the_last_are_shown(
    tmp_path: Path, page: io.StringIO
) -> None:
    run = Run(tmp_path, page)
    for number in range(1, 21):
        run.attempt(30 * number, "deferred", "no answer", number)
    run.end()
    rows = [line.split("│") for line in page.getvalue().splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == [*map(str, range(1, 13)), "…", "18", "19", "20"]
    assert rows[12][6].strip() == "5 more"
    assert {row[5].strip() for row in rows[1:] if "…" not in row[1]} == {"30m"}


def test_a_run_is_called_as_expected_only_if_it_was(tmp_path: Path, page: io.StringIO) -> None:
    run = Run(tmp_path, page)
    run.end()
    assert (
        "NOT as expected, since nothing was: receiver-down, 1h2m of lab time in 1m2s."
        in page.getvalue()
    )


def test_a_story_in_korean_has_its_words_in_korean_and_its_tables_straight(
    tmp_path: Path, page: io.StringIO
) -> None:
    run = Run(tmp_path, page, lang="ko")
    tell(run)
    run.add(36, "narration", "왜 그럴까요? " * 20, role="explain", key="why", evidence=[])
    subjects = "점심 먹었니, 점심 먹었니, " * 8
    run.add(37, "action", f'alice writes "{subjects}"', "sender-pc", evidence=[])
    lines = page.getvalue().splitlines()
    text = page.getvalue()
    for words in ("예상해 봅시다", "왜 그럴까요", "근거: ", "시도", "기대한 것", "근거"):
        assert words in text
    for english in ("Predict", "Why", "seen:", "Attempts", "expected", "where to look", "read it"):
        assert english not in text
    assert "called in vain: none" in text, "verdicts are data"
    framed = [line for line in lines if line and line[0] in "│╭╰┃┏┡├└"]
    widths: list[set[int]] = [set()]
    for line in framed:
        if line[0] in "╭┏":
            widths.append(set())
        widths[-1].add(wcswidth(line.rstrip()))
    assert len(framed) > 20 and all(len(one) <= 1 for one in widths), widths
    assert max(map(wcswidth, lines)) <= 100
