"""Seats: who is meant, what is forwarded where, what a caller of the SOCKS port is answered."""

from __future__ import annotations

import shlex
import socket
import threading
from pathlib import Path

import pytest

from lab.engine.plan import plan
from lab.errors import LabError, UsageError
from lab.seats import openssh, socks
from lab.seats.browser import installed
from lab.seats.forward import Wanted, wanted
from lab.seats.keys import Keys
from lab.seats.seat import find, nearest, seats
from lab.seats.ssh import NotReached
from lab.topology.loader import load

TEXTBOOK = load("textbook")
SITE = plan(TEXTBOOK, "lab").site
KEYS = Keys("a private key\n", "ssh-ed25519 AAAA", "another\n", "ssh-ed25519 BBBB")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("bob@receiver-pc", "bob@receiver-pc"),
        ("bob", "bob@receiver-pc"),
        ("carol@sender.example", "carol@sender-pc"),
        ("sender-pc", "alice@sender-pc"),
    ],
)
def test_a_seat_is_found_by_whatever_names_it(said: str, meant: str) -> None:
    assert str(find(TEXTBOOK, said)) == meant


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "bob@sender-pc",
            "there is no seat 'bob@sender-pc'\n  → one of: alice@sender-pc, carol@sender-pc, "
            "bob@receiver-pc, dave@receiver-pc",
        ),
        (
            "sender-mail",
            "sender-mail is a mail-server: nobody sits there\n  → lab exec sender-mail -- bash",
        ),
        (
            "root@internet",
            "internet is a router: nobody sits there\n  → lab exec internet -- bash",
        ),
    ],
)
def test_where_nobody_sits_that_is_said(said: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(TEXTBOOK, said)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("host", "seat"),
    [
        ("mail.receiver.example", "bob@receiver-pc"),
        ("203.0.113.25", "bob@receiver-pc"),
        ("mail.sender.example", "alice@sender-pc"),
        ("receiver-lan.internet.example", "alice@sender-pc"),  # the router is on her network too
        ("elsewhere.example", "alice@sender-pc"),
        ("", "alice@sender-pc"),
    ],
)
def test_the_nearest_seat_is_on_the_same_network(host: str, seat: str) -> None:
    assert str(nearest(SITE, host)) == seat


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("8080:mail.receiver.example:80", Wanted(8080, "mail.receiver.example", 80)),
        ("mail.receiver.example:80", Wanted(0, "mail.receiver.example", 80)),
        ("0:203.0.113.25:143", Wanted(0, "203.0.113.25", 143)),
    ],
)
def test_what_is_to_be_forwarded(said: str, meant: Wanted) -> None:
    assert wanted(said) == meant


@pytest.mark.parametrize(
    "said",
    [
        "",
        "80",
        ":80",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "a:b:80",
        "1:2:h:80",
        "h:８０",
        "h:" + "9" * 5000,
        "x y:80",
        "h\x1b[2J:80",
    ],
)
def test_what_is_no_port_is_refused(said: str) -> None:
    with pytest.raises(UsageError) as caught:
        wanted(said)
    assert str(caught.value) == (
        f"'{said}' is not [PORT:]HOST:PORT\n  → 8080:mail.receiver.example:80, say"
    )


# --- OpenSSH --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path


def hosts(text: str) -> list[str]:
    return [line.removeprefix("Host ") for line in text.splitlines() if line.startswith("Host ")]


def test_every_pc_and_every_person_is_a_host(home: Path) -> None:
    names = ["sender-pc", "receiver-pc", "alice", "carol", "bob", "dave"]
    text = openssh.configuration("lab", seats(TEXTBOOK))
    assert hosts(text) == [*names, " ".join(names)]
    other = openssh.configuration("two", seats(TEXTBOOK))
    assert hosts(other)[:2] == ["sender-pc.two", "receiver-pc.two"]


