"""A machine that does not come up is named, with the last it said; nothing is left of the lab."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from harness import made, textbook

from lab.engine.lifecycle import READY_SECONDS, up
from lab.engine.plan import Plan
from lab.errors import NodeFailed
from lab.services import File


def with_file(plan: Plan, node: str, path: str, content: str) -> Plan:
    """`plan` with another content for one of a node's files."""
    planned = plan.nodes[node]
    files = tuple(file for file in planned.files if file.path != path)
    plan.nodes[node] = replace(planned, write=lambda: (*files, File(path, content)))
    return plan


@pytest.mark.parametrize(
    ("node", "path", "content", "said"),
    [
        ("dns", "/etc/dnsmasq.conf", "nonsense here\n", "bad option at line 1"),
        ("receiver-mail", "/etc/dovecot/dovecot.conf", "nonsense here\n", "dovecot.conf"),
    ],
)
def test_a_machine_that_ends_is_named_at_once_with_its_last_words(
    name: str, node: str, path: str, content: str, said: str
) -> None:
    plan = with_file(textbook(name), node, path, content)
    began = time.monotonic()
    with pytest.raises(NodeFailed) as caught:
        up(plan)
    assert time.monotonic() - began < READY_SECONDS, "it is noticed, not waited out"
    assert caught.value.what == f"node '{node}' ended while the lab came up"
    assert said in caught.value.detail
    assert caught.value.exit_status == 3
    assert made(name) == {}


def test_a_service_that_stays_silent_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.engine.lifecycle.READY_SECONDS", 2.0)
    plan = textbook(name)
    master = next(
        file for file in plan.nodes["sender-mail"].files if file.path == "/etc/postfix/master.cf"
    )
    without = master.content.replace("submission inet", "#submission inet")
    with pytest.raises(NodeFailed) as caught:
        up(with_file(plan, "sender-mail", master.path, without))
    assert caught.value.what.startswith("node 'sender-mail' does not answer (port 587: ")
    assert made(name) == {}
