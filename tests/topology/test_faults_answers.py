"""Refusals on demand, greylisting, full mailboxes: what the sender's server is told and does."""

from __future__ import annotations

import time

import pytest
from faulty import attempt, attempts, not_there, returned, struck
from harness import ALICE, BOB, arrived, delivered, mail_works, parsed, say, send, until

from lab.engine import exec
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC
from lab.errors import UsageError
from lab.faults import journal
from lab.faults.answers import greylisting, smtp_answer
from lab.faults.mailbox import mailbox_full
from lab.faults.power import power_cut
from lab.services import dovecot, postfix
from lab.services.dovecot import StoredMessage

RECEIVER = "receiver-mail"
DAVE = "dave@receiver.example"
CAROL = "carol@sender.example"


def settings(lab: Lab) -> tuple[bytes, str]:
    """Postfix's settings on the receiver's server: main.cf, and the overrides of master.cf."""
    main = lab.run(RECEIVER, ["cat", "/etc/postfix/main.cf"]).stdout
    return main, lab.run(RECEIVER, ["postconf", "-P"]).text


@pytest.mark.parametrize(
    ("stage", "code", "said"),
    [
        ("connect", "421", "refused to talk to me: 421 4.3.2 "),
        ("helo", "450", "refused to talk to me: 450 4.2.1 "),
        ("mail", "451", "451 4.3.0 "),
        ("rcpt", "452", "452 4.3.1 "),
        ("rcpt", "421", "421 4.3.2 "),
        ("data", "451", "451 4.3.0 "),
        ("end-of-data", "452", "452 4.3.1 "),
        # A greeting of 5.. is not taken at its word (postconf(5): smtp_skip_5xx_greeting).
        ("connect", "554", "refused to talk to me: 554 5.7.1 "),
    ],
)
def test_an_answer_that_makes_mail_wait(lab: Lab, stage: str, code: str, said: str) -> None:
    before = settings(lab)
    with struck(lab, "smtp-answer", RECEIVER, "--stage", stage, "--code", code) as id:
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, said in tried.reason) == ("deferred", True), tried.reason
        assert not_there(lab, BOB, sent)
        assert settings(lab)[0] == before[0], "main.cf is its operators'"
        (case,) = journal.cases(lab)
        assert case.id == id
        # Its own people are not concerned: what they hand in is taken.
        delivered(lab, ALICE, send(lab, BOB, ALICE))
    delivered(lab, BOB, sent)
    assert settings(lab) == before


@pytest.mark.parametrize(
    ("stage", "code", "dsn"),
    [
        ("helo", "550", "5.2.1"),
        ("mail", "552", "5.2.2"),
        ("rcpt", "550", "5.2.1"),
        ("data", "554", "5.7.1"),
        ("end-of-data", "554", "5.7.1"),
    ],
)
def test_an_answer_that_sends_mail_back(lab: Lab, stage: str, code: str, dsn: str) -> None:
    with struck(
        lab, "smtp-answer", RECEIVER, "--stage", stage, "--code", code, "--text", "So be it"
    ):
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, tried.dsn) == ("bounced", dsn)
        assert "So be it" in tried.reason
        report = returned(lab, ALICE, sent)
        content = parsed(dovecot.message(lab, ALICE, report.folder, report.uid))
        assert content.get_content_type() == "multipart/report"
    delivered(lab, BOB, send(lab, ALICE, BOB))
    assert not_there(lab, BOB, sent)


def test_so_many_mails_are_refused_however_many_recipients_they_have(lab: Lab) -> None:
    with lab.outage(smtp_answer(RECEIVER, times=2)) as case:
        first = send(lab, ALICE, (BOB, DAVE))
        until("it was tried", lambda: len(attempts(lab, first)) >= 4)
        outcome = [one.status for one in attempts(lab, first)]
        assert outcome[:4] == ["deferred"] * 4, "two recipients, twice"
        delivered(lab, BOB, first)
        delivered(lab, DAVE, first)
        assert case.fault.counted(lab, case.id) == 2  # type: ignore[attr-defined]
        delivered(lab, BOB, send(lab, ALICE, BOB))


def test_only_one_recipient_is_refused(lab: Lab) -> None:
    with lab.outage(smtp_answer(RECEIVER, recipient=BOB)):
        sent = send(lab, ALICE, (BOB, DAVE))
        delivered(lab, DAVE, sent)
        assert attempt(lab, sent, "deferred").recipient == BOB
        assert not_there(lab, BOB, sent)
    delivered(lab, BOB, sent)
    assert len(arrived(lab, DAVE, sent.message_id)) == 1


def test_two_answers_go_together_and_each_heals_alone(lab: Lab) -> None:
    with lab.outage(smtp_answer(RECEIVER, code="451", stage="data")):
        with lab.outage(greylisting(RECEIVER, wait="10m")):
            sent = send(lab, ALICE, BOB)
            assert "Greylisted" in attempt(lab, sent).reason
            until("it is let in, and then refused", lambda: _said(lab, sent, "<DATA>"))
        assert not_there(lab, BOB, sent)
        assert "<DATA>" in attempts(lab, sent)[-1].reason
    delivered(lab, BOB, sent)


def _said(lab: Lab, sent: object, text: str) -> bool:
    return any(text in one.reason for one in attempts(lab, sent))  # type: ignore[arg-type]


