"""The mail programs that people use, on this machine, by way of a seat in the lab.

Each is given what docs/clients.md says to type in: 127.0.0.1, a port, a name and a password, and
is none the wiser. What they did is read in the mailboxes and on the lab's own wires.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import poplib
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from lab.engine.lab import Lab
from lab.seats.forward import Wanted, forwarding
from lab.seats.seat import find
from lab.seats.ssh import connect
from lab.services import dovecot

pytestmark = pytest.mark.topology("textbook", time_scale=600)

ALICE, BOB = "alice@sender.example", "bob@receiver.example"
PASSWORD = {ALICE: "wonderland", BOB: "builder"}
TEXT = "점심 먹었니?\n"


@contextlib.contextmanager
def ports(lab: Lab, user: str, *services: int) -> Iterator[list[int]]:
    """Ports of this machine that lead to these of the user's server, from where they sit."""
    server = f"mail.{user.partition('@')[2]}"
    wanted = [Wanted(0, server, service) for service in services]
    with (
        connect(lab, find(lab.plan.topology, user)) as seated,
        forwarding(seated, wanted) as opened,
    ):
        yield [one.port for one in opened]


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ALICE, BOB, "점심"
    message["Message-ID"] = f"<{os.urandom(8).hex()}@pc.sender.example>"
    message.set_content(TEXT, cte="base64")
    return message


def stored(lab: Lab, address: str, message: EmailMessage) -> dovecot.StoredMessage:
    """The message in a mailbox; waited for."""
    return dovecot.arrived(lab, address, message["Message-ID"])


def sent(lab: Lab) -> EmailMessage:
    """A message that is in Bob's mailbox, by smtplib."""
    message = letter()
    with ports(lab, ALICE, 587) as (port,), smtplib.SMTP("127.0.0.1", port, timeout=30) as server:
        server.login(ALICE, PASSWORD[ALICE])
        server.send_message(message)
    stored(lab, BOB, message)
    return message


def program(name: str, package: str = "") -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name} on this machine (on Debian: {package or name})")
    return path


