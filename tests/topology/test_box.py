"""A box in a cable, on real sockets: what two kernels see that talk through it.

The scenes are in boxscenes.py and play in a container that is a fabric's, but holds no lab.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import new_name, removed_afterwards

from lab.engine import images
from lab.engine.capabilities import CAPABILITIES
from lab.engine.client import LABEL_LAB

if TYPE_CHECKING:
    from docker import DockerClient

Play = Callable[[str], dict[str, Any]]
SCENES = Path(__file__).with_name("boxscenes.py").read_text()
CONTENT = 40_000
SEGMENT = 1448


@pytest.fixture(scope="module")
def play(engine: DockerClient) -> Iterator[Play]:
    """Plays a scene and says what was seen."""
    images.build(engine, lambda step: None)
    with removed_afterwards(new_name()) as name:
        container = engine.containers.run(
            "maillab/fabric",
            ["sleep", "infinity"],
            name=f"maillab-{name}-box",
            entrypoint=[],
            labels={LABEL_LAB: name},
            network_mode="none",
            init=True,
            detach=True,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES["fabric"]),
        )

        def scene(called: str) -> dict[str, Any]:
            done = container.exec_run(["python3", "-c", SCENES, called], demux=True)
            out, said = done.output
            assert done.exit_code == 0, (said or b"").decode()
            seen: dict[str, Any] = json.loads(out)
            return seen

        yield scene


def test_a_delay_is_added_each_way(play: Play) -> None:
    seen = play("delay")
    assert len(seen["ms"]) == 10
    assert min(seen["ms"]) >= 200
    assert seen["ends"] == [0, ""]


def test_a_cut_in_data_is_believed_by_both_kernels(play: Play) -> None:
    seen = play("cut_in_data")
    assert seen["fates"] == ["ConnectionResetError", "ConnectionResetError"]
    assert seen["challenged"] == [0, 0]  # RFC 5961: neither asked whether the reset was meant
    assert 20_000 - SEGMENT <= seen["got"] < 20_000
    assert seen["again"] == [CONTENT + 5, ""]


def test_a_silent_cut_leaves_both_waiting(play: Play) -> None:
    seen = play("cut_silently")
    assert seen["fates"] == ["BlockingIOError", "BlockingIOError"]
    assert 20_000 - SEGMENT <= seen["got"] < 20_000


def test_the_server_has_all_of_a_message_whose_reply_is_lost(play: Play) -> None:
    seen = play("cut_before_reply")
    lost = [CONTENT + 5, "ConnectionResetError", "ConnectionResetError"]
    assert seen["runs"] == [lost, lost, [CONTENT + 5, "250 queued as 1234\r\n", ""]]
    assert seen["challenged"] == [0, 0]


def test_a_flapping_cable_is_seen_by_the_node_and_left_in(play: Play) -> None:
    seen = play("flap")
    assert seen["seen"] == ["out", "in", "out"]
    assert seen["marks"] == ["it"]
    assert seen["ends"] == [0, ""]
    assert seen["after"] is True


def test_a_cable_that_another_has_pulled_stays_out(play: Play) -> None:
    assert play("flap_while_pulled") == {"on": False, "ends": [0, ""], "after": False}


def test_a_pulled_cable_ends_no_box_but_one_that_is_gone_does(play: Play) -> None:
    seen = play("pulled_and_gone")
    assert seen["pings"] == [1, 1]
    assert seen["ends"] == [1, "box: the interface port is gone\n"]


def test_a_box_that_is_ended_sends_what_waits_in_it(play: Play) -> None:
    assert play("ended_in_time") == {"ends": [0, ""], "got": list(range(10))}


def test_a_kernel_notices_what_was_corrupted(play: Play) -> None:
    assert play("corrupt") == {"got": "intact", "noticed": 20}


def test_rules_that_make_no_sense_are_named(play: Play) -> None:
    seen = play("nonsense")
    assert seen["pings"] == 1  # by the rules before
    assert seen["said"] == [
        "box: {'id': 'it', 'what': 'melt'} makes no sense: KeyError('melt')\n",
        "box: port: {'id': 'it', 'what': 'melt'} makes no sense: KeyError('melt')\n",
    ]
