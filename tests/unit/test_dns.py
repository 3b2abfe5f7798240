"""DNS messages are read, whatever they claim about themselves, and answers find their questions."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import CLIENT, SERVER, Talk, capture, ip, unreachable

from lab.observe.dialogue import Dialogue, dialogues
from lab.observe.dns import Malformed, Record, parse
from lab.observe.pcap import PcapngWriter, read_frames

NAME = b"\x08receiver\x07example\0"
POINTER = b"\xc0\x0c"  # to the name of the question


def question(kind: int, identity: int = 7) -> bytes:
    return struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + NAME + struct.pack(">HH", kind, 1)


def record(kind: int, data: bytes, name: bytes = POINTER) -> bytes:
    return name + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def answer(kind: int, *records: bytes, flags: int = 0x8180, identity: int = 7) -> bytes:
    head = struct.pack(">HHHHHH", identity, flags, 1, len(records), 0, 0)
    return head + NAME + struct.pack(">HH", kind, 1) + b"".join(records)


def udp(payload: bytes, *, back: bool = False, port: int = 40000) -> bytes:
    ends = [(CLIENT, port), (SERVER, 53)]
    (src, sport), (dst, dport) = reversed(ends) if back else ends
    return ip(src, dst, 17, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload)


def read(*packets: bytes) -> list[Dialogue]:
    return dialogues(capture(packets))


def said(dialogue: Dialogue) -> list[tuple[object, ...]]:
    return [(turn.kind, turn.status, turn.text) for turn in dialogue.turns]


@pytest.mark.parametrize(
    ("kind", "data", "type_", "text"),
    [
        (1, bytes([203, 0, 113, 25]), "A", "203.0.113.25"),
        (28, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x19", "AAAA", "2001:db8::19"),
        (2, b"\x02ns" + POINTER, "NS", "ns.receiver.example"),
        (5, b"\xc0\x15", "CNAME", "example"),
        (12, b"\0", "PTR", "."),
        (15, b"\0\x0a\x04mail" + POINTER, "MX", "10 mail.receiver.example"),
        (
            6,
            b"\x02ns" + POINTER + b"\x04root" + POINTER + struct.pack(">5I", 1, 2, 3, 4, 5),
            "SOA",
            "ns.receiver.example root.receiver.example 1 2 3 4 5",
        ),
        (16, b'\x03a b\x03"\x07\xff', "TXT", '"a b" "\\034\\007\\255"'),
        (1, b"\1\2", "A", "\\# 2 0102"),
        (999, b"\xab", "TYPE999", "\\# 1 ab"),
    ],
)
def test_records_in_the_notation_of_zone_files(
    kind: int, data: bytes, type_: str, text: str
) -> None:
    (found,) = parse(answer(kind, record(kind, data))).answers
    assert found == Record("receiver.example", type_, 60, text)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (answer(1, record(1, b"")[:-4]), "it ends too early"),
        (answer(1, record(5, POINTER, b"\xc0\x22")), "a name points forwards, or at itself"),
        (answer(1, record(5, POINTER, b"\x80")), "a label of an unknown kind"),
        (answer(1, record(1, b"abcd")[:-1]), "a record is longer than the message"),
        (question(1)[:12] + b"\x3f" + b"x" * 63, "it ends too early"),
        (question(1)[:12] + (b"\x3f" + b"x" * 63) * 5, "a name is too long"),
        (b"", "it ends too early"),
    ],
)
def test_what_is_no_message(octets: bytes, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(octets)
    assert str(caught.value) == why
    (dialogue,) = read(udp(octets))
    assert said(dialogue) == [("garbled", None, f"no DNS message: {why}")]


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_random_octets_are_garbled_at_worst(first: bytes, second: bytes) -> None:
    whole = answer(15, record(15, b"\0\x0a" + POINTER))
    octets = whole[: len(first)] + first + second + whole[len(second) :]
    for dialogue in read(udp(octets), udp(first), udp(question(1) + second)):
        json.dumps(dialogue.as_json())


def test_a_question_repeated_and_answered_once() -> None:
    answered = udp(answer(1, record(1, bytes(4))), back=True)
    (dialogue,) = read(udp(question(1)), udp(question(1)), udp(question(15, 8)), answered)
    assert said(dialogue) == [
        ("question", None, "A receiver.example?"),
        ("question", "again", "A receiver.example?"),
        ("question", None, "MX receiver.example?"),
        ("answer", "NOERROR", "receiver.example A 0.0.0.0"),
    ]
    assert dialogue.turns[3].answers is dialogue.turns[1]
    assert dialogue.state == "answered"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0x8183, "NXDOMAIN: there is no such name"),
        (0x8182, "SERVFAIL: the server could not find out"),
        (0x818B, "RCODE11: an error"),
        (0x8180, "receiver.example has no A"),
        (0x8380, "receiver.example has no A\n(truncated: ask again over TCP)"),
    ],
)
def test_failures_in_words(flags: int, text: str) -> None:
    (dialogue,) = read(udp(question(1)), udp(answer(1, flags=flags), back=True))
    turn = dialogue.turns[1]
    assert (turn.text, turn.failed) == (text, bool(flags & 15))


def test_each_socket_is_a_dialogue_of_its_own() -> None:
    one, two = read(udp(question(1)), udp(question(1), port=40001))
    assert (one.stream.number, two.stream.number) == (0, 1)
    assert one.state == "never answered"
    about = udp(question(1))
    (refused,) = read(about, unreachable(about, 3))
    assert refused.state == "refused: ICMP port unreachable"


def test_one_datagram_on_two_cables_is_asked_once(tmp_path) -> None:
    (frame,) = read_frames(capture([udp(question(1))]))
    path = tmp_path / "two.pcapng"
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        for name in ("sender-lan", "dns-lan"):
            writer.add_interface(name, 1)
        for interface in (0, 1, 0):
            writer.write(frame, interface)
    (dialogue,) = dialogues(path)
    assert [turn.status for turn in dialogue.turns] == [None, "again"]


@given(st.data())
def test_over_tcp_however_it_is_cut(data: st.DataObject) -> None:
    messages = [question(1), question(15, 8)]
    octets = b"".join(len(one).to_bytes(2, "big") + one for one in messages)
    cuts = sorted({0, len(octets), *data.draw(st.sets(st.integers(1, len(octets) - 1)))})
    spoken = Talk(server=(SERVER, 53)).shake()
    spoken.say("C", *(octets[a:b] for a, b in zip(cuts, cuts[1:])))  # noqa: B905, RUF007
    one = answer(1, record(1, bytes(4)))
    spoken.say("S", len(one).to_bytes(2, "big"), one, b"\0\x50cut").close()
    (dialogue,) = read(*spoken.packets)
    assert [turn.kind for turn in dialogue.turns] == ["question", "question", "answer", "garbled"]
    assert dialogue.turns[2].answers is dialogue.turns[0]
    assert dialogue.turns[3].text == "no DNS message: cut off"
