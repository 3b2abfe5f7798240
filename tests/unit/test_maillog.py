"""Postfix's own log lines are read for what they say; of other lines nothing is made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.engine import client as engine
from lab.observe import maillog
from lab.observe.maillog import Attempt, LogLine, QueueEvent, attempt, parse, queue_event

STAMP = "2026-11-23T14:47:26.123456789Z"
EPOCH = datetime(2026, 11, 23, 14, 47, 26, tzinfo=UTC).timestamp()
MX = "mail.receiver.example[203.0.113.25]:25"
LMTP = "mail.receiver.example[private/dovecot-lmtp]"

# fmt: off
ATTEMPTS = {
    "sent": (
        "postfix/smtp[34]: 65BE618487F: to=<bob@receiver.example>, relay=" + MX + ", delay=0.04, "
        "delays=0.01/0.01/0/0.02, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 6C6F8184884)",
        ("smtp", "65BE618487F", "bob@receiver.example", MX, "sent", "2.0.0",
         "250 2.0.0 Ok: queued as 6C6F8184884", (0.01, 0.01, 0.0, 0.02)),
    ),
    "deferred, never connected": (
        "postfix/smtp[34]: 65BE618487F: to=<bob@receiver.example>, relay=none, delay=31, "
        "delays=0.02/0.01/31/0, dsn=4.4.1, status=deferred "
        f"(connect to {MX}: Connection timed out)",
        ("smtp", "65BE618487F", "bob@receiver.example", "none", "deferred", "4.4.1",
         f"connect to {MX}: Connection timed out", (0.02, 0.01, 31.0, 0.0)),
    ),
    "deferred, name not found": (
        "postfix/smtp[211]: 4dGvTy1zP8zJ3Z: to=<bob@receiver.example>, relay=none, delay=61, "
        "delays=60/0.01/1/0, dsn=4.4.3, status=deferred (Host or domain name not found. Name "
        "service error for name=receiver.example type=MX: Host not found, try again)",
        ("smtp", "4dGvTy1zP8zJ3Z", "bob@receiver.example", "none", "deferred", "4.4.3",
         "Host or domain name not found. Name service error for name=receiver.example type=MX: "
         "Host not found, try again", (60.0, 0.01, 1.0, 0.0)),
    ),
    "deferred, greylisted": (
        f"postfix/smtp[34]: 65BE618487F: to=<bob@receiver.example>, relay={MX}, delay=0.3, "
        "delays=0.1/0/0.1/0.1, dsn=4.7.1, status=deferred (host mail.receiver.example"
        "[203.0.113.25] said: 450 4.7.1 <bob@receiver.example>: try later (in reply to RCPT TO "
        "command))",
        ("smtp", "65BE618487F", "bob@receiver.example", MX, "deferred", "4.7.1",
         "host mail.receiver.example[203.0.113.25] said: 450 4.7.1 <bob@receiver.example>: try "
         "later (in reply to RCPT TO command)", (0.1, 0.0, 0.1, 0.1)),
    ),
    "over a connection used before": (
        f"postfix/smtp[34]: 65BE618487F: to=<bob@receiver.example>, relay={MX}, conn_use=2, "
        "delay=62, delays=62/0/0/0.01, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 12AB)",
        ("smtp", "65BE618487F", "bob@receiver.example", MX, "sent", "2.0.0",
         "250 2.0.0 Ok: queued as 12AB", (62.0, 0.0, 0.0, 0.01)),
    ),
    "to an alias, by LMTP": (
        "postfix/lmtp[52]: 6C6F8184884: to=<bob@receiver.example>, "
        f"orig_to=<postmaster@receiver.example>, relay={LMTP}, delay=0.06, "
        "delays=0.02/0.01/0.01/0.02, dsn=2.0.0, status=sent (250 2.0.0 <bob@receiver.example> "
        "WHFMDn6kU2mZAAAA2QzmHw Saved)",
        ("lmtp", "6C6F8184884", "bob@receiver.example", LMTP, "sent", "2.0.0",
         "250 2.0.0 <bob@receiver.example> WHFMDn6kU2mZAAAA2QzmHw Saved",
         (0.02, 0.01, 0.01, 0.02)),
    ),
    "bounced": (
        f"postfix/relay/smtp[34]: 65BE618487F: to=<eve@receiver.example>, relay={MX}, "
        "delay=0.05, delays=0.01/0.01/0.01/0.02, dsn=5.1.1, status=bounced (host "
        "mail.receiver.example[203.0.113.25] said: 550 5.1.1 <eve@receiver.example>: Recipient "
        "address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))",
        ("relay/smtp", "65BE618487F", "eve@receiver.example", MX, "bounced", "5.1.1",
         "host mail.receiver.example[203.0.113.25] said: 550 5.1.1 <eve@receiver.example>: "
         "Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO "
         "command)", (0.01, 0.01, 0.01, 0.02)),
    ),
}
EVENTS = {
    "postfix/cleanup[31]: 65BE618487F: message-id=<1f@pc.sender.example>":
        ("65BE618487F", "message-id", "<1f@pc.sender.example>"),
    'postfix/cleanup[31]: 65BE618487F: message-id=<a "b c"@x> (a comment)':
        ("65BE618487F", "message-id", '<a "b c"@x> (a comment)'),
    "postfix/qmgr[12]: 65BE618487F: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)":
        ("65BE618487F", "queued", "alice@sender.example"),
    "postfix/qmgr[12]: 6F1A218487F: from=<>, size=2817, nrcpt=1 (queue active)":
        ("6F1A218487F", "queued", ""),
    "postfix/qmgr[12]: 65BE618487F: from=<a@b.example>, status=expired, returned to sender":
        ("65BE618487F", "expired", "expired"),
    "postfix/qmgr[12]: 65BE618487F: from=<a@b.example>, status=force-expired, returned to sender":
        ("65BE618487F", "expired", "force-expired"),
    "postfix/bounce[61]: 65BE618487F: sender non-delivery notification: 6F1A218487F":
        ("65BE618487F", "dsn", "6F1A218487F"),
    "postfix/bounce[61]: 4dGvTy1zP8zJ3Z: sender delay notification: 4dGvVb3K9bzJ4C":
        ("4dGvTy1zP8zJ3Z", "dsn", "4dGvVb3K9bzJ4C"),
    "postfix/qmgr[12]: 65BE618487F: removed":
        ("65BE618487F", "removed", "removed"),
    "postfix/smtpd[29]: 6C6F8184884: client=mail.sender.example[198.51.100.25]":
        ("6C6F8184884", "client", "mail.sender.example[198.51.100.25]"),
    "postfix/submission/smtpd[29]: 65BE618487F: client=pc.sender.example[198.51.100.10], "
    "sasl_method=PLAIN, sasl_username=alice@sender.example":
        ("65BE618487F", "client", "pc.sender.example[198.51.100.10]"),
}
NEITHER = [
    "Nov 23 14:47:26 mail postfix/smtpd[29]: connect from pc.sender.example[198.51.100.10]",
    "Nov 23 14:47:26 mail postfix/smtpd[29]: disconnect from pc.sender.example[198.51.100.10] "
    "ehlo=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=6",
    "Nov 23 14:47:26 mail postfix/smtp[34]: connect to " + MX + ": Connection timed out",
    "Nov 23 14:47:26 mail postfix/postfix-script[1]: starting the Postfix mail system",
    "Nov 23 14:47:26 mail postfix/smtpd[29]: warning: 65BE618487F: removed",
    "Nov 23 14:47:26 lmtp(bob@receiver.example)<53><x>: Info: msgid=<1f@pc>: saved mail to INBOX",
    "Nov 23 14:47:26 auth: Info: passwd-file(alice,198.51.100.10): Password mismatch",
    "dnsmasq[1]: query[MX] receiver.example from 198.51.100.25",
    "65BE618487F: removed",
    "Nov 23 14:47:26 mail postfix/smtp[34]: 65BE618487F: to=<bob@receiver.example>, relay=none, "
    "delay=0.04, delays=0.01.2/0/0/0, dsn=4.4.1, status=deferred (no number)",
    "",
    "\x00\ufffd\x1b[31m",
]
# fmt: on


def line(text: str) -> LogLine:
    """A line as the mail server `mail` writes it, at the moment of STAMP."""
    (found,) = parse("mail", [f"{STAMP} {text}".encode()])
    return found


def postfix(text: str, date: str = "Nov 23") -> LogLine:
    return line(f"{date} 14:47:26 mail {text}")


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_read_with_all_that_postfix_says_of_it(name: str) -> None:
    text, expected = ATTEMPTS[name]
    read = postfix(text)
    assert attempt(read) == Attempt(read, *expected)
    assert queue_event(read) is None


def test_an_attempt_began_as_long_before_its_line_as_connecting_and_sending_took() -> None:
    found = attempt(postfix(ATTEMPTS["deferred, never connected"][0]))
    assert found is not None
    assert found.began == pytest.approx(EPOCH + 0.123456 - 31)


@pytest.mark.parametrize("text", EVENTS)
def test_what_else_happened_to_a_message(text: str) -> None:
    read = postfix(text)
    assert queue_event(read) == QueueEvent(read, *EVENTS[text])
    assert attempt(read) is None


@pytest.mark.parametrize("text", NEITHER)
def test_other_lines_mean_nothing(text: str) -> None:
    assert attempt(line(text)) is None
    assert queue_event(line(text)) is None


def test_days_of_one_digit_are_padded_with_a_space() -> None:
    assert queue_event(postfix("postfix/qmgr[12]: 65BE618487F: removed", "Dec  3"))


def test_attempts_and_events_are_chosen_by_message_and_kind() -> None:
    lines = [postfix(text) for text, _ in ATTEMPTS.values()] + [postfix(text) for text in EVENTS]
    assert len(maillog.attempts(lines)) == len(ATTEMPTS)
    assert [one.program for one in maillog.attempts(lines, "6C6F8184884")] == ["lmtp"]
    assert len(maillog.queue_events(lines)) == len(EVENTS)
    assert [one.value for one in maillog.queue_events(lines, "dsn", "65BE618487F")] == [
        "6F1A218487F"
    ]
    assert maillog.queue_events(lines, "removed", "6C6F8184884") == []


@pytest.mark.parametrize(
    ("stamp", "fraction"),
    [
        ("2026-11-23T14:47:26.123456789Z", 0.123456),
        ("2026-11-23T14:47:26.000000001Z", 0),
        ("2026-11-23T14:47:26.12Z", 0.12),
        ("2026-11-23T14:47:26Z", 0),
        ("2026-11-23T15:47:26.5+01:00", 0.5),
    ],
)
def test_the_time_is_the_engines_to_the_microsecond(stamp: str, fraction: float) -> None:
    (found,) = parse("mail", [f"{stamp} hello".encode()])
    assert found.time == pytest.approx(EPOCH + fraction, abs=1e-6)
    assert found.text == "hello"


def test_lines_are_numbered_from_one_or_from_where_the_reading_stopped() -> None:
    raw = [f"{STAMP} {word}".encode() for word in ("a", "b c", "")]
    found = [(one.number, one.text) for one in parse("mail", raw)]
    assert found == [(1, "a"), (2, "b c"), (3, "")]
    assert [one.number for one in parse("mail", raw, before=7)] == [8, 9, 10]


@given(st.binary())
def test_whatever_a_program_writes_can_be_read(octets: bytes) -> None:
    (found,) = parse("mail", [STAMP.encode() + b" " + octets])
    assert attempt(found) is None
    assert queue_event(found) is None


WORDS = re.findall(
    r"\w+|\W+", " ".join([text for text, _ in ATTEMPTS.values()] + list(EVENTS)) + " 1.2.3 -1 /"
)


@given(
    st.sampled_from([text for text, _ in ATTEMPTS.values()] + list(EVENTS)),
    st.lists(st.tuples(st.integers(0, 80), st.sampled_from(WORDS) | st.text()), max_size=4),
)
def test_lines_that_are_almost_postfixs_can_be_read(
    text: str, changes: list[tuple[int, str]]
) -> None:
    words = re.findall(r"\w+|\W+", text)
    for place, word in changes:
        words[place % len(words)] = word
    read = postfix("".join(words))
    for found in (attempt(read), queue_event(read)):
        assert found is None or found.line == read


class Engine:
    """Stands in for the Docker client: it has logged `output`, and streams it in chunks."""

    def __init__(self, output: bytes, cuts: list[int]) -> None:
        ends = sorted({0, len(output), *(cut % (len(output) + 1) for cut in cuts)})
        self.output = output
        self.chunks = [output[a:b] for a, b in pairwise(ends)]
        self.api = self

    def logs(self, container: str, *, stream: bool = False, **_: bool) -> bytes | Iterator[bytes]:
        return iter(self.chunks) if stream else self.output


@given(st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\n", b"\r"))), st.data())
def test_reading_and_following_find_the_same_lines(texts: list[bytes], data: st.DataObject) -> None:
    output = b"".join(STAMP.encode() + b" " + text + b"\n" for text in texts)
    cuts = data.draw(st.lists(st.integers(0, 10**6), max_size=8))
    after = data.draw(st.integers(0, len(texts)))
    lab = SimpleNamespace(container=lambda node: node)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "client", lambda: Engine(output, cuts))
        found = maillog.read(lab, "mail")
        followed = list(maillog.Follower(lab, "mail", after))
    assert [one.text for one in found] == [text.decode(errors="replace") for text in texts]
    assert followed == found[after:]


def taken_up(at: float, ended: float, delays: str) -> float:
    """When the attempt began that was logged at `ended`, of a message taken up `at`."""
    texts = [
        (at, "postfix/qmgr[9]: 65BE618487F: from=<a@x>, size=1, nrcpt=1 (queue active)"),
        (
            ended,
            "postfix/smtp[34]: 65BE618487F: to=<b@y>, relay=none, delay=9, "
            f"delays={delays}, dsn=4.4.1, status=deferred (no answer)",
        ),
    ]
    lines = [
        LogLine("mail", number, time, f"Nov 23 14:47:26 mail {text}")
        for number, (time, text) in enumerate(texts, 1)
    ]
    (found,) = maillog.attempts(lines)
    return found.began


@pytest.mark.parametrize(
    ("at", "ended", "delays", "began"),
    [
        (100.0, 101.02, "5/0/1/0", 100.0),  # what Postfix rounded off
        (100.0, 100.02, "5/0/0.06/0", 100.0),  # it can't have begun before
        (100.0, 108.0, "5/7/1/0", 107.0),  # it had to wait for its turn
        (100.0, 100.0, "5/0/0/0", 100.0),
    ],
)
def test_an_attempt_begins_when_its_message_is_taken_up(
    at: float, ended: float, delays: str, began: float
) -> None:
    assert taken_up(at, ended, delays) == pytest.approx(began)
