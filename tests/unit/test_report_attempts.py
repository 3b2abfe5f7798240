"""Attempts in the report: message by message, each with the one before it, and how it ended."""

from __future__ import annotations

import pytest
from recording import ALICE, BOB, CAROL, SCALE, Recording

from lab.views.report import attempts
from lab.views.report.attempts import BOUNCED, DEFERRED, PASSED_ON, SAVED, Message
from lab.views.report.exhibits import Exhibits

REASON = "connect to mail.receiver.example[203.0.113.25]:25: Connection timed out"


@pytest.fixture
def run() -> Recording:
    return Recording()


def messages(run: Recording) -> list[Message]:
    record = run.record
    return attempts.messages(record, Exhibits(record))


def test_each_recipient_has_pauses_of_their_own(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    for at in (12, 42):
        run.tries(at, "sender-mail", "A00001", "deferred", REASON, to=BOB)
        run.tries(at, "sender-mail", "A00001", "deferred", REASON, to=CAROL)
    (message,) = messages(run)
    assert [(one.recipient, one.since) for one in message.attempts] == [
        (BOB, ""),
        (CAROL, ""),
        (BOB, "30m"),
        (CAROL, "30m"),
    ]


def test_a_message_is_followed_from_server_to_server(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001", login=ALICE)
    run.takes(11, "receiver-mail", "B00001", by="sender-mail")
    run.passes_on(11, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.removes(11.1, "sender-mail", "A00001")
    run.saves(12, "receiver-mail", "B00001")
    (message,) = messages(run)
    assert message.left is None, "the receiver has it still"
    run.removes(13, "receiver-mail", "B00001")
    (message,) = messages(run)
    assert [one.sign for one in message.attempts] == [PASSED_ON, SAVED]
    assert (message.entered, message.left) == (10 * SCALE, 13 * SCALE)


def test_two_machines_may_use_the_same_queue_id(run: Recording) -> None:
    """And one of them does so again, for another message."""
    for at, node, number in ((10, "sender-mail", 1), (20, "other-mail", 2), (50, "sender-mail", 3)):
        run.takes(at, node, "A00001", f"<{number}@pc.sender.example>")
        run.tries(at + 1, node, "A00001", "sent", "250 ok")
        run.removes(at + 2, node, "A00001")
    found = messages(run)
    assert [(one.entered / SCALE, one.left) for one in found] == [
        (10, 12 * SCALE),
        (20, 22 * SCALE),
        (50, 52 * SCALE),
    ]
    assert [one.since for message in found for one in message.attempts] == ["", "", ""]


@pytest.mark.parametrize(
    ("program", "status", "sign"),
    [
        ("smtp", "sent", PASSED_ON),
        ("lmtp", "sent", SAVED),
        ("virtual", "sent", SAVED),
        ("local", "sent", SAVED),
        ("pipe", "sent", SAVED),
        ("error", "deferred", DEFERRED),
        ("virtual", "deferred", DEFERRED),
        ("smtp", "bounced", BOUNCED),
        ("smtp", "expired", BOUNCED),
        ("smtp", "undeliverable", BOUNCED),
    ],
)
def test_how_an_attempt_ended_has_a_sign(
    run: Recording, program: str, status: str, sign: attempts.Sign
) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.tries(11, "sender-mail", "A00001", status, "as it is said", program=program)
    (message,) = messages(run)
    assert [one.sign for one in message.attempts] == [sign]


def test_without_a_message_id_a_message_is_known_by_its_first_server(run: Recording) -> None:
    for number in (1, 2):
        run.takes(10, "sender-mail", f"A0000{number}", "<>")
        run.takes(11, "receiver-mail", f"B0000{number}", "<>", by="sender-mail")
        run.passes_on(11, "sender-mail", f"A0000{number}", "receiver-mail", f"B0000{number}")
        run.saves(12, "receiver-mail", f"B0000{number}", number, "")
    found = messages(run)
    assert [[one.queue_id for one in message.attempts] for message in found] == [
        ["A00001", "B00001"],
        ["A00002", "B00002"],
    ]
