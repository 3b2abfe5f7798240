"""Stories about SMTP and the message, looked up again in raw packets and logs: see played.py."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import Message
from itertools import groupby

import pytest
from harness import is_whole
from played import (
    RECEIVER_MAIL,
    RECEIVER_PC,
    SENDER_MAIL,
    SENDER_PC,
    Play,
    Run,
    all_is_backed,
    calls,
    every_event_is_of_its_type,
    replies,
    said,
)

from lab.engine.lab import Lab
from lab.observe.packets import ACK, RST, SYN, Icmp, Tcp, decode

ALICE, BOB, DAVE = "alice@sender.example", "bob@receiver.example", "dave@receiver.example"
ROUTER = ("198.51.100.1", "203.0.113.1")


def whole(run: Run) -> None:
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)


def both_ways(segments: list[Tcp], call: Tcp) -> list[tuple[bool, bytes]]:
    """What was said over a connection, in turns: whether by its client, and the octets."""
    ports = {(call.src, call.sport), (call.dst, call.dport)}
    seen: set[tuple[str, int]] = set()
    pieces = []
    for packet in segments:
        again = (packet.src, packet.seq)
        if {(packet.src, packet.sport), (packet.dst, packet.dport)} != ports or again in seen:
            continue
        if packet.payload:
            seen.add(again)
            pieces.append((packet.src == call.src, packet.payload))
    return [
        (by_client, b"".join(octets for _, octets in found))
        for by_client, found in groupby(pieces, key=lambda piece: piece[0])
    ]


def by_client(segments: list[Tcp], call: Tcp) -> bytes:
    return b"".join(octets for client, octets in both_ways(segments, call) if client)


def by_server(segments: list[Tcp], call: Tcp) -> bytes:
    return b"".join(octets for client, octets in both_ways(segments, call) if not client)


def fetched(run: Run) -> list[bytes]:
    """The messages that Bob's PC fetched by IMAP, octet by octet as they came over the wire."""
    segments = run.segments("receiver-lan")
    sessions = [
        by_server(segments, call) for call in calls(segments, RECEIVER_PC, RECEIVER_MAIL, 143)
    ]
    return [
        said[literal.end() : literal.end() + int(literal[1])]
        for said in sessions
        for literal in re.finditer(rb"FETCH \([^\r]*BODY\[\] \{(\d+)\}\r\n", said)
    ]


def faults(run: Run) -> list[tuple[str, bool, float]]:
    return [(one["node"], one["data"]["on"], one["time"]) for one in run.events("fault")]


def moments(run: Run, node: str, words: str) -> list[float]:
    return [float(line.split()[0]) for line in run.log(node) if words in line]


TEXT = (
    b"From: alice@sender.example\r\nTo: bob@receiver.example\r\nSubject: By hand\r\n"
    b"\r\nDo you like ketchup?\r\n"
)


def test_the_handshake_is_spoken_by_hand_word_for_word(play: Play) -> None:
    run = play("smtp-handshake")
    whole(run)
    segments = run.segments("sender-lan")
    first, _ = calls(segments, SENDER_PC, RECEIVER_MAIL, 25)
    said = both_ways(segments, first)
    assert [octets for client, octets in said if client] == [
        b"HELO pc.sender.example\r\n",
        b"MAIL FROM:<alice@sender.example>\r\n",
        b"RCPT TO:<bob@receiver.example>\r\n",
        b"DATA\r\n",
        TEXT + b".\r\n",
        b"QUIT\r\n",
    ]
    heard = [octets for client, octets in said if not client]
    assert not said[0][0], "the server speaks first"
    assert [octets[:4] for octets in heard] == [
        *(b"220 ", b"250 ", b"250 ", b"250 ", b"354 ", b"250 ", b"221 ")
    ]
    assert heard[1] == b"250 mail.receiver.example\r\n", "nothing of extensions"
    [queue_id] = re.findall(rb"queued as (\w+)", heard[5])
    name = queue_id.decode()
    log = "\n".join(run.log("receiver-mail"))
    assert re.search(rf"{name}: from=<alice@sender\.example>, .*queue active", log)
    assert re.search(rf"{name}: to=<bob@receiver\.example>, .*lmtp\], .*status=sent", log)


