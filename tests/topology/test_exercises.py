"""Exercises, done as students do them: by hand, from the PC; half of it, all of it, the wrong way.

What is said to be met is compared with what the lab's record holds, looked up by other means: the
raw packets, the lines of the logs.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from harness import ALICE, BOB, delivered, run_lab, send, textbook, until
from student import ALICES, BOBS, Student, Typist, envelope, frames_with, letter, past, typing

from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.observe import maillog
from lab.observe.packets import RST, SYN, Tcp, decode
from lab.services import dovecot


def test_a_message_by_nc_alone(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "by-hand")
    assert student.check() == set()
    send(lab, ALICE, BOB)  # by a program
    student.becomes("taken", "plain", "arrived")
    with typing(lab, "sender-pc", BOBS, 25) as say:
        say("HELO pc.sender.example", *envelope())
        assert student.check() == {"taken", "plain", "arrived"}, "half a message is none"
        say(letter("By hand", "I am the program."), "QUIT")
    student.is_done(tmp_path)
    assert "no person" not in (student.notes()["typed"] or "")


def test_a_message_by_a_program_is_not_typed(lab: Lab) -> None:
    student = Student(lab, "by-hand")
    argv = ["swaks", "--server", BOBS, "--port", "25", "--to", BOB, "--from", ALICE]
    lab.run("sender-pc", argv).check("swaks")
    student.becomes("taken", "arrived")
    assert "swaks" in student.notes()["plain"] and "no person" in student.notes()["typed"]
    with typing(lab, "sender-pc", BOBS, 25, pause=0) as say:
        say("HELO pc.sender.example", *envelope(), letter("Quick", "As programs do."), "QUIT")
    student.becomes("taken", "arrived", "plain")


def test_a_message_that_is_refused_is_no_message(lab: Lab) -> None:
    student = Student(lab, "by-hand")
    with typing(lab, "sender-pc", ALICES, 25) as say:
        say("HELO pc.sender.example", *envelope()[:2])
        say("QUIT")
    assert student.check() == {"typed"}
    assert "554" in student.notes()["taken"]


def test_the_frame_of_responsibility(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "responsibility")
    assert student.check() == set()
    sent = send(lab, ALICE, BOB)
    delivered(lab, BOB, sent)
    assert student.check() == {"passed"}
    [receiver_id] = {
        found[1]
        for line in maillog.read(lab, "sender-mail")
        if sent.queue_id in line.text and (found := re.search(r"queued as (\w+)\)", line.text))
    }
    # The other server's 250: the sender's own.
    [other] = frames_with(lab, "sender-lan", f"queued as {sent.queue_id}", tmp_path)
    assert student.check(f"sender-lan#{other}") == {"passed"}
    [rcpt, *_] = frames_with(lab, "receiver-lan", f"RCPT TO:<{BOB}>", tmp_path)[-1:]
    assert student.check(f"receiver-lan#{rcpt}") == {"passed"}
    assert "RCPT TO" in student.notes()["frame"]
    for network in ("receiver-lan", "sender-lan"):
        [right] = frames_with(lab, network, f"queued as {receiver_id}", tmp_path)
        student.is_done(tmp_path, f"{network}#{right}")
    assert student.check() == {"passed", "frame"}, "an answer is remembered"


def test_a_message_comes_back(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "bounce")
    before = len(dovecot.mailbox(lab, ALICE))
    assert student.check() == set()
    with typing(lab, "sender-pc", BOBS, 25) as say:  # told at once, and no report
        assert b"550" in say("HELO pc", *envelope("nobody@receiver.example")[:2])
        say("QUIT")
    assert student.check() == set()
    delivered(lab, BOB, send(lab, ALICE, BOB))
    assert student.check() == {"queued"}
    send(lab, ALICE, "nobody@receiver.example")
    student.is_done(tmp_path)
    assert len(dovecot.mailbox(lab, ALICE)) == before + 1


def test_three_messages_over_one_connection(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "one-connection")
    assert student.check() == set()
    for _ in range(3):  # three messages, three connections
        send(lab, ALICE, BOB)
    assert student.check() == {"called", "quit"}
    texts = [part for number in range(3) for part in (*envelope(), letter(f"{number}", "Hello."))]
    typist = Typist(lab, "sender-mail", BOBS, 25)
    typist.say("HELO mail.sender.example", *texts, "QUIT")  # not from a PC
    typist.hang_up()
    assert student.check() == {"called", "quit"}
    typist = Typist(lab, "sender-pc", BOBS, 25)
    typist.say("HELO pc.sender.example", *texts)
    typist.hang_up()  # without a word
    assert student.check() == {"called", "begun", "acknowledged", "typed"}
    typist = Typist(lab, "sender-pc", BOBS, 25)
    typist.say("HELO pc.sender.example", *texts, "QUIT")
    typist.hang_up()
    student.is_done(tmp_path)
    segments = [one for one in map(decode, past(lab, "sender-lan", tmp_path)) if _tcp(one)]
    port = next(one.sport for one in reversed(segments) if one.dport == 25)
    mine = [one for one in segments if one.sport == port and one.dst == "203.0.113.25"]
    assert sum(one.flags == SYN for one in mine) == 1
    assert sum(one.payload.startswith(b"MAIL FROM") for one in mine) == 3


def _tcp(packet: object) -> bool:
    return isinstance(packet, Tcp) and not packet.flags & RST


PARTS = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=cut="
"""
BODY = """--=cut=
Content-Type: text/plain

The picture is behind this.
--=cut=
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

AAECAwQFBgcICQoLDA0ODw==
--=cut=--"""


