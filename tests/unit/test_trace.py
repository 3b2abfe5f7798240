"""One message is followed across all machines, and nothing is said of it that was not seen.

pytest tests/unit/test_trace.py --snapshot-update
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording import (
    ALICE,
    BOB,
    CAROL,
    SCALE,
    STARTED,
    Recording,
    a_pipe_in_greenwich,  # noqa: F401  (autouse)
)
from syrupy.assertion import SnapshotAssertion

from lab import record as records
from lab.cli import cli
from lab.errors import LabNotUp, UsageError
from lab.events import Event
from lab.observe.trace import Trace, Tracer, trace
from lab.observe.trace.journey import Attempt
from lab.observe.trace.messages import listed
from lab.record import Record
from lab.views.trace.steps import steps
from lab.views.trace.table import rendered
from lab.views.trace.waterfall import Axis, show

UNREACHABLE = "no route: ICMP host unreachable"
RUNS = Path(__file__).parents[1] / "records"
FIRST = "<1@pc.sender.example>"
TIMED_OUT = "connect to mail.receiver.example[203.0.113.25]:25: Connection timed out"
RECEIVER = "mail.receiver.example[203.0.113.25]:25"


@pytest.fixture
def run() -> Recording:
    return Recording()


def real(name: str) -> Record:
    return Record.load(RUNS / name)


def evidence(found: dict[str, object]) -> list[str]:
    """Places of something in the JSON, in short."""
    return [
        f"{Path(place['file']).stem} {place['frame']}"
        if place["kind"] == "packet"
        else f"{place['node']} {place['line']}"
        for place in found["evidence"]  # type: ignore[attr-defined]
    ]


def told(found: Trace) -> str:
    """Every step of it, in words."""
    return "\n".join(step.text for step in steps(found))


def on_paper(found: Trace, capsys: pytest.CaptureFixture[str]) -> str:
    """The table, and the waterfall."""
    show(found)
    return f"{rendered(found)}\n\n{capsys.readouterr().out}"


def delivered(run: Recording, at: float = 10.0, number: int = 1) -> Recording:
    """A message goes all the way, and is the `number`th in the mailbox."""
    mine, theirs = f"A0000{number}", f"B0000{number}"
    run.takes(at, "sender-mail", mine, login=ALICE)
    run.takes(at + 1, "receiver-mail", theirs, by="sender-mail")
    run.passes_on(at + 1.1, "sender-mail", mine, "receiver-mail", theirs)
    run.removes(at + 1.2, "sender-mail", mine)
    run.saves(at + 2, "receiver-mail", theirs, number)
    run.removes(at + 2.1, "receiver-mail", theirs)
    return run


# Real runs --------------------------------------------------------------------------------------


def test_a_delivered_message_is_followed_to_its_reader() -> None:
    found = trace(real("delivery"))
    assert (found.message_id, found.subject) == ("<693aa4458e014ac6@pc.sender.example>", "Lunch?")
    assert (found.sender, found.recipients, found.outcome) == (ALICE, (BOB,), "delivered")
    first, second = found.hops
    assert (first.node, first.queue_id, first.source) == ("sender-mail", "DE21618A36B", "sender-pc")
    assert first.login == ALICE
    assert first.transaction and first.transaction.connection.port == "587"
    assert second.previous == (first.key,)
    (attempt,) = first.attempts
    assert attempt.next == ("receiver-mail", "E563618A3AB")
    assert attempt.connection and (attempt.connection.stream, attempt.connection.frame) == (1, 36)
    (copy,) = found.saved
    assert (copy.node, copy.user, copy.folder, copy.uid) == ("receiver-mail", BOB, "INBOX", 1)
    (reading,) = found.readings
    assert (reading.what, reading.user, reading.protocol) == ("fetched", BOB, "imap")
    assert (reading.node, reading.octets, reading.known) == ("receiver-pc", 957, "packets")
    assert reading.login is not None and copy.time < reading.login < reading.time


def test_every_attempt_in_vain_has_its_call_and_its_wait() -> None:
    found = trace(real("receiver-down"))
    *vain, last = found.hops[0].attempts
    assert [one.outcome for one in vain] == ["deferred"] * 4
    assert {one.reason for one in vain} == {TIMED_OUT}
    assert [[call.frame for call in one.calls] for one in vain] == [[36], [41], [50], [55]]
    assert [one.tries for one in vain] == [1, 1, 1, 1]
    assert [one.candidates for one in vain] == [1, 1, 1, 1]
    assert [one.connection for one in vain] == [None] * 4
    # The fourth SYN was accepted when the server was back, long after the caller had given up.
    assert vain[3].calls[0].accepted is not None and vain[3].calls[0].accepted > vain[3].ended
    assert vain[0].wait is None
    waits = [one.wait for one in [*vain[1:], last] if one.wait is not None]
    assert len(waits) == 4 and all(1800 <= wait <= 1830 for wait in waits)
    assert last.outcome == "sent" and last.connection and last.connection.frame == 62
    assert found.hops[0].waited == pytest.approx(7240, abs=1)


def test_json_has_the_keys_that_were_promised() -> None:
    found = trace(real("receiver-down")).as_json()
    json.dumps(found, allow_nan=False)
    assert set(found) >= {"message_id", "hops", "outcome"}
    for hop in found["hops"]:
        assert set(hop) >= {"node", "queue_id", "arrived", "left", "waited", "attempts"}
        for attempt in hop["attempts"]:
            assert set(attempt) >= {"time", "outcome", "reason", "stream"}
    assert [one["stream"] for one in found["hops"][0]["attempts"]] == [1, 2, 3, 4, 5]
    assert evidence(found["hops"][0]["attempts"][0]) == ["sender-mail 15", "sender-lan 36"]


@pytest.mark.parametrize("name", ["delivery", "receiver-down"])
def test_each_step_says_where_to_look_and_nothing_is_told_twice(name: str) -> None:
    record = real(name)
    found = steps(trace(record))
    assert all(step.events for step in found)
    assert all(event in record.events for step in found for event in step.events)
    places = [(event.refs.file, event.refs.frame) for step in found for event in step.events]
    packets = [place for place in places if place[0]]
    assert len(packets) == len(set(packets))


@pytest.mark.parametrize("name", ["delivery", "receiver-down"])
def test_on_paper(
    name: str, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    found = trace(real(name))
    page = on_paper(found, capsys)
    drawn = page.removeprefix(rendered(found)).strip()
    assert max(map(len, page.splitlines())) <= 100
    assert len(drawn.splitlines()) <= 30
    assert page == snapshot


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_part_of_a_record_is_told_as_far_as_it_goes(data: st.DataObject) -> None:
    whole = real(data.draw(st.sampled_from(["delivery", "receiver-down"])))
    chance = data.draw(st.integers(1, 10))
    random = data.draw(st.randoms(use_true_random=False))
    part = [one for one in whole.events if one.kind == "run" or random.randrange(10) < chance]
    record = Record(RUNS, tuple(part))
    for message in listed(Tracer(record)):
        found = trace(record, message.name)
        json.dumps(found.as_json(), allow_nan=False)
        rendered(found)
        show(found)


# On its way -------------------------------------------------------------------------------------


def test_logs_alone_are_enough(run: Recording) -> None:
    found = trace(delivered(run).record)
    assert [hop.key for hop in found.hops] == [
        ("sender-mail", "A00001"),
        ("receiver-mail", "B00001"),
    ]
    assert [hop.source for hop in found.hops] == ["sender-pc", "sender-mail"]
    assert found.hops[1].previous == (found.hops[0].key,)
    assert found.hops[0].waited == pytest.approx(1.2 * SCALE, abs=0.01)
    assert found.hops[0].attempts[0].connection is None
    assert found.outcome == "delivered"


def test_a_message_that_was_not_tried_is_queued_and_waits_to_the_end(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.takes(40, "sender-mail", "A00002", "<2@pc.sender.example>")
    found = trace(run.record, FIRST)
    assert (found.outcome, found.hops[0].left) == ("queued", None)
    assert found.hops[0].waited == pytest.approx(30 * SCALE, abs=1)


def test_without_packets_nobody_knows_the_recipient_of_what_was_not_tried(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    found = trace(run.record)
    assert (found.recipients, found.outcome) == ((), "queued")
    run.queue(15, "sender-mail", "A00001", BOB, next_attempt=STARTED + 40)
    found = trace(run.record)
    assert (found.recipients, found.outcome) == ((BOB,), "queued")
    assert found.hops[0].next_attempt == STARTED + 40
    assert "still there; next try at 00:40:00" in told(found)


def test_a_message_that_was_tried_in_vain_is_deferred(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.tries(12, "sender-mail", "A00001", "deferred", TIMED_OUT, took=1)
    found = trace(run.record)
    (arrival,) = found.arrivals
    assert (found.outcome, arrival.reason, arrival.recipient) == ("deferred", TIMED_OUT, BOB)


def test_a_connection_is_told_once_with_all_it_carried(run: Recording) -> None:
    ids = [f"<{number}@pc.sender.example>" for number in range(1, 6)]
    call = run.call(20, "sender-mail", "receiver-mail").accepted(20.01)
    for number, message_id in enumerate(ids, 1):
        mine, theirs = f"A0000{number}", f"B0000{number}"
        run.takes(10 + number, "sender-mail", mine, message_id)
        # The capture on the sender's network missed the second.
        call.mail(20 + number, theirs, message_id, seen_by=1 if number == 2 else 2)
        run.takes(20.1 + number, "receiver-mail", theirs, message_id, by="sender-mail")
        run.passes_on(
            20.2 + number, "sender-mail", f"A0000{number}", "receiver-mail", f"B0000{number}"
        )
    call.closes(30)
    for number, message_id in enumerate(ids, 1):
        (attempt,) = trace(run.record, message_id).hops[0].attempts
        assert attempt.connection and attempt.transaction
        assert (attempt.connection.file, attempt.connection.stream) == (
            "captures/sender-lan.pcap",
            call.stream,
        )
        assert (attempt.transaction.number, attempt.candidates) == (number, 1)
        others = [one.message_id for one in attempt.shared_with]
        assert others == [one for one in ids if one != message_id]
    assert "carried 5 messages" in rendered(trace(run.record, ids[1]))
    assert "message 2 of 5" in told(trace(run.record, ids[1]))


def test_a_quit_sent_along_does_not_hide_the_answer(run: Recording) -> None:
    """The client may send QUIT behind its last message; the answer to that comes after it."""
    run.takes(10, "sender-mail", "A00001")
    call = run.call(20, "sender-mail", "receiver-mail", networks=1).accepted(20.01)
    call.mail(21, "B00001", code=None)
    transaction = run.events.pop()
    transaction.data["frames"]["end_of_data"] = 99
    run.events.append(transaction)
    answer = {"code": 250, "text": "2.0.0 Ok: queued as B00001", "answers": 99}
    call.says(21.1, "server", "reply", queue_id="B00001", **answer)
    call.says(21.1, "server", "reply", code=221, text="2.0.0 Bye", answers=99)
    run.passes_on(21.2, "sender-mail", "A00001", "receiver-mail", "B00001")
    (attempt,) = trace(run.record).hops[0].attempts
    assert attempt.transaction
    assert (attempt.transaction.code, attempt.transaction.reply) == (
        250,
        "2.0.0 Ok: queued as B00001",
    )


def test_calls_that_cannot_be_told_apart_are_said_to_be(run: Recording) -> None:
    for number in (1, 2):
        run.takes(10, "sender-mail", f"A0000{number}", f"<{number}@pc.sender.example>")
        run.call(20 + number / 100, "sender-mail", "receiver-mail").event(23, "syn", "", tries=3)
        run.tries(30, "sender-mail", f"A0000{number}", "deferred", TIMED_OUT, took=10)
    (attempt,) = trace(run.record, FIRST).hops[0].attempts
    assert (attempt.candidates, attempt.tries, len(attempt.calls)) == (2, 3, 1)
    assert "one of 2 calls alike" in told(trace(run.record, FIRST))


def test_a_call_that_was_refused_was_answered(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.call(20, "sender-mail", "receiver-mail").event(20.01, "reset", "refused")
    reason = TIMED_OUT.replace("timed out", "refused")
    run.tries(20.1, "sender-mail", "A00001", "deferred", reason)
    found = trace(run.record)
    assert found.hops[0].attempts[0].answer == "refused"
    assert "1 SYN, refused" in told(found)


def test_whoever_was_not_tried_made_no_call(run: Recording) -> None:
    """Postfix puts off the others of a destination when one was in vain (error(8))."""
    run.takes(10, "sender-mail", "A00001")
    run.call(20, "sender-mail", "receiver-mail")
    reason = f"delivery temporarily suspended: {TIMED_OUT}"
    run.tries(20.1, "sender-mail", "A00001", "deferred", reason, program="error")
    (attempt,) = trace(run.record).hops[0].attempts
    assert (attempt.calls, attempt.connection, attempt.program) == ((), None, "error")


def test_a_refusal_leads_to_what_was_said(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    call = run.call(20, "sender-mail", "receiver-mail").accepted(20.01)
    refusal = "4.2.0 <bob@receiver.example>: Recipient address rejected: Greylisted"
    call.mail(20.1, None, None, code=450, reply=refusal).closes(20.3)
    reason = f"host {RECEIVER[:-3]} said: 450 {refusal} (in reply to RCPT TO command)"
    run.tries(20.2, "sender-mail", "A00001", "deferred", reason, relay=RECEIVER, took=0.1)
    (attempt,) = trace(run.record).hops[0].attempts
    assert attempt.transaction and (attempt.transaction.code, attempt.transaction.reply) == (
        450,
        refusal,
    )
    assert trace(run.record).outcome == "deferred"


def test_an_encrypted_connection_is_named_though_it_can_not_be_read(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    call = run.call(20, "sender-mail", "receiver-mail").accepted(20.01)
    call.says(20.1, "client", "encrypted").closes(21)
    run.takes(20.5, "receiver-mail", "B00001", by="sender-mail")
    run.passes_on(20.6, "sender-mail", "A00001", "receiver-mail", "B00001")
    (attempt,) = trace(run.record).hops[0].attempts
    assert attempt.connection and attempt.transaction is None
    assert (attempt.connection.stream, attempt.connection.encrypted) == (call.stream, True)
    assert "encrypted" in told(trace(run.record))


def test_an_encrypted_submission_is_known_by_its_moment(run: Recording) -> None:
    call = run.call(9, "sender-pc", "sender-mail", port=587, networks=1).accepted(9.01)
    call.says(9.1, "client", "encrypted")
    run.takes(10, "sender-mail", "A00001", login=ALICE)
    call.closes(11)
    (hop,) = trace(run.record).hops
    assert hop.connection and (hop.connection.port, hop.transaction) == ("587", None)
    assert "(port 587, encrypted), logged in as alice" in told(trace(run.record))


def test_every_exchanger_that_was_called_is_named(run: Recording) -> None:
    """The attempt's line has the last one only; the same process has said the others."""
    run.takes(10, "sender-mail", "A00001")
    run.call(20, "sender-mail", "other-mail", networks=1)
    run.call(21, "sender-mail", "receiver-mail", networks=1)
    other = "postfix/smtp[26]: connect to mail.other.example[203.0.113.26]:25: Connection timed out"
    run.logs(21, "sender-mail", other)
    run.tries(22, "sender-mail", "A00001", "deferred", TIMED_OUT, took=2)
    (attempt,) = trace(run.record).hops[0].attempts
    assert sorted(str(call.server_node) for call in attempt.calls) == [
        "other-mail",
        "receiver-mail",
    ]


