"""Connections are followed rightly whatever the network and the capture did to their segments."""

from __future__ import annotations

import io
import random
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import (
    ACK,
    CLIENT,
    FIN,
    PSH,
    ROUTER,
    RST,
    SERVER,
    SYN,
    Talk,
    capture,
    ethernet,
    pcap,
    unreachable,
)

from lab.observe.packets import decode
from lab.observe.pcap import PcapngWriter, read_frames
from lab.observe.tcp import Step, Stream, Tracker, follow


def steps(packets: Iterable[bytes]) -> list[Step]:
    return list(follow(read_frames(capture(packets))))


def streams(packets: Iterable[bytes]) -> list[Stream]:
    return list({step.stream.number: step.stream for step in steps(packets)}.values())


def said(packets: Iterable[bytes], side: str = "client") -> bytes:
    """The bytes of one side; what is lost stands as so many question marks."""
    return b"".join(
        step.data or b"?" * step.lost
        for step in steps(packets)
        if step.side == side and step.kind in ("data", "lost")
    )


def runs(packets: Iterable[bytes]) -> list[tuple[int, bytes]]:
    return [(step.frame, step.data) for step in steps(packets) if step.kind == "data"]


def at(talk: Talk, offset: int, payload: bytes) -> bytes:
    """A segment of the client's, `offset` octets from where it stands."""
    return talk.segment("C", PSH | ACK, payload, at=talk.seq["C"] + offset)


def test_a_connection_from_syn_to_fin() -> None:
    talk = Talk().shake().say("S", "220 hi\r\n").close("S")
    found = steps(talk.packets)
    assert [(step.kind, step.side, step.frame) for step in found] == [
        ("syn", "client", 1),
        ("accepted", "server", 2),
        ("established", "client", 3),
        ("data", "server", 4),
        ("fin", "server", 6),
        ("fin", "client", 7),
        ("over", "client", 1),
    ]
    stream = found[0].stream
    assert (str(stream.client), str(stream.server)) == ("198.51.100.25:40000", "203.0.113.25:25")
    assert stream.opened == (1, 1_700_000_000.0)
    assert stream.state == "closed by server"


@pytest.mark.parametrize(
    ("play", "state"),
    [
        (lambda talk: talk.send("C", SYN), "never answered"),
        (lambda talk: talk.send("C", SYN).send("S", RST | ACK), "refused"),
        (lambda talk: talk.send("C", SYN).send("S", SYN | ACK), "half open"),
        (lambda talk: talk.shake(), "open"),
        (lambda talk: talk.shake().send("S", RST), "reset by server"),
        (lambda talk: talk.shake().send("C", RST), "reset by client"),
        (lambda talk: talk.shake().send("C", FIN | ACK).send("S", RST), "closed by client"),
    ],
)
def test_the_state_in_words(play, state: str) -> None:
    (stream,) = streams(play(Talk()).packets)
    assert stream.state == state


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1, "no route: ICMP host unreachable"),
        (0, "no route: ICMP network unreachable"),
        (3, "refused: ICMP port unreachable"),
        (13, "refused: ICMP administratively prohibited"),
    ],
)
def test_an_icmp_error_is_joined_to_the_attempt_it_answers(code: int, state: str) -> None:
    talk = Talk().send("C", SYN)
    (stream,) = streams([*talk.packets, unreachable(talk.packets[0], code)])
    assert stream.state == state
    (complaint,) = stream.complaints
    assert (complaint.mark.frame, complaint.by) == (2, ROUTER)


def test_icmp_on_a_standing_connection_and_about_strangers() -> None:
    talk = Talk().shake().say("C", "x")
    about = unreachable(talk.packets[3])
    assert streams([*talk.packets, about])[0].state == "cut off: ICMP host unreachable"
    assert streams([about]) == []


def test_repeated_syns_are_counted() -> None:
    (stream,) = streams(Talk().send("C", SYN).packets * 3)
    assert [syn.frame for syn in stream.syns] == [1, 2, 3]


def test_one_syn_on_two_cables_is_no_repetition() -> None:
    file = io.BytesIO()
    writer = PcapngWriter(file)
    for name in ("sender-lan", "receiver-lan"):
        writer.add_interface(name, 1)
    (frame,) = read_frames(capture(Talk().send("C", SYN).packets))
    for interface in (0, 1, 0):
        writer.write(frame, interface)
    file.seek(0)
    (stream,) = {step.stream for step in follow(read_frames(file))}
    assert [syn.frame for syn in stream.syns] == [1, 3]
    assert stream.interface == "sender-lan"


