"""What Postfix, Dovecot, dnsmasq and curl really said, captured at the cables of a lab.

The files in captures/ are as tcpdump wrote them; what is read from them is held against what is
known of the session, and against tshark where that is installed.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.observe.dialogue import Dialogue, Turn, dialogues, listen
from lab.observe.pcap import Frame, read_frames

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.pcap"))
tshark = pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")


def read(name: str) -> list[Dialogue]:
    return dialogues(Path(__file__).parent / "captures" / f"{name}.pcap")


def turn(dialogue: Dialogue, **like: object) -> Turn:
    """The first turn that has these attributes."""
    return next(
        turn
        for turn in dialogue.turns
        if all(getattr(turn, key) == value for key, value in like.items())
    )


def line(turn: Turn) -> str:
    """A turn in a line, without what differs from one session to the next."""
    what = turn.command or turn.code or turn.status or ""
    paired = f" ← {turn.answers.tag or turn.answers.command or ''}" if turn.answers else ""
    return f"{turn.last_frame} {turn.side[0].upper()} {turn.kind} {what}{paired}".rstrip()


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_turn(path: Path, snapshot) -> None:
    lines = []
    for dialogue in dialogues(path):
        lines.append(f"{dialogue.protocol} {dialogue.client} → {dialogue.server}: {dialogue.state}")
        lines += map(line, dialogue.turns)
    assert "\n".join(lines) == snapshot
    assert all(turn.complete for dialogue in dialogues(path) for turn in dialogue.turns)


def test_pop3_gives_as_many_octets_as_it_announces() -> None:
    (session,) = read("pop3")
    announced = turn(turn_of := session, command="RETR").reply
    message = next(t for t in turn_of.turns if t.kind == "content" and t.size > 1000)
    assert announced and announced.text == f"+OK {message.size} octets"
    assert turn(session, command="PASS").argument == "wrong"
    assert turn(session, kind="reply", status="-ERR").failed
    scan = turn(session, command="LIST").reply
    assert scan and len(scan.text.splitlines()) == 3


def test_imap_fetches_of_parts_cost_what_was_asked_for() -> None:
    session, other = read("imap")
    parts = [t.literals for t in session.turns if t.command == "FETCH" and t.literals]
    assert parts == [31, 64]
    assert turn(session, kind="rest").text == " {7}"
    assert [t.data for t in session.turns if t.kind == "content"][:2] == [b"bob", b"builder"]
    idle = turn(session, command="IDLE")
    assert idle.reply and idle.reply.time - idle.time > 3
    during = [t for t in session.turns if t.answers is idle and t.kind == "untagged"]
    assert turn(other, kind="auth").argument == "AGJvYgBidWlsZGVy"
    assert all(t.command in ("EXISTS", "RECENT") for t in during)


def test_lmtp_of_dovecot_answers_for_both_recipients() -> None:
    (session,) = read("lmtp")
    content = turn(session, kind="content")
    assert content.data.endswith(b"\r\n.hidden\r\n..two\r\n")
    answers = [t.argument for t in session.turns if t.answers is content]
    assert answers == ["bob@receiver.example", "dave@receiver.example"]


def test_a_message_that_was_submitted_and_relayed() -> None:
    (submission,), (relay,) = read("submission"), read("relay")
    (first,), (second,) = submission.transactions, relay.transactions
    assert first.message_id == second.message_id == "<lunch@sender.example>"
    assert (first.code, second.code) == (250, 250)
    size = int(second.mail.argument.split("SIZE=")[1]) if second.mail.argument else 0
    assert second.content[0].size == size


def test_dns_in_words() -> None:
    words = [turn.text for dialogue in read("dns") for turn in dialogue.turns]
    assert words[:5] == [
        "MX receiver.example?",
        "receiver.example MX 10 mail.receiver.example\n"
        "(additional) mail.receiver.example A 203.0.113.25",
        "A mail.receiver.example?",
        "mail.receiver.example A 203.0.113.25",
        "AAAA nowhere.example?",
    ]
    assert words[5] == "NXDOMAIN: there is no such name"
    assert [dialogue.stream.transport for dialogue in read("dns")][:3] == ["udp", "tcp", "udp"]


def test_starttls_and_the_name_asked_for() -> None:
    (session,) = read("starttls")
    assert session.encrypted is session.turns[-1]
    assert (session.encrypted.argument, session.encrypted.size) == ("mail.receiver.example", 3373)


def fields(path: Path, display: str, *names: str) -> list[list[str]]:
    """One row of `names` for each packet that `display` lets through."""
    argv = ["tshark", "-n", "-r", str(path), "-Y", display, "-T", "fields", "-E", "aggregator=|"]
    argv += [word for name in ("frame.number", *names) for word in ("-e", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [row.split("\t") for row in done.stdout.splitlines()]


def by_frame(name: str, *kinds: str, first: bool = False) -> dict[int, list[Turn]]:
    found: dict[int, list[Turn]] = defaultdict(list)
    for dialogue in read(name):
        for said in dialogue.turns:
            if said.kind in kinds:
                found[said.frame if first else said.last_frame].append(said)
    return found


PATHS = {path.stem: path for path in CAPTURES}


@tshark
def test_pop3_as_tshark_reads_it() -> None:
    ours = by_frame("pop3", "command")
    theirs = fields(PATHS["pop3"], "pop.request.command", "pop.request.command")
    # tshark takes the first of pipelined commands.
    assert [[str(n), turns[0].command] for n, turns in ours.items()] == theirs
    replies = fields(PATHS["pop3"], "pop.response.indicator", "pop.response.indicator")
    assert {int(n): word for n, word in replies}.items() <= {
        n: turns[0].status for n, turns in by_frame("pop3", "greeting", "reply").items()
    }.items()


@tshark
def test_imap_as_tshark_reads_it() -> None:
    rows = fields(PATHS["imap"], "imap.request.command", "imap.request_tag", "imap.request.command")
    theirs = [
        (int(number), tag, command)
        for number, tags, commands in rows
        for tag, command in zip(tags.split("|"), commands.split("|"), strict=False)
        if tag[1:].isdigit()  # tshark takes what is in literals for commands
    ]
    ours = [
        (number, said.tag, (said.command or "").removeprefix("UID "))
        for number, turns in by_frame("imap", "command").items()
        for said in turns
        if said.tag
    ]
    assert sorted(ours) == theirs


@tshark
def test_dns_as_tshark_reads_it() -> None:
    names = ("dns.qry.name", "dns.flags.rcode", "udp.stream", "tcp.stream")
    ours = [
        [
            *(str(said.last_frame), said.argument, "" if said.code is None else str(said.code)),
            *(
                str(dialogue.stream.number) if dialogue.stream.transport == transport else ""
                for transport in ("udp", "tcp")
            ),
        ]
        for dialogue in read("dns")
        for said in dialogue.turns
    ]
    assert ours == fields(PATHS["dns"], "dns", *names)


@tshark
def test_http_as_tshark_reads_it() -> None:
    rows = fields(PATHS["http"], "http", "http.request.method", "http.response.code")
    requests = [[str(t.last_frame), t.command, ""] for t in of("http", "command")]
    replies = [[str(t.last_frame), "", str(t.code)] for t in of("http", "reply")]
    seen = {tuple(row) for row in requests + replies}
    assert {(method, code) for _, method, code in rows} == {row[1:] for row in seen}
    assert len(rows) == len(seen)


def of(name: str, kind: str) -> list[Turn]:
    return [said for dialogue in read(name) for said in dialogue.turns if said.kind == kind]


@tshark
@pytest.mark.parametrize("name", ["submission", "relay", "starttls"])
def test_smtp_as_tshark_reads_it(name: str) -> None:
    rows = fields(PATHS[name], "smtp.response.code", "smtp.response.code")
    theirs = [(int(number), int(code)) for number, codes in rows for code in codes.split("|")]
    ours = [(said.last_frame, said.code) for said in (*of(name, "greeting"), *of(name, "reply"))]
    assert sorted(set(ours)) == sorted(set(theirs))


@tshark
def test_the_server_name_as_tshark_reads_it() -> None:
    rows = fields(
        PATHS["starttls"], "tls.handshake.type == 1", "tls.handshake.extensions_server_name"
    )
    assert rows == [["12", "mail.receiver.example"]]


@given(data=st.data(), path=st.sampled_from(CAPTURES))
def test_a_damaged_capture_is_read_without_complaint(data: st.DataObject, path: Path) -> None:
    """Octets changed, frames missing, doubled, cut short and out of order."""
    with path.open("rb") as stream:
        frames = list(read_frames(stream))
    spoilt: list[Frame] = []
    index = st.integers(0, len(frames) - 1)
    gone, twice = data.draw(st.sets(index, max_size=4)), data.draw(st.sets(index, max_size=4))
    damage = data.draw(st.dictionaries(index, st.tuples(st.integers(0, 1 << 16), st.binary())))
    for number, frame in enumerate(frames):
        octets = frame.data
        if number in damage:
            at, new = damage[number]
            at %= len(octets)
            octets = octets[:at] + new + (octets[at + len(new) :] if at % 3 else b"")
        spoilt += [frame._replace(data=octets)] * ((number not in gone) + (number in twice))
    if data.draw(st.booleans()):
        spoilt = data.draw(st.permutations(spoilt))
    for dialogue, _ in listen(spoilt):
        dialogue.as_json()
