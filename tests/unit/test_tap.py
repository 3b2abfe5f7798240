"""What a tap tells is in the capture, each thing once, and of the type that was promised."""

from __future__ import annotations

import io
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import which

import pytest
from conversation import EVERYTHING, MESSAGE, play
from eventtypes import check
from hypothesis import given, settings
from hypothesis import strategies as st
from packetbuilder import (
    ACK,
    CLIENT,
    ROUTER,
    RST,
    SERVER,
    SYN,
    Talk,
    arp,
    capture,
    ethernet,
    ip,
    pcap,
    tcp,
    unreachable,
)

from lab.events import Observation
from lab.observe.dialogue import dialogues
from lab.observe.pcap import CaptureError, Frame, read_frames
from lab.observe.tap import Tap

CAPTURES = sorted((Path(__file__).parent / "captures").rglob("*.pcap"))
LAB = Path(__file__).parent / "captures" / "lab"
NODES = {
    "198.51.100.1": "internet",
    "203.0.113.1": "internet",
    "198.51.100.193": "dns",
    "198.51.100.25": "sender-mail",
    "198.51.100.10": "sender-pc",
    "203.0.113.25": "receiver-mail",
    "203.0.113.10": "receiver-pc",
}
each = pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
tshark = pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")


def tap() -> Tap:
    return Tap("sender-lan", "captures/sender-lan.pcap", NODES)


def frames_of(path: Path) -> list[Frame]:
    with path.open("rb") as stream:
        return list(read_frames(stream))


def seen(frames: Iterable[Frame]) -> list[Observation]:
    ear = tap()
    return [one for frame in frames for one in ear.feed(frame)] + ear.finish()


def heard(talk: Talk | Sequence[bytes]) -> list[Observation]:
    return seen(read_frames(capture(talk.packets if isinstance(talk, Talk) else talk)))


def of(kind: str, found: Iterable[Observation]) -> list[Observation]:
    return [one for one in found if one.kind == kind]


def sound(found: Sequence[Observation], count: int) -> None:
    """Every observation is of its type, and leads to one of `count` frames."""
    for one in found:
        check(one.kind, one.data)
        assert "\n" not in one.summary
        assert one.refs.file == "captures/sender-lan.pcap"
        assert one.refs.frame is not None and 1 <= one.refs.frame <= count
        for key in ("last_frame", "answers"):
            if isinstance(one.data.get(key), int):
                assert 1 <= one.data[key] <= count
    assert [one.refs.frame for one in of("packet", found)] == [*range(1, count + 1)]


@each
def test_what_is_told_is_in_the_capture(path: Path) -> None:
    frames = frames_of(path)
    found = seen(frames)
    sound(found, len(frames))
    for one in found:
        assert one.refs.frame
        octets = frames[one.refs.frame - 1].data
        if one.kind == "packet":
            assert one.time == frames[one.refs.frame - 1].time
        elif one.kind == "turn" and one.data["text"] and one.data["last_frame"] == one.refs.frame:
            line = one.data["text"].splitlines()[0].encode()
            assert (line[:5] if one.data["what"] == "content" else line) in octets  # or chunked
            assert str(one.data["code"] or "").encode() in octets
        elif one.kind == "dns":
            assert one.data["name"].split(".")[0].encode() in octets
        elif one.kind == "transaction":
            assert b"MAIL FROM:<" + one.data["mail_from"].encode() in octets
            for number, to in zip(one.data["frames"]["rcpt"], one.data["recipients"], strict=True):
                assert to.encode() in frames[number - 1].data
            assert str(one.data["code"]).encode() in frames[one.data["frames"]["reply"] - 1].data