def test_without_the_dot_nothing_is_owed(play: Play) -> None:
    run = play("smtp-handshake", "--time-scale", "600")
    whole(run)
    segments = run.segments("sender-lan")
    _, broken = calls(segments, SENDER_PC, RECEIVER_MAIL, 25)
    assert by_client(segments, broken).endswith(b"DATA\r\n" + TEXT)
    assert re.findall(rb"(?m)^\d{3}", by_server(segments, broken))[-1] == b"354"
    [lost] = [line for line in run.log("receiver-mail") if "lost connection after DATA" in line]
    [queue_id] = re.findall(r": (\w+): lost connection", lost)
    assert not [line for line in run.log("receiver-mail") if f"{queue_id}: to=" in line]
    subjects = [one["subject"] for one in run.last_mailbox(BOB)]
    assert subjects == ["By hand", "By mail program"]
    # And the servers among themselves: EHLO, and what that gets as an answer.
    [relay] = calls(segments, SENDER_MAIL, RECEIVER_MAIL, 25)
    said = both_ways(segments, relay)
    assert said[1] == (True, b"EHLO mail.sender.example\r\n")
    listed = said[2][1].split(b"\r\n")
    assert listed[0] == b"250-mail.receiver.example" and len(listed) > 5
    assert {b"250-PIPELINING", b"250-8BITMIME"} <= set(listed)
    assert re.fullmatch(
        rb"MAIL FROM:<alice@sender\.example> SIZE=\d+.*\r\nRCPT TO:<bob@.*\r\nDATA\r\n", said[3][1]
    ), "three commands at a time"


def test_a_pc_that_is_off_does_not_try_again_and_a_server_does(play: Play) -> None:
    run = play("why-a-sender-server")
    whole(run)
    marks = faults(run)
    assert [mark[:2] for mark in marks] == [
        ("receiver-mail", True),
        ("sender-pc", True),
        ("receiver-mail", False),
        ("sender-pc", False),
    ]
    server_off, pc_off, server_back, pc_back = (mark[2] for mark in marks)
    # The program on the PC called in vain, and from then on not a frame came from that machine.
    segments = run.segments("sender-lan")
    tried = calls(segments, SENDER_PC, RECEIVER_MAIL, 25)
    assert tried and all(server_off < call.frame.time < pc_off for call in tried)
    assert not [answer for call in tried for answer in replies(segments, call, pc_back)]
    card = tried[0].frame.data[6:12]
    assert not [
        frame
        for frame in run.frames("sender-lan")
        if frame.data[6:12] == card and pc_off < frame.time < pc_back
    ]
    assert pc_back - server_back > 6, "half an hour is 3 s: it would have tried again twice"
    # The server's did arrive, while the PC was off; the other is nowhere.
    [submitted] = moments(run, "sender-mail", ": client=pc.sender.example")
    [saved] = moments(run, "receiver-mail", "saved mail to INBOX")
    assert server_off < submitted < pc_off < saved < pc_back
    assert not [line for line in run.log("receiver-mail") if "client=pc.sender.example" in line]
    assert [one["subject"] for one in run.last_mailbox(BOB)] == ["By way of my server"]
    queues = {event["node"]: event["data"]["entries"] for event in run.events("queue")}
    assert queues == {"sender-mail": [], "receiver-mail": []}


