"""Exercises are judged by the record: what counts, what is only nearly it, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from exercisebench import Bench
from recording import ALICE, BOB, STARTED

from lab.errors import UsageError
from lab.exercises import CHOICES
from lab.exercises.items import PACE

GREETING = ("S", "220 mail.receiver.example ESMTP")
OK = ("S", "250 2.0.0 Ok")
PLAIN = f"From: {ALICE}\nTo: {BOB}\nSubject: Lunch?\n\nAt noon?\n."


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def letter(text: str = PLAIN, queue_id: str = "1ABC01", to: str = BOB) -> list[tuple[str, str]]:
    """A message, from MAIL to the last 250."""
    return [
        ("C", f"MAIL FROM:<{ALICE}>"),
        OK,
        ("C", f"RCPT TO:<{to}>"),
        OK,
        ("C", "DATA"),
        ("S", "354 End data with <CR><LF>.<CR><LF>"),
        ("C", text),
        ("S", f"250 2.0.0 Ok: queued as {queue_id}"),
    ]


HELO = [GREETING, ("C", "HELO pc.sender.example"), OK]
QUIT = [("C", "QUIT"), ("S", "221 2.0.0 Bye")]


def saved(bench: Bench, queue_id: str = "1ABC01", at: float = 20.0) -> None:
    """It is put into Bob's mailbox."""
    bench.recording.takes(at, "receiver-mail", queue_id)
    bench.recording.saves(at + 0.1, "receiver-mail", queue_id)


# Typing -----------------------------------------------------------------------------------------


def test_a_message_typed_is_one(bench: Bench) -> None:
    assert bench.met("by-hand") == set()
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(), *QUIT])
    assert bench.met("by-hand") == {"taken", "typed", "plain"}
    saved(bench)
    assert bench.met("by-hand") == {"taken", "typed", "plain", "arrived"}
    assert bench.met("by-hand", since=2.0) == set(), "the connection is older"


@pytest.mark.parametrize(("pause", "person"), [(PACE / 2, False), (PACE * 1.2, True)])
def test_a_person_is_told_from_a_program_by_the_pauses(
    bench: Bench, pause: float, person: bool
) -> None:
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(), *QUIT], pause=pause)
    found = bench.judged("by-hand")["typed"]
    assert (found.met, found.note) == ((True, "pace") if person else (False, "fast"))


def test_the_way_to_the_client_and_back_is_no_pause(bench: Bench) -> None:
    script = [*HELO, *letter(), *QUIT]
    bench.talks("sender-pc", "receiver-mail", 25, script, pause=PACE / 10, trip=PACE * 2)
    found = bench.judged("by-hand")["typed"]
    assert (found.met, found.note, found.values["seconds"]) == (False, "fast", "0.010")


def test_what_is_said_before_the_reply_is_not_typed_after_it(bench: Bench) -> None:
    mail = letter()
    together = [("C", "\n".join(text for _, text in mail[:6:2])), OK, OK, mail[5]]
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *together, *mail[6:], *QUIT])
    found = bench.judged("by-hand")
    assert found["taken"].met and not found["typed"].met
    assert found["typed"].note == "ahead" and f"RCPT TO:<{BOB}>" in found["typed"].values["line"]


@pytest.mark.parametrize("to", ["Bob@receiver.example", BOB.upper(), '"bob"@receiver.example'])
def test_an_address_is_the_same_in_any_case(bench: Bench, to: str) -> None:
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(to=to), *QUIT])
    bench.recording.takes(20, "receiver-mail", "1ABC01")
    bench.recording.saves(20.1, "receiver-mail", "1ABC01", to=to)
    assert bench.met("by-hand") == {"taken", "typed", "plain", "arrived"}
    [right] = bench.frames_with("sender-lan", b"queued as 1ABC01")
    assert bench.met("responsibility", f"sender-lan#{right}") == {"passed", "frame"}


@pytest.mark.parametrize("mark", ["X-Mailer: swaks v20240103.0", "User-Agent: Mutt/2.2"])
def test_a_mail_program_signs_what_it_writes(bench: Bench, mark: str) -> None:
    text = PLAIN.replace("Subject", f"{mark}\nSubject")
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(text)])
    plain = bench.judged("by-hand")["plain"]
    assert not plain.met and plain.values["mark"] == mark


