"""The corners of each protocol, and captures that show only a part of what was said."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from conversation import play
from packetbuilder import ACK, CLIENT, PSH, SERVER, Talk, capture
from test_protocols import CASES, each, meaning, one, talk

from lab.observe.dialogue import Dialogue, dialogues

PORTS = {"smtp": 25, "lmtp": 24, "pop3": 110, "imap": 143, "http": 80, "dns": 53}
HELLO = {
    "smtp": [("S", "220 hi\r\n")],
    "lmtp": [("S", "220 hi\r\n"), ("C", "LHLO x\r\n"), ("S", "250 x\r\n")],
    "pop3": [("S", "+OK hi\r\n")],
    "imap": [("S", "* OK hi\r\n")],
    "http": [],
}


def spoken(protocol: str, script: list[tuple[str, str]]) -> Talk:
    """The script said on the protocol's port, segments of 1400 octets at most."""
    parts = [
        (who, text[at : at + 1400]) for who, text in script for at in range(0, len(text), 1400)
    ]
    return play(parts, Talk(server=(SERVER, PORTS[protocol])).shake())


def held(protocol: str, script: list[tuple[str, str]]) -> Dialogue:
    return one(spoken(protocol, HELLO[protocol] + script).close())


def shown(dialogue: Dialogue, skip: int = 0) -> str:
    """The turns in a line: what each is, and what a reply answers."""
    words = []
    for turn in dialogue.turns[skip:]:
        word = f"{turn.side[0].upper()} {turn.command or turn.code or turn.status or turn.kind}"
        if turn.answers:
            word += f"<{turn.answers.tag or turn.answers.command or turn.answers.kind}"
        words.append(word + ("" if turn.complete else "!"))
    return ", ".join(words)


