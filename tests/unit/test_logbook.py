"""What the mail servers logged is read for what it means; what means nothing stays a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from eventtypes import check
from hypothesis import given
from hypothesis import strategies as st

from lab.events import Observation, Refs
from lab.observe.logbook import Logbook
from lab.observe.maillog import LogLine

LOGS = sorted((Path(__file__).parent / "logs").glob("*.log"))
POSTFIX, DOVECOT = "Nov 24 06:54:58 mail postfix/", "Nov 24 06:54:58 "
PC, PEER = "pc.sender.example[198.51.100.10]", "mail.sender.example[198.51.100.25]"


def lines(texts: Iterable[str], node: str = "mail") -> Iterator[LogLine]:
    for number, text in enumerate(texts, 1):
        yield LogLine(node, number, 1_795_503_298.0 + number, text)


def recorded(path: Path) -> list[LogLine]:
    node = path.stem.partition("-")[2]
    found = [line.partition(" ") for line in path.read_text().splitlines()]
    return [LogLine(node, i, float(time), text) for i, (time, _, text) in enumerate(found, 1)]


def read(found: Iterable[LogLine], book: Logbook | None = None) -> list[Observation]:
    book = book or Logbook()
    return [one for line in found for one in book.read(line)]


def meanings(*texts: str) -> list[Observation]:
    """What lines mean, besides being lines."""
    return [one for one in read(lines(texts)) if one.kind != "log"]


def sound(found: Iterable[Observation], written: list[LogLine]) -> None:
    """Of their types; each line told, and each meaning right after its line."""
    told = 0
    for one in found:
        check(one.kind, one.data)
        told += one.kind == "log"
        line = written[one.data["line"] - 1]
        assert (told, one.node) == (line.number, line.node)
        if one.kind == "log":
            assert (one.summary, one.time) == (line.text, line.time)
    assert told == len(written)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_what_was_really_logged(path: Path, snapshot) -> None:
    written = recorded(path)
    found = read(written)
    sound(found, written)
    shown = [
        f"{one.data['line']} {one.kind} {one.data.get('what', one.data['program'])}: "
        f"{one.summary} [{one.refs.queue_id} {one.refs.message_id}]"
        for one in found
        if one.kind != "log"
    ]
    assert "\n".join(shown) == snapshot


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_every_line_has_its_program(path: Path) -> None:
    programs = {one.data["program"] for one in read(recorded(path)) if one.kind == "log"}
    assert programs <= {
        *("postfix/master", "postfix/smtpd", "postfix/submission/smtpd", "postfix/cleanup"),
        *("postfix/qmgr", "postfix/smtp", "postfix/lmtp", "postfix/bounce"),
        *("master", "lmtp", "imap", "imap-login", "pop3-login", "dnsmasq"),
    }


def test_a_message_goes_by_both_its_names_from_the_moment_they_are_known() -> None:
    both = Refs("<693aa4458e014ac6@pc.sender.example>", "DE21618A36B")
    (path,) = [path for path in LOGS if path.stem == "delivery-sender-mail"]
    about = [one for one in read(recorded(path)) if one.refs.queue_id]
    assert [one.refs for one in about] == [Refs(None, "DE21618A36B")] * 2 + [both] * 8
    assert [one.kind for one in about[-4:]] == ["log", "attempt", "log", "queue_change"]
    (attempt,) = [one for one in about if one.kind == "attempt"]
    assert attempt.data["remote_id"] == "E563618A3AB"
    assert attempt.time == attempt.data["began"] <= attempt.data["ended"]


def test_each_machine_has_names_of_its_own() -> None:
    book = Logbook()
    text = POSTFIX + "cleanup[25]: DE21618A36B: message-id=<1@x>"
    read(lines([text], "sender-mail"), book)
    again = read(lines([POSTFIX + "qmgr[21]: DE21618A36B: removed"], "receiver-mail"), book)
    assert {one.refs for one in again} == {Refs(None, "DE21618A36B")}


def test_a_queue_id_used_again_is_another_message() -> None:
    texts = ["cleanup[25]: DE21618A36B: message-id=<1@x>", "qmgr[21]: DE21618A36B: removed"]
    texts += ["smtpd[9]: DE21618A36B: client=" + PEER]
    found = meanings(*(POSTFIX + text for text in texts))
    assert [one.refs.message_id for one in found] == ["<1@x>", "<1@x>", None]


RCPT = (
    f"RCPT from {PEER}: 550 5.1.1 <eve@receiver.example>: Recipient address rejected: User unknown "
    "in virtual mailbox table; from=<alice@sender.example> to=<eve@receiver.example> proto=ESMTP "
    "helo=<mail.sender.example>"
)


@pytest.mark.parametrize(
    ("text", "what", "value", "queue_id"),
    [
        (f"smtpd[1]: NOQUEUE: reject: {RCPT}", "rejected", RCPT, None),
        (f"smtpd[1]: DE21618A36B: reject: {RCPT}", "rejected", RCPT, "DE21618A36B"),
        (
            f"cleanup[1]: DE21618A36B: milter-reject: END-OF-MESSAGE from {PEER}: 5.7.1 no",
            *("rejected", f"END-OF-MESSAGE from {PEER}: 5.7.1 no", "DE21618A36B"),
        ),
        (
            f"smtp[1]: 4dGvTy1zP8zJ3Z: lost connection with {PEER} while sending message body",
            *("trouble", f"lost connection with {PEER} while sending message body"),
            "4dGvTy1zP8zJ3Z",
        ),
        (
            f"smtp[1]: DE21618A36B: host {PEER} said: 450 4.7.1 later (in reply to RCPT TO)",
            *("trouble", f"host {PEER} said: 450 4.7.1 later (in reply to RCPT TO)"),
            "DE21618A36B",
        ),
        (
            f"smtp[1]: DE21618A36B: conversation with {PEER} timed out while sending RCPT TO",
            *("trouble", f"conversation with {PEER} timed out while sending RCPT TO"),
            "DE21618A36B",
        ),
        ("pickup[1]: DE21618A36B: uid=0 from=<root>", "client", "uid=0", "DE21618A36B"),
        (f"smtpd[1]: DE21618A36B: client={PC}, sasl_method=PLAIN", "client", PC, "DE21618A36B"),
        (
            "bounce[1]: DE21618A36B: sender delivery status notification: 12AB34CD56",
            *("dsn", "12AB34CD56", "DE21618A36B"),
        ),
        (
            "bounce[1]: DE21618A36B: postmaster non-delivery notification: 12AB34CD56",
            *("dsn", "12AB34CD56", "DE21618A36B"),
        ),
    ],
)
def test_what_happens_to_a_message(text: str, what: str, value: str, queue_id: str | None) -> None:
    (found,) = meanings(POSTFIX + text)
    assert (found.kind, found.data["what"], found.data["value"]) == ("queue_change", what, value)
    assert found.refs.queue_id == queue_id
    check(found.kind, found.data)
    refused = "<eve@receiver.example> is refused: 550 5.1.1 <eve@receiver.example>: Recipient"
    assert found.summary.startswith(refused if value.startswith("RCPT") else queue_id or "")


def test_a_message_that_may_come_twice_was_deferred() -> None:
    """RFC 1047's: the answer to the last dot never came."""
    (found,) = meanings(
        POSTFIX + "smtp[34]: DE21618A36B: to=<bob@receiver.example>, relay=" + PEER + ":25, "
        "conn_use=2, delay=6, delays=0/0/0/6, dsn=4.4.2, status=deferred (conversation with "
        + PEER
        + " timed out while sending end of data -- message may be sent more than once)"
    )
    assert (found.kind, found.data["status"], found.data["remote_id"]) == (
        *("attempt", "deferred"),
        None,
    )
    assert found.summary.endswith("message may be sent more than once")


