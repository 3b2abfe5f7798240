"""Seats as they are typed: lab ssh, ssh-config, forward; at an engine that is elsewhere too."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import ALICE, BOB, LAB, delivered, removed_afterwards, run_lab, textbook, until
from sitting import PC, hello, seated, terminal

from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.faults.power import power_cut


def test_lab_ssh_runs_a_program(whole: Lab) -> None:
    done = run_lab(whole.name, "ssh", "bob", "--", "sh", "-c", "cat; exit 3", stdin="한글\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "한글\n", "")
    done = run_lab(whole.name, "ssh", "eve@receiver-pc")
    assert done.returncode == 2
    assert done.stderr.startswith("lab: there is no seat 'eve@receiver-pc'\n  → one of: alice@")


def test_lab_ssh_whose_machine_loses_power_says_so(whole: Lab) -> None:
    argv = [*LAB, "--lab", whole.name, "ssh", "bob", "--", "sh", "-c", "echo there; sleep 1000"]
    tool = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert tool.stdout and tool.stdout.readline() == "there\n"
    with whole.outage(power_cut(PC)):
        _, said = tool.communicate(timeout=30)
    assert (tool.returncode, said) == (3, "lab: receiver-pc has gone\n  → lab status\n")


def test_lab_ssh_is_a_terminal_with_a_hint_or_two(whole: Lab) -> None:
    with terminal(whole, "ssh", "bob") as said:
        text = said("tty; stty size; exit 5\r", "logout")
        assert "/dev/pts/" in text and "33 101" in text
        assert "You sit at pc.receiver.example" in text and "swaks --to alice@" in text
        assert "bob@receiver-pc:" in text


@pytest.fixture
def config(whole: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file for `ssh -F`."""
    if shutil.which("ssh") is None:
        pytest.skip("needs an SSH client on this machine (openssh-client)")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "lab.ssh"
    done = run_lab(whole.name, "ssh-config")
    assert done.returncode == 0, done.stderr
    file.write_text(done.stdout)
    return file


def ran(*argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)


