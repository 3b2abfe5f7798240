"""The picture that `lab up` draws: what each machine is there for."""

from __future__ import annotations

import re

from lab.engine.plan import plan
from lab.topology.loader import load
from lab.topology.model import Topology
from lab.views.picture import picture


def roles(topology: Topology) -> dict[str, str]:
    """What the picture says of each machine."""
    drawn = picture(plan(topology, "lab"))
    return dict(re.findall(r"[├└]── (\S+) +[\d.]+ +(.+)", re.sub(r"\x1b\[\d*m", "", drawn)))


def test_each_machine_says_what_it_is_there_for() -> None:
    found = roles(load("backup-mx"))
    assert found["sender-mail"] == "mail server of sender.example"
    assert found["backup-mail"] == "backup for receiver.example"
    assert found["receiver-pc"] == "used by bob@receiver.example, dave@receiver.example"


def test_a_server_can_be_both() -> None:
    topology = load("backup-mx")
    both = topology.nodes["sender-mail"].model_copy(update={"backup_for": ("receiver.example",)})
    changed = topology.model_copy(update={"nodes": topology.nodes | {"sender-mail": both}})
    assert roles(changed)["sender-mail"] == (
        "mail server of sender.example, backup for receiver.example"
    )


def test_a_web_server_is_one() -> None:
    assert roles(load("web"))["web"] == "web server"
