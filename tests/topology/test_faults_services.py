"""Services that stop or crash, clocks that are wrong, disks that are full: and mail after that."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from itertools import pairwise

import pytest
from faulty import attempt, attempts, dig, not_there, returned, struck
from harness import (
    ALICE,
    BOB,
    SCALE,
    delivered,
    made,
    mail_works,
    parsed,
    removed_afterwards,
    send,
    until,
)

from lab.engine.client import client
from lab.engine.exec import Exec
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.errors import LabError, UsageError
from lab.faults import journal
from lab.faults.disk import disk_full
from lab.faults.power import power_cut
from lab.faults.service import (
    ClockOff,
    clock_off,
    process_killed,
    service_killed,
    service_stopped,
)
from lab.observe import maillog
from lab.services import dovecot, postfix
from lab.topology.loader import load

RECEIVER = "receiver-mail"


def boots(lab: Lab, node: str) -> str:
    """When the engine started a machine: the same as long as it runs on."""
    state = client().api.inspect_container(made(lab)[node].id)["State"]
    return str(state["StartedAt"])


@pytest.mark.parametrize("fault", ["service-stopped", "service-killed"])
def test_a_stopped_postfix_refuses_and_what_waits_arrives_when_it_runs(
    lab: Lab, fault: str
) -> None:
    mail_works(lab)
    booted = boots(lab, RECEIVER)
    with struck(lab, fault, RECEIVER):
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, tried.dsn) == ("deferred", "4.4.1")
        assert "Connection refused" in tried.reason
        assert not_there(lab, BOB, sent)
    delivered(lab, BOB, sent)
    assert boots(lab, RECEIVER) == booted, "the machine has run on"
    mail_works(lab)


@pytest.mark.parametrize("fault", ["service-stopped", "service-killed"])
def test_without_dovecot_mail_is_taken_and_waits_at_the_receivers_server(
    lab: Lab, fault: str
) -> None:
    with struck(lab, fault, RECEIVER, "--service", "dovecot"):
        sent = send(lab, ALICE, BOB)
        assert attempt(lab, sent).status == "sent"
        until("it waits there", lambda: postfix.queue(lab, RECEIVER))
        imap = ["curl", "-sS", "-n", "imap://mail.receiver.example/INBOX"]
        assert lab.run("receiver-pc", imap, user="bob").status == 7, "could not connect"
    delivered(lab, BOB, sent)
    mail_works(lab)


@pytest.mark.parametrize("fault", ["service-stopped", "service-killed"])
def test_without_a_name_server_program_mail_waits(lab: Lab, fault: str) -> None:
    assert "mail.receiver.example" in dig(lab, "receiver.example")
    with struck(lab, fault, "dns"):
        assert "connection refused" in dig(lab, "receiver.example")
        sent = send_by_address(lab)
        tried = attempt_of(lab, sent)
        assert tried.startswith("4.4.3"), tried
    delivered(lab, BOB, sent)


def send_by_address(lab: Lab) -> str:
    """A message handed in at the sender's server itself, since nobody can find it: its ID."""
    message_id = f"<{time.time_ns()}@mail.sender.example>"
    text = f"From: {ALICE}\nTo: {BOB}\nMessage-ID: {message_id}\nSubject: by hand\n\nHi\n"
    argv = ["sendmail", "-f", ALICE, BOB]
    lab.run("sender-mail", argv, stdin=text.encode()).check("sendmail")
    return message_id


def attempt_of(lab: Lab, message_id: str) -> str:
    """The status code and the reason of the first attempt for a message."""
    entry = until(
        f"{message_id} waits",
        lambda: next(
            (
                one
                for one in postfix.queue(lab, "sender-mail")
                if one.message_id == message_id and one.reason
            ),
            None,
        ),
    )
    first = maillog.attempts(maillog.read(lab, "sender-mail"), entry.queue_id)[0]
    return f"{first.dsn} {first.reason}"