ENVELOPE = "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"
CORNERS = {
    "AUTH with an initial response": (
        *("smtp", [("C", "AUTH PLAIN AGEAYg==\r\nNOOP\r\n"), ("S", "235 ok\r\n250 ok\r\n")]),
        "C AUTH, S 235<AUTH, C NOOP, S 250<NOOP",
    ),
    "AUTH without": (
        "smtp",
        [("C", "AUTH PLAIN\r\n"), ("S", "334 \r\n"), ("C", "AGEAYg==\r\n"), ("S", "535 no\r\n")],
        "C AUTH, S 334<AUTH, C auth, S 535<auth",
    ),
    "AUTH LOGIN with its first answer": (
        "smtp",
        [("C", "AUTH LOGIN YQ==\r\n"), ("S", "334 UG\r\n"), ("C", "Yg==\r\n"), ("S", "235 ok\r\n")],
        "C AUTH, S 334<AUTH, C auth, S 235<auth",
    ),
    "AUTH cancelled": (
        "smtp",
        [
            ("C", "AUTH LOGIN\r\n"),
            ("S", "334 VX\r\n"),
            ("C", "*\r\nNOOP\r\n"),
            ("S", "501 so be it\r\n250 ok\r\n"),
        ],
        "C AUTH, S 334<AUTH, C auth, S 501<auth, C NOOP, S 250<NOOP",
    ),
    "AUTH refused": (
        *("smtp", [("C", "AUTH X\r\nNOOP\r\n"), ("S", "504 what?\r\n250 ok\r\n")]),
        "C AUTH, S 504<AUTH, C NOOP, S 250<NOOP",
    ),
    "pipelined commands in one segment, their replies in several": (
        "smtp",
        [
            ("C", f"{ENVELOPE}DATA\r\n"),
            ("S", "250 o"),
            ("S", "k\r\n250-a\r\n"),
            ("S", "250 b\r\n354 g"),
            ("S", "o\r\n"),
            ("C", ".\r\nQUIT\r\n"),
            ("S", "250 queued\r\n221 bye\r\n"),
        ],
        "C MAIL, C RCPT, C DATA, S 250<MAIL, S 250<RCPT, S 354<DATA, C content, C QUIT, "
        "S 250<content, S 221<QUIT",
    ),
    "a chunk that was refused is no command": (
        "smtp",
        [
            ("C", f"{ENVELOPE}BDAT 6\r\nQUIT\r\nRSET\r\n"),
            ("S", "250 ok\r\n250 ok\r\n503 no\r\n250 ok\r\n"),
        ],
        "C MAIL, C RCPT, C BDAT, C content, C RSET, S 250<MAIL, S 250<RCPT, S 503<content, "
        "S 250<RSET",
    ),
    "the server gives up in the middle of a message": (
        "smtp",
        [("C", "DATA\r\n"), ("S", "354 go\r\n"), ("C", "half a mes"), ("S", "421 I go\r\n")],
        "C DATA, S 354<DATA, S 421<content, C content!",
    ),
    "bare line feeds around a dot end nothing by themselves": (
        "smtp",
        [
            ("C", "DATA\r\n"),
            ("S", "354 go\r\n"),
            ("C", "x\n.\r\nMAIL FROM:<evil@x>\r\n.\r\n"),
            ("S", "250 queued\r\n"),
        ],
        "C DATA, S 354<DATA, C content, S 250<content",
    ),
    "what is no command, and what is no reply": (
        *("smtp", [("C", "\x16\x00nonsense\r\n\r\n"), ("S", "what?\r\n500 no\r\n500 no\r\n")]),
        "C garbled, C garbled, S garbled, S 500<garbled, S 500<garbled",
    ),
    "a message for many": (
        "lmtp",
        [
            (
                "C",
                "MAIL FROM:<>\r\n" + "".join(f"RCPT TO:<u{n}>\r\n" for n in range(50)) + "DATA\r\n",
            ),
            ("S", "250 ok\r\n" * 51 + "354 go\r\n"),
            ("C", ".\r\nQUIT\r\n"),
            ("S", "250 saved\r\n" * 50 + "221 bye\r\n"),
        ],
        ", ".join(
            [
                "C MAIL",
                *(["C RCPT"] * 50),
                "C DATA",
                "S 250<MAIL",
                *(["S 250<RCPT"] * 50),
                "S 354<DATA",
                "C content",
                "C QUIT",
                *(["S 250<content"] * 50),
                "S 221<QUIT",
            ]
        ),
    ),
    "pipelined, with and without more lines": (
        "pop3",
        [
            ("C", "CAPA\r\nAPOP a b\r\nTOP 1 0\r\nUIDL 1\r\nUIDL\r\nRETR 2\r\n"),
            ("S", "-ERR no\r\n+OK\r\n+OK\r\nX: y\r\n\r\n..\r\n.\r\n+OK 1 x\r\n+OK\r\n1 x\r\n.\r\n"),
            ("S", "+OK\r\n.\r\n"),
        ],
        "C CAPA, C APOP, C TOP, C UIDL, C UIDL, C RETR, S -ERR<CAPA, S +OK<APOP, S +OK<TOP, "
        "S content<TOP, S +OK<UIDL, S +OK<UIDL, S +OK<RETR, S content<RETR",
    ),
    "AUTH asks what there is, fails, is cancelled": (
        "pop3",
        [
            ("C", "AUTH\r\n"),
            ("S", "+OK\r\nPLAIN\r\n.\r\n"),
            ("C", "AUTH PLAIN AGE=\r\n"),
            ("S", "-ERR no\r\n"),
            ("C", "AUTH PLAIN\r\n"),
            ("S", "+ \r\n"),
            ("C", "*\r\n"),
            ("S", "-ERR as you like\r\n"),
        ],
        "C AUTH, S +OK<AUTH, C AUTH, S -ERR<AUTH, C AUTH, S +<AUTH, C auth, S -ERR<auth",
    ),
    "what POP3 does not know": (
        *("pop3", [("C", "\x00\r\n"), ("S", "hm\r\n-ERR what?\r\n")]),
        "C garbled, S garbled, S -ERR<garbled",
    ),
    "literals of a response may hold anything": (
        "imap",
        [
            ("C", "a FETCH 1 (BODY[1] BODY[2])\r\n"),
            ("S", "* 1 FETCH (BODY[1] {3}\r\nabc BODY[2] {10}\r\n)\r\na OK \r\n)\r\na OK done\r\n"),
        ],
        "C FETCH, S FETCH<a, S OK<a",
    ),
    "completions in another order": (
        "imap",
        [("C", "a SEARCH ALL\r\nb NOOP\r\n"), ("S", "b OK\r\n* SEARCH 1\r\na OK\r\n")],
        "C SEARCH, C NOOP, S OK<b, S SEARCH<a, S OK<a",
    ),
    "literals with and without waiting, and empty ones": (
        "imap",
        [
            ("C", "a APPEND INBOX {3}\r\n"),
            ("S", "+ go\r\n"),
            ("C", "abc {2+}\r\nde\r\n"),
            ("S", "a OK\r\n"),
            ("C", "b LOGIN {0+}\r\n {1+}\r\nx\r\n"),
            ("S", "b NO\r\n"),
            ("C", "c APPEND INBOX ~{2+}\r\n\x00\n\r\n"),
            ("S", "c OK\r\n"),
        ],
        "C APPEND, S +<a, C content, C rest, C content, S OK<a, C LOGIN, C rest, C content, "
        "S NO<b, C APPEND, C content, S OK<c",
    ),
    "a literal the server does not want": (
        "imap",
        [
            ("C", "a APPEND INBOX {4}\r\n"),
            ("S", "a NO\r\n"),
            ("C", "b NOOP\r\n"),
            ("S", "b OK\r\n"),
        ],
        "C APPEND, S NO<a, C NOOP, S OK<b",
    ),
    "AUTHENTICATE cancelled": (
        "imap",
        [
            ("C", "a AUTHENTICATE PLAIN AGE=\r\n"),
            ("S", "a NO\r\n"),
            ("C", "b AUTHENTICATE X\r\n"),
            ("S", "+ \r\n"),
            ("C", "*\r\n"),
            ("S", "b BAD\r\n"),
            ("C", "c NOOP\r\n"),
        ],
        "C AUTHENTICATE, S NO<a, C AUTHENTICATE, S +<b, C auth, S BAD<b, C NOOP",
    ),
    "IDLE, and a command in the same breath as DONE": (
        "imap",
        [
            ("C", "a IDLE\r\n"),
            ("S", "+ \r\n* 3 EXISTS\r\n"),
            ("C", "DONE\r\nb NOOP\r\n"),
            ("S", "a OK\r\nb OK\r\n"),
        ],
        "C IDLE, S +<a, S EXISTS<a, C DONE, C NOOP, S OK<a, S OK<b",
    ),
    "requests in a row, one of them for no body": (
        "http",
        [
            ("C", "HEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"),
            ("S", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n"),
            ("S", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        ],
        "C HEAD, C GET, S 200<HEAD, S 103<GET, S 200<GET, S content<GET",
    ),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    protocol, script, turns = CORNERS[name]
    assert shown(held(protocol, script), len(HELLO[protocol])) == turns


@pytest.mark.parametrize("name", CORNERS)
def test_corners_an_octet_a_segment(name: str) -> None:
    protocol, script, _ = CORNERS[name]
    spelt = Talk(server=(SERVER, PORTS[protocol])).shake()
    for who, text in HELLO[protocol] + script:
        spelt.say(who, *text)
    assert meaning(one(spelt.close())) == meaning(held(protocol, script))


def test_dots_split_at_every_place() -> None:
    text = "..\r\n.x\r\n..y\r\n\r\n.\r\r\n..\r\n.\r\nQUIT\r\n"
    for first in range(1, len(text) - 1):
        for second in range(first + 1, len(text)):
            script = [("C", "DATA\r\n"), ("S", "354 go\r\n"), ("C", text[:first])]
            script += [("C", text[first:second]), ("C", text[second:]), ("S", "250 ok\r\n")]
            *_, content, quit_, reply = held("smtp", script).turns
            assert content.data == b".\r\nx\r\n.y\r\n\r\n\r\r\n.\r\n"
            assert (quit_.command, reply.answers) == ("QUIT", content)


def test_names_and_addresses_in_any_script() -> None:
    script = [
        ("C", "MAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\nRCPT TO:<철수@받는.example>\r\n")
    ]
    script += [("S", "250 ok\r\n250 ok\r\n"), ("C", "DATA\r\n"), ("S", "354 go\r\n")]
    script += [("C", "Subject: 점심?\r\n\r\n그래\r\n.\r\n"), ("S", "250 받았습니다\r\n")]
    dialogue = held("smtp", script)
    (mail,) = dialogue.transactions
    assert (mail.mail_from, mail.accepted) == ("jürgen@bücher.example", ["철수@받는.example"])
    assert mail.content[0].text == "Subject: 점심?\n\n그래"
    assert mail.reply and mail.reply.text == "받았습니다"


def test_eight_bit_octets_that_are_no_text() -> None:
    latin = (
        spoken("smtp", HELLO["smtp"]).say("C", b"HELO b\xfcro\r\n").say("S", b"250 gr\xfcezi\r\n")
    )
    _, hello, reply = one(latin).turns
    assert (hello.argument, reply.text) == ("b\\xfcro", "gr\\xfcezi")


@pytest.mark.parametrize("size", [70_000, (1 << 20) + 5000])
def test_a_line_without_end(size: int) -> None:
    """Long ones are read; what is longer than any can be is said to be garbled, and passed over."""
    script = [("C", "NOOP " + "x" * size + "\r\nQUIT\r\n"), ("S", "500 long\r\n221 bye\r\n")]
    dialogue = held("smtp", script)
    if size < 1 << 20:
        assert shown(dialogue) == "S 220, C NOOP, C QUIT, S 500<NOOP, S 221<QUIT"
        assert dialogue.turns[1].size == size + 7
    else:
        assert shown(dialogue) == "S 220, C garbled!, C QUIT, S 500<garbled, S 221<QUIT"
        assert dialogue.turns[1].size < (1 << 20) + 1400


def test_the_numbers_of_many_messages_are_one_line() -> None:
    numbers = " ".join(map(str, range(30_000)))
    script = [("C", "a SEARCH ALL\r\n"), ("S", f"* SEARCH {numbers}\r\na OK\r\n")]
    dialogue = held("imap", script)
    assert shown(dialogue) == "S OK, C SEARCH, S SEARCH<a, S OK<a"
    assert dialogue.turns[2].argument == numbers


# A part of it ---------------------------------------------------------------------------------


@each
def test_a_capture_that_begins_anywhere_finds_its_feet(protocol: str) -> None:
    packets = play(CASES[protocol].script, talk(protocol)).close().packets
    whole = one(packets)
    # HTTP's last words are no HTTP any more, and say nothing of themselves.
    end = len(packets) - (7 if protocol == "http" else 4)
    for first in range(1, end):
        dialogue = one(packets[first:])
        assert meaning(dialogue)[-1][:7] == meaning(whole)[-1][:7], first


@each
def test_one_direction_alone_says_what_it_said(protocol: str) -> None:
    spoken = play(CASES[protocol].script, talk(protocol)).close()
    whole = one(spoken)
    for address, side in ((CLIENT, "client"), (SERVER, "server")):
        alone = one([p for p in spoken.packets if p[12:16] == ip_address(address).packed])
        assert alone.state.startswith(f"closed by {side}")
        # Which of a server's words go on depends on what it was asked in these two.
        if side == "client" or protocol not in ("pop3", "http"):
            assert [(turn.kind, turn.command, turn.code, turn.data) for turn in alone.turns] == [
                (turn.kind, turn.command, turn.code, turn.data)
                for turn in whole.turns
                if turn.side == side
            ]


def test_a_message_begun_before_the_capture_ends_where_a_segment_begins_with_a_reply() -> None:
    script = [("S", "the rest of a body"), ("S", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")]
    (dialogue,) = dialogues(capture(spoken("http", script).packets[3:]))
    assert shown(dialogue) == "S content!, S 200, S content"
    assert dialogue.turns[0].data == b"the rest of a body"
    assert (dialogue.turns[0].frame, dialogue.turns[1].frame) == (1, 3)


def test_a_question_over_tcp_whose_answer_was_not_captured() -> None:
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\1x\0\0\1\0\1"
    asked = Talk(server=(SERVER, 53)).shake()
    asked.packets.append(asked.segment("C", PSH | ACK, b"\0\x13" + question))
    (dialogue,) = dialogues(capture(asked.packets))
    assert [turn.text for turn in dialogue.turns] == ["A x?"]