@each
def test_the_packets_make_up_the_dialogues_and_nothing_is_told_twice(path: Path) -> None:
    found = seen(frames_of(path))
    read = dialogues(path)
    turns = Counter((d.stream.number, t.frame, t.kind) for d in read for t in d.turns)
    told = Counter(
        (one.refs.stream if one.refs.stream is not None else -1, one.refs.frame, one.data["what"])
        for one in [*of("turn", found), *of("dns", found)]
    )
    assert sum(told.values()) == sum(turns.values())
    assert Counter((frame, kind) for _, frame, kind in told.elements()) == Counter(
        (frame, kind) for _, frame, kind in turns.elements()
    )
    assert [
        (one.refs.message_id, one.data["code"], one.data["recipients"])
        for one in sorted(of("transaction", found), key=lambda one: one.refs.frame or 0)
    ] == [
        (mail.message_id, mail.code, mail.recipients)
        for mail in sorted(
            (mail for dialogue in read for mail in dialogue.transactions),
            key=lambda mail: mail.mail.frame,
        )
    ]


@each
def test_every_connection_ends_once_after_all_that_is_told_of_it(path: Path) -> None:
    told: dict[str, list[str]] = defaultdict(list)
    for one in seen(frames_of(path)):
        if "connection" in one.data:
            what = one.data["what"] if one.kind == "connection" else one.kind
            told[one.data["connection"]].append(what)
    assert told
    for whats in told.values():
        assert whats.count("over") == 1
        assert whats[-1] == "over"