def test_a_message_from_elsewhere_or_for_others_does_not_count(bench: Bench) -> None:
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *letter()])
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(to="dave@receiver.example")])
    assert bench.met("by-hand") == set()


def test_a_refusal_is_told_in_the_servers_words(bench: Bench) -> None:
    refused = [*HELO, *letter()[:3], ("S", "554 5.7.1 Relay access denied"), *QUIT]
    bench.talks("sender-pc", "sender-mail", 25, refused)
    taken = bench.judged("by-hand")["taken"]
    assert taken.note == "refused" and taken.values["said"] == "554 5.7.1 Relay access denied"


# One connection ---------------------------------------------------------------------------------


def test_three_messages_over_one_connection(bench: Bench) -> None:
    three = [turn for number in range(3) for turn in letter(queue_id=f"1ABC0{number}")]
    for number in range(3):
        bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(), *QUIT], at=number * 10 + 1)
    assert bench.met("one-connection") == {"called", "quit", "typed"}
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *three, *QUIT], at=40)
    assert bench.met("one-connection") == {"called", "quit", "typed"}
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *three], at=60)
    assert bench.met("one-connection") == {"called", "begun", "acknowledged", "typed"}
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *three, *QUIT], at=80)
    found = bench.judged("one-connection")
    assert all(item.met for item in found.values())
    assert len(found["begun"].proofs) == len(found["acknowledged"].proofs) == 3


# Frames -----------------------------------------------------------------------------------------


def test_only_the_last_250_of_the_right_server_is_responsibility(bench: Bench) -> None:
    relayed = [*HELO, *letter(queue_id="2DEF01"), *QUIT]
    bench.talks("sender-pc", "sender-mail", 587, [*HELO, *letter()])
    assert bench.met("responsibility") == set(), "another server has it"
    networks = ("sender-lan", "receiver-lan")
    bench.talks("sender-mail", "receiver-mail", 25, relayed, at=10, networks=networks)
    assert bench.met("responsibility") == {"passed"}
    for network in networks:
        [right] = bench.frames_with(network, b"queued as 2DEF01")
        frames = range(1, bench.count(network) + 1)
        taken = {n for n in frames if "frame" in bench.met("responsibility", f"{network}#{n}")}
        assert taken == {right}


def test_what_has_passed_is_the_message_that_was_answered(bench: Bench) -> None:
    for number in (1, 2):
        script = [*HELO, *letter(queue_id=f"2DEF0{number}"), *QUIT]
        bench.talks("sender-mail", "receiver-mail", 25, script, at=10 * number)
    [first] = bench.frames_with("sender-lan", b"queued as 2DEF01")
    found = bench.judged("responsibility", f"sender-lan#{first}")
    assert found["frame"].met and found["passed"].proofs[0].evidence.frame == 1
    assert bench.judged("responsibility")["passed"].proofs[0].evidence.frame > first


def test_a_frame_that_is_not_there_is_said(bench: Bench) -> None:
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *letter(), *QUIT])
    with pytest.raises(UsageError, match="there is no frame 999 on record: sender-lan has"):
        bench.met("responsibility", "sender-lan#999")
    other = bench.judged("responsibility", "sender-lan#1")["frame"]
    assert str(other.values["says"]).endswith("203.0.113.25:25 TCP [SYN] 0 octets"), "what it is"


POP = [("S", "+OK ready")]
IMAP = [("S", "* OK ready")]
SUBMISSION = [GREETING, ("C", "EHLO pc"), OK]


