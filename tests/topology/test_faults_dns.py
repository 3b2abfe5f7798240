"""Name servers that are silent, slow, in trouble or wrong: does mail wait, or is it sent back?"""

from __future__ import annotations

import re

import pytest
from faulty import attempt, attempts, dig, not_there, returned, struck
from harness import ALICE, BOB, delivered, mail_works, send, until

from lab.engine.lab import Lab
from lab.errors import UsageError
from lab.faults import journal
from lab.faults.cable import cable_pulled
from lab.faults.dns import dns_mx_to_nowhere, dns_no_such_domain, dns_servfail
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


def test_questions_to_a_silent_name_server_are_asked_in_vain(lab: Lab) -> None:
    # Without it a PC does not find its own server either: the mail is there before.
    with lab.outage(cable_pulled("receiver-mail")):
        sent = send(lab, ALICE, BOB)
        attempt(lab, sent)
        with struck(lab, "dns-silent", "dns"):
            asked = ["dig", "+tries=1", "+time=1", "mx", "receiver.example"]
            assert "no servers could be reached" in lab.run("sender-pc", asked).text
            ping = ["ping", "-c", "1", "-W", "2", lab.plan.site.address("dns")]
            assert lab.run("sender-mail", ping).status == 0, "the machine itself is there"
            until(
                "the question was asked in vain",
                lambda: any(one.dsn == "4.4.3" for one in attempts(lab, sent)),
                seconds=60,  # a resolver asks twice, and waits five seconds each time
            )
            assert not_there(lab, BOB, sent)
    delivered(lab, BOB, sent)
    mail_works(lab)


def test_a_slow_name_server_is_waited_for(lab: Lab) -> None:
    def took() -> int:
        """How long an answer took by dig's own clock, in milliseconds."""
        said = lab.run("sender-pc", ["dig", "mx", "receiver.example"]).text
        assert "10 mail.receiver.example." in said
        found = re.search(r"Query time: (\d+) msec", said)
        assert found
        return int(found[1])

    with struck(lab, "dns-slow", "dns", "--by", "700ms"):
        assert took() >= 700
        delivered(lab, BOB, send(lab, ALICE, BOB))
    until("it answers at once", lambda: took() < 700)


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