def test_what_is_stopped_is_so_after_a_power_cut_too_until_it_is_healed(lab: Lab) -> None:
    with lab.outage(service_stopped(RECEIVER)):
        with lab.outage(power_cut(RECEIVER)):
            pass
        assert "25" not in listening(lab, RECEIVER)
        with lab.outage(power_cut(RECEIVER)):
            sent = send(lab, ALICE, BOB)
            (stopped,) = [one for one in journal.cases(lab) if one.fault.name == "service-stopped"]
            assert journal.heal(lab, stopped), "its machine is off: nothing to do there"
    delivered(lab, BOB, sent)
    mail_works(lab)


def listening(lab: Lab, node: str) -> set[str]:
    """The TCP ports on which something on `node` takes calls."""
    rows = lab.run(node, ["ss", "-Hltn"]).text.splitlines()
    return {row.split()[3].rpartition(":")[2] for row in rows}


def test_a_backup_has_no_dovecot_that_could_be_stopped(lab: Lab) -> None:
    with pytest.raises(UsageError) as caught:
        journal.apply(lab, service_stopped("dns", service="dovecot"))
    assert str(caught.value) == (
        "service-stopped can't be done so: dns has no dovecot, but dnsmasq\n"
        "  → lab fault apply service-stopped --help"
    )
    assert not journal.cases(lab)


def test_a_crash_of_smtpd_cuts_a_conversation_and_no_mail_is_lost(lab: Lab) -> None:
    mail_works(lab)
    greeting = (
        'exec 3<>/dev/tcp/mail.receiver.example/25; read -r line <&3; echo "$line"; '
        'while read -r line <&3; do echo "$line"; done; echo gone'
    )
    with Exec(lab.container("sender-mail"), ["bash", "-c", greeting]) as caller:
        frames = caller.frames()
        assert next(frames)[1].startswith(b"220 ")
        sent_before = send(lab, BOB, ALICE)
        with struck(lab, "process-killed", RECEIVER):
            heard = b"".join(data for _, data in frames)
            assert heard == b"gone\n", "not even a 421"
    delivered(lab, ALICE, sent_before)
    began = time.monotonic()
    mail_works(lab)
    assert time.monotonic() - began < 20, "master has started another, and not after a minute"


@pytest.mark.parametrize("program", ["qmgr", "lmtp"])
def test_a_queue_manager_that_crashes_loses_nothing(lab: Lab, program: str) -> None:
    mail_works(lab)  # so that all of them run
    with struck(lab, "process-killed", RECEIVER, "--program", program):
        sent = send(lab, ALICE, BOB)
    delivered(lab, BOB, sent)
    mail_works(lab)


def test_a_program_that_does_not_run_can_not_crash(lab: Lab) -> None:
    with pytest.raises(LabError, match="no pop3 runs on receiver-mail at this moment"):
        journal.apply(lab, process_killed(RECEIVER, program="pop3"))
    assert not journal.cases(lab)


def test_a_service_that_is_down_for_two_reasons_runs_when_both_are_gone(lab: Lab) -> None:
    with lab.outage(service_killed(RECEIVER)):
        with lab.outage(service_stopped(RECEIVER)):
            pass
        assert "25" not in listening(lab, RECEIVER)
    assert "25" in listening(lab, RECEIVER)
    mail_works(lab)


