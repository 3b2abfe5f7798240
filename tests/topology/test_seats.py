"""Seats: SSH to somebody at a PC, with nothing that listens there."""

from __future__ import annotations

import contextlib
import os

import pytest
from harness import removed_afterwards, textbook, until
from sitting import PC, seat, seated

from lab.engine.exec import STDOUT
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.errors import LabError, NodeFailed
from lab.faults.power import node_frozen, power_cut
from lab.seats.keys import Keys, keys
from lab.seats.seat import Seat
from lab.seats.ssh import Connection, connect

# --- Programs -------------------------------------------------------------------------------------


def test_a_program_runs_as_whoever_sits_there(bob: Connection) -> None:
    done = bob.run(["sh", "-c", "id -un; hostname; pwd; echo $LANG; echo oh >&2; exit 7"])
    assert done.text.splitlines() == ["bob", PC, "/home/bob", "C.UTF-8"]
    assert (done.status, done.stderr) == (7, b"oh\n")


def test_what_is_asked_for_is_run_as_it_is(bob: Connection) -> None:
    words = ["two words", "$HOME", "a'b", "", "*", "한글"]
    assert bob.run(["printf", r"%s\n", *words]).text.splitlines() == words


def test_bytes_pass_through_unchanged(bob: Connection) -> None:
    data = os.urandom(3_000_000)
    done = bob.run(["cat"], stdin=data)
    assert (done.status, done.stdout) == (0, data)
    # One that does not read what it is given is not waited for.
    assert bob.run(["true"], stdin=data).status == 0


def test_programs_run_side_by_side(bob: Connection) -> None:
    with contextlib.ExitStack() as stack:
        cats = [stack.enter_context(bob.program(["cat"])) for _ in range(8)]
        for number, cat in enumerate(cats):
            cat.write(str(number).encode())
        for cat in reversed(cats):
            cat.close_stdin()
        assert [b"".join(data for _, data in cat.frames()) for cat in cats] == [
            str(number).encode() for number in range(8)
        ]
        assert [cat.status() for cat in cats] == [0] * 8


def test_whoever_leaves_off_listening_misses_nothing(bob: Connection) -> None:
    with bob.program(["cat"]) as cat:
        for number in range(50):
            cat.write(b"%d" % number)
            assert next(cat.frames()) == (STDOUT, b"%d" % number)


def test_nothing_is_left_of_a_seat(whole: Lab) -> None:
    with connect(whole, seat(whole)) as seated_, seated_.program(["sleep", "1000"]):
        assert seated(whole)
    until("sshd has gone", lambda: not seated(whole))
    processes = ["ps", "-e", "-o", "args"]
    until("nor what ran there", lambda: b"sleep 1000" not in whole.run(PC, processes).stdout)


def test_who_sits_there_has_what_they_need(bob: Connection) -> None:
    for tool in ("mutt", "swaks", "nc", "tcpdump", "curl", "dig", "mpop", "nano", "rsync"):
        assert bob.run(["sh", "-c", f"command -v {tool}"]).status == 0, tool
    heard = bob.run(
        ["sh", "-c", "timeout 5 tcpdump -n -c 1 icmp & sleep 0.5; ping -c 3 mail.receiver.example"]
    )
    assert "1 packet captured" in heard.stderr.decode(), "without being root"


# --- Who gets in ----------------------------------------------------------------------------------


