"""Name servers that are silent, slow, in trouble or wrong: does mail wait, or is it sent back?"""

from __future__ import annotations

import time

import pytest
from faulty import attempt, dig, not_there, returned, struck
from harness import ALICE, BOB, delivered, mail_works, send

from lab.engine.lab import Lab
from lab.errors import UsageError
from lab.faults import journal
from lab.faults.dns import dns_mx_to_nowhere, dns_no_such_domain, dns_servfail, dns_slow
from lab.faults.power import power_cut

RECEIVER_DOMAIN = ("--domain", "receiver.example")


@pytest.mark.parametrize(
    ("name", "told", "dsn", "answer"),
    [
        ("dns-servfail", (), "4.4.3", "status: SERVFAIL"),
        ("dns-mx-to-nowhere", ("--where", "no-machine"), "4.4.1", "203.0.113.254"),
    ],
)
def test_mail_waits_and_arrives(
    lab: Lab, name: str, told: tuple[str, ...], dsn: str, answer: str
) -> None:
    assert "10 mail.receiver.example." in dig(lab, "receiver.example")
    with struck(lab, name, "dns", *RECEIVER_DOMAIN, *told):
        assert answer in dig(lab, "receiver.example")
        assert "10 mail.sender.example." in dig(lab, "sender.example"), "the other is as it was"
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, tried.dsn) == ("deferred", dsn)
        assert not_there(lab, BOB, sent)
    delivered(lab, BOB, sent)
    assert "10 mail.receiver.example." in dig(lab, "receiver.example")
    mail_works(lab)


@pytest.mark.parametrize(
    ("name", "told", "dsn", "answer", "reason"),
    [
        ("dns-no-such-domain", (), "5.4.4", "status: NXDOMAIN", "Host not found"),
        ("dns-mx-to-nowhere", (), "5.4.4", "10 nowhere.receiver.example.", "Host not found"),
        ("dns-mx-to-nowhere", ("--where", "null"), "5.1.0", "0 .", "nullMX"),
    ],
)
def test_mail_is_sent_back_at_once(
    lab: Lab, name: str, told: tuple[str, ...], dsn: str, answer: str, reason: str
) -> None:
    with struck(lab, name, "dns", *RECEIVER_DOMAIN, *told):
        assert answer in dig(lab, "receiver.example")
        sent = send(lab, ALICE, BOB)
        tried = attempt(lab, sent)
        assert (tried.status, tried.dsn, reason in tried.reason) == ("bounced", dsn, True)
        returned(lab, ALICE, sent)
    delivered(lab, BOB, send(lab, ALICE, BOB))
    assert not_there(lab, BOB, sent)


def test_a_name_server_that_is_silent_makes_mail_wait(lab: Lab) -> None:
    with struck(lab, "dns-silent", "dns"):
        assert "timed out" in dig(lab, "receiver.example") or "no servers" in dig(lab, "x.example")
        ping = lab.run("sender-mail", ["ping", "-c1", "-W2", "198.51.100.193"])
        assert ping.status == 0, "the machine is there"
    mail_works(lab)


def test_a_slow_name_server_is_waited_for(lab: Lab) -> None:
    with lab.outage(dns_slow("dns", by="700ms")):
        began = time.monotonic()
        assert "10 mail.receiver.example." in dig(lab, "receiver.example")
        assert 0.7 <= time.monotonic() - began < 1.2
    began = time.monotonic()
    dig(lab, "receiver.example")
    assert time.monotonic() - began < 0.5


def test_two_wrongs_go_together_and_each_heals_alone(lab: Lab) -> None:
    with lab.outage(dns_servfail("dns", domain="receiver.example")):
        with lab.outage(dns_no_such_domain("dns", domain="sender.example")):
            assert "SERVFAIL" in dig(lab, "receiver.example")
            assert "NXDOMAIN" in dig(lab, "sender.example")
        assert "SERVFAIL" in dig(lab, "receiver.example")
        assert "10 mail.sender.example." in dig(lab, "sender.example")
    assert "10 mail.receiver.example." in dig(lab, "receiver.example")


def test_wrong_answers_outlive_a_power_cut(lab: Lab) -> None:
    with lab.outage(dns_servfail("dns")):
        with lab.outage(power_cut("dns")):
            pass
        assert "SERVFAIL" in dig(lab, "receiver.example")
        with lab.outage(power_cut("dns")):
            (case,) = [one for one in journal.cases(lab) if one.fault.name == "dns-servfail"]
            journal.heal(lab, case)
        assert "10 mail.receiver.example." in dig(lab, "receiver.example")


def test_a_domain_that_is_not_there_can_have_no_wrong_answers(lab: Lab) -> None:
    with pytest.raises(UsageError) as caught:
        journal.apply(lab, dns_mx_to_nowhere("dns", domain="nowhere.example"))
    assert str(caught.value) == (
        f"there is no mail domain 'nowhere.example' in lab '{lab.name}'\n"
        "  → one of: sender.example, receiver.example"
    )
    assert not journal.cases(lab)
