"""The dialogue read from packets is the one that was held, however it was cut into segments."""

from __future__ import annotations

import base64
import gc
import io
import json
import subprocess
import weakref
from shutil import which

import pytest
from conversation import EVERYTHING, MESSAGE, play
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import (
    ACK,
    CLIENT,
    PSH,
    RST,
    SERVER,
    SYN,
    Talk,
    capture,
    ethernet,
    pcap,
    unreachable,
)

from lab.observe.dialogue import Dialogue, attempts, dialogues, listen
from lab.observe.pcap import CaptureCut, read_frames
from lab.observe.turns import Turn


def one(talk: Talk | list[bytes]) -> Dialogue:
    (dialogue,) = dialogues(capture(talk.packets if isinstance(talk, Talk) else talk))
    return dialogue


def short(dialogue: Dialogue) -> list[str]:
    """Each turn in a word or two: `C MAIL`, `S 250`, `C content`."""
    return [
        f"{turn.side[0].upper()} {turn.command or turn.code or turn.kind}"
        for turn in dialogue.turns
    ]


def meaning(dialogue: Dialogue) -> list[tuple[object, ...]]:
    """All that must not depend on how the words were cut into packets."""
    turns = dialogue.turns
    return [
        (turn.side, turn.kind, turn.command, turn.argument, turn.code, turn.data, turn.complete)
        + ((turns.index(turn.answers),) if turn.answers else ())
        for turn in turns
    ]


def test_a_whole_conversation() -> None:
    dialogue = one(play(EVERYTHING).close("S"))
    expected = (
        "S 220,C EHLO,S 250,C AUTH,S 334,C auth,S 334,C auth,S 235,C MAIL,C RCPT,C RCPT,C DATA,"
        "S 250,S 250,S 550,S 354,C content,C MAIL,C RCPT,S 250,S 250,S 250,C BDAT,C content,"
        "C BDAT,C content,C QUIT,S 250,S 250,S 221"
    )
    assert ",".join(short(dialogue)) == expected
    assert dialogue.state == "closed by client with QUIT"
    greeting, hello = dialogue.turns[:2]
    assert greeting.text == "receiver-mail.receiver.example\nready"
    assert (hello.argument, hello.frame) == ("sender-mail.sender.example", 6)
    assert dialogue.turns[5].argument == "YWxpY2U="
    assert all(
        turn.reply for turn in dialogue.turns if turn.kind == "command" and turn.command != "BDAT"
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Message-ID: <1@x>", "<1@x>"),
        ("Message-ID: <1@x> (a comment)", "<1@x>"),
        ("message-id:<<script>alert(1)</script>@x>", "<<script>alert(1)</script>@x>"),
        ('Message-ID: <a "b c"@x>', '<a "b c"@x>'),
        ("Message-ID:\r\n <1\r\n\t2@x>\r\nTo: <bob@x>", "<1\t2@x>"),
        ("Message-ID: 1@x", "1@x"),
        ("Message-ID:\r\nSubject: none", None),
        ("Message-ID: <1@x>\r\nMessage-ID: <2@x>", "<1@x>"),
        ("X: Message-ID: <1@x>", None),
    ],
)
def test_a_message_id_is_all_there_is_of_it_in_its_header(
    header: str, expected: str | None
) -> None:
    said = header.encode() + b"\r\n\r\nMessage-ID: <in-the-body@x>\r\n"
    assert Turn("client", "content", 1, 0.0, 1, said).message_id == expected


def test_its_transactions() -> None:
    talk = play(EVERYTHING)
    first, second = one(talk).transactions
    assert first.mail_from == "alice@sender.example"
    assert first.recipients == ["bob@receiver.example", "nobody@receiver.example"]
    assert first.accepted == ["bob@receiver.example"]
    assert (first.message_id, first.code) == ("<1@sender.example>", 250)
    assert first.content[0].data.decode() == MESSAGE + ".\r\n.dots\r\nx\r\n"
    assert first.as_json()["frames"] == {
        "mail": 22,
        "rcpt": [22, 22],
        "data": 22,
        "end_of_data": 26,
        "reply": 28,
    }
    assert (second.mail_from, second.message_id, second.code) == ("", "<1@sender.example>", 250)
    assert [chunk.data for chunk in second.content] == [MESSAGE.encode(), b".\r\n\r\n"]
    assert second.reply and second.reply.text == "queued as 4DEF"