def test_between_the_servers_there_is_a_router_and_no_third(play: Play) -> None:
    run = play("no-middle-server")
    whole(run)
    names = run.events("run")[0]["data"]["addresses"]
    for network, near, end, far in (
        ("sender-lan", ROUTER[0], SENDER_MAIL, RECEIVER_MAIL),
        ("receiver-lan", ROUTER[1], RECEIVER_MAIL, SENDER_MAIL),
    ):
        packets = [decode(frame) for frame in run.frames(network)]
        icmp = [one for one in packets if isinstance(one, Icmp) and one.dst == end]
        dropped = {(one.src, one.quoted.dst) for one in icmp if one.quoted and one.type == 11}
        assert dropped == {(near, far)}, "one machine, at which the time to live ended"
        assert names[near] == "internet"
        assert far in {one.src for one in icmp if (one.type, one.code) == (3, 3)}
    # Nobody talks TCP with the router, and who tries is refused.
    segments = run.segments("sender-lan")
    with_router = [one for one in segments if {one.src, one.dst} & set(ROUTER)]
    assert [(one.dst, one.dport, one.flags & (SYN | ACK)) for one in with_router[:1]] == [
        (ROUTER[0], 25, SYN)
    ]
    assert len(with_router) == 2 and with_router[1].flags & RST
    # During the outage its octets are on no wire but from the PC to its server.
    [identity] = re.findall(r"message-id=(<\S+>)", "\n".join(run.log("sender-mail")))
    [(_, _, out), _] = faults(run)
    # Until its first sign of life: the record has it as healed only when its services answer.
    back = min(
        packet.frame.time
        for packet in run.segments("receiver-lan")
        if packet.src == RECEIVER_MAIL and packet.frame.time > out
    )
    seen = {
        network: [one for one in run.segments(network) if identity.encode() in one.payload]
        for network in ("sender-lan", "dns-lan", "receiver-lan")
    }
    early = {
        (network, one.src, one.dst)
        for network, found in seen.items()
        for one in found
        if one.frame.time < back
    }
    assert early == {("sender-lan", SENDER_PC, SENDER_MAIL)}
    assert seen["receiver-lan"] and not seen["dns-lan"]
    assert len(moments(run, "sender-mail", "status=deferred")) >= 2
    # What Bob got has been written on by two servers.
    [message] = fetched(run)
    written = [
        re.findall(r"\bby (\S+)", line)
        for line in message_from_bytes(message).get_all("Received", [])
    ]
    assert written == [["mail.receiver.example"]] * 2 + [["mail.sender.example"]]


def test_a_message_is_what_stands_after_data(play: Play) -> None:
    run = play("message-format")
    whole(run)
    segments = run.segments("sender-lan")
    offers = [by_client(segments, call) for call in calls(segments, SENDER_PC, RECEIVER_MAIL, 25)]
    assert len(offers) == 8
    contents = [offer.partition(b"DATA\r\n")[2].partition(b"QUIT\r\n")[0] for offer in offers]
    assert contents[0] == (
        b"From: Alice <alice@sender.example>\r\nTo: Bob <bob@receiver.example>\r\n"
        b"Subject: Lunch?\r\n\r\nAt noon?\r\n.\r\n"
    )
    got = fetched(run)
    assert all(b"\n" not in one.replace(b"\r\n", b"") for one in got)
    messages = [message_from_bytes(one) for one in got]
    assert got[0].endswith(contents[0].removesuffix(b".\r\n"))
    assert messages[0].keys()[:2] == ["Return-Path", "Delivered-To"]
    # Without this and that.
    for number, name in ((1, "Subject"), (2, "From"), (3, "To")):
        assert f"{name}:".encode() not in contents[number]
        assert fields(messages[number]) == {"From", "To", "Subject"} - {name}
    assert fields(messages[4]) == {"Subject", "From", "Date", "Message-Id"}
    assert messages[4]["From"] == ALICE and b"From:" not in contents[4]


def fields(message: Message) -> set[str]:
    """What stands in a message's header beside what brought it."""
    return set(message.keys()) - {"Return-Path", "Delivered-To", "Received"}


def test_the_envelope_is_not_the_header_and_lf_is_not_crlf(play: Play) -> None:
    run = play("message-format", "--time-scale", "600")
    whole(run)
    segments = run.segments("sender-lan")
    *_, forged, bare, strict = calls(segments, SENDER_PC, RECEIVER_MAIL, 25)
    said = by_client(segments, forged)
    assert b"\r\nMAIL FROM:<alice@sender.example>\r\nRCPT TO:<bob@receiver.example>\r\n" in said
    assert b"\r\nFrom: Carol <carol@sender.example>\r\nTo: Dave <dave@receiver.example>\r\n" in said
    *_, arrived, mended = fetched(run)
    message = message_from_bytes(arrived)
    assert (message["From"], message["To"]) == (
        "Carol <carol@sender.example>",
        "Dave <dave@receiver.example>",
    )
    assert (message["Return-Path"], message["Delivered-To"]) == (f"<{ALICE}>", BOB)
    assert run.last_mailbox(DAVE) == []
    assert not [line for line in run.log("receiver-mail") if f"to=<{DAVE}>" in line]
    # Lines that end with LF alone: seven of them, and a dot between two.
    for call in (bare, strict):
        content = by_client(segments, call).partition(b"DATA\r\n")[2]
        assert len(re.findall(rb"(?<!\r)\n", content)) == 7
        assert b"\n.\nMAIL FROM:<carol@sender.example>\n" in content
    assert len(re.findall(rb"queued as", by_server(segments, bare))) == 1
    assert b"At noon?\r\nMAIL FROM:<carol@sender.example>\r\nAt one?\r\n" in mended
    assert b"550 5.5.2 mail.receiver.example Error: bare <LF>" in by_server(segments, strict)
    assert b"queued as" not in by_server(segments, strict)
    log = run.log("receiver-mail")
    assert not [line for line in log if "from=<carol@sender.example>" in line]
    [noted] = [line for line in log if "bare <LF> received" in line]
    assert "reject: END-OF-MESSAGE from pc.sender.example" in noted
    assert len(run.last_mailbox(BOB)) == 7