# Several recipients -----------------------------------------------------------------------------


def two_recipients(run: Recording) -> Recording:
    """To bob and carol, at two servers, of which carol's is down."""
    run.takes(10, "sender-mail", "A00001", login=ALICE)
    run.takes(10.2, "receiver-mail", "B00001", by="sender-mail")
    run.passes_on(10.3, "sender-mail", "A00001", "receiver-mail", "B00001")
    reason = "connect to mail.other.example[203.0.113.26]:25: Connection refused"
    run.tries(10.3, "sender-mail", "A00001", "deferred", reason, to=CAROL)
    run.saves(11, "receiver-mail", "B00001")
    run.removes(11.1, "receiver-mail", "B00001")
    return run


def test_each_recipient_has_an_outcome(run: Recording) -> None:
    found = trace(two_recipients(run).record)
    assert {one.recipient: one.outcome for one in found.arrivals} == {
        BOB: "delivered",
        CAROL: "deferred",
    }
    assert found.outcome == "deferred"  # there is still something to wait for
    run.takes(40, "other-mail", "C00001", by="sender-mail")
    run.passes_on(40.1, "sender-mail", "A00001", "other-mail", "C00001", CAROL)
    run.removes(40.2, "sender-mail", "A00001")
    run.saves(41, "other-mail", "C00001", to=CAROL)
    found = trace(run.record)
    assert found.outcome == "delivered"
    assert [hop.node for hop in found.hops] == ["sender-mail", "receiver-mail", "other-mail"]
    assert found.hops[2].previous == (("sender-mail", "A00001"),)
    assert "attempt 2 for carol@other.example: other-mail takes it" in told(found)
    (second,) = [one for one in found.hops[0].attempts if one.wait is not None]
    assert second.recipient == CAROL and second.wait == pytest.approx(29.8 * SCALE, abs=1)