@given(st.data())
def test_any_cut_order_and_doubling_of_segments_gives_the_same_turns(data: st.DataObject) -> None:
    talk = Talk(isn=(2**32 - data.draw(st.integers(1, 900)), 7)).shake()
    for who, text in EVERYTHING:
        cuts = data.draw(st.lists(st.integers(1, len(text) - 1), max_size=6))
        ends = sorted({0, len(text), *cuts})
        pieces = [
            talk.segment(who, PSH | ACK, text[a:b].encode(), at=talk.seq[who] + a)
            for a, b in zip(ends, ends[1:])  # noqa: B905, RUF007
        ]
        pieces += data.draw(st.lists(st.sampled_from(pieces), max_size=2))
        talk.packets += data.draw(st.permutations(pieces))
        talk.seq[who] += len(text)
        talk.send("S" if who == "C" else "C", ACK)
    assert meaning(one(talk)) == meaning(one(play(EVERYTHING)))


def test_a_turn_knows_where_it_began_and_where_it_was_complete() -> None:
    talk = Talk().shake().say("S", "220-re", "ady\r\n22", "0 yes\r\n")
    (turn,) = one(talk).turns
    assert (turn.frame, turn.last_frame, turn.text) == (4, 6, "ready\nyes")


def test_dots_split_across_segments() -> None:
    start = [("S", "220 hi\r\n"), ("C", "DATA\r\n"), ("S", "354 go\r\n")]
    talk = play(start).say("C", ".", ".a\r", "\n.", ".\r\n.", "\r", "\nQUIT\r\n")
    dialogue = one(talk.say("S", "250 ok\r\n221 bye\r\n"))
    assert short(dialogue)[3:] == ["C content", "C QUIT", "S 250", "S 221"]
    assert dialogue.turns[3].data == b".a\r\n.\r\n"


@pytest.mark.parametrize("end", [".\r\n", "..\r\n.\r\n"])
def test_an_empty_and_a_dotty_message(end: str) -> None:
    dialogue = one(play([("S", "220 hi\r\n"), ("C", "DATA\r\n"), ("S", "354 go\r\n"), ("C", end)]))
    assert dialogue.turns[-1].data.decode() == end[1:-3]
    assert dialogue.turns[-1].complete


def test_a_refused_data_command_is_followed_by_commands() -> None:
    script = [("S", "220 hi\r\n"), ("C", "DATA\r\n"), ("S", "554 no\r\n"), ("C", "QUIT\r\n")]
    assert short(one(play(script))) == ["S 220", "C DATA", "S 554", "C QUIT"]


def test_a_hand_at_nc_ends_lines_with_bare_line_feeds() -> None:
    script = [
        ("S", "220 hi\r\n"),
        ("C", "MAIL FROM:<a@b.example>\nDATA\n"),
        ("S", "250 ok\r\n354 go\r\n"),
        ("C", "Message-ID: <2@x>\n\nhello\n..dot\n.\nQUIT\n"),
        ("S", "250 queued\r\n221 bye\r\n"),
    ]
    dialogue = one(play(script))
    # The end of the message is known by the server's reply only; so QUIT stands behind it.
    assert short(dialogue)[5:] == ["S 250", "C content", "C QUIT", "S 221"]
    (transaction,) = dialogue.transactions
    assert transaction.content[0].data == b"Message-ID: <2@x>\n\nhello\n.dot\n"
    assert transaction.code == 250


def test_what_follows_starttls_is_secret() -> None:
    script = [
        ("S", "220 hi\r\n"),
        ("C", "STARTTLS\r\n"),
        ("S", "220 go\r\n"),
        ("C", "\x16\x03\x01hello\n"),
        ("S", "\x16\x03\x03hi\n"),
    ]
    dialogue = one(play(script).close())
    assert short(dialogue) == ["S 220", "C STARTTLS", "S 220", "C encrypted"]
    assert dialogue.encrypted is not None
    assert (dialogue.encrypted.frame, dialogue.encrypted.size) == (10, 15)
    assert dialogue.state == "closed by client"
    script[2:3] = [("S", "454 not now\r\n")]
    assert one(play([*script[:3], ("C", "QUIT\r\n")])).encrypted is None


def test_tls_from_the_start() -> None:
    talk = Talk(server=(SERVER, 465)).shake().say("C", b"\x16\x03\x01abc").say("S", b"\x16\x03\x03")
    assert short(one(talk)) == ["C encrypted"]