def refused(lab: Lab, found: Keys, who: Seat, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("lab.seats.ssh.keys", lambda lab: found)
    with pytest.raises(LabError) as caught, connect(lab, who):
        pass
    return str(caught.value)


def test_a_seat_opens_with_the_labs_key_alone(whole: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.seats import keys as module

    ours, strange = keys(whole), module._made()
    other = Keys(strange.user, ours.user_public, ours.host, ours.host_public)
    assert "does not open" in refused(whole, other, seat(whole), monkeypatch)
    root = Seat("root", PC, "")
    assert "does not open" in refused(whole, ours, root, monkeypatch)
    nobody = Seat("nobody", PC, "")
    assert "does not open" in refused(whole, ours, nobody, monkeypatch)


def test_a_machine_that_is_not_the_labs_is_not_trusted(
    whole: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.seats import keys as module

    ours, strange = keys(whole), module._made()
    other = Keys(ours.user, ours.user_public, ours.host, strange.host_public)
    assert "does not open" in refused(whole, other, seat(whole), monkeypatch)


def test_keys_are_the_labs_own_and_stay(whole: Lab, name: str) -> None:
    with removed_afterwards(name):
        other = up(textbook(name))
        assert keys(other) != keys(whole) == keys(Lab.attach(whole.name))
        with connect(other, seat(other)) as there, connect(whole, seat(whole)) as here:
            assert there.run(["id", "-un"]).text == here.run(["id", "-un"]).text == "bob\n"


def test_it_opens_again_whatever_root_has_done_to_its_keys(whole: Lab) -> None:
    whole.run(PC, ["rm", "-rf", "/lab/seat"]).check("rm")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    whole.run(PC, ["sh", "-c", "cd /lab/seat; echo > host_key; ln -sf /etc/passwd people/bob"])
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    assert whole.run(PC, ["head", "-n1", "/etc/passwd"]).text.startswith("root:")


@pytest.mark.parametrize(
    "done",
    [
        "chmod 666 host_key",
        "chown bob people/bob",
        "rm host_key; mkfifo host_key",
        "truncate -s 1T people/bob",
    ],
)
def test_it_opens_again_whatever_is_wrong_with_a_key(whole: Lab, done: str) -> None:
    with connect(whole, seat(whole)):
        pass
    whole.run(PC, ["sh", "-c", f"cd /lab/seat && {done}"]).check(done)
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


@pytest.mark.parametrize(
    "done", ["rm host_key && mkdir host_key", "rm -r people && ln -s / people"]
)
def test_what_is_in_the_way_is_told_and_nothing_follows_it(whole: Lab, done: str) -> None:
    whole.run(PC, ["sh", "-c", f"mkdir -p /lab/seat/people && cd /lab/seat && {done}"])
    with (
        pytest.raises(LabError, match="its root has changed /lab/seat") as caught,
        connect(whole, seat(whole)),
    ):
        pass
    assert caught.value.hint == f"lab exec {PC} -- rm -r /lab/seat"
    whole.run(PC, ["rm", "-r", "/lab/seat"]).check("rm")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


@pytest.mark.parametrize("babble", ["yes >&2", "yes | tr -d '\\n'"])
def test_one_that_only_talks_in_sshds_place_is_given_up(
    whole: Lab, babble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.seats.ssh._OPEN_SECONDS", 1.0)
    monkeypatch.setattr("lab.seats.ssh.SSHD", ("sh", "-c", babble))
    try:
        with pytest.raises(LabError, match="does not open"), connect(whole, seat(whole)):
            pass
    finally:
        whole.run(PC, ["sh", "-c", "kill -9 $(pidof yes)"])  # the engine would hear it out


def test_a_machine_that_is_off_or_frozen_has_no_seats(whole: Lab) -> None:
    with (
        whole.outage(power_cut(PC)),
        pytest.raises(NodeFailed, match="is off"),
        connect(whole, seat(whole)),
    ):
        pass
    with (
        whole.outage(node_frozen(PC)),
        pytest.raises(NodeFailed, match="is frozen"),
        connect(whole, seat(whole)),
    ):
        pass
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


def test_a_seat_whose_machine_loses_power_is_gone(whole: Lab) -> None:
    with (
        pytest.raises(LabError, match="is gone"),
        connect(whole, seat(whole)) as there,
        whole.outage(power_cut(PC)),
    ):
        until("that is noticed", lambda: not there.alive)
        there.run(["true"])