def test_delivered_to_one_and_refused_to_the_other(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.tries(11, "sender-mail", "A00001", "bounced", "unknown user", to=CAROL, relay=RECEIVER)
    run.passes_on(11, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.takes(11, "receiver-mail", "B00001", by="sender-mail")
    run.saves(12, "receiver-mail", "B00001")
    found = trace(run.record)
    assert found.outcome == "partly delivered"
    assert {one.recipient: one.outcome for one in found.arrivals} == {
        BOB: "delivered",
        CAROL: "bounced",
    }


def test_two_people_at_one_server_are_told_together(run: Recording) -> None:
    run.takes(10, "receiver-mail", "B00001")
    run.saves(11, "receiver-mail", "B00001", 4, session="one")
    run.saves(11, "receiver-mail", "B00001", 7, to="dave@receiver.example", session="one")
    found = trace(run.record)
    assert (found.outcome, len(found.arrivals), found.duplicates) == ("delivered", 2, ())
    assert "puts it by LMTP into bob's INBOX #4, dave's INBOX #7 for" in told(found)


@pytest.mark.parametrize("program", ["virtual", "local", "pipe"])
def test_whatever_program_puts_it_into_a_mailbox_has_delivered_it(
    run: Recording, program: str
) -> None:
    run.takes(10, "receiver-mail", "B00001")
    said = "delivered to mailbox"
    run.tries(11, "receiver-mail", "B00001", "sent", said, relay=program, program=program)
    found = trace(run.record)
    assert found.outcome == "delivered"
    assert f"puts it by {program} into a mailbox" in told(found)


def test_an_alias_leads_to_who_has_it(run: Recording) -> None:
    run.takes(10, "receiver-mail", "B00001")
    run.saves(11, "receiver-mail", "B00001", more=" orig_to=<postmaster@receiver.example>,")
    (arrival,) = trace(run.record).arrivals
    assert (arrival.recipient, arrival.final) == ("postmaster@receiver.example", BOB)
    assert arrival.outcome == "delivered"


def test_a_server_off_the_record_has_it(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.passes_on(11, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.removes(11.1, "sender-mail", "A00001")
    assert trace(run.record).outcome == "relayed"


# Reports ----------------------------------------------------------------------------------------


def given_up(run: Recording) -> Recording:
    """Three attempts, a note of delay, and the message is returned."""
    run.takes(10, "sender-mail", "A00001", login=ALICE)
    for number, at in enumerate((12, 42, 72)):
        run.call(at - 0.9, "sender-mail", "receiver-mail")
        run.tries(at, "sender-mail", "A00001", "deferred", TIMED_OUT, took=1)
        if number == 1:
            report(run, at + 0.1, "D00001", "delay", 1)
    expired = f"from=<{ALICE}>, status=expired, returned to sender"
    run.logs(72.1, "sender-mail", f"postfix/qmgr[21]: A00001: {expired}")
    report(run, 72.2, "E00001", "non-delivery", 2)
    run.removes(72.4, "sender-mail", "A00001")
    return run


def report(run: Recording, at: float, queue_id: str, kind: str, uid: int) -> None:
    message_id = f"<{queue_id}@mail.sender.example>"
    named = f"message-id={message_id}"
    run.logs(at, "sender-mail", f"postfix/cleanup[25]: {queue_id}: {named}")
    said = f"A00001: sender {kind} notification: {queue_id}"
    run.logs(at + 0.01, "sender-mail", f"postfix/bounce[27]: {said}")
    active = "from=<>, size=2504, nrcpt=1 (queue active)"
    run.logs(at + 0.02, "sender-mail", f"postfix/qmgr[21]: {queue_id}: {active}")
    run.saves(at + 0.03, "sender-mail", queue_id, uid, message_id, to=ALICE)
    run.removes(at + 0.05, "sender-mail", queue_id)


def test_reports_are_its_children(run: Recording) -> None:
    found = trace(given_up(run).record)
    assert found.name == FIRST  # the last message sent by somebody, not the last report
    assert found.outcome == "bounced"
    delay, bounce = found.children
    assert (delay.kind, delay.outcome, delay.about) == ("delay notification", "delivered", FIRST)
    assert (bounce.kind, bounce.message_id) == (
        "non-delivery notification",
        "<E00001@mail.sender.example>",
    )
    assert (bounce.sender, bounce.recipients, bounce.saved[0].uid) == ("", (ALICE,), 2)
    assert found.arrivals[0].told == bounce.name
    assert found.hops[0].expired == pytest.approx(STARTED + 72.1)


def test_a_report_named_itself_says_what_it_is_about(run: Recording) -> None:
    found = trace(given_up(run).record, "E00001")
    assert (found.kind, found.about, found.children) == ("non-delivery notification", FIRST, ())
    assert f"about {FIRST}" in rendered(found)


def test_given_up_on_paper(
    run: Recording, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    assert on_paper(trace(given_up(run).record), capsys) == snapshot


# Duplicates -------------------------------------------------------------------------------------


def unheard(run: Recording) -> Recording:
    """RFC 1047: the server has taken it, but its answer does not come."""
    run.takes(10, "sender-mail", "A00001")
    run.takes(11, "receiver-mail", "B00001", by="sender-mail")
    call = run.call(10.9, "sender-mail", "receiver-mail").accepted(10.91)
    call.mail(11, "B00001", heard_by=1)
    run.saves(12, "receiver-mail", "B00001", 1)
    run.removes(12.1, "receiver-mail", "B00001")
    reason = (
        f"conversation with {RECEIVER[:-3]} timed out while sending end of data "
        "-- message may be sent more than once"
    )
    run.tries(21, "sender-mail", "A00001", "deferred", reason, relay=RECEIVER, took=10)
    run.takes(51, "receiver-mail", "B00002", by="sender-mail")
    run.call(50.9, "sender-mail", "receiver-mail").accepted(50.91).mail(51, "B00002").closes(52)
    run.passes_on(51.1, "sender-mail", "A00001", "receiver-mail", "B00002")
    run.removes(51.2, "sender-mail", "A00001")
    run.saves(52, "receiver-mail", "B00002", 2)
    run.removes(52.1, "receiver-mail", "B00002")
    return run


def test_a_duplicate_is_named_with_its_cause(run: Recording) -> None:
    found = trace(unheard(run).record)
    (duplicate,) = found.duplicates
    assert (duplicate.saved.user, duplicate.saved.uid) == (BOB, 2)
    assert "message may be sent more than once" in duplicate.cause
    # Where the answer can be seen that did not come:
    assert duplicate.cause.endswith("; the answer, 250, is frame 4 of receiver-lan.pcap")
    assert duplicate.events
    first, second = found.hops[0].attempts
    assert first.transaction and (first.transaction.code, first.transaction.queue_id) == (
        None,
        "B00001",
    )
    assert second.next == ("receiver-mail", "B00002")
    assert [hop.previous for hop in found.hops] == [(), *[(("sender-mail", "A00001"),)] * 2]
    (arrival,) = found.arrivals
    assert (arrival.outcome, arrival.time) == ("delivered", STARTED + 12)


def test_what_a_server_still_tries_may_have_arrived(run: Recording) -> None:
    before = [event for event in unheard(run).events if event.time < STARTED + 30]
    found = trace(Record(RUNS, tuple(before)))
    assert (found.outcome, len(found.saved), found.duplicates) == ("deferred", 1, ())
    assert f"and yet it is in the mailbox of {BOB}" in rendered(found)


def test_a_duplicate_on_paper(
    run: Recording, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    assert on_paper(trace(unheard(run).record), capsys) == snapshot


def test_the_same_message_sent_twice_is_a_duplicate_too(run: Recording) -> None:
    delivered(run)
    delivered(run, 20, 2)
    (duplicate,) = trace(run.record).duplicates
    assert "submitted 2 times: A00001 on sender-mail and A00002 on sender-mail" in duplicate.cause


def test_a_copy_kept_by_a_mail_program_is_no_duplicate(run: Recording) -> None:
    delivered(run)
    login = f"imap-login: Info: Logged in: user=<{BOB}>, method=PLAIN, rip=203.0.113.10"
    run.logs(20, "receiver-mail", f"{login}, lip=203.0.113.25, mpid=54, session=<XrkX>")
    box = f"box=Kept, uid=7, msgid={FIRST}, size=934, flags=(\\Seen)"
    run.logs(21, "receiver-mail", f"imap({BOB})<54><XrkX>: Info: Mailbox Kept: save: {box}")
    found = trace(run.record)
    assert found.duplicates == ()
    assert [(one.folder, one.by) for one in found.saved] == [("INBOX", "lmtp"), ("Kept", "imap")]


# Readers ----------------------------------------------------------------------------------------


def logs_in(run: Recording, at: float, protocol: str = "imap", *, tls: bool = False) -> None:
    secure = ", TLS" if tls else ""
    login = f"{protocol}-login: Info: Logged in: user=<{BOB}>, method=PLAIN, rip=203.0.113.10"
    run.logs(at, "receiver-mail", f"{login}, lip=203.0.113.25, mpid=54{secure}, session=<XrkX>")


def flags(run: Recording, at: float, set_: str, protocol: str = "imap") -> None:
    box = f"box=INBOX, uid=1, msgid={FIRST}, size=934, flags=({set_})"
    said = f"Info: Mailbox INBOX: flag_change: {box}"
    run.logs(at, "receiver-mail", f"{protocol}({BOB})<54><XrkX>: {said}")


def test_pop3_tells_a_message_from_its_header(run: Recording) -> None:
    delivered(run)
    call = run.call(20, "receiver-pc", "receiver-mail", port=110, networks=1).accepted(20.01)
    logs_in(run, 20.1, "pop3")
    call.says(20.2, "client", "command", command="TOP", argument="1 0", last_frame=70)
    call.says(20.3, "server", "content", message_id=FIRST, answers=70, size=300)
    call.says(20.4, "client", "command", command="RETR", argument="1", last_frame=80)
    call.says(20.5, "server", "content", message_id=FIRST, answers=80, size=957)
    flags(run, 20.6, "\\Seen", "pop3")
    found = trace(run.record).readings
    assert [(one.what, one.protocol, one.user, one.octets) for one in found] == [
        ("header fetched", "pop3", BOB, 300),
        ("fetched", "pop3", BOB, 957),
    ]


def test_a_list_of_headers_is_not_reading(run: Recording) -> None:
    delivered(run)
    call = run.call(20, "receiver-pc", "receiver-mail", port=143, networks=1).accepted(20.01)
    for argument in (
        "1 (BODY[HEADER.FIELDS (FROM MESSAGE-ID)] {60}",
        "1 (BODY[]<0> {100}",
        "1 (FLAGS (\\Seen) BODY[] {957}",
        "1 (RFC822 {957}",
    ):
        call.says(20.2, "server", "untagged", command="FETCH", argument=argument, message_id=FIRST)
    whats = [one.what for one in trace(run.record).readings]
    assert whats == ["header fetched", "part fetched", "fetched", "fetched"]


def test_over_tls_the_log_tells_what_it_can(run: Recording) -> None:
    delivered(run)
    logs_in(run, 20, tls=True)
    flags(run, 20.5, "\\Seen")
    (found,) = trace(run.record).readings
    assert (found.what, found.known, found.encrypted) == ("flags set", "log", True)
    assert (found.user, found.node, found.flags) == (BOB, "receiver-pc", ("\\Seen",))


def test_an_encrypted_session_without_a_trace_is_told_as_that(run: Recording) -> None:
    logs_in(run, 5, tls=True)  # before it was there
    delivered(run)
    logs_in(run, 20, tls=True)
    (found,) = trace(run.record).readings
    assert (found.what, found.time) == ("session", STARTED + 20)
    assert "what was read can't be seen" in told(trace(run.record))


def test_a_session_in_the_clear_that_did_not_fetch_it_is_not_told(run: Recording) -> None:
    delivered(run)
    logs_in(run, 20)
    assert trace(run.record).readings == ()


# Messages that are hard to follow ---------------------------------------------------------------


def test_a_message_without_a_message_id_is_known_by_its_queue_ids(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001", "<>")
    run.takes(11, "receiver-mail", "B00001", "<>", by="sender-mail")
    run.passes_on(11.1, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.removes(11.2, "sender-mail", "A00001")
    run.saves(12, "receiver-mail", "B00001", 1, "")
    run.takes(13, "sender-mail", "A00009", "<>")  # another one without
    for name in ("A00001", "B00001"):
        found = trace(run.record, name)
        assert (found.message_id, found.name, found.outcome) == (None, "A00001", "delivered")
        assert [hop.queue_id for hop in found.hops] == ["A00001", "B00001"]
        assert [copy.uid for copy in found.saved] == [1]


def test_a_queue_id_that_is_used_again_is_another_message(run: Recording) -> None:
    delivered(run)
    run.takes(99, "sender-mail", "A00001", "<2@pc.sender.example>")
    assert trace(run.record, FIRST).outcome == "delivered"
    found = trace(run.record, "<2@pc.sender.example>")
    assert (found.outcome, len(found.hops)) == ("queued", 1)


def test_a_record_that_begins_in_the_middle_says_so(run: Recording) -> None:
    run.tries(12, "sender-mail", "A00001", "deferred", TIMED_OUT)
    found = trace(run.record, "A00001")
    assert (found.hops[0].arrived, found.hops[0].waited) == (None, None)
    assert "since before the record begins" in told(found)


def test_a_message_that_was_cut_off_was_never_in_the_queue(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    client = "client=mail.sender.example[198.51.100.25]"
    run.logs(11, "receiver-mail", f"postfix/smtpd[17]: B00001: {client}")
    run.logs(11.1, "receiver-mail", f"postfix/cleanup[25]: B00001: message-id={FIRST}")
    lost = "lost connection after DATA (300 bytes) from mail.sender.example[198.51.100.25]"
    run.logs(15, "receiver-mail", f"postfix/smtpd[17]: {lost}")
    reason = f"lost connection with {RECEIVER[:-3]} while sending message body"
    run.tries(15, "sender-mail", "A00001", "deferred", reason, relay=RECEIVER, took=4)
    found = trace(run.record)
    assert found.outcome == "deferred"
    assert found.hops[1].not_taken and found.hops[1].not_taken.startswith("lost connection")
    assert "does not take it" in told(found)


def test_what_nobody_took_is_known_from_the_wire(run: Recording) -> None:
    call = run.call(10, "sender-pc", "receiver-mail").accepted(10.01)
    call.mail(10.1, None, code=554, reply="5.7.1 Refused").closes(10.2)
    found = trace(run.record)
    assert (found.message_id, found.hops, found.outcome) == (FIRST, (), "refused")
    assert "554 5.7.1 Refused" in told(found)


def called(run: Recording, wire: str, log: str) -> Recording:
    """A message with the Message-ID `wire`, in logs `log`, is delivered at the second attempt."""
    call = run.call(9.9, "sender-pc", "sender-mail", port=587, networks=1).accepted(9.91)
    call.says(9.95, "client", "content", message_id=wire, text="Subject: Odd\n\nHello.")
    call.mail(10, "A00001", wire)
    run.takes(10, "sender-mail", "A00001", log, login=ALICE)
    call = run.call(10.5, "sender-mail", "receiver-mail").accepted(10.6)
    call.mail(10.7, None, wire, code=450, reply="4.2.0 Later")
    said = "host mail.receiver.example[203.0.113.25] said: 450 4.2.0 Later"
    run.tries(10.8, "sender-mail", "A00001", "deferred", said, relay=RECEIVER, took=0.3)
    run.call(40.9, "sender-mail", "receiver-mail").accepted(41).mail(41.1, "B00001", wire)
    run.takes(41.1, "receiver-mail", "B00001", log, by="sender-mail")
    run.passes_on(41.2, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.removes(41.3, "sender-mail", "A00001")
    run.saves(42, "receiver-mail", "B00001", 1, wire)
    run.removes(42.1, "receiver-mail", "B00001")
    return run


ODD = {
    "two headers": ("<one@x>", "<two@x>"),
    "spaces and quotes": ('<a "b c"@x>', '<a "b c"@x>'),
    "a comment": ("<1@x>", "<1@x> (a comment)"),
    "escape": ("<a\x1b[1m@x>", "<a?[1m@x>"),
    "cut in the log": (f"<{'a' * 2000}@x>", f"<{'a' * 900}"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_message_is_one_whatever_it_is_called(run: Recording, name: str) -> None:
    wire, log = ODD[name]
    called(run, wire, log)
    (message,) = listed(Tracer(run.record))
    assert (message.name, message.subject) == (log, "Odd")
    for named in (wire, log, wire[:4], "A00001"):
        found = trace(run.record, named)
        assert (found.name, found.subject, found.outcome) == (log, "Odd", "delivered")
        assert found.refused == ()
        first, second = found.hops[0].attempts
        assert first.transaction and (first.transaction.code, second.outcome) == (450, "sent")
        assert [copy.uid for copy in found.saved] == [1]


def test_a_name_on_the_wire_that_another_message_has_in_the_log_is_that_ones(
    run: Recording,
) -> None:
    called(run, "<one@x>", "<two@x>")
    run.takes(50, "sender-mail", "A00002", "<one@x>")
    assert [one.name for one in listed(Tracer(run.record))] == ["<two@x>", "<one@x>"]
    assert trace(run.record, "<two@x>").outcome == "delivered"
    found = trace(run.record, "<one@x>")
    assert ([hop.queue_id for hop in found.hops], found.outcome) == (["A00002"], "queued")


@pytest.mark.parametrize("heard_by", [1, 2])
def test_what_was_taken_off_the_record_is_not_said_to_be_refused(
    run: Recording, heard_by: int
) -> None:
    """Also if the client did not hear it, and another network has the answer."""
    call = run.call(10, "sender-pc", "receiver-mail").accepted(10.01)
    call.mail(10.1, "B00001", heard_by=heard_by).closes(10.2)
    found = trace(run.record)
    assert (found.hops, found.outcome, len(found.refused)) == ((), "unknown", 1)
    assert "unknown: receiver-mail took it, but no log has it" in rendered(found)
    again = run.call(8, "sender-pc", "receiver-mail").accepted(8.01)
    again.mail(8.1, None, code=450, reply="4.2.0 Later")
    assert trace(run.record).outcome == "unknown"
    assert "no server took it" not in rendered(trace(run.record))


def test_a_loop_ends(run: Recording) -> None:
    run.takes(10, "sender-mail", "A00001")
    run.takes(11, "receiver-mail", "B00001", by="sender-mail")
    run.passes_on(11, "sender-mail", "A00001", "receiver-mail", "B00001")
    run.passes_on(12, "receiver-mail", "B00001", "sender-mail", "A00001")
    found = trace(run.record)
    assert len(found.hops) == 2
    rendered(found)


# Which message ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [FIRST, "1@pc.sender.example", "1@PC", "<1@", "A00001", "a00001", "B00001", " A00001 "]
)
def test_a_message_has_many_names(run: Recording, name: str) -> None:
    delivered(run)
    run.takes(50, "sender-mail", "C00007", "<2@pc.sender.example>")
    assert trace(run.record, name).name == FIRST


def test_the_last_is_the_last_that_somebody_sent(run: Recording) -> None:
    delivered(run)
    run.takes(50, "sender-mail", "C00007", "<2@pc.sender.example>")
    assert trace(run.record).name == "<2@pc.sender.example>"


@pytest.mark.parametrize("name", ["nonsense", "", "<>", "A"])
def test_a_message_that_is_not_meant_clearly(
    run: Recording, name: str, snapshot: SnapshotAssertion
) -> None:
    for number in range(1, 8):
        run.takes(number, "sender-mail", f"A0000{number}", f"<{number}@pc.sender.example>")
    with pytest.raises(UsageError) as error:
        trace(run.record, name)
    assert str(error.value) == snapshot


def test_no_message_at_all(run: Recording) -> None:
    with pytest.raises(UsageError, match="nobody has sent a message; there is none at all"):
        trace(run.record)


# The axis ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)).map(lambda one: (one[0], sum(one))),
        min_size=1,
        max_size=40,
    ),
    st.integers(24, 120),
)
def test_moments_stand_in_their_order_on_the_axis(
    spans: list[tuple[float, float]], width: int
) -> None:
    axis = Axis(spans, width)
    moments = sorted(moment for span in spans for moment in span)
    columns = [axis.column(moment) for moment in moments]
    assert columns == sorted(columns)
    assert columns[0] >= 0 and columns[-1] < width
    breaks = {column for column, _ in axis.breaks}
    assert not breaks & set(columns)  # whatever happens is not left out
    assert all(left > 0 for _, left in axis.breaks)


def test_idle_time_is_left_out_and_its_length_said() -> None:
    axis = Axis([(0, 1), (100, 101), (200, 201), (201, 202)], 60)
    assert [left for _, left in axis.breaks] == [99, 99]
    assert len(axis.segments) == 3


def test_what_is_busy_all_the_time_has_no_break() -> None:
    assert Axis([(0, 10), (12, 20), (21, 30)], 60).breaks == []


# The verb ---------------------------------------------------------------------------------------


def lab(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(cli, ["trace", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr


def test_the_verb_reads_a_run() -> None:
    folder = str(RUNS / "delivery")
    assert json.loads(lab("--last", "--run", folder, "--json")[0])["outcome"] == "delivered"
    assert "machine" in lab("DE21618A36B", "--run", folder)[0]
    assert "█" in lab("--last", "--run", folder, "--waterfall")[0]


def test_the_verb_wants_one_message() -> None:
    folder = str(RUNS / "delivery")
    with pytest.raises(UsageError, match="a message is named, and the last one asked for"):
        lab("DE21618A36B", "--last", "--run", folder)
    with pytest.raises(UsageError, match="which message") as error:
        lab("--run", folder)
    assert '"Lunch?"' in str(error.value)


def test_without_a_lab_the_newest_run_is_read_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lab.engine.lab import Lab

    def attach(name: str) -> Lab:
        raise LabNotUp(f"lab '{name}' is not up", hint="lab up")

    monkeypatch.setattr(Lab, "attach", attach)
    for name in ("delivery", "receiver-down"):
        (tmp_path / name).symlink_to(RUNS / name)
    monkeypatch.setattr(records, "RUNS", tmp_path)
    out, said = lab("--last")
    assert "Lunch?" in out
    assert said.startswith("lab: lab 'lab' is not up; this is from the newest run, ")
    assert "receiver-down" in said
    monkeypatch.setattr(records, "RUNS", tmp_path / "nowhere")
    with pytest.raises(LabNotUp):
        lab("--last")


def test_frames_of_a_lab_that_is_up_are_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.engine.lab import Lab
    from lab.observe import live

    monkeypatch.setattr(Lab, "attach", lambda name: None)
    monkeypatch.setattr(live, "record_of", lambda lab: nullcontext(real("delivery")))
    out, said = lab("--last")
    assert "sender-lan#" in out
    assert said == "to keep and open these frames: lab report --live\n"
    assert lab("--last", "--json")[1] == ""
    assert lab("--last", "--waterfall")[1] == "", "it names none"
    assert lab("--last", "--run", str(RUNS / "delivery"))[1] == "", "there they are"
    monkeypatch.setattr(live, "record_of", lambda lab: nullcontext(delivered(Recording()).record))
    assert lab("--last")[1] == "", "it is told from the logs alone"


def test_a_trace_is_made_of_events_only() -> None:
    """Nothing else is read: the folder of a record need not be there."""
    events: tuple[Event, ...] = real("delivery").events
    found: Trace = trace(Record(Path("/nowhere"), events))
    assert found.outcome == "delivered"


@pytest.mark.parametrize(
    ("refused", "answer"), [(100.4, UNREACHABLE), (101.5, "no answer"), (None, "no answer")]
)
def test_what_comes_after_an_attempt_was_no_answer_to_it(
    refused: float | None, answer: str
) -> None:
    """A router looks for a machine longer than a server waits for it."""
    call = SimpleNamespace(state=UNREACHABLE, refused=refused)
    attempt = SimpleNamespace(calls=(call,), ended=101.0)
    assert Attempt.answer.fget(attempt) == answer  # type: ignore[attr-defined]