def test_reset_in_the_middle_of_a_message() -> None:
    talk = play(
        [("S", "220 hi\r\n"), ("C", "MAIL FROM:<a@b>\r\nDATA\r\n"), ("S", "250 ok\r\n354 go\r\n")]
    )
    talk.say("C", "Message-ID: <3@x>\r\n\r\nhalf a li").send("S", RST)
    dialogue = one(talk)
    assert dialogue.state == "reset by server"
    (transaction,) = dialogue.transactions
    assert (transaction.message_id, transaction.code) == ("<3@x>", None)
    assert not transaction.content[0].complete
    assert transaction.as_json()["frames"]["end_of_data"] is None


def test_a_client_that_leaves_without_quit_and_a_silent_server() -> None:
    talk = play([("S", "220 hi\r\n"), ("C", "RSET\r\n"), ("S", "250 ok\r\n")]).close()
    assert one(talk).state == "closed by client without QUIT"
    assert one(Talk().shake()).state == "connected, but the server says nothing"


def test_a_captured_end_without_its_beginning() -> None:
    script = [
        ("C", "DATA\r\n"),
        ("S", "354 go\r\n"),
        ("C", "Message-ID: <4@x>\r\n\r\n"),
        ("C", "body\r\n.\r\n"),
        ("S", "250 queued\r\n"),
        ("C", "QUIT\r\n"),
        ("S", "221 bye\r\n"),
    ]
    dialogue = one(play(script).packets[9:])
    assert short(dialogue) == ["C content", "S 250", "C QUIT", "S 221"]
    content, queued = dialogue.turns[:2]
    assert (content.data, content.complete, queued.answers) == (b"body\r\n", False, content)


def lossy(lost: int) -> Dialogue:
    """EVERYTHING without the segment that carries its line number `lost`."""
    packets = play(EVERYTHING).packets
    del packets[3 + 2 * lost]
    return one(packets)


def test_a_lost_command_and_a_lost_reply_do_not_confuse_what_follows() -> None:
    dialogue = lossy(1)  # EHLO
    assert short(dialogue)[:4] == ["S 220", "S 250", "C lost", "C AUTH"]
    assert dialogue.turns[1].answers is None
    assert short(dialogue)[3:] == short(one(play(EVERYTHING)))[3:]
    assert [transaction.code for transaction in dialogue.transactions] == [250, 250]

    dialogue = lossy(10)  # 250, 250, 550, 354
    first, second = dialogue.transactions
    assert (first.message_id, first.code) == ("<1@sender.example>", 250)
    assert (second.message_id, second.code) == ("<1@sender.example>", 250)


def test_a_hole_in_a_message_leaves_the_rest_readable() -> None:
    script = [
        ("S", "220 hi\r\n"),
        ("C", "MAIL FROM:<a@b>\r\nDATA\r\n"),
        ("S", "250 ok\r\n354 go\r\n"),
    ]
    script += [("C", "one\r\n"), ("C", "two\r\n"), ("C", "three\r\n.\r\n"), ("S", "250 queued\r\n")]
    script += [("C", "QUIT\r\n"), ("S", "221 bye\r\n")]
    packets = play(script).packets
    del packets[11]
    dialogue = one(packets)
    assert short(dialogue)[5:] == ["C lost", "C content", "S 250", "C QUIT", "S 221"]
    assert dialogue.turns[6].data == b"one\r\nthree\r\n"
    assert not dialogue.turns[6].complete


@given(st.data())
def test_missing_packets_never_break_the_reading(data: st.DataObject) -> None:
    packets = play(EVERYTHING).close().packets
    gone = data.draw(st.sets(st.integers(0, len(packets) - 1)))
    kept = [packet for index, packet in enumerate(packets) if index not in gone]
    for dialogue in dialogues(capture(kept)):
        json.dumps(dialogue.as_json())