def fields(path: Path, display: str, *names: str) -> list[list[str]]:
    argv = ["tshark", "-n", "-r", str(path), "-Y", display, "-T", "fields", "-E", "occurrence=f"]
    argv += [word for name in ("frame.number", *names) for word in ("-e", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [row.split("\t") for row in done.stdout.splitlines()]


@tshark
@each
def test_packets_as_tshark_reads_them(path: Path) -> None:
    names = ("tcp.stream", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport")
    names += ("tcp.seq_raw", "tcp.ack_raw", "tcp.len")
    theirs = fields(path, "tcp && !icmp", *names)
    assert theirs or "dns" in path.stem
    ours = [
        [
            *(str(one.refs.frame), str(one.refs.stream)),
            *one.data["src"].split(":"),
            *one.data["dst"].split(":"),
            *(str(one.data[key]) for key in ("seq", "ack", "length")),
        ]
        for one in of("packet", seen(frames_of(path)))
        if one.data["protocol"] == "tcp"
    ]
    assert ours == theirs


@tshark
@each
def test_messages_as_tshark_reads_them(path: Path) -> None:
    """tshark dissects the header of each message: its Message-ID is that of a transaction."""
    theirs = fields(path, "smtp && imf.message_id", "imf.message_id")
    ours = [
        [str(one.data["frames"]["end_of_data"]), one.refs.message_id]
        for one in of("transaction", seen(frames_of(path)))
        if one.data["protocol"] == "smtp" and one.data["size"]
    ]
    assert sorted(ours) == sorted(theirs)


def test_a_message_on_both_networks_is_one_connection_of_named_machines() -> None:
    near, far = (
        of("transaction", seen(frames_of(LAB / f"delivery-{lan}.pcap")))
        for lan in ("sender-lan", "receiver-lan")
    )
    submitted, relayed = near
    (arrived,) = far
    assert relayed.data["connection"] == arrived.data["connection"]
    assert submitted.data["connection"] != relayed.data["connection"]
    assert submitted.refs.message_id == relayed.refs.message_id == arrived.refs.message_id
    assert relayed.refs.queue_id == arrived.refs.queue_id != submitted.refs.queue_id
    ends = [(one.data["client_node"], one.data["server_node"]) for one in (submitted, relayed)]
    assert ends == [("sender-pc", "sender-mail"), ("sender-mail", "receiver-mail")]
    assert (arrived.node, arrived.data["code"]) == ("sender-mail", 250)


def test_a_batch_is_counted_on_its_connection() -> None:
    """Postfix says QUIT in the same breath as the last message's dot, before it is answered."""
    found = of("transaction", seen(frames_of(LAB / "batch-receiver-lan.pcap")))
    assert {one.data["code"] for one in found} == {250}
    assert all(one.refs.queue_id for one in found)
    numbers = defaultdict(list)
    for one in found:
        numbers[one.data["connection"]].append(one.data["number"])
    assert sorted(numbers.values()) == [[1]] * 5 + [[1, 2, 3, 4, 5]]


def test_calls_that_nobody_answers() -> None:
    found = seen(frames_of(LAB / "outage-sender-lan.pcap"))
    calls = [
        one for one in of("connection", found) if one.data["server"].startswith("203.0.113.25:25")
    ]
    ends = [one for one in calls if one.data["what"] == "over"]
    assert [one.data["state"] for one in sorted(ends, key=lambda one: one.refs.frame or 0)] == [
        *["never answered"] * 3,
        "reset by client",  # the answer came when nobody waited for it any more
        "closed by client with QUIT",
    ]


# Transactions -------------------------------------------------------------------------------------

HELLO = [("S", "220 hi\r\n"), ("C", "EHLO x\r\n"), ("S", "250 x\r\n")]
BYE = [("C", "QUIT\r\n"), ("S", "221 bye\r\n")]


def mails(script: list[tuple[str, str]], port: int = 25) -> list[tuple[object, ...]]:
    talk = play(HELLO + script, Talk(server=(SERVER, port)).shake()).close()
    return [
        (*(one.data[key] for key in ("number", "mail_from", "code", "size")), one.refs.queue_id)
        for one in of("transaction", heard(talk))
    ]


ENVELOPE = "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"
DATA = [
    ("C", f"{ENVELOPE}DATA\r\n"),
    ("S", "250 ok\r\n250 ok\r\n354 go\r\n"),
]
SENT = [("C", "hi\r\n.\r\n"), ("S", "250 2.0.0 Ok: queued as 4ABC\r\n")]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (DATA + SENT + BYE, [(1, "a@x", 250, 4, "4ABC")]),
        # What the client says before it is answered ends nothing.
        (
            [*DATA, ("C", "hi\r\n.\r\nQUIT\r\n"), ("S", "250 queued as 4ABC\r\n"), *BYE[1:]],
            [(1, "a@x", 250, 4, "4ABC")],
        ),
        (
            [
                *DATA,
                ("C", "hi\r\n.\r\nMAIL FROM:<c@x>\r\nRSET\r\n" + ENVELOPE + "DATA\r\n"),
                ("S", "250 queued as 4ABC\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
                *SENT,
                *BYE,
            ],
            [(1, "a@x", 250, 4, "4ABC"), (2, "c@x", 250, 0, None), (3, "a@x", 250, 4, "4ABC")],
        ),
        # Refused at MAIL, at RCPT (one and all of them), at DATA, after the message.
        ([("C", "MAIL FROM:<a@x>\r\n"), ("S", "550 no\r\n"), *BYE], [(1, "a@x", 550, 0, None)]),
        ([("C", ENVELOPE), ("S", "250 ok\r\n450 later\r\n"), *BYE], [(1, "a@x", 450, 0, None)]),
        (
            [("C", f"{ENVELOPE}DATA\r\n"), ("S", "250 ok\r\n550 no\r\n554 no one\r\n"), *BYE],
            [(1, "a@x", 554, 0, None)],
        ),
        ([*DATA, SENT[0], ("S", "554 5.7.1 no\r\n"), *BYE], [(1, "a@x", 554, 4, None)]),
        # A bounce has an empty sender; RSET between two; a second MAIL without one.
        (
            [("C", "MAIL FROM:<>\r\nRSET\r\n"), ("S", "250 ok\r\n250 ok\r\n"), *DATA, *SENT],
            [(1, "", 250, 0, None), (2, "a@x", 250, 4, "4ABC")],
        ),
        (
            [("C", "MAIL FROM:<c@x>\r\n"), ("S", "250 ok\r\n"), *DATA, *SENT],
            [(1, "c@x", 250, 0, None), (2, "a@x", 250, 4, "4ABC")],
        ),
        # Chunks: the first one's reply is not the last.
        (
            [
                ("C", f"{ENVELOPE}BDAT 2\r\nhiBDAT 3 LAST\r\n"),
                ("S", "250 ok\r\n250 ok\r\n250 2 octets\r\n"),
                ("C", "you"),
                ("S", "250 queued as 4ABC\r\n"),
            ],
            [(1, "a@x", 250, 5, "4ABC")],
        ),
        (
            [
                ("C", f"{ENVELOPE}BDAT 2\r\nhi"),
                ("S", "250 ok\r\n250 ok\r\n250 2 octets\r\n"),
                ("C", "BDAT 0 LAST\r\n"),
                ("S", "452 full\r\n"),
            ],
            [(1, "a@x", 452, 2, None)],
        ),
        # Cut in the middle of the message, and before the answer to it.
        ([*DATA, ("C", "hi\r\n")], [(1, "a@x", None, 4, None)]),
        ([*DATA, SENT[0]], [(1, "a@x", None, 4, None)]),
        (DATA[:1], [(1, "a@x", None, 0, None)]),
    ],
)
def test_a_message_is_told_once_with_its_last_reply(script, expected) -> None:
    assert mails(script) == expected


def test_an_lmtp_message_is_told_when_each_recipient_was_answered() -> None:
    rcpts = "RCPT TO:<b@y>\r\nRCPT TO:<no@y>\r\nRCPT TO:<c@y>\r\n"
    script = [
        ("C", f"MAIL FROM:<a@x>\r\n{rcpts}DATA\r\n"),
        ("S", "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n"),
        ("C", "hi\r\n.\r\nMAIL FROM:<d@x>\r\n"),
        ("S", "250 b has it\r\n452 c is full\r\n250 ok\r\n"),
    ]
    found = heard(play(HELLO + script, Talk(server=(SERVER, 24)).shake()))
    first, second = of("transaction", found)
    assert (first.data["code"], first.data["reply"]) == (452, "c is full")
    assert first.data["recipients"] == ["b@y", "no@y", "c@y"]
    assert first.data["accepted"] == ["b@y", "c@y"]
    assert (second.data["mail_from"], second.data["code"]) == ("d@x", 250)
    # The first was told as soon as it could be, and not at the end of everything.
    last = next(i for i, one in enumerate(found) if one.data.get("text") == "c is full")
    assert found[last + 1] is first


def test_a_message_torn_by_a_reset() -> None:
    talk = play(HELLO + DATA).say("C", MESSAGE).send("S", RST)
    found = heard(talk)
    (mail,) = of("transaction", found)
    assert (mail.data["code"], mail.data["size"]) == (None, len(MESSAGE))
    assert mail.data["frames"]["end_of_data"] is None
    assert mail.refs.message_id == "<1@sender.example>"
    assert mail.summary == "<a@x> → <b@y>: no reply"
    reset, over = of("connection", found)[-2:]
    assert (reset.data["what"], reset.data["side"]) == ("reset", "server")
    assert over.data["state"] == "reset by server"


@given(st.data())
def test_transactions_are_those_of_the_dialogue_whatever_is_missing(data: st.DataObject) -> None:
    packets = play(EVERYTHING * 2).close().packets
    gone = data.draw(st.sets(st.integers(3, len(packets) - 1), max_size=4))
    kept = [packet for index, packet in enumerate(packets) if index not in gone]
    (dialogue,) = dialogues(capture(kept))
    told = sorted(of("transaction", heard(kept)), key=lambda one: one.data["number"])
    assert [one.data["frames"] for one in told] == [
        mail.as_json()["frames"] for mail in dialogue.transactions
    ]


# Everything else ----------------------------------------------------------------------------------


def test_the_life_of_a_connection() -> None:
    talk = Talk().send("C", SYN)
    talk.packets *= 2
    talk.send("S", SYN | ACK).send("C", ACK).say("S", "220 hi\r\n").close()
    late = [unreachable(talk.packets[-1]), talk.segment("S", ACK)]
    found = heard([*talk.packets, *late])
    told = of("connection", found)
    assert [(one.data["what"], one.data["side"], one.refs.frame) for one in told] == [
        ("syn", "client", 1),
        ("syn", "client", 2),
        ("accepted", "server", 3),
        ("established", "client", 4),
        ("fin", "client", 7),
        ("fin", "server", 8),
        ("over", "server", 1),
    ]
    assert [one.summary.rpartition(": ")[2] for one in told] == [
        *("calls", "calls again", "accepted", "connected", "closes", "closes"),
        "closed by client",
    ]
    assert told[-1].time == 1_700_000_000.007  # when it was over, though its frame is the first
    assert told[-1].data["history"] == [
        "no answer for 0.0 s: calls again (SYN)",
        "the client closes its side (FIN)",
        "the server closes too (FIN)",
    ]
    assert [one.node for one in told] == [
        *("sender-mail", "sender-mail", "receiver-mail", "sender-mail"),
        *("sender-mail", "receiver-mail", "receiver-mail"),
    ]
    streams = [one.refs.stream for one in of("packet", found)]
    assert streams == [0] * len(talk.packets) + [None, 0]


def test_what_is_refused_and_what_no_router_can_deliver() -> None:
    refused = Talk().send("C", SYN).send("S", RST | ACK)
    lost = Talk(client=(CLIENT, 40001)).send("C", SYN)
    found = heard([*refused.packets, *lost.packets, unreachable(lost.packets[0])])
    ends = [one for one in of("connection", found) if one.data["what"] == "over"]
    assert [one.data["state"] for one in ends] == ["refused", "no route: ICMP host unreachable"]
    (icmp,) = [one for one in of("connection", found) if one.data["what"] == "icmp"]
    assert (icmp.data["side"], icmp.node, icmp.refs.frame) == ("client", "sender-mail", 4)
    complaint = of("packet", found)[3]
    assert (complaint.data["protocol"], complaint.data["src"]) == ("icmp", ROUTER)
    assert (complaint.node, complaint.refs.stream) == ("internet", 1)
    assert complaint.summary == "198.51.100.1 → 198.51.100.25 ICMP host unreachable"


def test_frames_of_every_kind_are_packets() -> None:
    v6 = tcp(("2001:db8::1", 40000), ("2001:db8::25", 25), SYN, 1)
    found = seen(
        read_frames(
            capture_of(
                arp(1, CLIENT, ROUTER),
                arp(2, ROUTER, CLIENT),
                ethernet(ip(CLIENT, SERVER, 6, bytes(20), flags=0x2000)),
                ethernet(ip(CLIENT, SERVER, 89, b"ospf")),
                ethernet(v6, 7),
                b"\xff" * 60,
                b"",
            )
        )
    )
    assert [one.summary for one in of("packet", found)] == [
        "198.51.100.25 → 198.51.100.1 ARP who has 198.51.100.1?",
        "198.51.100.1 → 198.51.100.25 ARP 198.51.100.1 is at 02:00:00:00:00:01",
        "198.51.100.25 → 203.0.113.25 fragment of IP protocol 6",
        "198.51.100.25 → 203.0.113.25 IP protocol 89",
        "[2001:db8::1]:40000 → [2001:db8::25]:25 TCP [SYN] 0 octets",
        "? 60 octets of another kind, or malformed",
        "? 0 octets of another kind, or malformed",
    ]
    sound(found, 7)


def capture_of(*frames: bytes) -> io.BytesIO:
    return io.BytesIO(pcap(frames))


def test_a_machine_with_an_ipv6_address_has_its_name() -> None:
    ear = Tap("lan", "captures/lan.pcap", {"2001:db8::1": "six"})
    packet = tcp(("2001:db8::1", 40000), ("2001:db8::25", 25), SYN, 1)
    other = ip("2001:db8::1", "2001:db8::25", 89, b"")
    found = [one for frame in read_frames(capture([packet, other])) for one in ear.feed(frame)]
    assert {one.node for one in found} == {"six"}
    assert found[1].data["client_node"] == "six"


def test_what_is_said_on_ports_nobody_reads_is_followed_all_the_same() -> None:
    talk = Talk(server=(SERVER, 4711)).shake().say("C", "whatever").close()
    found = heard(talk)
    assert of("turn", found) == []
    assert [one.data["what"] for one in of("connection", found)][-1] == "over"
    assert {one.data["protocol"] for one in of("connection", found)} == {"tcp"}


def test_long_texts_are_cut_and_say_how_long_they_were() -> None:
    talk = play(HELLO + DATA).say("C", *["x" * 1000 + "\r\n"] * 9, ".\r\n")
    content = of("turn", heard(talk.say("S", "250 ok\r\n")))[-2]
    assert (len(content.data["text"]), content.data["size"]) == (4000, 9018)
    assert content.summary == "(9018 octets of message)"


def test_what_is_not_what_its_protocol_allows_is_told_as_that() -> None:
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\xc0\xff\0\1\0\1"
    packet = ip(CLIENT, SERVER, 17, b"\x9c\x40\0\x35\0\x1a\0\0" + question)
    imap = Talk(client=(CLIENT, 40001), server=(SERVER, 143)).shake().say("C", "\xff\0nonsense\r\n")
    hole = play(HELLO, Talk(client=(CLIENT, 40002)).shake()).close().packets
    del hole[5]
    found = heard([packet, *imap.packets, *hole])
    (dns,) = of("dns", found)
    assert (dns.data["what"], dns.summary) == (
        "garbled",
        "no DNS message: a name points forwards, or at itself",
    )
    whats = {one.data["what"]: one.summary for one in of("turn", found)}
    assert whats["lost"] == "(8 octets are missing in the capture)"
    assert "nonsense" in whats["garbled"]
    sound(found, 1 + len(imap.packets) + len(hole))


@settings(max_examples=200)
@given(data=st.data(), path=st.sampled_from(CAPTURES))
def test_a_damaged_capture_is_told_without_complaint(data: st.DataObject, path: Path) -> None:
    """Octets changed, frames missing, doubled, cut short and out of order."""
    frames = frames_of(path)[: data.draw(st.integers(10, 40))]
    index = st.integers(0, len(frames) - 1)
    gone, twice = data.draw(st.sets(index, max_size=4)), data.draw(st.sets(index, max_size=4))
    damage = data.draw(st.dictionaries(index, st.tuples(st.integers(0, 1 << 16), st.binary())))
    spoilt: list[bytes] = []
    for number, frame in enumerate(frames):
        octets = frame.data
        if number in damage:
            at, new = damage[number]
            at %= len(octets)
            octets = octets[:at] + new + (octets[at + len(new) :] if at % 3 else b"")
        spoilt += [octets] * ((number not in gone) + (number in twice))
    for one, other in data.draw(st.lists(st.tuples(index, index), max_size=4)):
        if max(one, other) < len(spoilt):
            spoilt[one], spoilt[other] = spoilt[other], spoilt[one]
    sound(seen(read_frames(capture_of(*spoilt))), len(spoilt))


@settings(max_examples=200)
@given(data=st.data(), path=st.sampled_from(CAPTURES))
def test_a_damaged_file_is_told_up_to_the_damage(data: st.DataObject, path: Path) -> None:
    octets = bytearray(path.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(0, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(0, len(octets))) :]
    ear, found, count = tap(), [], 0
    try:
        for frame in read_frames(io.BytesIO(bytes(octets))):
            count = frame.number
            found += ear.feed(frame)
    except CaptureError:
        pass  # CaptureCut among them
    sound(found + ear.finish(), count)


def test_what_was_damaged_on_its_way_says_nothing() -> None:
    """Its receiver drops it, and hears what was meant when it is sent again."""
    talk = play(EVERYTHING)
    whole = talk.packets
    number = next(n for n, packet in enumerate(whole) if b"250 " in packet)
    bit = whole[number].index(b"250 ") + 1
    hurt = bytearray(whole[number])
    hurt[bit] ^= 1
    found = heard([*whole[:number], bytes(hurt), *whole[number:]])
    assert [one.summary for one in found if one.kind == "turn"] == [
        one.summary for one in heard(talk) if one.kind == "turn"
    ]
    (packet,) = [one for one in found if one.data.get("damaged")]
    assert packet.kind == "packet" and packet.refs.frame == number + 1
    assert packet.refs.stream is None and packet.summary.endswith(", damaged")


def test_a_sequence_number_that_was_damaged_holds_nothing_up() -> None:
    talk = play(EVERYTHING)
    hurt = bytearray(talk.packets[4])
    hurt[20 + 4] ^= 0x40  # packets here begin with their IP header
    found = heard([*talk.packets[:5], bytes(hurt), *talk.packets[5:]])
    assert [one.summary for one in found if one.kind == "transaction"] == [
        one.summary for one in heard(talk) if one.kind == "transaction"
    ]
    assert [one.refs.frame for one in found if one.data.get("damaged")] == [6]