def run(
    *argv: str, stdin: bytes = b"", home: Path | None = None, more: Mapping[str, str] | None = None
) -> bytes:
    """What a program prints that succeeds."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home or "/nonexistent"), **(more or {})}
    done = subprocess.run(
        argv, input=stdin, capture_output=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def text_of(data: bytes) -> str:
    """The text of a message as a person reads it."""
    body = message_from_bytes(data, policy=policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


# --- Python's own ---------------------------------------------------------------------------------


def test_smtplib_and_imaplib(lab: Lab) -> None:
    message = sent(lab)
    with ports(lab, BOB, 143) as (port,), imaplib.IMAP4("127.0.0.1", port, timeout=30) as server:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            server.login(BOB, "wrong")
        server.login(BOB, PASSWORD[BOB])
        assert server.select("INBOX")[0] == "OK"
        _, (found,) = server.search(None, "HEADER", "Message-ID", message["Message-ID"])
        _, parts = server.fetch(found.decode(), "(BODY.PEEK[])")
        assert text_of(parts[0][1]) == TEXT
        server.store(found.decode(), "+FLAGS", r"\Flagged")
        folder = f"kept{port}"
        server.create(folder)
        assert server.copy(found.decode(), folder)[0] == "OK"
    folders = [one.folder for one in dovecot.mailbox(lab, BOB)
               if one.message_id == message["Message-ID"]]  # fmt: skip
    assert sorted(folders) == sorted(["INBOX", folder])


def test_poplib(lab: Lab) -> None:
    message = sent(lab)
    with ports(lab, BOB, 110) as (port,):
        with pytest.raises(poplib.error_proto, match="AUTH"):
            _pop(port, "wrong")
        server = _pop(port, PASSWORD[BOB])
        count, _ = server.stat()
        _, lines, _ = server.retr(count)
        assert text_of(b"\r\n".join(lines)) == TEXT
        server.dele(count)
        server.rset()
        server.dele(count)
        server.quit()
    assert message["Message-ID"] not in [one.message_id for one in dovecot.mailbox(lab, BOB)]


def _pop(port: int, password: str) -> poplib.POP3:
    server = poplib.POP3("127.0.0.1", port, timeout=30)
    server.user(BOB)
    server.pass_(password)
    return server


# --- What is installed ----------------------------------------------------------------------------


def test_curl(lab: Lab, tmp_path: Path) -> None:
    curl = program("curl")
    message = letter()
    file = tmp_path / "letter"
    file.write_bytes(message.as_bytes(policy=policy.SMTP))
    with ports(lab, ALICE, 587) as (port,):
        run(
            curl, "-sS", f"smtp://127.0.0.1:{port}/pc.sender.example", "--config", "-",
            "--mail-from", ALICE, "--mail-rcpt", BOB, "--upload-file", str(file),
            stdin=f'user = "{ALICE}:{PASSWORD[ALICE]}"'.encode(),
        )  # fmt: skip
    uid = stored(lab, BOB, message).uid
    told = f'user = "{BOB}:{PASSWORD[BOB]}"'.encode()
    with ports(lab, BOB, 143, 110) as (imap, pop):
        url = f"imap://127.0.0.1:{imap}/INBOX;UID={uid}"
        assert text_of(run(curl, "-sS", url, "--config", "-", stdin=told)) == TEXT
        assert run(curl, "-sS", f"pop3://127.0.0.1:{pop}/", "--config", "-", stdin=told).strip()


def test_msmtp(lab: Lab, tmp_path: Path) -> None:
    msmtp = program("msmtp")
    message = letter()
    with ports(lab, ALICE, 587) as (port,):
        settings = tmp_path / ".msmtprc"
        settings.write_text(
            f"account default\nhost 127.0.0.1\nport {port}\nfrom {ALICE}\nauth plain\n"
            f"user {ALICE}\npassword {PASSWORD[ALICE]}\ntls off\n"
        )
        settings.chmod(0o600)
        run(msmtp, "-t", stdin=message.as_bytes(), home=tmp_path)
    assert stored(lab, BOB, message).subject == "점심"


def test_mbsync(lab: Lab, tmp_path: Path) -> None:
    mbsync = program("mbsync", "isync")
    message = sent(lab)
    (tmp_path / "mail").mkdir()
    with ports(lab, BOB, 143) as (port,):
        # Its options have other names from 1.5 on, and both are understood there.
        settings = tmp_path / ".mbsyncrc"
        settings.write_text(
            f"IMAPAccount lab\nHost 127.0.0.1\nPort {port}\nUser {BOB}\nPass {PASSWORD[BOB]}\n"
            "SSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount lab\n\n"
            f"MaildirStore near\nPath {tmp_path}/mail/\nInbox {tmp_path}/mail/INBOX\n\n"
            "Channel lab\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n"
        )
        run(mbsync, "-c", str(settings), "lab", home=tmp_path)
        files = list((tmp_path / "mail/INBOX").glob("*/*"))
        bodies = {
            str(message_from_bytes(file.read_bytes())["Message-ID"]): file.read_bytes()
            for file in files
            if file.parent.name in ("new", "cur")
        }
        assert text_of(bodies[message["Message-ID"]]) == TEXT


def test_fetchmail(lab: Lab, tmp_path: Path) -> None:
    fetchmail = program("fetchmail")
    message = sent(lab)
    kept = tmp_path / "mbox"
    with ports(lab, BOB, 110) as (port,):
        settings = tmp_path / ".fetchmailrc"
        settings.write_text(
            f'poll 127.0.0.1 protocol pop3 service {port}\n  username "{BOB}" '
            f'password "{PASSWORD[BOB]}"\n  fetchall keep sslproto ""\n  mda "cat >> {kept}"\n'
        )
        settings.chmod(0o600)
        run(
            fetchmail, "--fetchmailrc", str(settings), "--silent",
            "--idfile", str(tmp_path / "ids"),
            "--pidfile", str(tmp_path / "pid"), home=tmp_path,
            more={"FETCHMAILHOME": str(tmp_path)},
        )  # fmt: skip
    assert str(message["Message-ID"]) in kept.read_text()


# --- In the seat ----------------------------------------------------------------------------------


def test_mutt_in_the_seat(lab: Lab) -> None:
    message = letter()
    with connect(lab, find(lab.plan.topology, "alice")) as alice:
        head = ["-e", f"my_hdr Message-ID: {message['Message-ID']}"]
        done = alice.run(["mutt", *head, "-s", "점심", BOB], stdin=TEXT.encode())
        assert done.status == 0, done.stderr
    there = stored(lab, BOB, message)
    assert there.subject == "점심"
    assert text_of(dovecot.message(lab, BOB, there.folder, there.uid)) == TEXT
    # And Bob reads it, on his terminal, the newest at the end.
    with (
        connect(lab, find(lab.plan.topology, "bob")) as bob,
        bob.program(["mutt"], terminal=("xterm", 24, 80)) as mutt,
    ):
        screen = b""
        for _, data in mutt.frames():
            screen += data
            if b"q:Quit" in screen and b"\xec\xa0\x90\xec\x8b\xac" in screen:
                mutt.write(b"*\n")
                break
        for _, data in mutt.frames():
            screen += data
            if "먹었니?".encode() in screen:
                mutt.write(b"qx")
                break
        rest = b"".join(data for _, data in mutt.frames())
        assert mutt.status() == 0, (screen + rest)[-2000:]


def test_lab_ssh_from_the_shell_of_a_mail_program(lab: Lab) -> None:
    """What pipes a letter into a command can do so into a seat."""
    message = letter()
    argv = [sys.executable, "-m", "lab", "--lab", lab.name, "ssh", "alice", "--"]
    swaks = ["swaks", "--to", BOB, "--data", "-"]
    subprocess.run(
        [*argv, *swaks], input=message.as_bytes(), capture_output=True, timeout=60, check=True
    )
    assert stored(lab, BOB, message).subject == "점심"