def test_attempts_that_failed_are_listed_too() -> None:
    silent = Talk(client=(CLIENT, 1)).send("C", SYN)
    refused = Talk(client=(CLIENT, 2)).send("C", SYN).send("S", RST | ACK)
    lost = Talk(client=(CLIENT, 3)).send("C", SYN)
    other = Talk(client=(CLIENT, 4), server=(SERVER, 110)).send("C", SYN)
    packets = silent.packets * 2 + refused.packets + lost.packets + [unreachable(lost.packets[0])]
    packets += other.packets + play(EVERYTHING).packets
    found = attempts(capture(packets), 25)
    assert [(stream.number, stream.state, len(stream.syns)) for stream in found] == [
        (0, "never answered", 2),
        (1, "refused", 1),
        (2, "no route: ICMP host unreachable", 1),
        (4, "open", 1),
    ]
    assert [dialogue.stream.number for dialogue in dialogues(capture(packets))] == [*range(5)]
    smtp = dialogues(capture(packets), ports=[25])
    assert [dialogue.stream.number for dialogue in smtp] == [0, 1, 2, 4]
    assert [stream.server.port for stream in attempts(capture(packets), 110)] == [110]


def test_turns_are_told_while_the_connection_lasts() -> None:
    talk = play(EVERYTHING[:3])
    frames = read_frames(capture(talk.packets))
    told = [turn and turn.kind for _, turn in listen(frames)]
    assert told == [None, None, None, "greeting", "command", "reply", None]


def test_nothing_is_kept_of_a_dialogue_that_was_delivered() -> None:
    packets = [
        packet
        for port in range(5)
        for packet in play(EVERYTHING, Talk(client=(CLIENT, 40_000 + port)).shake())
        .close("S")
        .packets
    ]
    alive: list[weakref.ref[Dialogue]] = []
    for dialogue, turn in listen(read_frames(capture(packets))):
        if turn is None and dialogue.over:
            alive.append(weakref.ref(dialogue))
            del dialogue, turn
            gc.collect()
            assert [one() for one in alive[:-1]] == [None] * (len(alive) - 1)
    assert len(alive) == 5


def test_a_cut_capture_is_read_up_to_the_cut() -> None:
    octets = capture(play(EVERYTHING).packets).getvalue()[:-1]
    cuts: list[CaptureCut] = []
    (dialogue,) = dialogues(io.BytesIO(octets), on_cut=cuts.append)
    assert dialogue.turns[-1].code == 221
    assert len(cuts) == 1


@pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")
def test_commands_and_codes_are_those_tshark_finds(tmp_path) -> None:
    # One command a packet, because tshark makes one row of pipelined ones; split and doubled
    # segments all the same. BDAT is left out: tshark reads a chunk's lines as commands.
    login = base64.b64encode(b"alice").decode()
    script = [("S", "220 hi\r\n"), ("C", "EHLO pc.sender.example\r\n"), ("S", "250-x\r\n250 y\r\n")]
    script += [("C", "AUTH LOGIN\r\n"), ("S", "334 VXNlcm5hbWU6\r\n"), ("C", f"{login}\r\n")]
    script += [("S", "334 UGFzc3dvcmQ6\r\n"), ("C", f"{login}\r\n"), ("S", "235 ok\r\n")]
    script += [("C", "MAIL FROM:<alice@sender.example>\r\n"), ("S", "250 ok\r\n")]
    script += [("C", "RCPT TO:<bob@receiver.example>\r\n"), ("S", "550 no\r\n")]
    script += [("C", "RCPT TO:<bob@receiver.example>\r\n"), ("S", "250 ok\r\n")]
    script += [("C", "DATA\r\n"), ("S", "354 go\r\n"), ("C", MESSAGE + ".\r\n")]
    script += [("S", "250 ok\r\n"), ("C", "QUIT\r\n"), ("S", "221 bye\r\n")]
    talks = [play(script).close(), play(script, Talk(client=(CLIENT, 40001), isn=(9, 9)).shake())]
    packets = [packet for pair in zip(*(talk.packets for talk in talks)) for packet in pair]  # noqa: B905
    path = tmp_path / "smtp.pcap"
    path.write_bytes(pcap(map(ethernet, packets)))
    fields = ["frame.number", "tcp.stream", "smtp.req.command", "smtp.response.code"]
    done = subprocess.run(
        ["tshark", "-r", path, "-Y", "smtp.req.command || smtp.response.code", "-T", "fields"]
        + [word for field in fields for word in ("-e", field)],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = [line.split("\t") for line in done.stdout.splitlines()]
    ours = sorted(
        (turn.last_frame, dialogue.stream.number, turn.command or "", turn.code or "")
        for dialogue in dialogues(path)
        for turn in dialogue.turns
        if turn.command or turn.code
    )
    assert [[str(word) for word in row] for row in ours] == theirs