@pytest.mark.parametrize(
    "name",
    ["smtp-handshake", "why-a-sender-server", "no-middle-server", "message-format", "distribution"],
)
def test_they_are_played_in_a_lab_that_is_up_as_well(
    lab: Lab, play: Play, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LAB_NAME", lab.name)
    run = play(name, "--here")
    assert run.status == 0, run.stderr
    assert is_whole(lab)


def test_a_stranger_is_refused_what_is_taken_for_the_servers_own_people(play: Play) -> None:
    run = play("open-relay")
    whole(run)
    by_hand = [
        packet
        for packet in run.segments("sender-lan")
        if packet.dst == RECEIVER_PC and packet.sport == 25 and packet.payload
    ]
    said = b"".join(packet.payload for packet in by_hand).splitlines()
    assert [line[:3] for line in said].count(b"554") == 1
    assert any(b"554 5.7.1 <dave@receiver.example>: Relay access denied" in line for line in said)
    log = run.log("sender-mail")
    assert len([line for line in log if "NOQUEUE: reject: RCPT" in line]) == 1
    assert [one["subject"] for one in run.last_mailbox("carol@sender.example")] == ["By hand"]
    # Alice, who has logged in, may: her message to the same address went the same way on.
    assert [line for line in log if "to=<dave@receiver.example>" in line and "status=sent" in line]


def test_a_letter_to_three_goes_once_to_each_server(play: Play) -> None:
    run = play("distribution")
    whole(run)
    sender_lan, receiver_lan = run.segments("sender-lan"), run.segments("receiver-lan")
    people = (b"bob@receiver", b"dave@receiver", b"carol@sender")
    # From her PC, once, for three; from server to server, once, for two; nothing about Carol.
    [_] = calls(sender_lan, SENDER_PC, SENDER_MAIL, 587)
    for client, count in ((SENDER_PC, [1, 1, 1]), (SENDER_MAIL, [1, 1, 0])):
        port = 587 if client == SENDER_PC else 25
        named = [said(sender_lan, client, port, rb"RCPT TO:<" + one) for one in people]
        assert named == count, client
    assert len(calls(sender_lan, SENDER_MAIL, RECEIVER_MAIL, 25)) == 1
    assert said(sender_lan, SENDER_MAIL, 25, rb"Subject: Picnic\?\r") == 1
    # One letter, three mailboxes.
    ids = {
        one["message_id"]
        for user in (BOB, DAVE, "carol@sender.example")
        for one in run.last_mailbox(user)
        if one["subject"] == "Picnic?"
    }
    [letter] = ids
    # Bob's answer, as it went from his server to hers.
    assert len(calls(receiver_lan, RECEIVER_MAIL, SENDER_MAIL, 25)) in (1, 2)
    from_him = b"".join(
        packet.payload
        for packet in receiver_lan
        if (packet.src, packet.dst, packet.dport) == (RECEIVER_MAIL, SENDER_MAIL, 25)
    )
    for name in ("In-Reply-To", "References"):
        assert from_him.count(f"\r\n{name}: {letter}\r\n".encode()) == 1
    # What Dave handed on: hers, whole, behind a header of his.
    [outer] = re.findall(rb"From: Dave <dave@receiver\.example>\r\n.*", from_him, re.DOTALL)
    inner = outer.partition(b"Content-Type: message/rfc822\r\n")[2]
    assert inner.count(f"\r\nMessage-ID: {letter}\r\n".encode()) == 1
    assert inner.count(b"\r\nReceived: ") == 3
    assert b"\r\nOn Sunday, at the lake?\r\n" in inner
    assert [one["subject"] for one in run.last_mailbox("carol@sender.example")] == [
        "Picnic?",
        "Fwd: Picnic?",
    ]
