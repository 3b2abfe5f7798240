"""A box in a cable, rule by rule: what becomes of frames, and when."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from boxmodules import NETWORK, NODE, Cable, boxrules
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import CLIENT, SERVER, arp, ethernet, ip, tcp

Rule = dict[str, Any]


def udp(src: tuple[str, int], dst: tuple[str, int], payload: bytes = b"") -> bytes:
    head = struct.pack(">HHHH", src[1], dst[1], 8 + len(payload), 0)
    return ethernet(ip(src[0], dst[0], 17, head + payload))


def frame(number: int, size: int = 100) -> bytes:
    return udp((CLIENT, 4000), (SERVER, 53), struct.pack(">I", number).ljust(size - 42))


def number(data: bytes) -> int:
    return int(struct.unpack_from(">I", data, 42)[0])


QUESTION = udp((CLIENT, 4000), (SERVER, 53))
ANSWER = udp((SERVER, 53), (CLIENT, 4000))
MAIL = ethernet(tcp((CLIENT, 4000), (SERVER, 25), 0x10, 1))
ARP = arp(1, CLIENT, SERVER)
ECHO = ethernet(ip(CLIENT, SERVER, 1, b"\x08\0\0\0\0\0\0\0"))
FRAGMENT = ethernet(ip(CLIENT, SERVER, 17, struct.pack(">HH", 53, 53) * 4, flags=0x00B9))
SIX = ethernet(ip("2001:db8::1", "2001:db8::2", 17, bytes(8)))


def test_without_rules_everything_passes_as_it_is() -> None:
    cable = Cable()
    for data in (QUESTION, ARP, SIX, b"", b"short"):
        assert cable.feed(data, NODE) == [data]
    assert [toward for _, toward, _ in cable.out] == [NODE] * 5


@pytest.mark.parametrize(
    ("which", "lost"),
    [
        ({}, [QUESTION, MAIL, ARP, ECHO, FRAGMENT, SIX]),
        ({"toward": "network"}, [QUESTION, MAIL, ARP, ECHO, FRAGMENT, SIX]),
        ({"toward": "node"}, []),
        ({"protocol": "ip"}, [QUESTION, MAIL, ECHO, FRAGMENT]),
        ({"protocol": "udp"}, [QUESTION, FRAGMENT]),
        ({"protocol": "tcp"}, [MAIL]),
        ({"port": 53}, [QUESTION]),
        ({"port": 4000}, [QUESTION, MAIL]),
        ({"peer": SERVER}, [QUESTION, MAIL, ECHO, FRAGMENT]),
        ({"peer": CLIENT}, []),
        ({"peer": SERVER, "protocol": "tcp", "port": 25, "toward": "network"}, [MAIL]),
    ],
    ids=str,
)
def test_a_rule_is_about_the_frames_it_names(which: Rule, lost: list[bytes]) -> None:
    cable = Cable({"what": "drop", **which})
    frames = [QUESTION, MAIL, ARP, ECHO, FRAGMENT, SIX]
    assert [data for data in frames if not cable.feed(data, NETWORK)] == lost
    assert cable.line.state()["it"]["frames"] == len(lost)


def test_the_peer_is_who_is_at_the_other_end_whichever_way_a_frame_goes() -> None:
    cable = Cable({"what": "drop", "peer": SERVER})
    assert not cable.feed(QUESTION, NETWORK)
    assert not cable.feed(ANSWER, NODE)
    assert cable.feed(ANSWER, NETWORK)


@pytest.mark.parametrize("what", ["drop", "corrupt", "duplicate", "reorder"])
def test_a_share_is_taken_by_chance(what: str) -> None:
    cable = Cable({"what": what, "share": 0.1, "seconds": 1}, seed=7)
    for each in range(10_000):
        cable.feed(frame(each))
    assert 900 < cable.line.state()["it"]["frames"] < 1100  # 3.3 standard deviations


def test_chance_is_the_same_again_with_the_same_seed() -> None:
    def lost(seed: int) -> list[int]:
        cable = Cable({"what": "drop", "share": 0.5}, seed=seed)
        return [each for each in range(100) if not cable.feed(frame(each))]

    assert lost(3) == lost(3) != lost(4)


def test_delayed_frames_come_so_much_later() -> None:
    cable = Cable({"what": "delay", "seconds": 0.1})
    assert cable.feed(QUESTION) == []
    assert cable.run() == [(0.1, QUESTION)]


@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.booleans()), max_size=40),
    st.floats(0, 0.2),
    st.integers(),
)
def test_jitter_lets_no_frame_overtake_another(
    sent: list[tuple[float, bool]], jitter: float, seed: int
) -> None:
    cable = Cable({"what": "delay", "seconds": 0.1, "jitter": jitter}, seed=seed)
    went = {}
    for each, (gap, forth) in enumerate(sent):
        cable.run(cable.now + gap)
        went[each] = cable.now
        cable.feed(frame(each), NETWORK if forth else NODE)
    cable.run()
    for way in (NETWORK, NODE):
        came = [(time, number(data)) for time, toward, data in cable.out if toward == way]
        assert [each for _, each in came] == sorted(each for _, each in came)
        for time, each in came:
            earliest = went[each] + max(0.1 - jitter, 0)
            assert time >= earliest - 1e-9
    assert len(cable.out) == len(sent)


@given(st.lists(st.integers(60, 1514), min_size=50, max_size=100), st.integers(9600, 10**9))
def test_a_line_passes_so_many_bits_a_second(sizes: list[int], bits: int) -> None:
    cable = Cable({"what": "rate", "bits": bits, "queue": 10**9})
    for each, size in enumerate(sizes):
        cable.feed(frame(each, size))
    came = cable.run()
    assert [number(data) for _, data in came] == list(range(len(sizes)))
    assert came[-1][0] == pytest.approx(sum(sizes) * 8 / bits, rel=0.001)


def test_a_line_sends_both_ways_at_once_and_is_idle_in_between() -> None:
    cable = Cable({"what": "rate", "bits": 8000})
    cable.feed(frame(1), NETWORK)
    cable.feed(frame(2), NODE)
    assert [time for time, _ in cable.run(50)] == [0.1, 0.1]
    cable.feed(frame(3))
    assert [time for time, _ in cable.run()] == [pytest.approx(50.1)]


def test_what_finds_the_queue_full_is_lost() -> None:
    cable = Cable({"what": "rate", "bits": 8000, "queue": 1000})
    for each in range(30):
        cable.feed(frame(each))
    assert [number(data) for _, data in cable.run()] == list(range(10))
    cable.feed(frame(99, 1500))  # greater than the queue, but nobody is before it
    assert [number(data) for _, data in cable.run()] == [99]


@given(st.binary(max_size=60), st.booleans(), st.integers())
def test_one_bit_of_the_payload_is_another(payload: bytes, padded: bool, seed: int) -> None:
    sent = ethernet(ip(CLIENT, SERVER, 17, payload)) + bytes(20 * padded)
    (got,) = Cable({"what": "corrupt"}, seed=seed).feed(sent)
    changed = [at for at, (a, b) in enumerate(zip(sent, got, strict=True)) if a != b]
    assert len(changed) == (1 if payload else 0)
    for at in changed:
        assert 34 <= at < 34 + len(payload)
        assert (sent[at] ^ got[at]).bit_count() == 1


def test_where_there_is_no_ip_nothing_is_corrupted() -> None:
    cable = Cable({"what": "corrupt"})
    assert cable.feed(ARP) == [ARP]
    assert cable.feed(SIX) == [SIX]
    assert cable.line.state()["it"]["frames"] == 0


def test_frames_that_are_held_back_are_overtaken() -> None:
    cable = Cable({"what": "reorder", "port": 53, "seconds": 0.05})
    assert cable.feed(QUESTION) == []
    assert cable.feed(MAIL) == [MAIL]
    assert cable.run() == [(0.05, QUESTION)]


def test_a_duplicate_comes_right_after_its_twin() -> None:
    assert Cable({"what": "duplicate"}).feed(MAIL) == [MAIL, MAIL]


def test_rules_apply_in_their_order() -> None:
    cable = Cable(
        {"what": "duplicate"},
        {"what": "delay", "seconds": 1},
        {"what": "rate", "bits": 8000},
        {"what": "drop", "port": 25},
    )
    cable.feed(frame(1))
    cable.feed(MAIL)
    assert [time for time, _ in cable.run()] == [pytest.approx(1.1), pytest.approx(1.2)]


def test_late_handling_does_not_add_up() -> None:
    cable = Cable({"what": "delay", "seconds": 1}, {"what": "delay", "seconds": 1, "id": "too"})
    cable.feed(frame(1))
    assert cable.line.run(1.5) == 2.0  # not 2.5


def test_what_waits_in_a_rule_that_is_gone_goes_on_at_once() -> None:
    slow, other = {"what": "delay", "seconds": 60}, {"what": "delay", "seconds": 10, "id": "other"}
    cable = Cable(slow, other, {"what": "drop", "port": 25})
    cable.feed(frame(1))
    cable.feed(MAIL)
    cable.now = 5
    cable.feed(frame(2))
    cable.load(other, {"what": "drop", "port": 25})
    assert cable.out == []
    assert [(time, number(data)) for time, data in cable.run()] == [(15, 1), (15, 2)]


def test_a_rule_that_stays_keeps_what_waits_in_it() -> None:
    slow = {"what": "delay", "seconds": 60}
    cable = Cable({"what": "duplicate", "id": "other"}, slow)
    cable.feed(frame(1))
    cable.load(slow)
    assert [time for time, _ in cable.run()] == [60, 60]


def test_at_the_end_all_that_waits_is_sent_in_its_order() -> None:
    cable = Cable({"what": "delay", "seconds": 60}, {"what": "rate", "bits": 100})
    for each in range(5):
        cable.feed(frame(each))
    cable.line.run(float("inf"))
    assert [number(data) for _, _, data in cable.out] == list(range(5))


def test_what_was_done_is_told_by_id_and_outlives_the_box() -> None:
    rules = [
        {"what": "drop", "port": 53},
        {"what": "drop", "port": 25},
        {"what": "cut", "at": "reply", "times": 2, "id": "cut"},
    ]
    cable = Cable(*rules)
    cable.feed(QUESTION)
    cable.feed(MAIL)
    cable.feed(QUESTION)
    state = json.loads(json.dumps(cable.line.state()))
    assert state["it"]["frames"] == 3
    assert (state["it"]["left"], state["cut"]["left"]) == (None, 2)
    state["cut"]["each"][0]["left"] = 1
    again = Cable()
    again.load(*rules, state=state)
    assert again.line.state()["it"]["frames"] == 3
    assert again.line.state()["cut"]["left"] == 1


def test_another_rule_of_the_same_id_begins_anew() -> None:
    state = Cable({"what": "cut", "at": "reply", "times": 2}).line.state()
    state["it"]["each"][0]["left"] = 0
    cable = Cable()
    cable.load({"what": "cut", "at": "reply", "times": 3}, state=state)
    assert cable.line.state()["it"]["left"] == 3


def test_a_flapping_cable_is_out_first_and_then_in() -> None:
    cable = Cable({"what": "flap", "up": 10, "down": 5})
    seen = [cable.line.out(1000.0 + now) for now in (0, 4.9, 5, 14.9, 15, 20, 301)]
    assert [bool(out) for out, _ in seen] == [True, True, False, False, True, False, True]
    assert [change - 1000 for _, change in seen] == [5, 5, 15, 15, 20, 30, 305]
    assert seen[0][0] == {"it"}
    assert cable.line.state()["it"]["frames"] == 3
    assert cable.feed(MAIL) == [MAIL]


def test_nothing_flaps_without_such_a_rule() -> None:
    assert Cable({"what": "drop"}).line.out(5) == (set(), float("inf"))


@pytest.mark.parametrize(
    "rule",
    [
        {"what": "melt"},
        {},
        {"what": "delay"},
        {"what": "rate", "bits": 0},
        {"what": "flap", "up": 0, "down": 0},
        {"what": "cut", "at": "noon"},
        {"what": "cut", "at": "data"},
        {"what": "drop", "toward": "heaven"},
        {"what": "drop", "protocol": "sctp"},
        {"what": "drop", "peer": "mail.example"},
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense_is_named_and_the_old_ones_stay(rule: Rule) -> None:
    cable = Cable({"what": "drop"})
    with pytest.raises(ValueError, match=r"\{'id': 'it'"):
        cable.load(rule)
    assert cable.feed(MAIL) == []


ALL: list[Rule] = [
    {"what": "drop", "share": 0.1},
    {"what": "corrupt", "share": 0.5},
    {"what": "duplicate", "port": 25},
    {"what": "cut", "at": "data", "octets": 5},
    {"what": "cut", "at": "reply", "port": 53},
    {"what": "reorder", "share": 0.2, "seconds": 1},
    {"what": "delay", "seconds": 1, "peer": SERVER},
]


@given(
    st.lists(st.tuples(st.sampled_from([QUESTION, MAIL, FRAGMENT, SIX]), st.binary(), st.data()))
)
def test_no_frame_however_odd_ends_the_box(sent: list[tuple[bytes, bytes, st.DataObject]]) -> None:
    cable = Cable(*ALL)
    for good, noise, draw in sent:
        at = draw.draw(st.integers(12, len(good)))
        cable.feed((good[:at] + noise + good[at + len(noise) :])[: draw.draw(st.integers(0, 99))])
    cable.run()


def test_the_fields_of_a_frame_are_where_they_are() -> None:
    protocol, src, dst, sport, dport, begin, end = boxrules.read_head(QUESTION + bytes(18))
    assert (protocol, src[0], dst[0], sport, dport, begin, end) == (17, 198, 203, 4000, 53, 34, 42)