def test_retransmission_and_overlap_with_another_split() -> None:
    talk = Talk().shake()
    parts = [
        at(talk, 0, b"abcd"),
        at(talk, 0, b"abcd"),
        at(talk, 2, b"cdEF"),
        at(talk, 0, b"abcdEFg"),
    ]
    assert runs(talk.packets + parts) == [(4, b"abcd"), (6, b"EF"), (7, b"g")]


def test_the_first_copy_of_an_octet_counts() -> None:
    talk = Talk().shake()
    assert said([*talk.packets, at(talk, 0, b"abcd"), at(talk, 0, b"XXXXe")]) == b"abcde"


def test_out_of_order_segments_keep_the_frame_that_carried_them() -> None:
    talk = Talk().shake()
    packets = [*talk.packets, at(talk, 4, b"ef"), at(talk, 2, b"cd"), at(talk, 0, b"ab")]
    found = [step for step in steps(packets) if step.kind == "data"]
    assert [(step.data, step.frame, step.ready) for step in found] == [
        (b"ab", 6, 6),
        (b"cd", 5, 6),
        (b"ef", 4, 6),
    ]


@pytest.mark.parametrize("isn", [2**32 - 1, 2**32 - 3, 2**32 - 5])
def test_the_sequence_number_wraps(isn: int) -> None:
    talk = Talk(isn=(isn, isn)).shake()
    packets = [*talk.packets, at(talk, 3, b"defg"), at(talk, 0, b"abc"), at(talk, 7, b"h")]
    assert said(packets) == b"abcdefgh"


def test_what_was_acknowledged_but_never_captured_is_lost_at_once() -> None:
    talk = Talk().shake().say("C", "first").say("C", "unseen").say("C", "last")
    del talk.packets[5]
    found = [step for step in steps(talk.packets) if step.kind in ("data", "lost")]
    assert [(step.kind, step.data, step.lost, step.frame) for step in found] == [
        ("data", b"first", 0, 4),
        ("lost", b"", 6, 7),
        ("data", b"last", 0, 7),
    ]


def test_a_hole_nobody_acknowledged_is_given_up_at_the_end() -> None:
    talk = Talk().shake()
    packets = [*talk.packets, at(talk, 3, b"def")]
    assert said(packets) == b"???def"
    assert said([*packets, at(talk, 0, b"abc")]) == b"abcdef"


def test_a_capture_that_begins_mid_stream() -> None:
    talk = Talk().shake().say("S", "220 hi\r\n").say("C", "EHLO x\r\n").say("S", "250 ok\r\n")
    (stream,) = streams(talk.packets[4:])
    assert (stream.client.address, stream.midstream, stream.state) == (CLIENT, True, "open")
    assert said(talk.packets[4:], "server") == b"250 ok\r\n"
    assert said(talk.packets[4:]) == b"EHLO x\r\n"


def test_what_was_sent_again_is_counted_once_a_cable() -> None:
    talk = Talk().shake().say("C", "abcdef")
    parts = [at(talk, -6, b"abc"), at(talk, -2, b"efg")]
    (stream,) = streams(talk.packets + parts)
    assert stream.repeated == {"client": 5}


def kinds(packets: Iterable[bytes]) -> list[str]:
    return [step.kind for step in steps(packets)]


def test_a_stream_is_over_when_both_sides_closed_and_all_was_seen() -> None:
    talk = Talk().shake().say("C", "abc").close()
    more = [at(talk, -1, b""), talk.segment("S", FIN | ACK), talk.segment("C", RST)]
    assert kinds(talk.packets + more)[-4:] == ["data", "fin", "fin", "over"]
    early = [*talk.packets[:3], *talk.packets[5:], talk.packets[3]]  # the FINs came first
    assert kinds(early)[-4:] == ["fin", "fin", "data", "over"]
    (stream,) = streams(talk.packets + more)
    assert (stream.state, stream.reset) == ("closed by client", None)


def test_what_follows_a_reset_reaches_nobody() -> None:
    talk = Talk().shake().send("S", RST).send("C", PSH | ACK, b"late")
    assert kinds(talk.packets) == ["syn", "accepted", "established", "reset", "over"]


def test_a_client_may_reset_what_the_server_remembers_and_call_again() -> None:
    talk = Talk().send("C", SYN)
    syn = talk.packets[0]
    packets = [syn, talk.segment("S", ACK, at=77), talk.segment("C", RST), syn]
    packets += talk.send("S", SYN | ACK).send("C", ACK).say("S", "220 hi\r\n").packets[1:]
    assert said(packets, "server") == b"220 hi\r\n"


def test_streams_that_are_over_are_forgotten() -> None:
    tracker = Tracker()
    for port in range(3000):
        spoken = Talk(client=(CLIENT, 10_000 + port)).shake().say("C", "x").close()
        for frame in read_frames(capture(spoken.packets)):
            tracker.feed(decode(frame))
    assert len(tracker._halves) <= 2 * 1024
    assert next(iter(tracker.finish()), None) is None


