"""A letter from browser to browser, looked up again in raw packets, logs and the mailbox (N19)."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from harness import BOB, run_lab
from played import (
    RECEIVER_MAIL,
    RECEIVER_PC,
    SENDER_MAIL,
    SENDER_PC,
    Play,
    Run,
    all_is_backed,
    calls,
    every_event_is_of_its_type,
    said,
)

from lab.observe.packets import ACK, SYN, Tcp

if TYPE_CHECKING:
    from lab.engine.lab import Lab

TEXT = ("점심 같이 먹을래요?", "오늘 찍은 사진도 보냅니다.", "앨리스 드림")
PICTURE = re.compile(rb"\x89PNG\r\n\x1a\n.*?IEND\xaeB`\x82", re.DOTALL)

BORDER = re.compile(rb"\r\n[0-9a-f]+\r\n")  # between two chunks of a page (RFC 9112 §7.1)


def streams(segments: list[Tcp], *, by: str, port: int) -> bytes:
    """All that `by` has said to, or from, `port`: each octet once, in order, call after call."""
    pieces: dict[tuple[object, ...], dict[int, bytes]] = {}
    for one in segments:
        if one.src == by and port in (one.sport, one.dport) and one.payload:
            pieces.setdefault((one.sport, one.dst, one.dport), {})[one.seq] = one.payload
    return b"".join(found[seq] for found in pieces.values() for seq in sorted(found))


def opened(segments: list[Tcp]) -> set[tuple[str, str, int]]:
    """Who has called whom, at which port."""
    return {
        (one.src, one.dst, one.dport) for one in segments if one.flags & (SYN | ACK) == SYN
    }  # fmt: skip


def test_a_letter_goes_by_http_smtp_and_http_and_by_nothing_else(play: Play) -> None:
    run = play("webmail")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    # Nobody has called anybody else on the wires of the two (but for names, by UDP).
    relay = (SENDER_MAIL, RECEIVER_MAIL, 25)
    assert opened(sender_lan) == {(SENDER_PC, SENDER_MAIL, 80), relay}
    assert opened(receiver_lan) == {(RECEIVER_PC, RECEIVER_MAIL, 80), relay}
    assert len(calls(receiver_lan, *relay)) == 1

    posted = streams(sender_lan, by=SENDER_PC, port=80)
    mailed = streams(receiver_lan, by=SENDER_MAIL, port=25)
    shown = BORDER.sub(b"", streams(receiver_lan, by=RECEIVER_MAIL, port=80))
    for line in TEXT:
        assert quote_plus(line).encode() in posted
        assert line.encode() in shown
    [picture] = PICTURE.findall(posted)
    assert picture in shown
    assert max(mailed) < 128, "seven bits"
    assert b64encode(picture) in re.sub(rb"\r\n", b"", mailed)
    assert said(sender_lan, SENDER_PC, 80, rb"POST /\?_task=login") == 1
    assert said(receiver_lan, RECEIVER_PC, 80, rb"POST /\?_task=login") == 1
    first, last = (calls(lan, *leg)[0].frame.time for lan, leg in (
        (sender_lan, relay), (receiver_lan, (RECEIVER_PC, RECEIVER_MAIL, 80)),
    ))  # fmt: skip
    assert first < last, "it is fetched when it is there"


def test_it_is_submitted_and_fetched_within_the_servers(play: Play) -> None:
    run = play("webmail", "--set", "picture=3000")
    assert run.status == 0, run.stderr
    [taken] = [line for line in run.log("sender-mail") if "sasl_username=" in line]
    assert "client=localhost[127.0.0.1]" in taken
    assert taken.endswith("sasl_username=alice@sender.example")
    logins = [line for line in run.log("receiver-mail") if "imap-login: Info: Logged in" in line]
    assert logins and all(f"user=<{BOB}>" in one and "rip=127.0.0.1," in one for one in logins)
    [message] = run.last_mailbox(BOB)
    assert (message["subject"], message["sender"]) == ("점심", "alice@sender.example")
    assert not passwords(run, "logs/*.log")
    assert passwords(run, "captures/*.pcap"), "on the wire it can be read: this is HTTP"


def passwords(run: Run, files: str) -> set[str]:
    """Whose passwords stand in these files of a run."""
    content = b"".join(file.read_bytes() for file in run.folder.glob(files))
    return {word for word in ("wonderland", "builder") if word.encode() in content}


def test_it_is_not_played_where_there_is_no_web_mail(lab: Lab) -> None:
    done = run_lab(lab.name, "scenario", "run", "webmail", "--here")
    assert done.returncode == 2
    assert done.stderr == (
        f"lab: scenario webmail needs topology webmail, and lab '{lab.name}' (textbook) has no "
        "web mail on sender-mail\n"
        "  → leave out --here, or: lab --lab NAME up webmail\n"
    )