ARRIVING = [f"smtpd[17]: E563618A3AB: client={PEER}", "cleanup[3]: E563618A3AB: message-id=<1@x>"]
GONE = f"smtpd[17]: lost connection after DATA (4096 bytes) from {PEER}"


def test_a_message_whose_client_was_gone_before_its_end() -> None:
    *_, last = meanings(*(POSTFIX + text for text in [*ARRIVING, GONE]))
    assert (last.kind, last.data["what"]) == ("queue_change", "broken off")
    assert last.refs == Refs("<1@x>", "E563618A3AB")
    assert last.summary == (
        "E563618A3AB was not sent to its end: lost connection after DATA (4096 bytes) from " + PEER
    )
    check(last.kind, last.data)


@pytest.mark.parametrize(
    "texts",
    [
        [GONE],
        [*ARRIVING, GONE.replace("[17]", "[18]")],
        [*ARRIVING, f"smtpd[17]: lost connection after RCPT from {PEER}"],
        [*ARRIVING, "qmgr[1]: E563618A3AB: from=<a@x>, size=1, nrcpt=1 (queue active)", GONE],
    ],
)
def test_a_connection_lost_without_harm_is_only_a_line(texts: list[str]) -> None:
    found = meanings(*(POSTFIX + text for text in texts))
    assert "broken off" not in [one.data["what"] for one in found]


