"""Where `lab browse` begins: the web mail of whoever sits there."""

from __future__ import annotations

import pytest

from lab.cli.browse import _web_mail
from lab.engine.lab import Lab
from lab.engine.plan import plan
from lab.errors import UsageError
from lab.seats.seat import find
from lab.topology.loader import load


def start(topology: str, seat: str) -> str:
    lab = Lab(plan(load(topology), "lab"), 0.0, {})
    return _web_mail(lab, find(lab.plan.topology, seat))


def test_it_begins_at_the_persons_own_server() -> None:
    assert start("webmail", "alice") == "http://mail.sender.example/"
    assert start("webmail", "dave@receiver-pc") == "http://mail.receiver.example/"


def test_without_web_mail_it_has_to_be_said() -> None:
    with pytest.raises(UsageError) as caught:
        start("textbook", "bob")
    assert str(caught.value) == (
        "mail.receiver.example has no web mail to open\n"
        "  → say what to open (lab browse bob URL), or: lab --lab NAME up webmail"
    )
