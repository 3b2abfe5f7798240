"""The soak's judge: what it calls lost, unexpected, duplicated, and what it takes for a cause."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.observe.maillog import LogLine
from lab.soak.checker import Answer, Found, Judgment, Report, Submission, Waiting, judge
from lab.soak.letters import Letter

PEOPLE = ["alice@sender.example", "bob@receiver.example", "dave@receiver.example"]
ALICE, BOB, DAVE = PEOPLE
LETTER = Letter(1, 0.0, ALICE, (BOB,), "plain", 100, "<1@sender.example>")


def judged(
    answer: Answer = "acknowledged",
    copies: int = 0,
    returned: int = 0,
    waiting: int = 0,
    logs: Mapping[str, list[LogLine]] | None = None,
    letter: Letter = LETTER,
) -> Judgment:
    found = Found(
        {BOB: [letter.message_id] * copies, ALICE: []},
        [Report(ALICE, letter.message_id, BOB)] * returned,
        [Waiting("sender-mail", "A1", letter.message_id, BOB)] * waiting,
        logs or {},
    )
    return judge([Submission(letter, answer, "2.0.0 Ok: queued as A1")], found)


@pytest.mark.parametrize("answer", ["acknowledged", "refused", "unknown"])
@pytest.mark.parametrize("copies", [0, 1])
@pytest.mark.parametrize("returned", [0, 1])
@pytest.mark.parametrize("waiting", [0, 1])
def test_what_becomes_of_a_letter(answer: Answer, copies: int, returned: int, waiting: int) -> None:
    found = judged(answer, copies, returned, waiting)
    nowhere = not (copies or returned or waiting)
    assert bool(found.lost) == (answer == "acknowledged" and nowhere)
    assert bool(found.unexpected) == (answer == "refused" and not nowhere)
    assert bool(found.recovered) == (answer == "unknown" and copies > 0)
    assert bool(found.duplicated) == bool(copies and returned)
    assert bool(found.unexplained) == bool(found.duplicated)  # no log says why
    assert found.valid == (not (found.lost or found.unexpected or found.unexplained))


def test_who_is_not_all_there_is_not_delivered() -> None:
    """Of several recipients each counts."""
    letter = Letter(1, 0.0, ALICE, (BOB, DAVE), "plain", 100, "<1@sender.example>")
    found = judged(copies=1, letter=letter)
    assert [(one.recipient, one.lost) for one in found.fates] == [(BOB, False), (DAVE, True)]
    counts = found.counts()
    assert (counts["attempted"], counts["deliveries"], counts["delivered"]) == (1, 2, 1)
    assert counts["lost"] == 1 and not found.valid


def test_what_nobody_wrote_is_unexpected() -> None:
    found = judge([], Found({BOB: ["<other@somewhere.example>"]}, [], [], {}))
    assert found.unexpected == [(BOB, "<other@somewhere.example>")] and not found.valid


def test_what_is_in_a_wrong_mailbox_is_unexpected() -> None:
    seen = Found({BOB: [LETTER.message_id], DAVE: [LETTER.message_id]}, [], [], {})
    found = judge([Submission(LETTER, "acknowledged", "")], seen)
    assert found.unexpected == [(DAVE, LETTER.message_id)]


@pytest.mark.parametrize(
    "report", [Report(BOB, LETTER.message_id, BOB), Report(ALICE, LETTER.message_id, DAVE)]
)
def test_a_report_to_somebody_else_or_about_somebody_else_tells_nobody(report: Report) -> None:
    found = judge([Submission(LETTER, "acknowledged", "")], Found({}, [report], [], {}))
    assert found.lost and found.unexpected == [(report.sender, LETTER.message_id)]


# Why something came twice, as the servers' logs have it: moment and words.
TAKEN = [
    (10.0, "postfix/cleanup[1]: A1: message-id=<1@sender.example>"),
]
PASSED_ON = [
    (10.1, "postfix/cleanup[2]: B1: message-id=<1@sender.example>"),
    (10.2, "LMTP B1"),
    (10.2, "SAVED"),
    (40.1, "postfix/cleanup[3]: B2: message-id=<1@sender.example>"),
    (40.2, "LMTP B2"),
    (40.2, "SAVED"),
]
UNHEARD = (
    20.0,
    "postfix/smtp[4]: A1: to=<bob@receiver.example>, relay=mail.receiver.example[203.0.113.25]:25, "
    "delay=10, delays=0.1/0/0/9.9, dsn=4.4.2, status=deferred (lost connection with "
    "mail.receiver.example[203.0.113.25] while sending end of data -- message may be sent more "
    "than once)",
)
BY_MASTER = "postfix/master[7]: warning: process /usr/lib/postfix/sbin/{} pid 9 killed by signal 9"
STARTED = "postfix/master[7]: daemon started -- version 3.10.5, configuration /etc/postfix"


def log(node: str, *said: tuple[float, str]) -> list[LogLine]:
    lines = []
    for number, (moment, words) in enumerate(said, 1):
        kind, _, queue_id = words.partition(" ")
        if kind == "LMTP":
            words = (
                f"postfix/lmtp[5]: {queue_id}: to=<bob@receiver.example>, relay=x[private/lmtp], "
                "delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Saved)"
            )
        if words.startswith("postfix"):
            words = f"Nov 24 10:00:00 mail {words}"
        if words == "SAVED":
            words = (
                "lmtp(bob@receiver.example)<9><x>: Info: msgid=<1@sender.example>: "
                "saved mail to INBOX"
            )
        lines.append(LogLine(node, number, moment, words))
    return lines


def test_two_copies_are_forgiven_if_the_sender_did_not_hear_the_answer() -> None:
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, UNHEARD),
        "receiver-mail": log("receiver-mail", *PASSED_ON),
    }
    found = judged(copies=2, logs=logs)
    (fate,) = found.duplicated
    (cause,) = fate.causes
    assert (cause.line.node, cause.line.number) == ("sender-mail", 2)
    assert "may be sent more than once" in cause.words
    assert found.valid


@pytest.mark.parametrize("ended", [STARTED, BY_MASTER.format("smtp"), BY_MASTER.format("qmgr")])
def test_two_copies_are_forgiven_if_the_sender_was_ended_in_between(ended: str) -> None:
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, (25.0, ended)),
        "receiver-mail": log("receiver-mail", *PASSED_ON),
    }
    (fate,) = judged(copies=2, logs=logs).duplicated
    assert [cause.words for cause in fate.causes] == [
        "sender-mail was ended before it had noted the answer"
    ]


@pytest.mark.parametrize(
    "between",
    [
        [],
        [(5.0, STARTED)],  # before the first time
        [(45.0, STARTED)],  # after the second
        [(25.0, BY_MASTER.format("smtpd"))],  # which passes nothing on
    ],
)
def test_two_copies_without_a_cause_are_not_forgiven(between: list[tuple[float, str]]) -> None:
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, *between),
        "receiver-mail": log("receiver-mail", *PASSED_ON),
    }
    found = judged(copies=2, logs=logs)
    assert found.unexplained and not found.valid


def test_a_cause_of_one_duplicate_is_none_of_two() -> None:
    third = [
        (70.1, "postfix/cleanup[3]: B3: message-id=<1@sender.example>"),
        (70.2, "LMTP B3"),
        (70.2, "SAVED"),
    ]
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, UNHEARD),
        "receiver-mail": log("receiver-mail", *PASSED_ON, *third),
    }
    assert judged(copies=3, logs=logs).unexplained
    logs["sender-mail"] += log("sender-mail", (50.0, UNHEARD[1]))
    assert not judged(copies=3, logs=logs).unexplained


def test_more_copies_than_the_logs_tell_of_need_causes_too() -> None:
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, UNHEARD),
        "receiver-mail": log("receiver-mail", *PASSED_ON),
    }
    assert judged(copies=3, logs=logs).unexplained
    # Who is killed before it has noted the first copy: one is noted, two are there.
    once = log("receiver-mail", *PASSED_ON[:3])
    logs = {"sender-mail": log("sender-mail", *TAKEN), "receiver-mail": once}
    assert judged(copies=2, logs=logs).unexplained
    killed = log("receiver-mail", PASSED_ON[0], (10.15, BY_MASTER.format("lmtp")), *PASSED_ON[1:3])
    assert judged(copies=2, logs=logs | {"receiver-mail": killed}).duplicated[0].causes


@pytest.mark.parametrize("moment", [5.0, 45.0])
def test_what_happened_before_it_came_or_after_it_was_given_up_excuses_no_report(
    moment: float,
) -> None:
    expired = (30.0, UNHEARD[1].replace("deferred", "bounced").split(" (")[0] + " (timed out)")
    once = log("receiver-mail", *PASSED_ON[:3])
    noted = [*TAKEN, expired, (moment, STARTED)]
    logs = {"sender-mail": log("sender-mail", *noted), "receiver-mail": once}
    assert judged(copies=1, returned=1, logs=logs).unexplained
    logs["sender-mail"] = log("sender-mail", *TAKEN, UNHEARD, expired)
    assert not judged(copies=1, returned=1, logs=logs).unexplained


def test_a_queue_id_that_is_used_again_is_another_message() -> None:
    other = [
        (1.0, "postfix/cleanup[1]: A1: message-id=<other@sender.example>"),
        (2.0, UNHEARD[1]),
        (3.0, "postfix/qmgr[1]: A1: removed"),
    ]
    logs = {
        "sender-mail": log("sender-mail", *other, *TAKEN),
        "receiver-mail": log("receiver-mail", (1.5, "postfix/qmgr[1]: B1: removed"), *PASSED_ON),
    }
    begun = (1.0, "postfix/cleanup[2]: B1: message-id=<other@sender.example>")
    logs["receiver-mail"] = log("receiver-mail", begun) + logs["receiver-mail"]
    assert judged(copies=2, logs=logs).unexplained


def test_the_last_server_can_put_it_in_twice() -> None:
    own = [
        (10.1, "postfix/cleanup[2]: B1: message-id=<1@sender.example>"),
        (10.2, "SAVED"),
        (15.0, STARTED),
        (15.1, "LMTP B1"),
        (15.1, "SAVED"),
    ]
    logs = {"sender-mail": log("sender-mail", *TAKEN), "receiver-mail": log("receiver-mail", *own)}
    (fate,) = judged(copies=2, logs=logs).duplicated
    assert [cause.line.node for cause in fate.causes] == ["receiver-mail"]
    logs["receiver-mail"] = [line for line in logs["receiver-mail"] if STARTED not in line.text]
    assert judged(copies=2, logs=logs).unexplained


def test_what_arrives_after_the_sender_has_given_up_hope_is_explained() -> None:
    """The kernel of a sender goes on sending what its program has let go of."""
    late = [
        (15.0, "postfix/smtpd[2]: B1: client=mail.sender.example[198.51.100.25]"),
        (30.0, "postfix/cleanup[2]: B1: message-id=<1@sender.example>"),
        *PASSED_ON[1:],
    ]
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, UNHEARD),
        "receiver-mail": log("receiver-mail", *late),
    }
    assert judged(copies=2, logs=logs).duplicated[0].causes


def test_what_was_said_first_may_arrive_last() -> None:
    """Its first copy comes out of the network when the second has long been there."""
    crossed = [
        (12.0, "postfix/smtpd[2]: B1: client=mail.sender.example[198.51.100.25]"),
        (23.0, "postfix/smtpd[3]: B2: client=mail.sender.example[198.51.100.25]"),
        (23.1, "postfix/cleanup[3]: B2: message-id=<1@sender.example>"),
        (23.2, "LMTP B2"),
        (23.2, "SAVED"),
        (24.1, "postfix/cleanup[2]: B1: message-id=<1@sender.example>"),
        (24.2, "LMTP B1"),
        (24.2, "SAVED"),
    ]
    logs = {
        "sender-mail": log("sender-mail", *TAKEN, UNHEARD),
        "receiver-mail": log("receiver-mail", *crossed),
    }
    assert judged(copies=2, logs=logs).duplicated[0].causes
    before = (11.0, UNHEARD[1])  # nothing had been said to the receiver's server by then
    logs["sender-mail"] = log("sender-mail", *TAKEN, before)
    assert judged(copies=2, logs=logs).unexplained


SHUT_DOWN = (
    "postfix/lmtp[5]: B1: to=<bob@receiver.example>, relay=x[private/lmtp], delay=0.4, "
    "delays=0.1/0/0.1/0.2, dsn=4.3.2, status=deferred (host x[private/lmtp] said: 421 4.3.2 "
    "Server shutting down (in reply to {}))"
)


def test_what_is_stored_and_said_not_to_be_is_put_in_twice() -> None:
    def receiver(*said: tuple[float, str]) -> dict[str, list[LogLine]]:
        came = (10.1, "postfix/cleanup[2]: B1: message-id=<1@sender.example>")
        own = log("receiver-mail", came, *said, (15.1, "LMTP B1"), (15.1, "SAVED"))
        return {"sender-mail": log("sender-mail", *TAKEN), "receiver-mail": own}

    told = SHUT_DOWN.format("end of DATA command")
    (fate,) = judged(copies=2, logs=receiver((10.2, "SAVED"), (10.4, told))).duplicated
    assert "which it had" in fate.causes[0].words
    # What was refused before its content, or at another time, is no cause of the first copy.
    refused = SHUT_DOWN.format("RCPT TO command")
    assert judged(copies=2, logs=receiver((10.2, "SAVED"), (10.4, refused))).unexplained
    assert judged(copies=2, logs=receiver((10.2, "SAVED"), (14.0, told))).unexplained


GIVEN_UP = (
    "postfix/lmtp[5]: B1: to=<bob@receiver.example>, relay=x[private/lmtp], delay=0.1, "
    "delays=0/0/0/0.1, dsn=5.2.2, status=bounced (552 5.2.2 Quota exceeded)"
)
REPORTED = [
    (10.1, "postfix/cleanup[2]: B1: message-id=<1@sender.example>"),
    (10.2, GIVEN_UP),
    (10.3, "postfix/bounce[6]: B1: sender non-delivery notification: C1"),
    (10.3, "postfix/cleanup[2]: C1: message-id=<report@receiver.example>"),
]


def test_a_report_that_is_refused_tells_nobody() -> None:
    refused = GIVEN_UP.replace("B1", "C2").replace(BOB, ALICE)
    logs = {
        "receiver-mail": log("receiver-mail", *REPORTED),
        "sender-mail": log(
            "sender-mail",
            (11.0, "postfix/cleanup[2]: C2: message-id=<report@receiver.example>"),
            (11.1, refused),
        ),
    }
    found = judged(logs=logs)
    (fate,) = found.fates
    assert fate.vain and fate.vain.line.node == "sender-mail" and "Quota" in fate.vain.words
    assert not fate.lost and found.counts()["in vain"] == 1 and found.valid
    # A report of which no log says what became of it excuses nothing.
    assert judged(logs={"receiver-mail": log("receiver-mail", *REPORTED)}).lost


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acknowledged", "refused", "unknown"]),
            st.integers(0, 2),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_the_books_add_up(what: list[tuple[Answer, int, bool, bool]]) -> None:
    submissions, boxed, reports, waiting = [], [], [], []
    for number, (answer, copies, returned, waits) in enumerate(what):
        letter = Letter(number, 0.0, ALICE, (BOB,), "plain", 100, f"<{number}@sender.example>")
        submissions.append(Submission(letter, answer, ""))
        boxed += [letter.message_id] * copies
        reports += [Report(ALICE, letter.message_id, BOB)] * returned
        waiting += [Waiting("sender-mail", "A1", letter.message_id, BOB)] * waits
    counts = judge(submissions, Found({BOB: boxed}, reports, waiting, {})).counts()
    assert counts["attempted"] == len(what) == counts["deliveries"]
    assert counts["acknowledged"] + counts["refused"] + counts["unknown"] == len(what)
    assert counts["delivered"] == sum(copies > 0 for _, copies, _, _ in what)
    assert counts["lost"] == sum(
        answer == "acknowledged" and not (copies or returned or waits)
        for answer, copies, returned, waits in what
    )