@pytest.mark.parametrize(
    ("port", "script", "yes", "no"),
    [
        (110, [*POP, ("C", "USER bob"), ("S", "+OK"), ("C", "PASS builder")], "+OK", "-ERR"),
        (110, [*POP, ("C", "AUTH PLAIN AGJvYgBidWlsZGVy")], "+OK", "-ERR"),
        (143, [*IMAP, ("C", "b LOGIN bob builder")], "b OK", "b NO"),
        (143, [*IMAP, ("C", f'b LOGIN "{BOB}" "builder"')], "b OK", "b NO"),
        (
            143,
            [*IMAP, ("C", "b LOGIN bob {7}"), ("S", "+ OK"), ("C", "builder")],
            "b OK",
            "b NO",
        ),
        (
            143,
            [*IMAP, ("C", "b AUTHENTICATE PLAIN"), ("S", "+ "), ("C", "AGJvYgBidWlsZGVy")],
            "b OK",
            "b NO",
        ),
        (587, [*SUBMISSION, ("C", "AUTH PLAIN AGJvYgBidWlsZGVy")], "235 2.7.0 Ok", "535 5.7.8 No"),
        (
            587,
            [
                *SUBMISSION,
                *(("C", "AUTH LOGIN"), ("S", "334 VXNlcm5hbWU6"), ("C", "Ym9i")),
                *(("S", "334 UGFzc3dvcmQ6"), ("C", "YnVpbGRlcg==")),
            ],
            "235 2.7.0 Ok",
            "535 5.7.8 No",
        ),
    ],
)
def test_a_password_is_in_its_frame_and_in_no_other(
    bench: Bench, port: int, script: list[tuple[str, str]], yes: str, no: str
) -> None:
    other = ("other-lan",)  # what was refused, and what was never answered
    bench.talks("receiver-pc", "receiver-mail", port, [*script, ("S", no)], networks=other)
    bench.talks("receiver-pc", "receiver-mail", port, script, networks=other)
    assert bench.met("password") == set()
    answered = [*script, ("S", yes)]
    bench.talks("receiver-pc", "receiver-mail", port, answered, networks=("receiver-lan",))
    assert bench.met("password") == {"login"}
    frames = range(1, bench.count("receiver-lan") + 1)
    right = {n for n in frames if "frame" in bench.met("password", f"receiver-lan#{n}")}
    assert right == set(bench.frames_with("receiver-lan", script[-1][1].encode()))


@pytest.mark.parametrize(
    ("said", "reply"),
    [("guess", "-ERR"), ("builder", "-ERR"), ("wonderland", "+OK"), ("xbuilderx", "+OK")],
)
def test_a_wrong_password_is_none(bench: Bench, said: str, reply: str) -> None:
    """Nor is somebody else's, or one that has it in it, whatever the server says."""
    script = [*POP, ("C", "USER bob"), ("S", "+OK"), ("C", f"PASS {said}"), ("S", reply)]
    bench.talks("receiver-pc", "receiver-mail", 110, script)
    assert bench.met("password") == set()


# Logs -------------------------------------------------------------------------------------------


def bounced(bench: Bench, words: str = "sender non-delivery notification") -> None:
    """A message of Alice's comes back."""
    made, server = bench.recording, "sender-mail"
    made.takes(1, server, "1ABC01", login=ALICE)
    made.tries(2, server, "1ABC01", "bounced", "said: 550 5.1.1 User unknown", to="no@receiver.x")
    made.logs(2.1, server, f"postfix/bounce[9]: 1ABC01: {words}: 2DEF01")
    made.takes(2.2, server, "2DEF01", "<2@mail.sender.example>", sender="")


def test_a_bounce_is_about_the_message_that_was_written(bench: Bench) -> None:
    bounced(bench)
    assert bench.met("bounce") == {"queued", "failed", "reported"}
    bench.recording.saves(3, "sender-mail", "2DEF01", to=ALICE.title())
    assert bench.met("bounce") == {"queued", "failed", "reported", "arrived"}
    assert bench.met("bounce", since=1.5) == set(), "it was written before"


def test_a_notice_of_delay_is_no_bounce(bench: Bench) -> None:
    bounced(bench, "sender delay notification")
    bench.recording.saves(3, "sender-mail", "2DEF01", to=ALICE)
    assert bench.met("bounce") == {"queued", "failed"}