def test_one_part_and_not_the_rest(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "one-part")
    delivered(lab, BOB, send(lab, ALICE, BOB))  # of one part
    assert student.check() == set()
    with typing(lab, "sender-pc", BOBS, 25) as say:
        say("HELO pc", *envelope(), letter("Parts", BODY, more=PARTS), "QUIT")
    until("it is there", lambda: dovecot.mailbox(lab, BOB)[-1].subject == "Parts")
    assert student.check() == {"parts"}
    number = len([one for one in dovecot.mailbox(lab, BOB) if one.folder == "INBOX"])
    log_in = ("a LOGIN bob builder", "b SELECT INBOX")
    with typing(lab, "receiver-pc", BOBS, 143) as say:  # all of it, in which the part is
        say(*log_in, f"c FETCH {number} BODY[]", "d LOGOUT")
    assert student.check() == {"parts"}
    with typing(lab, "receiver-pc", BOBS, 143) as say:  # the part, and then the other
        say(*log_in, f"c FETCH {number} BODY[2]", f"d FETCH {number} BODY[1]", "e LOGOUT")
    assert student.check() == {"parts", "fetched"}
    with typing(lab, "receiver-pc", BOBS, 143) as say:
        say(*log_in, f"c FETCH {number} (BODYSTRUCTURE BODY.PEEK[HEADER])")
        fetched = say(f"d FETCH {number} BODY[2]")
        say("e LOGOUT")
    assert b"AAECAwQFBgcICQoLDA0ODw==" in fetched and b"picture" not in fetched
    student.is_done(tmp_path)


def test_deleted_and_there_again(lab: Lab, tmp_path: Path) -> None:
    delivered(lab, BOB, send(lab, ALICE, BOB))
    student = Student(lab, "came-back")
    log_in = ("USER bob", "PASS builder")
    assert student.check() == set()
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say(*log_in, "DELE 1")
        student.becomes("marked")
    student.becomes("marked", "broken")
    assert student.check("a") == {"marked", "broken"}
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say(*log_in, "LIST", "QUIT")
    student.becomes("marked", "broken", "again")
    assert student.check("b") == {"marked", "broken", "again"}
    student.is_done(tmp_path, "C")


def test_what_was_deleted_with_quit_does_not_come_back(lab: Lab) -> None:
    for _ in range(2):
        delivered(lab, BOB, send(lab, ALICE, BOB))
    student = Student(lab, "came-back")
    log_in = ("USER bob", "PASS builder")
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say(*log_in, "DELE 1", "QUIT")
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say(*log_in, "LIST", "QUIT")
    assert student.check("c") == {"marked", "why"}


def test_a_message_waits_for_its_cable(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "waits")
    assert student.check() == set()
    delivered(lab, BOB, send(lab, ALICE, BOB))  # with the cable in
    assert student.check() == {"queued"}
    assert run_lab(lab.name, "fault", "apply", "cable-pulled", "receiver-mail").returncode == 0
    sent = send(lab, ALICE, BOB)
    student.becomes("queued", "deferred", "cause")
    assert run_lab(lab.name, "fault", "heal").returncode == 0
    delivered(lab, BOB, sent)
    student.is_done(tmp_path)


def test_another_name_on_the_letter(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "other-name")
    assert student.check() == set()
    delivered(lab, BOB, send(lab, ALICE, BOB))
    student.becomes("taken", "arrived")
    assert BOB in student.notes()["header"]
    header = ["--header", "To: dave@receiver.example", "--header", "Subject: Whose is it?"]
    lab.run("sender-pc", ["swaks", "--to", BOB, *header], user="alice").check("swaks")
    student.is_done(tmp_path)
    stored = dovecot.mailbox(lab, BOB)[-1]
    assert (stored.subject, stored.to) == ("Whose is it?", "dave@receiver.example")


def test_korean_in_seven_bits(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "seven-bit")
    assert student.check() == set()
    raw = letter("Raw", "안녕하세요")
    typed = "7JWI64WV7ZWY7IS47JqU"  # what `base64` makes of it
    undeclared = letter("Undeclared", typed)
    declared = letter(
        "Declared",
        typed,
        more="MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: base64\n",
    )
    for text, items in ((undeclared, ("arrived",)), (raw, ("korean", "arrived"))):
        with typing(lab, "sender-pc", BOBS, 25, pause=0) as say:
            say("HELO pc", *envelope(), text, "QUIT")
        student.becomes(*items)
    with typing(lab, "sender-pc", BOBS, 25, pause=0) as say:
        say("HELO pc", *envelope(), declared, "QUIT")
    student.is_done(tmp_path)
    assert "안녕하세요" in student.notes()["korean"]


