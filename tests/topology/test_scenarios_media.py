"""What travels, octet by octet: seven bits in SMTP, eight in HTTP; who pushes, and who pulls.

Read from raw packets: streams are put together here, and MIME is taken apart by Python's own
library, which knows nothing of the scenarios' verdicts.
"""

from __future__ import annotations

import email
import math
import re
from collections.abc import Iterator
from email import policy
from pathlib import Path

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
    replies,
)

from lab.observe.packets import ACK, RST, SYN, Tcp

WEB = "203.0.113.80"
SITE = Path(__file__).parents[2] / "images/web-server/site"
FILES = [(SITE / name).read_bytes() for name in ("index.html", "sunrise.png", "sunset.png")]
LEGS = (
    ("sender-lan", SENDER_PC, SENDER_MAIL, 587),
    ("sender-lan", SENDER_MAIL, RECEIVER_MAIL, 25),
    ("receiver-lan", SENDER_MAIL, RECEIVER_MAIL, 25),
)


def stream(segments: list[Tcp], call: Tcp, *, back: bool = False) -> bytes:
    """All that was sent over the connection that `call` opened, by who opened it or (`back`) to."""
    ends = ((call.src, call.sport), (call.dst, call.dport))
    found = {
        packet.seq: packet.payload
        for packet in segments
        if ((packet.src, packet.sport), (packet.dst, packet.dport))
        == (ends[::-1] if back else ends)
        and packet.payload
        and packet.frame.time >= call.frame.time
    }
    first = next(iter(found), 0)
    return b"".join(found[seq] for seq in sorted(found, key=lambda seq: (seq - first) % 2**32))


def contents(run: Run, network: str, client: str, server: str, port: int) -> Iterator[bytes]:
    """What each DATA from `client` to `server` carried, dots and all, in order."""
    segments = run.segments(network)
    for call in calls(segments, client, server, port):
        yield from re.findall(rb"(?is)\r\nDATA\r\n(.*?)\r\n\.\r\n", stream(segments, call))


def high(octets: bytes) -> int:
    return sum(octet > 127 for octet in octets)


def payload(content: bytes, kind: str) -> tuple[str, bytes]:
    """The encoding of a message's part of type `kind`, and its octets as sent."""
    [part] = [
        one for one in email.message_from_bytes(content).walk() if one.get_content_type() == kind
    ]
    return part["Content-Transfer-Encoding"], part.get_payload().encode()


def test_seven_bits_are_enough_for_mail_and_http_needs_eight(play: Play) -> None:
    run = play("seven-bit")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    for leg in LEGS:
        letters = list(contents(run, *leg))
        assert len(letters) == 5, leg
        assert [high(letter) for letter in letters[:3]] == [0, 0, 0], leg
        encodings = [payload(letter, "text/plain")[0] for letter in letters]
        texts = [payload(letter, "text/plain")[1] for letter in letters]
        kinds = ["quoted-printable", "base64", "7bit"]
        if leg[3] == 587:
            assert encodings == [*kinds, "8bit", "8bit"] and all(map(high, letters[3:]))
        else:
            # Agreed on, and then not: the sender's server has rewritten the last.
            assert encodings == [*kinds, "8bit", "quoted-printable"]
            assert high(letters[3]) > 0 and high(letters[4]) == 0
        for letter in letters[:2]:
            assert b"\r\nSubject: =?utf-8?b?" in letter
        read = [email.message_from_bytes(letter, policy=policy.default) for letter in letters]
        assert {letter["Subject"] for letter in (*read[:2], *read[3:])} == {
            "내일 점심 같이 먹을까요?"
        }
        [text] = {
            one.get_body().get_content().replace("\r\n", "\n").strip()
            for one in (*read[:2], *read[3:])
        }
        octets = text.replace("\n", "\r\n").encode() + b"\r\n"
        assert "도서관 앞에서" in text and high(octets) > 150
        # RFC 2045 6.8: 4 for 3 and a line end after 76; 6.7: 3 for 1, and soft line ends.
        letters_of = 4 * math.ceil(len(octets) / 3)
        assert len(texts[1].rstrip()) + 2 == letters_of + 2 * math.ceil(letters_of / 76)
        soft = texts[0].count(b"=\r\n")
        assert len(texts[0].rstrip()) + 2 == len(octets) + 2 * high(octets) + 3 * soft
        encoding, image = payload(letters[2], "image/png")
        assert encoding == "base64"
        assert 4 * len(FILES[2]) / 3 < len(image) < 1.38 * len(FILES[2])
        [attached] = read[2].iter_attachments()
        assert attached.get_content() == FILES[2]
    announced = [_said(run, *leg, rb"(?i)MAIL FROM:[^\r]*BODY=8BITMIME") for leg in LEGS]
    assert announced == [2, 1, 1]
    offered = [_heard(run, *leg, rb"250[- ]8BITMIME\r") for leg in LEGS]
    assert offered == [5, 4, 4], "by the receiver's server, until its operator was told not to"
    [fetch] = calls(run.segments("receiver-lan"), SENDER_PC, WEB, 80)
    head, _, body = stream(run.segments("receiver-lan"), fetch, back=True).partition(b"\r\n\r\n")
    assert body == FILES[2] and high(body) > 1000
    assert b"\r\nContent-Length: %d" % len(body) in head and b"Content-Encoding" not in head
    assert len(run.last_mailbox("bob@receiver.example")) == 5


