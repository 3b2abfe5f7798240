"""Scenarios about reading mail: what they claim, looked up in raw packets, logs and mailboxes."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

from played import (
    RECEIVER_MAIL,
    RECEIVER_PC,
    Play,
    Run,
    all_is_backed,
    calls,
    every_event_is_of_its_type,
)

from lab.engine.lab import Lab
from lab.observe.packets import Tcp
from lab.services import dovecot

BOB = "bob@receiver.example"


class Session:
    """One connection from Bob's PC to his server, as its packets have it."""

    def __init__(self, segments: list[Tcp], call: Tcp) -> None:
        ours = {(RECEIVER_PC, call.sport), (RECEIVER_MAIL, call.sport)}
        self.packets = [
            one
            for one in segments
            if one.payload and {(one.src, one.sport), (one.dst, one.dport)} & ours
        ]
        self.said = self._joined(RECEIVER_PC)
        self.heard = self._joined(RECEIVER_MAIL)

    def _joined(self, sender: str) -> bytes:
        pieces = {one.seq: one.payload for one in self.packets if one.src == sender}
        return b"".join(pieces[seq] for seq in sorted(pieces))

    @property
    def commands(self) -> list[str]:
        return self.said.decode().splitlines()

    def moment(self, words: bytes) -> float:
        """When `words` passed."""
        return next(one.frame.time for one in self.packets if words in one.payload)

    def answer(self, command: str) -> bytes:
        """All that the server said between a command and the next one."""
        begun, pieces = False, {}
        for one in self.packets:
            if one.src == RECEIVER_PC:
                if begun:
                    break
                begun = one.payload.strip().endswith(command.encode())
            elif begun:
                pieces[one.seq] = one.payload
        return b"".join(pieces[seq] for seq in sorted(pieces))


def sessions(run: Run, port: int) -> list[Session]:
    segments = run.segments("receiver-lan")
    return [Session(segments, one) for one in calls(segments, RECEIVER_PC, RECEIVER_MAIL, port)]


def when(line: str) -> float:
    return float(line.split()[0])


def test_pop3_deletes_on_quit_only_and_remembers_nothing(play: Play) -> None:
    run = play("pop3")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    whole, cut, after, *devices = sessions(run, 110)

    login = ["USER bob", "PASS builder"]
    inside = ["STAT", "LIST", "RETR 1", "DELE 1", "STAT", "RSET", "STAT"]
    assert whole.commands == [*login, *inside, "QUIT"]
    assert re.findall(rb"\+OK (\d) \d+\r\n", whole.heard) == [b"3", b"2", b"3"]

    assert cut.commands == [*login, "DELE 1"], "no QUIT"
    assert b"+OK Marked" in cut.heard
    outage = {event["data"]["on"]: event["time"] for event in run.events("fault")}
    assert cut.moment(b"DELE 1") < outage[True]
    silent = [
        one
        for one in run.segments("receiver-lan")
        if one.src == RECEIVER_PC and outage[True] < one.frame.time < outage[False]
    ]
    assert not silent, "its cable was out"
    during = [
        event["data"]["messages"]
        for event in run.events("mailbox")
        if outage[True] < event["time"] < outage[False]
    ]
    assert [[one["subject"] for one in box] for box in during] == [
        ["Breakfast?", "Lunch?", "Dinner?"]
    ]
    assert after.commands == [*login, "RETR 1", "DELE 1", "QUIT"]
    assert b"Subject: Breakfast?" in after.heard
    expunged = [line for line in run.log("receiver-mail") if "INBOX: expunge: " in line]
    first = expunged[0]
    assert "uid=1," in first and when(first) > after.moment(b"QUIT"), "and not before"

    laptop, phone, kept, also_kept, again = devices
    assert laptop.heard.count(b"Subject: ") == 2 and laptop.said.count(b"DELE ") == 2
    assert b"+OK 0 0\r\n" in phone.heard and b"RETR" not in phone.said
    assert len(expunged) == 3, "and nothing after that"
    assert kept.said == also_kept.said and kept.said.count(b"RETR ") == 2
    assert b"DELE" not in kept.said + also_kept.said + again.said
    listing = kept.answer("UIDL")
    assert listing == also_kept.answer("UIDL") and listing.count(b"\r\n") == 4
    assert again.answer("UIDL").startswith(listing.removesuffix(b".\r\n"))
    assert again.said.count(b"RETR ") == 1 and b"Subject: A nightcap?" in again.heard
    subjects = [one["subject"] for one in run.last_mailbox(BOB)]
    assert subjects == ["Tea?", "Supper?", "A nightcap?"]