def test_a_message_waits_because_of_a_fault(bench: Bench) -> None:
    made, server = bench.recording, "sender-mail"
    made.takes(1, server, "1ABC01", login=ALICE)
    made.tries(2, server, "1ABC01", "deferred", "Connection timed out")
    assert bench.met("waits") == {"queued", "deferred"}
    bench.fault(0.5, "the cable of receiver-mail is pulled", on=True)
    assert bench.met("waits") == {"queued", "deferred", "cause"}
    bench.fault(3, "the cable of receiver-mail is back", on=False)
    made.passes_on(4, server, "1ABC01", "receiver-mail", "3FED01")
    assert bench.met("waits") == {"queued", "deferred", "cause", "later"}
    saved(bench, "3FED01", at=4.5)
    assert bench.met("waits") == {"queued", "deferred", "cause", "later", "arrived"}


def test_what_was_delivered_at_once_has_not_waited(bench: Bench) -> None:
    bench.fault(0.2, "the cable of receiver-mail is pulled", on=True)
    bench.fault(0.5, "the cable of receiver-mail is back", on=False)
    bench.recording.takes(1, "sender-mail", "1ABC01", login=ALICE)
    bench.recording.passes_on(2, "sender-mail", "1ABC01", "receiver-mail", "3FED01")
    saved(bench, "3FED01", at=2.5)
    assert bench.met("waits") == {"queued"}


# Content ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "met", "note"),
    [
        ("To: dave@receiver.example", True, "named"),
        (f"To: dave@receiver.example\nCc: Bob <{BOB}>", False, "same"),
        (f"To: {BOB.upper()}", False, "same"),
        ('To: "bob"@receiver.example', False, "same"),
        ('To: Bob <"Bob"@Receiver.example>', False, "same"),
        ("X-Nobody: here", False, "nobody"),
    ],
)
def test_the_header_names_others_than_the_envelope(
    bench: Bench, header: str, met: bool, note: str
) -> None:
    text = f"From: {ALICE}\n{header}\n\nHello.\n."
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(text)])
    found = bench.judged("other-name")["header"]
    assert (found.met, found.note) == (met, note)


BASE64 = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"


@pytest.mark.parametrize(
    ("text", "met"),
    [
        (f"{BASE64}Content-Transfer-Encoding: base64\n\n7JWI64WV\n.", {"korean", "seven"}),
        (
            f"{BASE64}Content-Transfer-Encoding: quoted-printable\n\n=EC=95=88\n.",
            {"korean", "seven"},
        ),
        (f"{BASE64}Content-Transfer-Encoding: 8bit\n\n안녕\n.", {"korean"}),
        ("Subject: x\n\n7JWI64WV\n.", set()),
        ("Subject: =?utf-8?b?7JWI64WV?=\n\nHello\n.", set()),
        ("Subject: x\n\n안녕\n.", {"korean"}),
        ("Content-Type: text/plain; charset=undefined\n\n안녕\n.", set()),
        ("Content-Type: text/plain; charset=undefined\n\nHello\n.", set()),
        ('Content-Type: text/plain; charset="utf\0"\n\nHello\n.', set()),
        ("Content-Type: text/plain; charset*=utf\0'en'utf-8\n\n안녕\n.", set()),
    ],
)
def test_korean_passes_in_seven_bits_or_does_not(bench: Bench, text: str, met: set[str]) -> None:
    bench.talks("sender-pc", "receiver-mail", 25, [*HELO, *letter(text)])
    assert bench.met("seven-bit") == met


MIME = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="cut"

--cut
Content-Type: text/plain

Look:
--cut
Content-Type: image/png

