"""A scenario in Korean, and in steps at a terminal, with a lab behind it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from docker import DockerClient
from played import Play, all_is_backed, every_event_is_of_its_type

from lab.engine import containers

HANGUL = re.compile("[가-힣]")


def test_a_story_is_told_and_recorded_in_korean(play: Play) -> None:
    run = play("unknown-user", "--lang", "ko")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    [begun] = run.events("run")
    assert begun["data"]["language"] == "ko" and HANGUL.search(begun["data"]["summary"])
    told = run.events("narration")
    assert [event["data"]["role"] for event in told] == ["tell", "predict", "explain", "explain"]
    assert all(HANGUL.search(event["summary"]) for event in told)
    assert not any(HANGUL.search(event["summary"]) for event in run.events("verdict"))
    page = (run.folder / "report.html").read_text()
    assert 'lang="ko"' in page and told[1]["summary"].split(".")[0] in page


def shown(master: int, words: str) -> str:
    """What a terminal shows until `words` are there."""
    text, deadline = "", time.monotonic() + 60
    while words not in text:
        assert time.monotonic() < deadline, text
        if select.select([master], [], [], 0.5)[0]:
            text += os.read(master, 65536).decode(errors="ignore")
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return text


def test_a_class_predicts_sees_and_hears_why_and_q_leaves_no_lab(
    engine: DockerClient, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "lab", "scenario", "run", "unknown-user", "--step"]
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [*argv, "--lang", "en"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    ) as story:
        os.close(terminal)
        try:
            assert "550" not in shown(master, "q and Enter ends it: "), "nothing has happened yet"
            os.write(master, b"Her own server will notice\n")
            shown(master, "hear why; q ends it.")
            os.write(master, b"x")
            explained = shown(master, "go on; q ends it.")
            assert "You predicted: Her own server will notice" in explained
            os.write(master, b"q")
            assert story.wait(60) == 130
        finally:
            story.terminate()  # if it still waits for a key: it takes its lab along
    os.close(master)
    [folder] = (tmp_path / "runs").iterdir()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert containers.find(events[0]["data"]["lab"]) == []
    asked, sent = (
        next(event["time"] for event in events if event["kind"] == kind and ok(event))
        for kind, ok in (
            ("narration", lambda event: event["data"]["role"] == "predict"),
            ("action", lambda event: event["data"].get("by")),
        )
    )
    assert sent > asked, "Alice writes when it has been predicted"