@pytest.mark.parametrize("way", ["ahead", "behind"])
def test_a_clock_that_is_off_shows_in_the_headers_and_nowhere_else(lab: Lab, way: str) -> None:
    def lateness(uid: int) -> float:
        """By how much the receiver's Received: is after the sender's (real seconds)."""
        message = parsed(dovecot.message(lab, BOB, "INBOX", uid))
        stamps = [
            parsedate_to_datetime(str(field).rpartition(";")[2].strip()).timestamp()
            for field in message.get_all("Received", [])
        ]
        return stamps[0] - stamps[-1]

    assert abs(lateness(delivered(lab, BOB, send(lab, ALICE, BOB)).uid)) <= 10
    # At this scale 166 hours and 40 minutes are 1000 real seconds.
    off = {"ahead": 1000, "behind": -1000}[way]
    with struck(lab, "clock-off", RECEIVER, "--by", "166h40m", "--way", way):
        stored = delivered(lab, BOB, send(lab, ALICE, BOB))
        assert abs(lateness(stored.uid) - off) <= 10
        assert abs(stored.received - time.time() - off) <= 20
        back = send(lab, BOB, ALICE)
        delivered(lab, ALICE, back)
    assert abs(lateness(delivered(lab, BOB, send(lab, ALICE, BOB)).uid)) <= 10
    assert lab.run(RECEIVER, ["cat", "/etc/ld.so.preload"]).status != 0


@pytest.mark.parametrize("way", ["ahead", "behind"])
def test_mail_is_retried_as_before_whatever_the_clock_says(lab: Lab, way: str) -> None:
    with lab.outage(clock_off("sender-mail", by="166h40m", way=way)):
        with lab.outage(service_stopped(RECEIVER)):
            sent = send(lab, ALICE, BOB)
            until("it was tried four times", lambda: len(attempts(lab, sent)) >= 4)
            began = [one.line.time for one in attempts(lab, sent)]
            # Not at once, and not when the wrong clock says; a busy machine notes a line late.
            assert began[3] - began[0] >= 3 * 2
            assert all(0.5 <= later - one <= 20 for one, later in pairwise(began)), began
        delivered(lab, BOB, sent)


def test_what_waits_is_too_old_at_once_when_the_clock_jumps_ahead(lab: Lab) -> None:
    with lab.outage(service_stopped(RECEIVER)):
        sent = send(lab, ALICE, BOB)
        assert attempt(lab, sent).status == "deferred"
        with lab.outage(clock_off("sender-mail", by="121h")):
            returned(lab, ALICE, sent)
    assert not_there(lab, BOB, sent)


def test_what_waits_under_a_wrong_clock_is_tried_when_it_is_right(lab: Lab) -> None:
    with lab.outage(service_stopped(RECEIVER)), lab.outage(clock_off("sender-mail", by="166h40m")):
        sent = send(lab, ALICE, BOB)
        assert attempt(lab, sent).status == "deferred"
    delivered(lab, BOB, sent)


def test_a_clock_runs_off_by_the_real_time_that_the_lab_time_is(lab: Lab) -> None:
    for by, seconds in (("1m", 1), ("2h", 12), ("166h40m", 1000)):
        assert ClockOff(RECEIVER, by=by)._seconds(lab) == seconds  # type: ignore[arg-type]
        assert ClockOff(RECEIVER, by=by, way="behind")._seconds(lab) == -seconds  # type: ignore[arg-type]


def test_a_full_disk_makes_others_wait_and_loses_nothing(name: str) -> None:
    with removed_afterwards(name):
        lab = up(plan(load("ram-queue"), name, SCALE))
        mail_works(lab)
        with struck(lab, "disk-full", RECEIVER):
            sent = send(lab, ALICE, BOB)
            tried = attempt(lab, sent)
            assert (tried.status, tried.dsn) == ("deferred", "4.3.1")
            assert re.search(r"said: 452 4\.3\.1 Insufficient system storage", tried.reason)
            assert not_there(lab, BOB, sent)
        delivered(lab, BOB, sent)
        # A power cut empties this disk: it is full again all the same, as long as it is to be.
        with struck(lab, "disk-full", RECEIVER) as id:
            with lab.outage(power_cut(RECEIVER)):
                pass
            (case,) = journal.cases(lab)
            assert case.id == id and case.fault.verify(lab, id)
        mail_works(lab)


def test_only_a_queue_with_a_disk_of_its_own_can_be_filled(lab: Lab) -> None:
    assert disk_full.targets(lab.plan) == []
    with pytest.raises(UsageError):
        journal.apply(lab, disk_full(RECEIVER))