PICTURE
--cut--
."""
SELECTED = [("S", "* OK ready"), ("C", "a SELECT INBOX"), ("S", "a OK")]


def fetch(*given: tuple[str, str]) -> list[tuple[str, str]]:
    """A session in which these sections of message 1 were fetched."""
    turns = list(SELECTED)
    for number, (section, text) in enumerate(given):
        turns.append(("C", f"b{number} FETCH 1 {section}"))
        size = len(text.replace("\n", "\r\n"))
        turns.append(("S", f"* 1 FETCH ({section} {{{size}}}\n{text})\nb{number} OK done"))
    return turns


HEADER = ("BODY[HEADER]", "Subject: x\n\n")
WHOLE = ("BODY[]", "Subject: x\n\nLook:\nPICTURE")


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ((("BODY[2]", "PICTURE"),), {"parts", "fetched", "alone"}),
        (
            (("BODY[HEADER]", "Subject: x\n\n"), ("BODY[2]", "PICTURE")),
            {"parts", "fetched", "alone"},
        ),
        ((("BODY[2]", "PICTURE"), ("BODY[1]", "Look:")), {"parts", "fetched"}),
        ((WHOLE, ("BODY[2]", "PICTURE")), {"parts", "fetched"}),
        ((("BODY[2]", "PICTURE"), ("RFC822.TEXT", "Look:")), {"parts", "fetched"}),
        ((("BODY[2]", "ANOTHER"),), {"parts"}),
        ((("BODY[2]<0>", "PICTURE"),), {"parts", "fetched", "alone"}),
        ((("BODY[2]<0>", "PICT"),), {"parts"}),
        ((("BODY[2]<0>", "PICTURE"), ("BODY[1]<0>", "Loo")), {"parts", "fetched"}),
        ((("BINARY[2]", "PICTURE"),), {"parts", "fetched", "alone"}),
        ((("BODY[2]", "PICTURE"), ("BINARY[1]", "Look:")), {"parts", "fetched"}),
        ((("BINARY[]", "Subject: x"), ("BODY[2]", "PICTURE")), {"parts", "fetched"}),
        ((WHOLE,), {"parts"}),
    ],
)
def test_one_part_is_fetched_alone_or_it_is_not(
    bench: Bench, given: tuple[tuple[str, str], ...], met: set[str]
) -> None:
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *letter(MIME)])
    assert bench.met("one-part") == {"parts"}
    bench.talks("receiver-pc", "receiver-mail", 143, fetch(*given), at=30)
    assert bench.met("one-part") == met


@pytest.mark.parametrize("part", ["BODY[2]", "BINARY[2]"])
@pytest.mark.parametrize(
    ("declared", "sent", "decoded"),
    [("base64", "7JWI64WV", "안녕"), ("8bit", "안녕", "안녕")],
)
def test_a_part_is_one_encoded_and_decoded(
    bench: Bench, part: str, declared: str, sent: str, decoded: str
) -> None:
    text = MIME.replace(
        "image/png", f"text/plain; charset=utf-8\nContent-Transfer-Encoding: {declared}"
    )
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *letter(text.replace("PICTURE", sent))])
    given = sent if part == "BODY[2]" else decoded
    literal = f"* 1 FETCH ({part} ~{{{len(given.encode())}}}\n{given})\nb OK done"
    script = [*SELECTED, ("C", f"b FETCH 1 {part}"), ("S", literal)]
    bench.talks("receiver-pc", "receiver-mail", 143, script, at=30)
    assert bench.met("one-part") == {"parts", "fetched", "alone"}


def test_the_whole_in_another_session_does_no_harm(bench: Bench) -> None:
    bench.talks("sender-mail", "receiver-mail", 25, [*HELO, *letter(MIME)])
    bench.talks("receiver-pc", "receiver-mail", 143, fetch(("BODY[2]", "PICTURE")), at=30)
    bench.talks("receiver-pc", "receiver-mail", 143, fetch(WHOLE), at=60)
    assert bench.met("one-part") == {"parts", "fetched", "alone"}


# POP3 -------------------------------------------------------------------------------------------

LOGIN = [("S", "+OK"), ("C", "USER bob"), ("S", "+OK"), ("C", "PASS builder"), ("S", "+OK")]
DELE = [*LOGIN, ("C", "DELE 2"), ("S", "+OK Marked")]
LIST = [*LOGIN, ("C", "LIST"), ("S", "+OK 2 messages:\n1 20\n2 30\n."), ("C", "QUIT"), ("S", "+OK")]


def pop3(bench: Bench, script: list[tuple[str, str]], at: float, end: str | None = "C") -> None:
    bench.talks("receiver-pc", "receiver-mail", 110, script, at=at, end=end)


def test_what_is_marked_comes_back_without_quit(bench: Bench) -> None:
    pop3(bench, LIST, at=1)
    assert bench.met("came-back") == set()
    pop3(bench, DELE, at=10)
    assert bench.met("came-back") == {"marked", "broken"}
    pop3(bench, LIST, at=20)
    assert bench.met("came-back") == {"marked", "broken", "again"}
    for letter in set(CHOICES) - {"c"}:
        assert bench.met("came-back", letter) == {"marked", "broken", "again"}
    assert bench.met("came-back", "c") == {"marked", "broken", "again", "why"}


def test_what_rset_takes_back_was_never_marked(bench: Bench) -> None:
    pop3(bench, [*DELE, ("C", "RSET"), ("S", "+OK")], at=10)
    pop3(bench, LIST, at=20)
    assert bench.met("came-back") == set()
    again = [("C", "RSET"), ("S", "+OK"), ("C", "DELE 2"), ("S", "+OK")]
    pop3(bench, [*DELE, *again], at=30)
    pop3(bench, LIST, at=40)
    assert bench.met("came-back") == {"marked", "broken", "again"}


def test_a_number_may_begin_with_noughts(bench: Bench) -> None:
    pop3(bench, [*LOGIN, ("C", "DELE 02"), ("S", "+OK")], at=10)
    pop3(bench, LIST, at=20)
    found = bench.judged("came-back")
    assert found["again"].met and found["marked"].values["number"] == "2"


def test_it_is_bobs_message_that_has_to_come_back(bench: Bench) -> None:
    def of_dave(script: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(who, "USER dave" if text == "USER bob" else text) for who, text in script]

    pop3(bench, of_dave(DELE), at=10)
    pop3(bench, LIST, at=20)
    assert bench.met("came-back") == set()
    pop3(bench, DELE, at=30)
    pop3(bench, of_dave(LIST), at=40)
    assert bench.met("came-back") == {"marked", "broken"}


@pytest.mark.parametrize(
    "seen",
    [
        [("C", "STAT"), ("S", "+OK 2 50")],
        [("C", "UIDL"), ("S", "+OK\n1 aa\n2 bb\n.")],
        [("C", "UIDL 2"), ("S", "+OK 2 bb")],
        [("C", "TOP 2 0"), ("S", "+OK\nSubject: x\n\n.")],
    ],
)
def test_it_can_be_seen_again_in_several_ways(bench: Bench, seen: list[tuple[str, str]]) -> None:
    pop3(bench, DELE, at=10)
    pop3(bench, [*LOGIN, *seen], at=20)
    assert bench.met("came-back") == {"marked", "broken", "again"}


@pytest.mark.parametrize(
    ("quits", "end", "log", "met"),
    [
        (True, "C", False, {"marked"}),
        (False, None, False, {"marked"}),
        (False, "C", True, {"marked", "broken"}),
    ],
)
def test_it_has_not_come_back(
    bench: Bench, quits: bool, end: str | None, log: bool, met: set[str]
) -> None:
    """After QUIT; while the session still goes on; or if another message has its number now."""
    pop3(bench, [*DELE, ("C", "QUIT"), ("S", "+OK")] if quits else DELE, at=10, end=end)
    if log:
        box = "expunge: box=INBOX, uid=2, msgid=<1@x>, size=9, flags=()"
        line = f"imap({BOB})<3><x>: Info: Mailbox INBOX: {box}"
        bench.recording.logs(15, "receiver-mail", line)
    pop3(bench, LIST, at=20)
    assert bench.met("came-back") == met


# Which try counts -------------------------------------------------------------------------------


def test_the_first_try_that_has_all_counts_whatever_comes_later(bench: Bench) -> None:
    for number in range(2):
        queue_id = f"1ABC0{number}"
        script = [*HELO, *letter(queue_id=queue_id), *QUIT]
        bench.talks("sender-pc", "receiver-mail", 25, script, at=1 + 20 * number)
        saved(bench, queue_id, at=10 + 20 * number)
    first = bench.judged("by-hand")
    assert max(item.when or 0 for item in first.values()) < STARTED + 15