def test_a_new_syn_between_the_same_ports_is_a_new_stream() -> None:
    first = Talk().shake().say("C", "one").close()
    second = Talk(isn=(777_000, 888_000)).shake().say("C", "two").close()
    one, two = streams(first.packets + second.packets)
    assert (one.number, two.number) == (0, 1)
    assert two.opened.frame == len(first.packets) + 1
    assert said(first.packets + second.packets) == b"onetwo"


def test_keepalives_and_window_probes_say_nothing() -> None:
    talk = Talk().shake().say("C", "abc")
    packets = [*talk.packets, at(talk, -1, b""), at(talk, -1, b"c"), at(talk, 0, b"d")]
    assert said(packets) == b"abcd"


def test_both_directions_over_ipv6() -> None:
    talk = Talk(client=("2001:db8::1", 40000), server=("2001:db8::25", 25)).shake()
    talk.say("S", "220 hi\r\n").say("C", "QUIT\r\n")
    (stream,) = streams(talk.packets)
    assert str(stream.server) == "[2001:db8::25]:25"
    assert (said(talk.packets), said(talk.packets, "server")) == (b"QUIT\r\n", b"220 hi\r\n")


@given(st.data())
def test_any_split_order_and_doubling_gives_the_same_bytes(data: st.DataObject) -> None:
    text = data.draw(st.binary(min_size=1, max_size=60))
    isn = data.draw(st.sampled_from([0, 1000, 2**32 - 30, 2**31 - 5]))
    talk = Talk(isn=(isn, 5)).shake()
    cuts = data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=20))
    pieces = [(start, text[start : start + size]) for start, size in cuts if start < len(text)]
    ends = sorted({0, len(text), *(start for start, _ in pieces)})
    pieces += [(a, text[a:b]) for a, b in pairwise(ends)]
    pieces = data.draw(st.permutations(pieces))
    packets = talk.packets + [at(talk, start, piece) for start, piece in pieces]
    assert said(packets) == text


@pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")
def test_streams_are_numbered_as_wireshark_does(tmp_path) -> None:
    first = Talk().shake().say("C", "one").close()
    again = Talk(isn=(70_000, 80_000)).shake()
    other = Talk(client=(CLIENT, 41000)).send("C", SYN)
    reverse = Talk(client=(SERVER, 25), server=(CLIENT, 40000), isn=(5, 6)).shake()
    packets = [
        *first.packets[3:],  # mid-stream
        *first.packets,
        unreachable(other.packets[0]),  # about a stranger
        *other.packets * 2,
        *again.packets[:1] * 2,
        *first.packets[-1:],
        *again.packets[1:],
        *reverse.packets,
        other.segment("S", RST | ACK),
        *Talk(client=(CLIENT, 41000), isn=(1, 2)).shake().packets,
    ]
    path = tmp_path / "streams.pcap"
    path.write_bytes(pcap(map(ethernet, packets)))
    fields = ("-e", "frame.number", "-e", "tcp.stream")
    done = subprocess.run(
        [*("tshark", "-r", path, "-Y", "tcp && !icmp", "-T", "fields"), *fields],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs: dict[int, int] = {}
    for line in done.stdout.splitlines():
        frame, number = map(int, line.split())
        theirs.setdefault(number, frame)
    assert {stream.number: stream.opened.frame for stream in streams(packets)} == theirs


# What the capture did not see ---------------------------------------------------------------------


def only(packets: Iterable[bytes], address: str) -> list[bytes]:
    return [packet for packet in packets if packet[12:16] == ip_address(address).packed]


@pytest.mark.parametrize(
    ("address", "state", "happened"),
    [
        (CLIENT, "closed by client", ["syn", "established", "data", "fin", "over"]),
        (SERVER, "closed by server", ["accepted", "established", "data", "fin", "over"]),
    ],
)
def test_one_direction_alone(address: str, state: str, happened: list[str]) -> None:
    talk = Talk().shake().say("S", "220 hi\r\n").say("C", "QUIT\r\n").close()
    packets = only(talk.packets, address)
    assert kinds(packets) == happened
    (stream,) = streams(packets)
    assert (stream.state, stream.connected, stream.midstream) == (state, True, False)


def test_a_syn_ack_that_was_not_captured_was_there_all_the_same() -> None:
    talk = Talk().shake().say("S", "220 hi\r\n")
    del talk.packets[1]
    (stream,) = streams(talk.packets)
    assert (stream.state, stream.accepted) == ("open", None)
    assert said(talk.packets, "server") == b"220 hi\r\n"


@pytest.mark.parametrize("who", ["C", "S"])
def test_the_last_words_before_a_fin_are_missed(who: str) -> None:
    talk = Talk().shake().say(who, "first").say(who, "last").close()
    side = "client" if who == "C" else "server"
    assert said(talk.packets[:5] + talk.packets[6:], side) == b"first????"
    assert said(talk.packets, side) == b"firstlast"


def test_a_segment_cut_by_the_snapshot_length_leaves_a_hole() -> None:
    talk = Talk().shake().say("C", "abcdef").say("C", "ghi").close()
    frames = [*map(ethernet, talk.packets)]
    frames[3], frames[5] = frames[3][:-4], frames[5][:-1]
    told = follow(read_frames(io.BytesIO(pcap(frames))))
    assert [
        (step.kind, step.data, step.lost) for step in told if step.kind in ("data", "lost")
    ] == [
        ("data", b"ab", 0),
        ("lost", b"", 4),
        ("data", b"gh", 0),
        ("lost", b"", 1),
    ]


def test_what_a_router_says_of_a_connection_that_is_over_changes_nothing() -> None:
    talk = Talk().shake().say("C", "x").close()
    assert kinds([*talk.packets, unreachable(talk.packets[3])]) == kinds(talk.packets)


def test_both_close_at_once() -> None:
    talk = Talk().shake()
    fins = [talk.segment(who, FIN | ACK) for who in "CS"]
    talk.seq = {who: seq + 1 for who, seq in talk.seq.items()}
    packets = [*talk.packets, *fins, talk.segment("C", ACK), talk.segment("S", ACK)]
    assert kinds(packets)[-3:] == ["fin", "fin", "over"]
    assert streams(packets)[0].state == "closed by client"


def test_a_reset_in_the_middle_of_the_data_gives_up_what_waits() -> None:
    talk = Talk().shake()
    packets = [*talk.packets, at(talk, 0, b"ab"), at(talk, 4, b"ef"), talk.segment("S", RST)]
    assert [(step.kind, step.data, step.lost) for step in steps(packets)][-5:] == [
        ("data", b"ab", 0),
        ("reset", b"", 0),
        ("lost", b"", 2),
        ("data", b"ef", 0),
        ("over", b"", 0),
    ]


def test_of_octets_sent_twice_and_differently_the_first_in_order_counts() -> None:
    """So does Linux read them, and tshark."""
    talk = Talk().shake()
    parts = [at(talk, 3, b"dYY"), at(talk, 2, b"cdXX"), at(talk, 0, b"ab"), at(talk, 0, b"ZZZZ")]
    assert said(talk.packets + parts) == b"abcdXX"


def followed(path: Path, count: int) -> list[bytes]:
    """What the client said in each of the first `count` streams, as tshark puts it together."""
    argv = ["tshark", "-n", "-r", str(path), "-q"]
    argv += [word for n in range(count) for word in ("-z", f"follow,tcp,raw,{n}")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = {}
    for part in done.stdout.split("Filter: tcp.stream eq ")[1:]:
        body = part.partition(f"{SERVER}:25\n")[2].partition("====")[0]
        found[int(part.split()[0])] = bytes.fromhex("".join(body.split()))
    return [found[n] for n in range(count)]


@pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")
def test_what_was_said_is_what_tshark_follows(tmp_path) -> None:
    """Split anew, doubled, overlapping, late, behind the FIN, across the end of the numbers."""
    dice = random.Random(9293)
    packets: list[bytes] = []
    for n in range(40):
        isn = dice.choice([1000, 2**32 - 20, 2**32 - 1, 2**31 - 9])
        talk = Talk(client=(CLIENT, 40_000 + n), isn=(isn, 5)).shake()
        text = bytes(dice.randrange(97, 123) for _ in range(50))
        starts = [dice.randrange(50) for _ in range(12)]
        pieces = [(a, text[a : a + dice.randrange(1, 12)]) for a in starts]
        pieces += [(a, text[a:b]) for a, b in pairwise(sorted({0, 50, *starts[:6]}))]
        dice.shuffle(pieces)
        segments = [at(talk, a, piece) for a, piece in pieces]
        talk.seq["C"] += 50
        segments.insert(-(n % 3) or len(segments), talk.segment("C", FIN | ACK))
        segments.insert(4, at(talk, -51, b""))  # keep-alive
        talk.seq["C"] += 1
        packets += [*talk.packets, *segments]
        packets += [talk.segment("S", ACK), talk.segment("S", FIN | ACK)]
    path = tmp_path / "nasty.pcap"
    path.write_bytes(pcap(map(ethernet, packets)))
    ours: dict[int, bytes] = defaultdict(bytes)
    for step in steps(packets):
        if step.side == "client":
            ours[step.stream.number] += step.data or b"?" * step.lost
    assert [ours[n] for n in range(40)] == followed(path, 40)