def test_ssh_is_given_the_engine_that_we_have(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://a%b")
    text = openssh.configuration("lab", seats(TEXTBOOK))
    (line, *_) = [one.strip() for one in text.splitlines() if "ProxyCommand" in one]
    argv = shlex.split(line.replace("%%", "%"))
    assert argv[1:3] == ["env", "DOCKER_HOST=ssh://a%b"]
    assert argv[-4:] == ["lab", "ssh", "--stdio", "sender-pc"]
    assert "a%%b" in line


def test_keys_are_for_their_owner_alone_and_gone_with_the_lab(home: Path) -> None:
    openssh.store("lab", KEYS)
    openssh.store("lab", KEYS)
    place = home / "maillab/lab"
    assert {one.name: one.read_text() for one in place.iterdir()} == {
        "key": KEYS.user,
        "known_hosts": f"maillab-lab {KEYS.host_public}\n",
    }
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / "key").stat().st_mode & 0o777 == 0o600
    openssh.forget("lab")
    openssh.forget("lab")
    assert not place.exists()


def test_without_a_browser_there_is_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LabError, match="neither Chromium"):
        installed()
    with pytest.raises(LabError, match="no browser 'lynx'"):
        installed("lynx")


# --- SOCKS (RFC 1928) -----------------------------------------------------------------------------


def spoken(said: bytes, dial: object = None) -> tuple[bytes, object]:
    """What a caller who says all of `said` is answered, and what `asked` gave or raised."""
    ours, theirs = socket.socketpair()
    outcome: list[object] = []

    def serve() -> None:
        with theirs:
            try:
                outcome.append(socks.asked(theirs, dial or (lambda host, port: (host, port))))
            except Exception as error:
                outcome.append(error)

    server = threading.Thread(target=serve)
    server.start()
    with ours:
        ours.settimeout(10)
        ours.sendall(said)
        ours.shutdown(socket.SHUT_WR)
        answer = b""
        while data := ours.recv(100):
            answer += data
    server.join()
    return answer, outcome[0]


HELLO = b"\x05\x02\x02\x00"
NAME = b"\x03\x15mail.receiver.example"


def test_a_caller_is_led_to_the_name_they_ask_for() -> None:
    answer, found = spoken(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    assert answer == b"\x05\x00" + b"\x05\x00\x00\x01\0\0\0\0\0\0"
    assert found == ("mail.receiver.example", 80)


def test_or_to_the_address() -> None:
    _, found = spoken(HELLO + b"\x05\x01\x00\x01" + bytes([203, 0, 113, 25]) + b"\x00\x8f")
    assert found == ("203.0.113.25", 143)


def test_or_to_an_address_that_the_lab_will_not_know() -> None:
    _, found = spoken(HELLO + b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x8f")
    assert found == ("::1", 143)


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        (b"\x04\x01", b"\xff", "does not speak SOCKS 5"),
        (b"\x05\x01\x02", b"\xff", "wants to log in"),
        (HELLO + b"\x05\x02\x00" + NAME + b"\x00\x50", b"\x07", "more than a TCP connection"),
        (HELLO + b"\x05\x01\x00\x02", b"\x08", "no known kind"),
    ],
)
def test_what_is_not_done_is_refused_with_its_code(said: bytes, code: bytes, told: str) -> None:
    answer, found = spoken(said)
    reply = answer.removeprefix(b"\x05\x00") if said.startswith(HELLO) else answer
    assert reply[1:2] == code
    assert isinstance(found, socks.Refused) and told in str(found)


def test_a_place_that_can_not_be_reached() -> None:
    def dial(host: str, port: int) -> None:
        raise NotReached(f"{host}:{port} can't be reached: Connection refused")

    answer, found = spoken(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50", dial)
    assert answer[3:4] == b"\x04" and isinstance(found, NotReached)


@pytest.mark.parametrize("length", range(1, len(HELLO + b"\x05\x01\x00" + NAME) + 2))
def test_a_caller_who_goes_in_between_is_noticed(length: int) -> None:
    whole = HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50"
    _, found = spoken(whole[:length])
    assert isinstance(found, EOFError)
