"""Each protocol is read as it was spoken, however its octets were cut, and whatever they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from conversation import EVERYTHING, play
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import ACK, CLIENT, PSH, SERVER, Talk, capture

from lab.errors import UsageError
from lab.observe.dialogue import Dialogue, dialogues
from lab.observe.protocols import PORTS, READERS, chosen

MAIL = "Message-ID: <1@sender.example>\r\n\r\nHi\r\n"
LMTP = [
    ("S", "220 ready\r\n"),
    ("C", "LHLO mail.receiver.example\r\n"),
    ("S", "250 hello\r\n"),
    (
        "C",
        "MAIL FROM:<a@x.example>\r\nRCPT TO:<bob>\r\nRCPT TO:<eve>\r\nRCPT TO:<dave>\r\nDATA\r\n",
    ),
    ("S", "250 ok\r\n250 ok\r\n550 who?\r\n250 ok\r\n354 go\r\n"),
    ("C", MAIL + "..\r\n.\r\nRSET\r\n"),
    ("S", "250 bob has it\r\n452 dave is full\r\n250 reset\r\n"),
    ("C", "MAIL FROM:<>\r\nRCPT TO:<bob>\r\nRCPT TO:<dave>\r\nBDAT 2\r\nHiBDAT 0 LAST\r\nQUIT\r\n"),
    ("S", "250 ok\r\n250 ok\r\n250 ok\r\n250 chunk\r\n250 bob\r\n250 dave\r\n221 bye\r\n"),
]
POP3 = [
    ("S", "+OK ready\r\n"),
    ("C", "CAPA\r\n"),
    ("S", "+OK here it comes\r\nUIDL\r\nSASL PLAIN\r\n.\r\n"),
    ("C", "AUTH PLAIN\r\n"),
    ("S", "+ \r\n"),
    ("C", "AGJvYgBidWlsZGVy\r\n"),
    ("S", "+OK welcome\r\n"),
    ("C", "STAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nRETR 1\r\nRETR 9\r\nTOP 1 0\r\nDELE 1\r\n"),
    ("S", "+OK 1 40\r\n+OK 1 message\r\n1 40\r\n.\r\n+OK 1 40\r\n+OK\r\n1 abc\r\n.\r\n"),
    (
        "S",
        "+OK 40 octets\r\n"
        + MAIL
        + "..\r\n..dot\r\n.\r\n-ERR no\r\n+OK\r\nX: y\r\n\r\n.\r\n+OK\r\n",
    ),
    ("C", "QUIT\r\n"),
    ("S", "+OK bye\r\n"),
]
IMAP = [
    ("S", "* OK ready\r\n"),
    ("C", "a1 LOGIN {3}\r\n"),
    ("S", "+ go\r\n"),
    ("C", "bob {7+}\r\nbuilder\r\n"),
    ("S", "a1 OK in\r\n"),
    ("C", "a2 SELECT INBOX\r\na3 FETCH 1 BODY[]\r\na4 UID SEARCH SUBJECT {2+}\r\nHi\r\n"),
    ("S", "* 1 EXISTS\r\na2 OK selected\r\n* SEARCH 1\r\na4 OK found\r\n"),
    ("S", f"* 1 FETCH (BODY[] {{{len(MAIL)}}}\r\n{MAIL} FLAGS (\\Seen))\r\na3 OK fetched\r\n"),
    ("C", "a5 APPEND Nowhere {310}\r\n"),
    ("S", "a5 NO [TRYCREATE] no such mailbox {5}\r\n"),
    ("C", "a6 IDLE\r\n"),
    ("S", "+ idling\r\n* 2 EXISTS\r\n"),
    ("C", "DONE\r\n"),
    ("S", "a6 OK done\r\n"),
    ("C", "a7 LOGOUT\r\n"),
    ("S", "* BYE bye\r\na7 OK out\r\n"),
]
HTTP = [
    ("C", "GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n"),
    ("C", "POST /c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /d HTTP/1.1\r\n\r\n"),
    ("S", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
    ("S", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
    ("S", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("S", "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: z\r\n\r\nHTTP/1.1 304 Same\r\n\r\n"),
    ("C", "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
    ("S", "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"),
    ("S", "\x00\x01binary\n"),
]


@dataclass
class Case:
    port: int
    script: list[tuple[str, str]] = field(repr=False)
    turns: str


CASES = {
    "smtp": Case(25, EVERYTHING, ""),
    "lmtp": Case(
        24,
        LMTP,
        "S 220,C LHLO,S 250,C MAIL,C RCPT,C RCPT,C RCPT,C DATA,S 250,S 250,S 550,S 250,S 354,"
        "C content,C RSET,S 250,S 452,S 250,C MAIL,C RCPT,C RCPT,C BDAT,C content,C BDAT,"
        "C content,C QUIT,S 250,S 250,S 250,S 250,S 250,S 250,S 221",
    ),
    "pop3": Case(
        110,
        POP3,
        "S +OK,C CAPA,S +OK,C AUTH,S +,C auth,S +OK,C STAT,C LIST,C LIST,C UIDL,C RETR,C RETR,"
        "C TOP,C DELE,S +OK,S +OK,S +OK,S +OK,S +OK,S content,S -ERR,S +OK,S content,S +OK,"
        "C QUIT,S +OK",
    ),
    "imap": Case(
        143,
        IMAP,
        "S OK,C LOGIN,S +,C content,C rest,C content,S OK,C SELECT,C FETCH,C UID SEARCH,"
        "C content,S EXISTS,S OK,S SEARCH,S OK,S FETCH,S OK,C APPEND,S NO,C IDLE,S +,S EXISTS,"
        "C DONE,S OK,C LOGOUT,S BYE,S OK",
    ),
    "http": Case(
        80,
        HTTP,
        "C GET,C HEAD,C POST,C content,C GET,S 200,S content,S 200,S 100,S 201,S content,S 304,"
        "C GET,S 101,S opaque",
    ),
}
each = pytest.mark.parametrize("protocol", CASES)


def talk(protocol: str) -> Talk:
    return Talk(server=(SERVER, CASES[protocol].port)).shake()


def one(spoken: Talk | list[bytes]) -> Dialogue:
    (dialogue,) = dialogues(capture(spoken.packets if isinstance(spoken, Talk) else spoken))
    return dialogue


def held(protocol: str) -> Dialogue:
    return one(play(CASES[protocol].script, talk(protocol)).close())


def short(dialogue: Dialogue) -> str:
    return ",".join(
        f"{turn.side[0].upper()} {turn.command or turn.code or turn.status or turn.kind}"
        for turn in dialogue.turns
    )


def meaning(dialogue: Dialogue) -> list[tuple[object, ...]]:
    """All that must not depend on how the words were cut into packets."""
    turns = dialogue.turns
    return [
        (turn.side, turn.kind, turn.command, turn.argument, turn.code, turn.status, turn.tag)
        + (turn.phase, turn.data, turn.size, turn.literals, turn.complete)
        + ((turns.index(turn.answers),) if turn.answers else ())
        for turn in turns
    ]


@each
def test_a_whole_conversation(protocol: str) -> None:
    dialogue = held(protocol)
    assert dialogue.protocol == protocol
    assert short(dialogue) == CASES[protocol].turns or protocol == "smtp"
    assert all(turn.complete for turn in dialogue.turns)


@each
@given(data=st.data())
def test_any_cut_order_and_doubling_gives_the_same_turns(
    protocol: str, data: st.DataObject
) -> None:
    spoken = talk(protocol)
    for who, text in CASES[protocol].script:
        cuts = data.draw(st.lists(st.integers(1, len(text) - 1), max_size=6))
        ends = sorted({0, len(text), *cuts})
        pieces = [
            spoken.segment(who, PSH | ACK, text[a:b].encode(), at=spoken.seq[who] + a)
            for a, b in zip(ends, ends[1:])  # noqa: B905, RUF007
        ]
        pieces += data.draw(st.lists(st.sampled_from(pieces), max_size=2))
        spoken.packets += data.draw(st.permutations(pieces))
        spoken.seq[who] += len(text)
        spoken.send("S" if who == "C" else "C", ACK)
    assert meaning(one(spoken.close())) == meaning(held(protocol))


@each
def test_an_octet_a_segment(protocol: str) -> None:
    spoken = talk(protocol)
    for who, text in CASES[protocol].script:
        spoken.say(who, *text)
    assert meaning(one(spoken.close())) == meaning(held(protocol))


@each
@given(data=st.data())
def test_missing_packets_never_break_the_reading(protocol: str, data: st.DataObject) -> None:
    packets = play(CASES[protocol].script, talk(protocol)).close().packets
    gone = data.draw(st.sets(st.integers(0, len(packets) - 1)))
    kept = [packet for index, packet in enumerate(packets) if index not in gone]
    for dialogue in dialogues(capture(kept)):
        json.dumps(dialogue.as_json())


@each
@given(data=st.data())
def test_nonsense_is_a_turn_and_never_an_exception(protocol: str, data: st.DataObject) -> None:
    """Random octets, and pieces of real ones in the wrong places."""
    pieces = st.sampled_from([text.encode() for _, text in CASES[protocol].script])
    words = st.one_of(st.binary(max_size=40), pieces, pieces.map(lambda text: text[:-3]))
    spoken = talk(protocol)
    said = data.draw(st.lists(st.tuples(st.sampled_from("CS"), words), max_size=12))
    for who, octets in said:
        spoken.say(who, octets)
    (dialogue,) = dialogues(capture(spoken.close().packets))
    json.dumps(dialogue.as_json())
    if any(octets for _, octets in said):
        assert dialogue.turns or protocol == "http"  # empty lines are nothing in HTTP


@each
def test_a_reader_finds_its_feet_after_a_hole(protocol: str) -> None:
    """Whatever segment is missing, the last word of both sides is still understood."""
    whole = held(protocol)
    count = len(CASES[protocol].script)
    for gone in range(count - 3):
        packets = play(CASES[protocol].script, talk(protocol)).close().packets
        del packets[3 + 2 * gone]
        dialogue = one(packets)
        assert "lost" in [turn.kind for turn in dialogue.turns]
        if protocol != "http":
            assert meaning(dialogue)[-1][:7] == meaning(whole)[-1][:7], gone


def test_lmtp_answers_each_recipient() -> None:
    dialogue = held("lmtp")
    first, second = dialogue.transactions
    assert first.content[0].data.decode() == MAIL + ".\r\n"
    about = [(turn.argument, turn.code) for turn in dialogue.turns if turn.answers in first.content]
    assert about == [("bob", 250), ("dave", 452)]
    assert first.reply and (first.code, first.reply.argument) == (452, "dave")
    assert [turn.argument for turn in dialogue.turns if turn.answers is second.content[-1]] == [
        "bob",
        "dave",
    ]


def test_pop3_messages_listings_and_phases() -> None:
    turns = held("pop3").turns
    phases = {turn.command: turn.phase for turn in turns if turn.command}
    assert (phases["AUTH"], phases["STAT"]) == ("authorization", "transaction")
    assert turns[-1].phase == "transaction"  # its QUIT leads to the update
    capabilities, retrieved = turns[2], next(turn for turn in turns if turn.kind == "content")
    assert capabilities.text.splitlines() == ["+OK here it comes", "UIDL", "SASL PLAIN"]
    assert retrieved.data.decode() == MAIL + ".\r\n.dot\r\n"
    assert retrieved.message_id == "<1@sender.example>"
    assert retrieved.answers and retrieved.answers.argument == "1"


def test_imap_pairs_by_tag_and_counts_literals() -> None:
    dialogue = held("imap")
    fetch = next(turn for turn in dialogue.turns if turn.kind == "untagged" and turn.literals)
    assert (fetch.command, fetch.literals) == ("FETCH", len(MAIL))
    assert fetch.argument and fetch.argument.startswith("1 (BODY[]")
    replies = {turn.tag: turn.reply.text for turn in dialogue.turns if turn.reply and turn.tag}
    assert replies["a3"] == "a3 OK fetched"
    assert replies["a4"] == "a4 OK found"
    literals = [turn.data for turn in dialogue.turns if turn.kind == "content"]
    assert literals == [b"bob", b"builder", b"Hi"]  # the one of a5 was refused
    assert dialogue.state == "closed by client with LOGOUT"
    assert [turn.phase for turn in dialogue.turns][-1] == "selected"


def test_http_bodies() -> None:
    bodies = [turn.data for turn in held("http").turns if turn.kind == "content"]
    assert bodies == [b"hello", b"abc", b"hello world"]


@pytest.mark.parametrize("closes", ["S", "C"])
def test_a_http_body_without_a_length_ends_with_the_connection(closes: str) -> None:
    script = [("C", "GET / HTTP/1.0\r\n\r\n"), ("S", "HTTP/1.0 200 OK\r\n\r\nall\nof it")]
    body = one(play(script, talk("http")).close(closes)).turns[-1]
    assert (body.data, body.complete) == (b"all\nof it", True)
    body = one(play(script, talk("http"))).turns[-1]
    assert not body.complete


@pytest.mark.parametrize(
    ("protocol", "script"),
    [
        ("smtp", [("S", "220 hi\r\n"), ("C", "STARTTLS\r\n"), ("S", "220 go\r\n")]),
        ("pop3", [("S", "+OK hi\r\n"), ("C", "STLS\r\n"), ("S", "+OK go\r\n")]),
        ("imap", [("S", "* OK hi\r\n"), ("C", "a STARTTLS\r\n"), ("S", "a OK go\r\n")]),
    ],
)
def test_what_follows_starttls_is_only_counted(protocol: str, script) -> None:
    secrets = [("C", "\x16\x03\x01ab"), ("S", "\x16\x03\x03\r\n"), ("C", "\x17\x03\x03.\r\n")]
    dialogue = one(play(script + secrets, talk(protocol)))
    assert dialogue.encrypted is dialogue.turns[-1]
    assert dialogue.encrypted.size == 16
    assert len(dialogue.turns) == 4


def hello(name: str) -> bytes:
    """A ClientHello for `name`, in two records."""
    sni = len(name).to_bytes(2, "big") + name.encode()
    entry = (len(sni) + 1).to_bytes(2, "big") + b"\0" + sni
    extension = b"\0\0" + len(entry).to_bytes(2, "big") + entry
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += len(extension).to_bytes(2, "big") + extension
    message = b"\1" + len(body).to_bytes(3, "big") + body
    parts = message[:9], message[9:]
    return b"".join(b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize(
    ("port", "protocol"), [(993, "imap"), (143, "imap"), (465, "smtp"), (4433, "tls")]
)
def test_tls_from_the_first_octet_tells_the_servers_name(port: int, protocol: str) -> None:
    spoken = Talk(server=(SERVER, port)).shake()
    first, rest = hello("mail.receiver.example")[:40], hello("mail.receiver.example")[40:]
    dialogue = one(spoken.say("C", first, rest).say("S", b"\x16\3\3whatever").close())
    (turn,) = dialogue.turns
    assert (dialogue.protocol, turn.kind, turn.argument) == (
        protocol,
        "encrypted",
        "mail.receiver.example",
    )
    assert turn.size == len(first + rest) + 11


@given(st.binary(max_size=120))
def test_a_broken_hello_is_still_encrypted(octets: bytes) -> None:
    spoken = Talk(server=(SERVER, 465)).shake().say("C", b"\x16\3\1" + octets)
    assert [turn.kind for turn in one(spoken.close()).turns] == ["encrypted"]


def test_any_port_can_be_read_as_any_protocol() -> None:
    spoken = play(POP3, Talk(client=(CLIENT, 50000), server=(SERVER, 1110)).shake()).close()
    assert dialogues(capture(spoken.packets)) == []
    (dialogue,) = dialogues(capture(spoken.packets), chosen(["pop3=1110"]))
    assert short(dialogue) == CASES["pop3"].turns
    assert chosen(["imap", "smtp=2525"]) == {143: "imap", 993: "imap", 2525: "smtp"}
    assert set(PORTS.values()) | {"tls"} == set(READERS)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (
            "gopher",
            "there is no reader for the protocol 'gopher'\n"
            "  → one of: smtp, lmtp, pop3, imap, http, dns, tls",
        ),
        ("imap=x", "'x' is no port\n  → write it like imap=1143"),
        ("imap=70000", "'70000' is no port\n  → write it like imap=1143"),
    ],
)
def test_what_can_not_be_chosen(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen([word])
    assert str(caught.value) == says