def test_whom_it_does_not_know_it_greylists_and_then_knows(lab: Lab) -> None:
    with struck(lab, "greylisting", RECEIVER, "--wait", "30m"):  # 3 real seconds
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, tried.dsn) == ("deferred", "4.2.0")
        assert "Greylisted, try again in 3 seconds" in tried.reason
        stored = delivered(lab, BOB, sent)
        assert stored.received - tried.line.time >= 2.9
        known = send(lab, ALICE, BOB)
        assert attempt(lab, known).status == "sent"
        assert attempt(lab, send(lab, CAROL, BOB)).status == "deferred", "but not her"
    delivered(lab, BOB, known)


def test_a_policy_server_that_is_gone_has_no_objection(lab: Lab) -> None:
    with lab.outage(smtp_answer(RECEIVER)):
        ended = ["pkill", "-KILL", "-f", f"policy.py 10031 /lab/lent/{RECEIVER}"]
        assert exec.run(lab.container(FABRIC), ended).status == 0
        began = time.monotonic()
        delivered(lab, BOB, send(lab, ALICE, BOB))
        assert time.monotonic() - began < 10
        (case,) = journal.cases(lab)
        assert not case.fault.verify(lab, case.id)
    mail_works(lab)


def test_a_server_that_answers_on_demand_is_still_nobodys_relay(lab: Lab) -> None:
    elsewhere = ("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<c@sender.example>", "QUIT")
    with lab.outage(smtp_answer(RECEIVER, recipient=BOB)):
        *_, rcpt, _ = say(lab, "sender-mail", "mail.receiver.example", 25, *elsewhere)
        assert rcpt.startswith("554 5.7.1 ") and "Relay access denied" in rcpt


def test_answers_outlive_a_power_cut_and_what_is_healed_meanwhile_is_gone(lab: Lab) -> None:
    before = settings(lab)
    with lab.outage(smtp_answer(RECEIVER, stage="mail")):
        with lab.outage(power_cut(RECEIVER)):
            pass
        sent = send(lab, ALICE, BOB)
        assert "MAIL FROM" in attempt(lab, sent, "deferred").reason
        with lab.outage(power_cut(RECEIVER)):
            (answer,) = [one for one in journal.cases(lab) if one.fault.name == "smtp-answer"]
            journal.heal(lab, answer)
    delivered(lab, BOB, sent)
    assert settings(lab) == before


def test_operators_may_change_main_cf_meanwhile(lab: Lab) -> None:
    stricter = {"smtpd_recipient_restrictions": "reject_unknown_sender_domain, permit"}
    answer = smtp_answer(RECEIVER, recipient=DAVE)
    with postfix.configured(lab, RECEIVER, stricter), lab.outage(answer):
        unknown = ("EHLO x", "MAIL FROM:<a@nowhere.example>", f"RCPT TO:<{BOB}>", "QUIT")
        *_, rcpt, _ = say(lab, "sender-mail", "mail.receiver.example", 25, *unknown)
        assert rcpt.startswith("450 4.1.8 "), "their rules are in force too"
        with postfix.configured(lab, RECEIVER, {"message_size_limit": 1000000}):
            assert attempt(lab, send(lab, ALICE, DAVE)).status == "deferred"
    assert b"smtpd_recipient_restrictions" not in settings(lab)[0]


def test_numbers_and_words_have_to_agree() -> None:
    with pytest.raises(UsageError) as caught:
        smtp_answer(RECEIVER, code="452", text="5.2.2 Full")
    assert str(caught.value) == (
        "--text '5.2.2 Full' does not go with --code 452\n"
        "  → begin it with 4.… (RFC 3463), or leave the numbers out"
    )


# --- Mailboxes that are full --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "status", "reason"),
    [("452", "deferred", "452 4.2.2"), ("552", "bounced", "552 5.2.2"), ("late", "sent", "")],
)
def test_a_full_mailbox(lab: Lab, says: str, status: str, reason: str) -> None:
    before = settings(lab)
    delivered(lab, BOB, send(lab, ALICE, BOB))
    with struck(lab, "mailbox-full", RECEIVER, "--user", "bob", "--says", says):
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, reason in tried.reason) == (status, True), tried.reason
        if status != "deferred":
            report = returned(lab, ALICE, sent)
            text = dovecot.message(lab, ALICE, report.folder, report.uid).decode()
            # Who has taken it has to say so when it can't be delivered (RFC 5321 §6.1).
            teller = {"bounced": "mail.sender.example", "sent": "mail.receiver.example"}[status]
            assert f"Reporting-MTA: dns; {teller}" in text
            assert "5.2.2" in text
        delivered(lab, DAVE, send(lab, ALICE, DAVE))
        assert not_there(lab, BOB, sent)
    if status == "deferred":
        delivered(lab, BOB, sent)
    delivered(lab, BOB, send(lab, ALICE, BOB))
    assert settings(lab) == before


def test_who_deletes_mail_has_room_again(lab: Lab) -> None:
    old = delivered(lab, BOB, send(lab, ALICE, BOB, "old" * 100))
    with lab.outage(mailbox_full(RECEIVER, says="452")):
        sent = send(lab, ALICE, BOB)
        assert attempt(lab, sent).status == "deferred"
        _delete(lab, BOB, old)
        delivered(lab, BOB, sent)


def _delete(lab: Lab, address: str, message: StoredMessage) -> None:
    argv = ["doveadm", "expunge", "-u", address, "mailbox", "INBOX", "uid", str(message.uid)]
    lab.run(RECEIVER, argv).check("deleting a message")


def test_a_mailbox_nobody_has_is_not_full(lab: Lab) -> None:
    with pytest.raises(UsageError) as caught:
        journal.apply(lab, mailbox_full(RECEIVER, user="zoe"))
    assert str(caught.value) == (
        "receiver-mail has no mailbox of 'zoe'\n"
        "  → one of: bob@receiver.example, dave@receiver.example"
    )
    assert not journal.cases(lab)