def test_the_frame_of_a_password(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "password")
    assert student.check() == set()
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say("USER bob")
        assert b"-ERR" in say("PASS wrong")
    assert student.check() == set(), "a wrong password is none"
    with typing(lab, "receiver-pc", BOBS, 110) as say:
        say("USER bob", "PASS builder", "QUIT")
    assert student.check() == {"login"}
    user = frames_with(lab, "receiver-lan", "USER bob", tmp_path)[-1]
    assert student.check(f"receiver-lan#{user}") == {"login"}
    right = frames_with(lab, "receiver-lan", "PASS builder", tmp_path)[-1]
    student.is_done(tmp_path, f"receiver-lan#{right}")


def test_a_password_in_base64_is_one(lab: Lab, tmp_path: Path) -> None:
    student = Student(lab, "password")
    send(lab, ALICE, BOB)  # swaks logs in
    until("it is seen", lambda: student.check() == {"login"} or None)
    right = frames_with(lab, "sender-lan", "AUTH PLAIN ", tmp_path)[-1]
    student.is_done(tmp_path, f"sender-lan#{right}")


def test_what_was_done_before_the_start_does_not_count(lab: Lab) -> None:
    header = ["--header", "To: dave@receiver.example"]
    lab.run("sender-pc", ["swaks", "--to", BOB, *header], user="alice").check("swaks")
    student = Student(lab, "other-name")
    assert student.check() == set()
    lab.run("sender-pc", ["swaks", "--to", BOB, *header], user="alice").check("swaks")
    student.ends()
    again = run_lab(lab.name, "exercise", "start", "other-name")
    assert "Begun anew" in again.stdout
    assert student.check() == set()


def test_whoever_is_stuck_is_given_the_hint_once(lab: Lab) -> None:
    student = Student(lab, "other-name")
    student.check()
    assert student.said["hint"] is None
    student.check()
    hint = student.said["hint"]
    assert "envelope" in hint
    student.check()
    assert student.said["hint"] is None and student.said["checks"] == 3
    lab.run("sender-pc", ["swaks", "--to", BOB], user="alice").check("swaks")
    student.becomes("taken", "arrived")
    shown = run_lab(lab.name, "exercise", "check", "other-name")
    assert shown.returncode == 1 and "Hint" not in shown.stdout
    assert shown.stdout.count("✓") == 2 and shown.stdout.count("✗") == 1
    assert re.search(r"\n +\[sender-lan#\d+, sender-lan#\d+\]\n", shown.stdout)


def test_what_can_not_be_an_answer_is_said(lab: Lab) -> None:
    Student(lab, "responsibility")
    Student(lab, "came-back")
    Student(lab, "bounce")
    for name, answer, words in (
        ("responsibility", "12", "'12' names no frame"),
        ("responsibility", "", "'' names no frame"),
        ("responsibility", "moon-lan#1", "there is no network 'moon-lan' in this lab"),
        ("responsibility", "sender-lan#99999999", "there is no frame 99999999 on record"),
        ("came-back", "e", "'e' is none of the answers"),
        ("bounce", "a", "exercise bounce asks for no answer"),
    ):
        done = run_lab(lab.name, "exercise", "check", name, "--answer", answer)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert "→" in done.stderr


def test_a_class_is_one_table(engine: object, name: str, lab: Lab) -> None:
    fresh = up(textbook(name))
    refused = run_lab(fresh.name, "exercise", "check", "bounce")
    assert refused.returncode == 2 and "lab exercise start bounce" in refused.stderr
    listed = json.loads(run_lab(fresh.name, "exercise", "list", "--json").stdout)
    assert len(listed) >= 8 and not any(one["begun"] or one["done"] for one in listed)
    student = Student(fresh, "bounce")
    send(fresh, ALICE, "nobody@receiver.example")
    student.ends()
    done = run_lab(
        lab.name, "exercise", "check", "--all", "--csv", "--lab", name, "--lab", lab.name
    )
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["lab"], row["exercise"]) for row in rows] == [
        (one, exercise["exercise"]) for one in (name, lab.name) for exercise in listed
    ]
    [bounced] = [row for row in rows if (row["lab"], row["exercise"]) == (name, "bounce")]
    assert (bounced["done"], bounced["met"], bounced["total"]) == ("yes", "4", "4")
    assert re.fullmatch(r"(\d+d )?\d\d:\d\d:\d\d", bounced["when"])
    assert {row["done"] for row in rows if row["lab"] == name and row is not bounced} == {"no"}
    listed = json.loads(run_lab(fresh.name, "exercise", "list", "--json").stdout)
    assert [one["exercise"] for one in listed if one["done"]] == ["bounce"]
    assert "bounce" in run_lab(fresh.name, "exercise", "list", "--lang", "ko").stdout


@pytest.mark.parametrize("verb", ["start", "check"])
def test_there_has_to_be_a_lab(engine: object, verb: str) -> None:
    done = run_lab("no-such-lab", "exercise", verb, "bounce")
    assert done.returncode == 3 and "lab 'no-such-lab' is not up" in done.stderr