def test_imap_shows_the_same_on_every_device_and_sends_what_is_asked_for(play: Play) -> None:
    run = play("imap")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    laptop, phone, later, reader, idle_laptop, idle_phone = sessions(run, 143)

    log = run.log("receiver-mail")
    bobs = [line.partition(f"imap({BOB})")[2] for line in log]
    changes = [
        found
        for line in bobs
        if (found := re.sub(r"^.*Info: Mailbox |, msgid=.*?(?=, flags|$)", "", line))
        and "Disconnected" not in line
    ]
    assert changes == [
        "Plans: Mailbox created",
        "Plans: copy from INBOX: box=Plans, uid=1, flags=()",
        "INBOX: expunge: box=INBOX, uid=1, flags=()",
        r"Plans: flag_change: box=Plans, uid=1, flags=(\Flagged)",
    ]
    assert b"STORE" not in phone.said and b"MOVE" not in phone.said
    assert re.search(rb'\* LIST \([^)]*\) "." Plans\r\n', phone.heard)
    assert phone.answer('SUBJECT "Lunch"').startswith(b"* SEARCH 1\r\n")
    assert phone.answer("NOOP").startswith(rb"* 1 FETCH (FLAGS (\Flagged")
    assert laptop.moment(b"STORE 1") < phone.moment(b"NOOP") < later.moment(b"SELECT Plans")
    assert rb"* 1 FETCH (FLAGS (\Flagged))" in later.answer("(FLAGS)")

    octets = {
        item: len(reader.answer(item))
        for item in ("BODY.PEEK[HEADER]", "BODYSTRUCTURE", "BODY.PEEK[1]", "BODY.PEEK[]")
    }
    assert octets["BODY.PEEK[1]"] < 150 and octets["BODYSTRUCTURE"] < 500
    assert octets["BODY.PEEK[HEADER]"] < 1500
    assert octets["BODY.PEEK[]"] > 50_000 * 4 / 3
    assert b"The picture\r\n" in reader.answer("BODY.PEEK[1]")
    assert b"base64" not in reader.answer("BODY.PEEK[1]")
    [picture] = [one for one in run.last_mailbox(BOB) if one["subject"] == "The picture"]
    assert "\\Seen" not in picture["flags"], "it was only peeked at"

    saved = when([line for line in log if "saved mail to INBOX" in line][-1])
    told = idle_phone.moment(b"* 2 EXISTS")
    assert saved < told < saved + 10
    asked = [one.frame.time for one in idle_phone.packets if one.src == RECEIVER_PC]
    assert not [moment for moment in asked if idle_phone.moment(b" IDLE\r\n") < moment < told]
    assert told < idle_laptop.moment(b"NOOP") < idle_laptop.moment(b"* 2 EXISTS")
    boxes = {one["subject"]: (one["folder"], one["flags"]) for one in run.last_mailbox(BOB)}
    assert boxes["Lunch?"] == ("Plans", ["\\Flagged"])
    assert boxes["Dinner?"][0] == boxes["The picture"][0] == "INBOX"


def test_login_lets_nobody_in_without_the_password_and_hides_it_with_tls(play: Play) -> None:
    run = play("login")
    assert run.status == 0, run.stderr
    all_is_backed(run)
    every_event_is_of_its_type(run)
    log = run.log("receiver-mail")
    for protocol, port, no, yes, clear in (
        ("pop3", 110, b"-ERR [AUTH]", b"+OK Logged in", b"PASS builder\r\n"),
        ("imap", 143, b"l1 NO [AUTH", b"l1 OK ", b"l1 LOGIN bob builder\r\n"),
    ):
        wrong, right, plain, stranger, hidden = sessions(run, port)
        assert b"builde\r\n" in wrong.said and no in wrong.heard and yes not in wrong.heard
        assert clear in right.said and yes in right.heard
        for clearly in (right, plain):
            assert b"TLS" not in clearly.said
        words = [base64.b64decode(word) for word in re.findall(rb"\bAG[\w+/=]+", plain.said)]
        assert words == [b"\0bob@receiver.example\0builder"]
        for dark in (stranger, hidden):
            assert re.search(rb"(?m)^(STLS|A\d+ STARTTLS)\r\n\x16\x03", dark.said)
            both = dark.said + dark.heard
            assert b"builder" not in both and b"YnVpbGRlc" not in both and b"PASS" not in both
            assert words[0] not in both and base64.b64encode(words[0]) not in both
        assert b"\x17\x03\x03" in hidden.said
        mine = [line for line in log if f"{protocol}-login: Info: " in line]
        entered = [line for line in mine if "Logged in: user=<bob@receiver.example>" in line]
        assert [", TLS," in line for line in entered] == [False, False, True]
        assert len([line for line in mine if "auth failed" in line]) == 1
        assert len([line for line in mine if "unknown ca" in line]) == 1


STORY = """
from lab.errors import LabError
from lab.scenarios import logins, scenario
from lab.scenarios.stage import Stage

@scenario(rows=("N7",), lasts="1m")
def story(stage: Stage) -> None:
    with logins.tls(stage, "receiver-mail"):
        found = stage.lab.run("receiver-mail", ["ls", "/etc/dovecot/operator"]).text.split()
        raise LabError(f"in the middle, with {found}")
"""


def test_tls_is_put_away_again_when_a_story_fails(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text(STORY)
    (tmp_path / "story.yaml").write_text("title: A story\nsummary: Short.\n")
    argv = [sys.executable, "-m", "lab", "--lab", lab.name, "scenario", "run", "./story.py"]
    done = subprocess.run(
        [*argv, "--here"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "in the middle, with ['cert.pem', 'key.pem'," in done.stderr
    there = lab.run("receiver-mail", ["ls", "/etc/dovecot", "/etc/dovecot/operator"]).text
    assert "operator" not in there and "dovecot.conf" in there
    listening = lab.run("receiver-mail", ["ss", "-Hltn"]).text
    assert ":143 " in listening and ":993 " not in listening and ":995 " not in listening


def test_they_can_be_played_in_a_lab_with_mail_and_folders_in_it(lab: Lab, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "lab", "--lab", lab.name, "scenario", "run"]
    for name in ("imap", "pop3", "imap", "login"):
        done = subprocess.run(
            [*argv, name, "--here"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    folders = {one.folder for one in dovecot.mailbox(lab, BOB)}
    assert {"INBOX", "Plans", "Plans-2"} <= folders
