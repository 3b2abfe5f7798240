"""However much passes, the ladder is there: a flood of pings is told in six rows."""

from __future__ import annotations

import time

import pytest
from ladderevents import ADDRESSES, FAR, MAIL, NETWORKS, Scene
from ladderevents import ladder_of as ladder

from lab.events import Refs
from lab.views.ladder.layout import Ladder
from lab.views.ladder.marks import Sighting
from lab.views.ladder.model import View
from lab.views.ladder.repeats import Repeats

PINGS = 50_000  # so many packets, twice as many events
SECONDS = 5.0  # of a processor; one that was slow took minutes


def pinged(scene: Scene, at: float, source: str, target: str, words: str) -> None:
    """A packet of ICMP, seen on both sides of the router."""
    ends = {"src": ADDRESSES[source], "dst": ADDRESSES[target]}
    for index, network in enumerate((NETWORKS[source], NETWORKS[target])):
        data = {"network": network, "protocol": "icmp", "length": 64, **ends}
        summary = f"{ends['src']} → {ends['dst']} ICMP {words}"
        refs = Refs(file=f"captures/{network}.pcap", frame=len(scene.events))
        scene.add(at + index * 1e-5, "packet", summary, source, data, refs)


@pytest.fixture(scope="module")
def flooded() -> tuple[Ladder, float]:
    """A ladder of mail and a flood of pings in ten seconds, and how long the first layout took."""
    scene = Scene()
    scene.message(0.5, (MAIL, FAR, 25), 1)
    for number in range(PINGS // 2):
        at = 1 + number * 10 / (PINGS // 2)
        pinged(scene, at, MAIL, FAR, "echo request")
        pinged(scene, at + 1e-4, FAR, MAIL, "echo reply")
    scene.message(12, (MAIL, FAR, 25), 2, connection=2)
    began = time.process_time()
    found = ladder(scene.events)
    found.layout()
    return found, time.process_time() - began


def test_a_flood_is_folded_and_takes_no_time(flooded: tuple[Ladder, float]) -> None:
    found, took = flooded
    rows = [item for item in found.layout().items if "ICMP" in item.text or item.what == "fold"]
    assert [item.label for item in rows] == [
        "ICMP: echo request",
        "ICMP: echo reply",
        "ICMP: echo request",
        "ICMP: echo reply",
        f"… {PINGS // 2 - 3} more like this",
        f"… {PINGS // 2 - 3} more like this",
        "ICMP: echo request",
        "ICMP: echo reply",
    ]
    assert all(len(item.seqs) == 2 for item in rows if item.what == "icmp")  # on both networks
    assert took < SECONDS


def test_packets_are_there_for_who_wants_to_see_them(flooded: tuple[Ladder, float]) -> None:
    found, _ = flooded
    assert sum(item.what == "icmp" for item in found.layout(View("packets")).items) == PINGS


def test_what_is_alike_is_told_apart_by_when_it_passed() -> None:
    scene = Scene()
    for at in (1.0, 1.1, 1.5):
        pinged(scene, at, MAIL, FAR, "echo request")
    scene.events.sort(key=lambda event: event.data.get("network", ""))  # one capture, the other
    rows = Ladder.of(scene.events[0], scene.events, ended=True).layout().items
    assert [len(item.seqs) for item in rows] == [2, 2, 2]


def test_a_sighting_long_after_is_of_something_else() -> None:
    repeats = Repeats()
    mark = next(iter(ladder_of_one().wire.marks))
    repeats.add(mark)
    assert repeats.find(Sighting(mark.time + 0.3, 9, "receiver-lan", None, None)) is None
    assert repeats.find(Sighting(mark.time, 9, "sender-lan", None, None)) is None
    assert repeats.find(Sighting(mark.time + 0.1, 9, None, None, None)) is None
    assert repeats.find(Sighting(mark.time + 0.1, 9, "receiver-lan", None, None)) is mark
    assert repeats.find(Sighting(mark.time + 0.1, 10, "receiver-lan", None, None)) is None


def ladder_of_one() -> Ladder:
    """A call, seen on one network."""
    scene = Scene()
    scene.happens(1, "syn", (MAIL, FAR, 25), only="sender-lan")
    return ladder(scene.events)
