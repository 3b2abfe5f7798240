"""Mail from end to end: what the wire, the mailboxes, the queue and the PCs say of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from harness import (
    ALICE,
    BOB,
    arrived,
    as_json,
    body_of,
    curl,
    delivered,
    of,
    parsed,
    run_lab,
    say,
    send,
    until,
)

from lab.engine import power
from lab.engine.lab import Lab
from lab.events import EventLog
from lab.faults.cable import cable_pulled
from lab.observe.recorder import Recorder
from lab.scenarios.wire import Wire
from lab.services import dovecot, postfix

CAROL = "carol@sender.example"
SENDER, RECEIVER = "mail.sender.example", "mail.receiver.example"
# RFC 4616: NUL login NUL password, in Base64.
ALICES_PASSWORD = "AGFsaWNlQHNlbmRlci5leGFtcGxlAHdvbmRlcmxhbmQ="
A_WRONG_PASSWORD = "AGFsaWNlQHNlbmRlci5leGFtcGxlAHJhYmJpdA=="


# --- Who may send -----------------------------------------------------------------------------


def test_submission_is_for_those_who_have_logged_in(lab: Lab) -> None:
    _, _, mail, rcpt = say(
        lab, "sender-pc", SENDER, 587, "EHLO pc", f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>"
    )
    refused = [reply for reply in (mail, rcpt) if reply[0] == "5"]
    assert refused and refused[0][:3] in ("530", "535", "553", "554"), (mail, rcpt)


def test_a_wrong_password_is_refused(lab: Lab) -> None:
    *_, reply = say(lab, "sender-pc", SENDER, 587, "EHLO pc", f"AUTH PLAIN {A_WRONG_PASSWORD}")
    assert reply.startswith("535 5.7.8 "), reply


def test_nobody_writes_under_the_address_of_somebody_else(lab: Lab) -> None:
    *_, login, mail, rcpt = say(
        lab,
        "sender-pc",
        SENDER,
        587,
        "EHLO pc",
        f"AUTH PLAIN {ALICES_PASSWORD}",
        f"MAIL FROM:<{CAROL}>",
        f"RCPT TO:<{BOB}>",
    )
    assert login.startswith("235 ")
    assert rcpt == (f"553 5.7.1 <{CAROL}>: Sender address rejected: not owned by user {ALICE}"), (
        mail,
        rcpt,
    )


def test_port_25_relays_for_no_stranger(lab: Lab) -> None:
    *_, reply = say(
        lab,
        "receiver-pc",
        SENDER,
        25,
        "EHLO pc",
        "MAIL FROM:<mallory@nowhere.example>",
        f"RCPT TO:<{BOB}>",
    )
    assert reply == f"554 5.7.1 <{BOB}>: Relay access denied"


@pytest.mark.parametrize("port", [25, 587])
def test_the_servers_offer_no_encryption(lab: Lab, port: int) -> None:
    _, reply = say(lab, "sender-pc", RECEIVER, port, "STARTTLS")
    assert reply.startswith("502 5.5.1 "), reply


# --- Delivery ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("sender", "to"), [(ALICE, BOB), (BOB, ALICE), (ALICE, CAROL)])
def test_a_message_is_delivered_once_and_fetched_at_the_recipients_pc(
    lab: Lab, sender: str, to: str
) -> None:
    sent = send(lab, sender, to)
    stored = delivered(lab, to, sent)
    assert (stored.sender.endswith(f"<{sender}>"), stored.to) == (True, to)
    login, _, domain = to.partition("@")
    pc, server = domain.replace(".example", "-pc"), f"mail.{domain}"
    by_imap = curl(lab, pc, login, f"imap://{server}/INBOX/;UID={stored.uid}")
    listing = curl(lab, pc, login, f"pop3://{server}/").decode().split()
    by_pop3 = curl(lab, pc, login, f"pop3://{server}/{listing[-2]}")
    assert sent.message_id.encode() in by_imap
    # POP3 numbers by arrival, and this one came last.
    assert by_pop3.split() == by_imap.split()


def test_an_unknown_recipient_comes_back_as_a_report(lab: Lab) -> None:
    sent = send(lab, ALICE, "nobody@receiver.example", "Who are you?")

    def report() -> bytes | None:
        for one in dovecot.mailbox(lab, ALICE):
            text = dovecot.message(lab, ALICE, one.folder, one.uid)
            if one.subject.startswith("Undelivered") and sent.message_id.encode() in text:
                return text
        return None

    message = parsed(until("the report is in Alice's mailbox", report))
    assert message.get_content_type() == "multipart/report"
    assert message["Return-Path"] == "<>"
    status = "".join(str(part) for part in message.walk())
    assert "Action: failed" in status
    assert "Status: 5.1.1" in status
    assert "550 5.1.1 <nobody@receiver.example>" in " ".join(status.split())


def test_a_queue_survives_the_power_cut_of_its_own_server(lab: Lab) -> None:
    power.set_cables(lab, "receiver-mail", up=False)
    sent = send(lab, ALICE, BOB)
    until("it is deferred", lambda: [e for e in postfix.queue(lab, "sender-mail") if e.attempts])
    power.off(lab, "sender-mail")
    power.off(lab, "sender-mail")  # already off: it stays so
    power.set_cables(lab, "receiver-mail", up=True)
    power.on(lab, "sender-mail")
    delivered(lab, BOB, sent)
    until("nothing waits", lambda: not postfix.queue(lab, "sender-mail"))
    assert len(arrived(lab, BOB, sent.message_id)) == 1


# --- Names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["MX", "receiver.example"], "10 mail.receiver.example.\n"),
        (["MX", "sender.example"], "10 mail.sender.example.\n"),
        (["A", "mail.receiver.example"], "203.0.113.25\n"),
        (["A", "pc.sender.example"], "198.51.100.10\n"),
        (["-x", "203.0.113.25"], "mail.receiver.example.\n"),
        (["-x", "198.51.100.10"], "pc.sender.example.\n"),
        (["AAAA", "mail.receiver.example"], ""),
    ],
)
def test_the_name_server_answers_a_pc(lab: Lab, question: list[str], answer: str) -> None:
    assert lab.run("sender-pc", ["dig", "+short", *question]).check("dig").text == answer


@pytest.mark.parametrize("name", ["nowhere.example", "www.debian.org"])
def test_a_name_that_is_not_in_the_lab_does_not_exist(lab: Lab, name: str) -> None:
    assert "status: NXDOMAIN" in lab.run("receiver-pc", ["dig", name]).check("dig").text


def test_the_mx_question_is_a_packet_on_the_wire(lab: Lab, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", lab.clock)
    with Recorder(lab, log, tmp_path) as recorder:
        delivered(lab, BOB, send(lab, ALICE, BOB))
    wire = Wire(recorder.taps)
    assert wire.question("sender-lan", "receiver.example", "MX")
    assert wire.connections("sender-lan", client="198.51.100.25", server="203.0.113.25")


# --- The verbs --------------------------------------------------------------------------------

AWKWARD = {
    "plain": "Shall we?\n",
    "umlauts and Hangul": "Grüße, 점심 어때? 🍜\n",
    "leading dots": ".\n..\n.one\n\n.\n",
    "empty": "",
    "one very long line": "x" * 5000 + "\n",
    "trailing blank lines": "the end\n\n\n",
    "SMTP in the text": "QUIT\nDATA\nFrom here\n",
}


@pytest.mark.parametrize("body", AWKWARD.values(), ids=AWKWARD)
def test_what_lab_send_is_given_lab_mailbox_gives_back(lab: Lab, body: str) -> None:
    subject = "Mittagessen? 점심 🍜"
    done = run_lab(
        lab.name,
        *("send", "--from", ALICE, "--to", BOB, "--subject", subject, "--file", "-", "--json"),
        stdin=body,
    )
    assert done.returncode == 0, done.stderr
    stored = delivered(lab, BOB, json.loads(done.stdout)["message_id"])
    assert stored.subject == subject
    content = dovecot.message(lab, BOB, "INBOX", stored.uid)
    read = run_lab(lab.name, "mailbox", "bob", "--read", str(stored.uid))
    assert read.returncode == 0, read.stderr
    assert body_of(read.stdout.encode()) == body_of(content) == (body or "\n")
    assert max(map(len, content.splitlines())) <= 998  # RFC 5322 section 2.1.1


def test_lab_send_takes_several_recipients(lab: Lab) -> None:
    dave = "dave@receiver.example"
    done = run_lab(
        lab.name,
        *("send", "--from", "alice", "--to", BOB, "--to", dave, "--to", CAROL, "--body", "All!"),
    )
    assert done.returncode == 0, done.stderr
    message_id = done.stdout.split()[0]
    for address in (BOB, dave, CAROL):
        stored = delivered(lab, address, message_id)
        text = dovecot.message(lab, address, "INBOX", stored.uid)
        assert parsed(text)["To"] == f"{BOB}, {dave}, {CAROL}"
        assert body_of(text) == "All!\n"


def test_status_as_json(lab: Lab) -> None:
    with lab.outage(cable_pulled("receiver-pc")):
        found = as_json(lab, "status")
    assert found.keys() >= {"lab", "topology", "time_scale", "nodes", "links", "faults"}
    assert (found["lab"], found["topology"], found["time_scale"]) == (lab.name, "textbook", 600)
    nodes = {node["name"]: node for node in found["nodes"]}
    expected = {
        "name": "sender-mail",
        "kind": "mail-server",
        "state": "ready",
        "addresses": ["198.51.100.25"],
        "container": f"maillab-{lab.name}-sender-mail",
    }
    assert of(expected, nodes["sender-mail"]) == expected
    assert nodes["internet"]["addresses"] == ["198.51.100.1", "198.51.100.194", "203.0.113.1"]
    links = {(link["node"], link["network"]): link["state"] for link in found["links"]}
    assert links["receiver-pc", "receiver-lan"] == "down"
    assert links["internet", "receiver-lan"] == "up"
    (fault,) = found["faults"]
    assert of({"name": 0, "targets": 0}, fault) == {
        "name": "cable-pulled",
        "targets": ["receiver-pc"],
    }


def test_queue_as_json(lab: Lab) -> None:
    power.set_cables(lab, "receiver-mail", up=False)
    sent = as_json(lab, "send", "--from", ALICE, "--to", BOB, "--subject", "later")
    assert sent.keys() >= {"message_id", "queue_id"}

    def entry(attempts: int) -> dict[str, object] | None:
        for one in as_json(lab, "queue", "sender-mail"):
            if one["queue_id"] == sent["queue_id"] and one["attempts"] >= attempts:
                return dict(one) if one["state"] == "deferred" else None
        return None

    first = until("it was tried once", lambda: entry(1))
    seen = time.time()
    expected = {
        "node": "sender-mail",
        "queue_id": sent["queue_id"],
        "message_id": sent["message_id"],
        "sender": ALICE,
        "recipients": [BOB],
        "state": "deferred",
    }
    assert of(expected, first) == expected
    assert "203.0.113.25" in str(first["reason"])
    assert seen - 60 < float(str(first["arrived"])) < seen
    # Tried again a (real) second after an attempt that may take some; qmgr looks once a second.
    assert abs(float(str(first["next_attempt"])) - seen) < 10
    later = until("it was tried again", lambda: entry(int(str(first["attempts"])) + 1))
    assert float(str(later["next_attempt"])) > float(str(first["next_attempt"]))
    power.set_cables(lab, "receiver-mail", up=True)
    delivered(lab, BOB, sent["message_id"])
    until("nothing waits", lambda: as_json(lab, "queue") == [])


def test_mailbox_as_json(lab: Lab) -> None:
    before = time.time()
    sent = as_json(lab, "send", "--from", ALICE, "--to", BOB, "--subject", "Hi", "--body", "there")
    delivered(lab, BOB, sent["message_id"])
    (found,) = [m for m in as_json(lab, "mailbox", "bob") if m["message_id"] == sent["message_id"]]
    expected = {
        "folder": "INBOX",
        "from": f"Alice <{ALICE}>",
        "to": BOB,
        "subject": "Hi",
    }
    assert of(expected, found) == expected
    assert "\\Seen" not in found["flags"]
    content = dovecot.message(lab, BOB, "INBOX", found["uid"])
    assert found["size"] == len(content.replace(b"\n", b"\r\n"))  # as on the wire
    assert before - 1 <= found["received"] <= time.time()