def _said(run: Run, network: str, client: str, server: str, port: int, words: bytes) -> int:
    segments = run.segments(network)
    made = calls(segments, client, server, port)
    return sum(len(re.findall(words, stream(segments, call))) for call in made)


def _heard(run: Run, network: str, client: str, server: str, port: int, words: bytes) -> int:
    """In how many connections the server says `words`."""
    segments = run.segments(network)
    made = calls(segments, client, server, port)
    return sum(bool(re.search(words, stream(segments, call, back=True))) for call in made)


def test_http_pulls_a_page_smtp_pushes_it_and_the_last_step_is_pulled(play: Play) -> None:
    run = play("push-and-pull")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    [visit] = calls(receiver_lan, RECEIVER_PC, WEB, 80)
    assert not [p for p in receiver_lan if p.src == WEB and p.flags & (SYN | ACK) == SYN]
    asked = re.findall(rb"(?m)^GET (\S+) ", stream(receiver_lan, visit))
    assert asked == [b"/", b"/sunrise.png", b"/sunset.png"]
    came = stream(receiver_lan, visit, back=True)
    for octets in FILES:  # each in a response of its own
        head, came = came.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Length: %d\r\n" % len(octets) in head
        assert came.startswith(octets)
        came = came.removeprefix(octets)
    assert came == b""

    for leg in LEGS:
        [content] = contents(run, *leg)
        assert high(content) == 0
        message = email.message_from_bytes(content, policy=policy.default)
        assert message.get_content_type() == "multipart/related"
        parts = list(message.iter_parts())
        assert [part.get_content_type() for part in parts] == [
            "text/html",
            "image/png",
            "image/png",
        ]
        assert [part.get_content() for part in parts[1:]] == FILES[1:]
        for part in parts[1:]:
            assert f'src="cid:{part["Content-ID"].strip("<>")}"' in parts[0].get_content()
        assert len(content) > 1.35 * sum(map(len, FILES))
        assert len(calls(run.segments(leg[0]), *leg[1:])) == 1
    assert not [p for p in sender_lan if p.dst == SENDER_PC and p.flags & (SYN | ACK) == SYN]

    off, on = calls(sender_lan, SENDER_MAIL, RECEIVER_PC, 25)
    power = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    assert power[True] < off.frame.time < power[False] < on.frame.time
    assert replies(sender_lan, off, on.frame.time) == []
    [refusal] = replies(sender_lan, on, on.frame.time + 5)
    assert refusal.flags & RST and not refusal.flags & SYN
    [fetch] = calls(receiver_lan, RECEIVER_PC, RECEIVER_MAIL, 110)
    assert fetch.frame.time > power[False]
    assert b"RETR 1\r\n" in stream(receiver_lan, fetch)
    got = stream(receiver_lan, fetch, back=True)
    [content] = re.findall(rb"(?s)\+OK \d+ octets\r\n(.*?)\r\n\.\r\n", got)
    parts = list(email.message_from_bytes(content, policy=policy.default).iter_parts())
    assert [part.get_content() for part in parts[1:]] == FILES[1:]
