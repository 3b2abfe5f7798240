"""A box in a cable cuts connections: at which octet, what each end is told, and what it has got."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from boxmodules import NETWORK, NODE, Cable
from hypothesis import assume, example, given
from hypothesis import strategies as st
from packetbuilder import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, checksum, ethernet, tcp

END = b"\r\n.\r\n"
AHEAD = {"C": NETWORK, "S": NODE}  # the client is at the node


class Segment(NamedTuple):
    src: str
    flags: int
    seq: int
    ack: int
    payload: bytes


def read(frame: bytes) -> Segment:
    src = ".".join(map(str, frame[26:30]))
    seq, ack, offset, flags = struct.unpack_from(">IIBB", frame, 38)
    return Segment(src, flags, seq, ack, frame[34 + (offset >> 4) * 4 :])


class End:
    """What a kernel does with what arrives: it believes a reset with the very next number only."""

    def __init__(self, expects: int) -> None:
        self.next = expects
        self.early: dict[int, bytes] = {}
        self.got = b""
        self.reset = False

    def hear(self, segment: Segment) -> None:
        if segment.flags & RST:
            assert segment.seq == self.next % 2**32, "the kernel would not believe it"
            self.reset = True
            return
        assert not self.reset, "something came after the reset"
        ahead = (segment.seq - self.next + 2**31) % 2**32 - 2**31
        self.early[self.next + ahead] = segment.payload
        for at in sorted(self.early):
            new = self.early[at][self.next - at :] if at <= self.next else b""
            self.next += len(new)
            self.got += new


class Call:
    """A connection through a box, as far as its handshake and greeting, and both its ends."""

    def __init__(
        self, cable: Cable, isn: tuple[int, int] = (1000, 5000), port: int = 40000
    ) -> None:
        self.cable = cable
        self.address = {"C": (CLIENT, port), "S": (SERVER, 25)}
        self.seq = dict(zip("CS", isn, strict=True))
        self.ends = {"C": End(isn[1] + 1), "S": End(isn[0] + 1)}
        for who, flags in (("C", SYN), ("S", SYN | ACK)):
            assert len(self.send(who, flags=flags)) == 1
            self.seq[who] += 1
        self.say("S", b"220 hello\r\n")

    def send(
        self, who: str, payload: bytes = b"", *, at: int = 0, flags: int = ACK
    ) -> list[Segment]:
        """A segment of `who`, `at` octets from where it stands; what comes out of the box."""
        other = "S" if who == "C" else "C"
        ends = self.address[who], self.address[other]
        seq = self.seq[who] + at
        packet = tcp(*ends, flags, seq, self.seq[other] if flags & ACK else 0, payload)
        before = len(self.cable.out)
        self.cable.feed(ethernet(packet), AHEAD[who])
        came = []
        for _, toward, frame in self.cable.out[before:]:
            segment = read(frame)
            came.append(segment)
            end = self.ends["S" if toward == AHEAD["C"] else "C"]
            if not segment.flags & SYN:
                end.hear(segment)
        return came

    def say(self, who: str, *parts: bytes) -> list[Segment]:
        """`who` goes on to say this, each part in a segment."""
        came = []
        for part in parts:
            came += self.send(who, part, flags=ACK | PSH)
            self.seq[who] += len(part)
        return came

    def begin_message(self) -> None:
        self.say("C", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
        self.say("S", b"250 ok\r\n250-it\r\n250 is\r\n354 go on\r\n")
        self.ends["S"].got = self.ends["C"].got = b""

    @property
    def over(self) -> tuple[bool, bool]:
        return self.ends["C"].reset, self.ends["S"].reset


def cut(at: str = "data", octets: int = 100, **how: Any) -> dict[str, Any]:
    return {"what": "cut", "at": at, "octets": octets, "port": 25, **how}


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(one for one in set(cuts) if 0 < one < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


ISN = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([5000, 2**32 - 20]))
CUTS = st.lists(st.integers(1, 3000), max_size=30)


@given(st.integers(1, 3000), CUTS, ISN)
def test_the_segment_with_the_octet_never_arrives_and_all_before_does(
    octets: int, cuts: list[int], isn: tuple[int, int]
) -> None:
    call = Call(Cable(cut(octets=octets)), isn)
    call.begin_message()
    sent = 0
    for part in split(b"x" * 3000, cuts):
        call.say("C", part)
        if sent + len(part) >= octets:
            break
        sent += len(part)
        assert call.over == (False, False)
    assert call.ends["S"].got == b"x" * sent
    assert call.over == (True, True)


@given(
    st.integers(1, 3000),
    st.lists(st.tuples(st.integers(0, 2999), st.integers(1, 1448)), max_size=60),
    ISN,
)
def test_only_octets_in_order_count(
    octets: int, segments: list[tuple[int, int]], isn: tuple[int, int]
) -> None:
    call = Call(Cable(cut(octets=octets)), isn)
    call.begin_message()
    content = bytes(range(65, 91)) * 116
    base = call.ends["S"].next
    for at, size in segments:  # in any order, overlapping, again and again
        call.send("C", content[at : min(at + size, 3000)], at=at)
        if all(call.over):
            break
    while not any(call.over):  # and at last what is missing
        at = call.ends["S"].next - base
        assert at < 3000, "the octet has passed"
        call.send("C", content[at : at + 100], at=at)
    assert call.over == (True, True)
    got = call.ends["S"].got
    assert len(got) < octets
    assert content.startswith(got)


@given(st.integers(1, 400), CUTS)
def test_what_is_no_content_does_not_count(size: int, cuts: list[int]) -> None:
    cable = Cable(cut(octets=500))
    call = Call(cable)
    for _ in range(3):
        call.begin_message()
        content = b"." * size + b"\r\n..\r\n. \r\n" + END + b"NOOP " + b"n" * 300 + b"\r\n"
        assume(len(content.partition(END)[0]) + len(END) < 500)
        call.say("C", *split(content, cuts))
        call.say("S", b"250 queued\r\n250 ok\r\n")
        assert call.ends["S"].got == content
    assert call.over == (False, False)
    call.begin_message()
    call.say("C", b"x" * 499)
    assert call.over == (False, False)
    call.say("C", b"x")
    assert call.over == (True, True)


def test_an_empty_message_has_three_octets() -> None:
    call = Call(Cable(cut(octets=4)))
    call.begin_message()
    call.say("C", b".\r\n", b"QUIT\r\n")
    assert call.over == (False, False)


@given(st.integers(1, 90), CUTS)
@example(octets=1, cuts=[26])
def test_chunks_are_content_too(octets: int, cuts: list[int]) -> None:
    call = Call(Cable(cut(octets=octets)))
    said = b"MAIL FROM:<a@b>\r\nBDAT 40\r\n" + b"\n" * 40 + b"bdat 50 last\r\n" + b"x" * 50
    content = said.index(b"BDAT 40\r\n") + len(b"BDAT 40\r\n")
    before = content + octets - 1 + (len(b"bdat 50 last\r\n") if octets > 40 else 0)
    sent = 0
    for part in split(said, cuts):
        call.say("C", part)
        if sent + len(part) > before:
            break
        sent += len(part)
    assert call.ends["S"].got == said[:sent]
    assert call.over == (True, True)


REPLY = b"250-queued\r\n250 as 1234\r\n"


@given(CUTS, CUTS, ISN)
def test_the_final_reply_does_not_arrive(
    cuts: list[int], answers: list[int], isn: tuple[int, int]
) -> None:
    cable = Cable(cut("reply", times=1))
    call = Call(cable, isn)
    call.begin_message()
    content = b"x" * 2000 + b"\r\n354 no\r\n" + END + b"QUIT\r\n"
    call.say("C", *split(content, cuts))
    assert call.over == (False, False)
    for part in split(REPLY, answers):
        call.say("S", part)
        if any(call.over):
            break
    assert call.ends["S"].got == content
    assert call.ends["C"].got == b""
    assert call.over == (True, True)
    assert cable.line.state()["it"]["left"] == 0


def test_what_the_server_says_too_early_is_held_back_when_it_may_be_the_reply() -> None:
    call = Call(Cable(cut("reply")))
    call.begin_message()
    call.say("C", b"x" + END)
    assert call.send("S", b"d as 1\r\n", at=9) == []
    assert call.over == (False, False)
    assert call.send("S", b"250 queue")
    assert call.over == (True, True)


def test_the_final_reply_to_pipelined_chunks_is_the_last() -> None:
    call = Call(Cable(cut("reply")))
    call.say("C", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\n\r\n.BDAT 2 LAST\r\nxx")
    for answer in (b"250 ok\r\n", b"250-ok\r\n250 ok\r\n", b"250 3 octets\r\n"):
        assert len(call.say("S", answer)) == 1
    call.say("S", b"250 queued\r\n")
    assert call.over == (True, True)


def test_a_message_that_was_refused_before_its_end_has_no_final_reply() -> None:
    call = Call(Cable(cut("reply")))
    call.say("C", b"MAIL FROM:<a@b>\r\nDATA\r\n")
    call.say("S", b"250 ok\r\n503 no recipients\r\n")
    call.say("C", b"RSET\r\nQUIT\r\n")
    call.say("S", b"250 ok\r\n221 bye\r\n")
    assert call.ends["C"].got.endswith(b"221 bye\r\n")


@pytest.mark.parametrize("at", ["data", "reply"])
def test_silently_nothing_passes_any_more_and_nobody_is_told(at: str) -> None:
    cable = Cable(cut(at, silently=True))
    call = Call(cable)
    call.begin_message()
    call.say("C", b"x" * 95 + END)
    call.say("S", REPLY)
    assert call.over == (False, False)
    for who in "CS":
        assert call.send(who, b"again") == call.send(who, flags=FIN | ACK) == []
    assert cable.line.state()["it"]["frames"] >= 5
    assert Call(cable, port=40001).begin_message() is None  # others go on
    again = Call(cable, isn=(7000, 9000))  # and so does a new one with the same ports
    again.begin_message()
    assert len(again.say("C", b"x" * 50)) == 1


def test_whoever_goes_on_after_the_cut_is_told_again_with_the_number_it_expects() -> None:
    call = Call(Cable(cut()))
    call.begin_message()
    call.send("C", b"x" * 100)
    (told,) = call.send("S", b"")  # which acknowledges what it has
    assert told == Segment(CLIENT, RST | ACK, call.ends["S"].next, told.ack, b"")
    assert call.send("C", flags=RST) == []


def test_a_reset_is_a_sound_packet_between_the_right_ends() -> None:
    cable = Cable(cut())
    call = Call(cable)
    call.begin_message()
    call.say("C", b"x" * 100)
    frames = [(toward, data) for _, toward, data in cable.out if read(data).flags & RST]
    assert sorted(toward for toward, _ in frames) == [NETWORK, NODE]
    for toward, data in frames:
        assert data[:14] == ethernet(data[14:])[:14]
        assert checksum(data[14:34]) == 0
        assert checksum(data[26:34] + struct.pack(">HH", 6, 20) + data[34:54]) == 0
        ports = (40000, 25) if toward == NETWORK else (25, 40000)
        assert struct.unpack_from(">HH", data, 34) == ports
        assert len(data) == 54


def test_so_many_connections_are_cut_and_then_no_more() -> None:
    cable = Cable(cut(times=2))
    over = []
    for port in (40000, 40001, 40002):
        call = Call(cable, port=port)
        call.begin_message()
        call.say("C", b"x" * 100)
        over.append(call.over)
    assert over == [(True, True), (True, True), (False, False)]
    assert cable.line.state()["it"] | {"each": 0} == {"frames": 2, "left": 0, "each": 0}


def test_other_ports_and_servers_on_the_other_side_are_left_alone() -> None:
    for rule in (cut(port=587), cut(toward="node"), cut(peer="192.0.2.1")):
        call = Call(Cable(rule))
        call.begin_message()
        call.say("C", b"x" * 100)
        assert call.over == (False, False)
    for rule in (cut(toward="network"), cut(peer=SERVER)):
        call = Call(Cable(rule))
        call.begin_message()
        call.say("C", b"x" * 100)
        assert call.over == (True, True)


def test_a_connection_older_than_the_box_is_cut_at_its_next_message() -> None:
    cable = Cable()
    call = Call(cable)
    call.begin_message()
    cable.load(cut())
    call.say("C", b"x" * 200 + END)
    call.say("S", b"250 queued\r\n")
    assert call.over == (False, False)
    call.begin_message()
    call.say("C", b"x" * 99)
    assert call.over == (False, False)
    call.say("C", b"x")
    assert call.over == (True, True)


def test_a_cut_goes_with_the_rules_that_follow_it() -> None:
    cable = Cable(cut())
    call = Call(cable)
    call.begin_message()
    cable.load(cut(), {"what": "delay", "seconds": 1, "id": "late"})
    assert call.say("C", b"x" * 50, b"x" * 50) == []
    assert [read(data).flags for _, data in cable.run()] == [PSH | ACK, RST | ACK, RST | ACK]


def test_it_is_not_confused_by_what_no_one_can_read() -> None:
    cable = Cable(cut(), cut("reply", id="too"))
    call = Call(cable)
    call.say("C", b"STARTTLS\r\n")
    call.say("S", b"220 go\r\n")
    noise = bytes(range(256)) * 40
    for who in "CSCS":
        call.say(who, *split(noise, list(range(0, len(noise), 1400))))
    assert call.over == (False, False)
