"""`lab watch` on a running lab: it shows what has happened, and what happens."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

from harness import ALICE, BOB, LAB, send, textbook, until

from lab.engine.lab import Lab
from lab.engine.lifecycle import down, up


def test_messages_of_before_and_of_now_are_seen(lab: Lab, tmp_path: Path) -> None:
    before = send(lab, ALICE, BOB, "Before")
    with subprocess.Popen(
        [*LAB, "--lab", lab.name, "watch"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"},
    ) as watch:
        lines: list[str] = []
        assert watch.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(watch.stdout,))
        reader.start()

        def told(queue_id: str) -> bool:
            return f"queued as {queue_id}" in "".join(lines)

        try:
            # All that other tests have done in this lab is told before.
            until("the first is told", lambda: told(before.queue_id), 120)
            now = send(lab, ALICE, BOB, "Now")
            until("the second is told", lambda: told(now.queue_id))
            until("both arrive", lambda: "".join(lines).count("saved in the mailbox of bob") >= 2)
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait(30)
            reader.join(30)
    assert "calls port 25 (SYN)" in "".join(lines)
    assert not list(tmp_path.iterdir()), "watching leaves nothing"


def test_a_lab_that_goes_down_is_over(name: str, tmp_path: Path) -> None:
    lab = up(textbook(name))
    sent = send(lab, ALICE, BOB, "The last one")
    with subprocess.Popen(
        [*LAB, "--lab", lab.name, "watch"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"},
    ) as watch:
        lines: list[str] = []
        assert watch.stdout is not None
        assert watch.stderr is not None
        reader = threading.Thread(target=lines.extend, args=(watch.stdout,))
        reader.start()
        try:
            until("it is told", lambda: f"queued as {sent.queue_id}" in "".join(lines))
            down(lab.name)
            status = watch.wait(30)
        finally:
            watch.kill()
            reader.join(30)
        assert (status, watch.stderr.read()) == (0, "")
    assert not list(tmp_path.iterdir()), "watching leaves nothing"