def test_the_users_own_ssh_scp_and_rsync(whole: Lab, config: Path, tmp_path: Path) -> None:
    host = f"bob.{whole.name}"
    done = ran("ssh", "-F", str(config), host, "id -un; cat; exit 4", stdin=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"bob\nin\n", b"")
    done = ran("ssh", "-F", str(config), f"dave@{PC}.{whole.name}", "id -un")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"dave\n", b"")
    data = tmp_path / "data"
    data.write_bytes(os.urandom(500_000))
    done = ran("scp", "-F", str(config), str(data), f"{host}:copy")
    assert done.returncode == 0, done.stderr
    done = ran("scp", "-F", str(config), f"{host}:copy", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == data.read_bytes()
    if shutil.which("rsync"):
        done = ran("rsync", "-e", f"ssh -F {config}", f"{host}:copy", str(tmp_path / "again"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "again").read_bytes() == data.read_bytes()


def test_nothing_leads_from_the_lab_to_whoever_sits_in_it(whole: Lab, config: Path) -> None:
    wanted = ("-R", "2525:127.0.0.1:22"), ("-A",), ("-X",)
    for options in wanted:
        command = "ss -Htln; echo $SSH_AUTH_SOCK $DISPLAY"
        done = ran("ssh", "-F", str(config), *options, f"bob.{whole.name}", command)
        assert done.stdout.strip() == b"", options
    strict = ("-o", "ExitOnForwardFailure=yes", "-R", "2525:127.0.0.1:22")
    assert ran("ssh", "-F", str(config), *strict, f"bob.{whole.name}", "true").returncode == 255


def test_the_configuration_stays_good_when_the_lab_is_new(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with removed_afterwards(name):
        up(textbook(name))
        config = tmp_path / "lab.ssh"
        config.write_text(run_lab(name, "ssh-config").stdout)
        for _ in range(2):
            done = ran("ssh", "-F", str(config), f"bob.{name}", "id -un")
            assert (done.returncode, done.stdout, done.stderr) == (0, b"bob\n", b"")
            assert (tmp_path / "maillab" / name / "key").exists()
            assert run_lab(name, "down").returncode == 0
            assert not (tmp_path / "maillab" / name).exists()
            up(textbook(name))


@contextmanager
def forward(lab: Lab, *words: str) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    """`lab forward` runs while the block does: its ports, and it."""
    argv = [*LAB, "--lab", lab.name, "forward", *words]
    tool = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert tool.stdout and tool.stderr
        ports = []
        for _ in range(sum(":" in word or word == "--socks" for word in words)):
            line = tool.stdout.readline()
            assert line.startswith("127.0.0.1:"), tool.stderr.read()
            ports.append(int(line.split()[0].partition(":")[2]))
        yield ports, tool
    finally:
        tool.kill()
        tool.communicate()


def test_lab_forward_until_ctrl_c(whole: Lab) -> None:
    with forward(whole, "mail.receiver.example:25", "sender-mail:25") as (ports, tool):
        assert [hello("127.0.0.1", port)[0].split()[1] for port in ports] == [
            "mail.receiver.example",
            "mail.sender.example",
        ]
        tool.send_signal(signal.SIGINT)
        assert tool.wait(10) == 130
    until("sshd has gone", lambda: not seated(whole))


def test_lab_forward_that_is_killed_leaves_nothing(whole: Lab) -> None:
    with forward(whole, "mail.receiver.example:25") as (ports, tool):
        hello("127.0.0.1", ports[0])
        tool.kill()
        tool.wait(10)
    until("sshd has gone", lambda: not seated(whole))


def test_lab_forward_ends_when_the_machine_does(whole: Lab) -> None:
    with (
        forward(whole, "--seat", "bob", "sender-mail:25") as (_, tool),
        whole.outage(power_cut(PC)),
    ):
        _, said = tool.communicate(timeout=30)
    assert said == "Ctrl-C ends it\nlab: receiver-pc has gone\n  → lab status\n"
    assert tool.returncode == 3


def test_mail_by_way_of_a_seat_arrives(whole: Lab) -> None:
    import smtplib
    from email.message import EmailMessage

    with forward(whole, "--seat", "alice", "sender-mail:587") as ((port,), _):
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = ALICE, BOB, "From outside"
        message["Message-ID"] = f"<{os.urandom(6).hex()}@outside.example>"
        message.set_content("Hello")
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
            server.login(ALICE, "wonderland")
            server.send_message(message)
    stored = delivered(whole, BOB, str(message["Message-ID"]))
    assert stored.subject == "From outside"


def test_a_proxy_for_whatever_speaks_socks(whole: Lab) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl on this machine")
    with forward(whole, "--seat", "dave", "--socks", "0") as ((port,), _):
        proxy = ["curl", "-sS", "--socks5-hostname", f"127.0.0.1:{port}", "--max-time", "20"]
        login = ["--user", f"{BOB}:builder"]
        done = ran(*proxy, *login, "imap://mail.receiver.example/", "-X", "STATUS INBOX (MESSAGES)")
        assert re.search(rb"STATUS INBOX \(MESSAGES \d+\)", done.stdout), done.stderr
        done = ran(*proxy, "http://nowhere.example/")
        assert done.returncode != 0


def test_bad_ports_and_seats_are_refused_before_anything_is_done(whole: Lab) -> None:
    for words, told in (
        (["80"], "lab: '80' is not [PORT:]HOST:PORT\n"),
        (["--seat", "eve", "a:80"], "lab: there is no seat 'eve'\n"),
        ([], "which port? 8080:mail.receiver.example:80, say, or --socks 1080"),
    ):
        done = run_lab(whole.name, "forward", *words)
        assert done.returncode == 2 and told in done.stderr, done.stderr


@contextmanager
def engine_by_tcp() -> Iterator[str]:
    """The engine as one on another machine is reached: what to set DOCKER_HOST to."""
    path = "/var/run/docker.sock"
    if "DOCKER_HOST" in os.environ or not Path(path).is_socket():
        pytest.skip(f"needs an engine that listens at {path}")

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(path)
                there = threading.Thread(target=pour, args=(self.request, engine))
                there.start()
                pour(engine, self.request)
                there.join()

    def pour(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_a_seat_at_an_engine_that_is_elsewhere(
    whole: Lab, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_by_tcp() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        done = run_lab(whole.name, "ssh", "bob", "--", "sh", "-c", "cat; exit 3", stdin="hi\n")
        assert (done.returncode, done.stdout) == (3, "hi\n")
        config.write_text(run_lab(whole.name, "ssh-config").stdout)
        monkeypatch.delenv("DOCKER_HOST")
        done = ran("ssh", "-F", str(config), f"bob.{whole.name}", "id -un")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"bob\n", b"")
        monkeypatch.setenv("DOCKER_HOST", address)
        with forward(whole, "--seat", "bob", "mail.receiver.example:110") as ((port,), _):
            assert hello("127.0.0.1", port)[0].startswith("+OK")
