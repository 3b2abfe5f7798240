"""Programs run in a machine by the engine: every octet they write arrives, however late we read."""

from __future__ import annotations

import http.client
import time

import pytest

from lab.engine.exec import STDOUT, Exec, run
from lab.engine.lab import Lab

NODE = "sender-mail"


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's answer is read only when the program has written what it has to say."""
    begin = http.client.HTTPResponse.begin

    def begin_late(answer: http.client.HTTPResponse) -> None:
        time.sleep(0.2)
        begin(answer)

    monkeypatch.setattr(http.client.HTTPResponse, "begin", begin_late)


@pytest.mark.usefixtures("late")
def test_what_comes_with_the_engines_answer_is_not_lost(whole: Lab) -> None:
    for size in (1, 1900, 100_000):
        done = run(whole.container(NODE), ["head", "-c", str(size), "/dev/zero"])
        assert (done.status, len(done.stdout)) == (0, size)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("tty", [False, True])
def test_who_speaks_first_is_heard(whole: Lab, tty: bool) -> None:
    with Exec(whole.container(NODE), ["sh", "-c", "echo first; read x; echo $x"], tty=tty) as said:
        frames = said.frames()
        assert next(frames) == (STDOUT, b"first\r\n" if tty else b"first\n")
        said.write(b"second\n")
        assert b"second" in b"".join(data for _, data in frames)
        assert said.status() == 0


def test_one_that_says_nothing_is_waited_for(whole: Lab) -> None:
    with Exec(whole.container(NODE), ["sh", "-c", "sleep 0.5; echo late"]) as said:
        assert list(said.frames()) == [(STDOUT, b"late\n")]