SESSION = "rip=203.0.113.10, lip=203.0.113.25, session=<XrkXMQBhoNLLAHEK>"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (
            f"{DOVECOT}imap-login: Info: Logged in: user=<bob@receiver.example>, method=PLAIN, "
            + SESSION,
            ("bob@receiver.example", "login", "imap", "203.0.113.10", ""),
        ),
        (
            f"{DOVECOT}pop3-login: Info: Login aborted: Logged out (auth failed, 1 attempts in 2 "
            f"secs) (auth_failed): user=<bob@receiver.example>, method=PLAIN, {SESSION}",
            (
                *("bob@receiver.example", "failed", "pop3", "203.0.113.10"),
                "Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed)",
            ),
        ),
        (
            f"{DOVECOT}pop3(bob@receiver.example)<54><Xrk>: Info: Disconnected: Logged out "
            "top=0/0, retr=1/500, del=1/1, size=482",
            (
                *("bob@receiver.example", "logout", "pop3", None),
                "Disconnected: Logged out top=0/0, retr=1/500, del=1/1, size=482",
            ),
        ),
        (
            f"{POSTFIX}submission/smtpd[1]: warning: {PC}: SASL PLAIN authentication failed: "
            "(reason unavailable), sasl_username=alice@sender.example",
            (
                *("alice@sender.example", "failed", "smtp", "198.51.100.10"),
                "SASL PLAIN authentication failed: (reason unavailable)",
            ),
        ),
        (
            f"{POSTFIX}smtpd[1]: warning: {PC}: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
            (
                *("", "failed", "smtp", "198.51.100.10"),
                "SASL LOGIN authentication failed: UGFzc3dvcmQ6",
            ),
        ),
    ],
)
def test_who_logs_in_and_out(text: str, data: tuple[str | None, ...]) -> None:
    (found,) = meanings(text)
    assert found.kind == "session"
    keys = ("user", "what", "protocol", "client", "detail")
    assert tuple(found.data[key] for key in keys) == data
    check(found.kind, found.data)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (
            "save: box=INBOX, uid=7, msgid=<1@x>, size=934, flags=()",
            ("save", "INBOX", 7, [], 934, "<1@x>"),
        ),
        (
            "flag_change: box=INBOX, uid=7, msgid=<1@x>, size=934, flags=(\\Seen \\Recent)",
            ("flag_change", "INBOX", 7, ["\\Seen", "\\Recent"], 934, "<1@x>"),
        ),
        (
            "copy from Old: box=INBOX, uid=7, msgid=, size=934, flags=()",
            ("copy", "INBOX", 7, [], 934, None),
        ),
        ("Mailbox created", ("created", "INBOX", None, [], None, None)),
    ],
)
def test_what_happens_in_a_mailbox(text: str, data: tuple[object, ...]) -> None:
    (found,) = meanings(
        f"{DOVECOT}imap(bob@receiver.example)<5><X:T1>: Info: Mailbox INBOX: {text}"
    )
    assert (found.kind, found.data["user"]) == ("mailbox_change", "bob@receiver.example")
    keys = ("what", "folder", "uid", "flags", "size")
    assert (*(found.data[key] for key in keys), found.refs.message_id) == data
    check(found.kind, found.data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\ufffd\x1b[31m",
        "dnsmasq[1]: query[MX] receiver.example from 198.51.100.25",
        f"{POSTFIX}smtp[26]: connect to {PEER}:25: Connection timed out",
        f"{POSTFIX}smtpd[29]: warning: 65BE618487F: removed",
        f"{POSTFIX}smtpd[1]: lost connection after CONNECT from {PC}",
        f"{DOVECOT}imap-login: Info: Login aborted: Logged out (no auth attempts in 0 secs) "
        f"(no_auth_attempts): user=<>, {SESSION}",
        f"{DOVECOT}lmtp(34): Info: Connect from local",
        f"{DOVECOT}auth: Info: passwd-file(alice,198.51.100.10): Password mismatch",
    ],
)
def test_what_means_nothing_is_only_a_line(text: str) -> None:
    (found,) = read(lines([text]))
    assert (found.kind, found.summary) == ("log", text)
    check(found.kind, found.data)


REAL = [line.text for path in LOGS for line in recorded(path)]
WORDS = sorted({word for text in REAL for word in re.findall(r"\w+|\W+", text)})


@given(st.lists(st.text()))
def test_any_text_is_a_line(texts: list[str]) -> None:
    written = list(lines(texts))
    sound(read(written), written)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(REAL),
            st.lists(st.tuples(st.integers(0, 80), st.sampled_from(WORDS) | st.text()), max_size=3),
        ),
        max_size=6,
    )
)
def test_lines_that_are_almost_right_are_read_without_complaint(
    changed: list[tuple[str, list[tuple[int, str]]]],
) -> None:
    texts = []
    for text, changes in changed:
        words = re.findall(r"\w+|\W+", text)
        for place, word in changes:
            words[place % len(words)] = word
        texts.append("".join(words))
    written = list(lines(texts))
    sound(read(written), written)
