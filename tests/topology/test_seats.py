"""Seats: SSH to somebody at a PC, and connections that start there, with nothing that listens."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import ALICE, BOB, LAB, delivered, removed_afterwards, run_lab, textbook, until
from outside import recorded

from lab.engine.exec import STDOUT
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.errors import LabError, NodeFailed
from lab.faults.power import node_frozen, power_cut
from lab.observe.pcap import read_frames
from lab.seats.forward import Wanted, forwarding
from lab.seats.keys import Keys, keys
from lab.seats.seat import Seat, find
from lab.seats.ssh import Connection, NotReached, connect

PC = "receiver-pc"


def seat(lab: Lab, said: str = "bob") -> Seat:
    return find(lab.plan.topology, said)


@pytest.fixture
def bob(whole: Lab) -> Iterator[Connection]:
    with connect(whole, seat(whole)) as seated:
        yield seated


def seated(lab: Lab) -> bool:
    """Whether an sshd runs on Bob's PC."""
    return b"sshd" in lab.run(PC, ["ps", "-e", "-o", "args"]).check("ps").stdout


def hello(host: str, port: int) -> tuple[str, str]:
    """What a server at host:port greets with, and its goodbye."""
    with socket.create_connection((host, port), timeout=10) as line:
        said = line.recv(1000).decode()
        line.sendall(b"QUIT\r\n")
        return said, line.recv(1000).decode()


# --- Programs -------------------------------------------------------------------------------------


def test_a_program_runs_as_whoever_sits_there(bob: Connection) -> None:
    done = bob.run(["sh", "-c", "id -un; hostname; pwd; echo $LANG; echo oh >&2; exit 7"])
    assert done.text.splitlines() == ["bob", PC, "/home/bob", "C.UTF-8"]
    assert (done.status, done.stderr) == (7, b"oh\n")


def test_what_is_asked_for_is_run_as_it_is(bob: Connection) -> None:
    words = ["two words", "$HOME", "a'b", "", "*", "한글"]
    assert bob.run(["printf", r"%s\n", *words]).text.splitlines() == words


def test_bytes_pass_through_unchanged(bob: Connection) -> None:
    data = os.urandom(3_000_000)
    done = bob.run(["cat"], stdin=data)
    assert (done.status, done.stdout) == (0, data)
    # One that does not read what it is given is not waited for.
    assert bob.run(["true"], stdin=data).status == 0


def test_programs_run_side_by_side(bob: Connection) -> None:
    with contextlib.ExitStack() as stack:
        cats = [stack.enter_context(bob.program(["cat"])) for _ in range(8)]
        for number, cat in enumerate(cats):
            cat.write(str(number).encode())
        for cat in reversed(cats):
            cat.close_stdin()
        assert [b"".join(data for _, data in cat.frames()) for cat in cats] == [
            str(number).encode() for number in range(8)
        ]
        assert [cat.status() for cat in cats] == [0] * 8


def test_whoever_leaves_off_listening_misses_nothing(bob: Connection) -> None:
    with bob.program(["cat"]) as cat:
        for number in range(50):
            cat.write(b"%d" % number)
            assert next(cat.frames()) == (STDOUT, b"%d" % number)


def test_nothing_is_left_of_a_seat(whole: Lab) -> None:
    with connect(whole, seat(whole)) as seated_, seated_.program(["sleep", "1000"]):
        assert seated(whole)
    until("sshd has gone", lambda: not seated(whole))
    processes = ["ps", "-e", "-o", "args"]
    until("nor what ran there", lambda: b"sleep 1000" not in whole.run(PC, processes).stdout)


def test_who_sits_there_has_what_they_need(bob: Connection) -> None:
    for tool in ("mutt", "swaks", "nc", "tcpdump", "curl", "dig", "mpop", "nano", "rsync"):
        assert bob.run(["sh", "-c", f"command -v {tool}"]).status == 0, tool
    heard = bob.run(
        ["sh", "-c", "timeout 5 tcpdump -n -c 1 icmp & sleep 0.5; ping -c 3 mail.receiver.example"]
    )
    assert "1 packet captured" in heard.stderr.decode(), "without being root"


# --- Who gets in ----------------------------------------------------------------------------------


def refused(lab: Lab, found: Keys, who: Seat, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("lab.seats.ssh.keys", lambda lab: found)
    with pytest.raises(LabError) as caught, connect(lab, who):
        pass
    return str(caught.value)


def test_a_seat_opens_with_the_labs_key_alone(whole: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.seats import keys as module

    ours, strange = keys(whole), module._made()
    other = Keys(strange.user, ours.user_public, ours.host, ours.host_public)
    assert "does not open" in refused(whole, other, seat(whole), monkeypatch)
    root = Seat("root", PC, "")
    assert "does not open" in refused(whole, ours, root, monkeypatch)
    nobody = Seat("nobody", PC, "")
    assert "does not open" in refused(whole, ours, nobody, monkeypatch)


def test_a_machine_that_is_not_the_labs_is_not_trusted(
    whole: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.seats import keys as module

    ours, strange = keys(whole), module._made()
    other = Keys(ours.user, ours.user_public, ours.host, strange.host_public)
    assert "does not open" in refused(whole, other, seat(whole), monkeypatch)


def test_keys_are_the_labs_own_and_stay(whole: Lab, name: str) -> None:
    with removed_afterwards(name):
        other = up(textbook(name))
        assert keys(other) != keys(whole) == keys(Lab.attach(whole.name))
        with connect(other, seat(other)) as there, connect(whole, seat(whole)) as here:
            assert there.run(["id", "-un"]).text == here.run(["id", "-un"]).text == "bob\n"


def test_it_opens_again_whatever_root_has_done_to_its_keys(whole: Lab) -> None:
    whole.run(PC, ["rm", "-rf", "/lab/seat"]).check("rm")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    whole.run(PC, ["sh", "-c", "cd /lab/seat; echo > host_key; ln -sf /etc/passwd people/bob"])
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    assert whole.run(PC, ["head", "-n1", "/etc/passwd"]).text.startswith("root:")


@pytest.mark.parametrize(
    "done",
    [
        "chmod 666 host_key",
        "chown bob people/bob",
        "rm host_key; mkfifo host_key",
        "truncate -s 1T people/bob",
    ],
)
def test_it_opens_again_whatever_is_wrong_with_a_key(whole: Lab, done: str) -> None:
    with connect(whole, seat(whole)):
        pass
    whole.run(PC, ["sh", "-c", f"cd /lab/seat && {done}"]).check(done)
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


@pytest.mark.parametrize(
    "done", ["rm host_key && mkdir host_key", "rm -r people && ln -s / people"]
)
def test_what_is_in_the_way_is_told_and_nothing_follows_it(whole: Lab, done: str) -> None:
    whole.run(PC, ["sh", "-c", f"mkdir -p /lab/seat/people && cd /lab/seat && {done}"])
    with (
        pytest.raises(LabError, match="its root has changed /lab/seat") as caught,
        connect(whole, seat(whole)),
    ):
        pass
    assert caught.value.hint == f"lab exec {PC} -- rm -r /lab/seat"
    whole.run(PC, ["rm", "-r", "/lab/seat"]).check("rm")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


@pytest.mark.parametrize("babble", ["yes >&2", "yes | tr -d '\\n'"])
def test_one_that_only_talks_in_sshds_place_is_given_up(
    whole: Lab, babble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.seats.ssh._OPEN_SECONDS", 1.0)
    monkeypatch.setattr("lab.seats.ssh.SSHD", ("sh", "-c", babble))
    try:
        with pytest.raises(LabError, match="does not open"), connect(whole, seat(whole)):
            pass
    finally:
        whole.run(PC, ["sh", "-c", "kill -9 $(pidof yes)"])  # the engine would hear it out


def test_a_machine_that_is_off_or_frozen_has_no_seats(whole: Lab) -> None:
    with (
        whole.outage(power_cut(PC)),
        pytest.raises(NodeFailed, match="is off"),
        connect(whole, seat(whole)),
    ):
        pass
    with (
        whole.outage(node_frozen(PC)),
        pytest.raises(NodeFailed, match="is frozen"),
        connect(whole, seat(whole)),
    ):
        pass
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0


def test_a_seat_whose_machine_loses_power_is_gone(whole: Lab) -> None:
    with (
        pytest.raises(LabError, match="is gone"),
        connect(whole, seat(whole)) as there,
        whole.outage(power_cut(PC)),
    ):
        until("that is noticed", lambda: not there.alive)
        there.run(["true"])


# --- Connections ----------------------------------------------------------------------------------


def test_a_connection_starts_at_the_seat_and_crosses_its_cable(whole: Lab, bob: Connection) -> None:
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 110)]) as (port,),
        socket.create_connection(("127.0.0.1", port.port), timeout=10) as line,
    ):
        marker = f"marker{port.port}"
        assert line.recv(100).startswith(b"+OK")
        line.sendall(f"USER {marker}\r\n".encode())
        assert line.recv(100)
    frames = read_frames_of(recorded(whole, "receiver-lan"))
    (said,) = [frame for frame in frames if marker.encode() in frame]
    assert said[26:30] == bytes([203, 0, 113, 10]), "from Bob's PC"
    assert said[30:34] == bytes([203, 0, 113, 25])


def test_to_sit_down_leaves_nothing_on_the_wires(whole: Lab) -> None:
    before = len(recorded(whole, "receiver-lan"))
    with terminal(whole, "ssh", "bob") as said:
        said("exit\r", "logout")
    with connect(whole, seat(whole)) as there:
        assert there.run(["true"]).status == 0
    new = recorded(whole, "receiver-lan")[before:]
    assert b"UNKNOWN" not in new.upper(), "sshd asks for nobody's name"


def read_frames_of(octets: bytes) -> list[bytes]:
    import io

    return [bytes(frame.data) for frame in read_frames(io.BytesIO(octets))]


def test_each_side_may_end_first(bob: Connection) -> None:
    with (
        bob.program(["sh", "-c", "echo | nc -l -N 127.0.0.1 9100 & nc -l 127.0.0.1 9101"]) as nc,
        forwarding(bob, [Wanted(0, "127.0.0.1", 9100), Wanted(0, "127.0.0.1", 9101)]) as two,
    ):
        with until("nc listens", lambda: _connected(two[0].port)) as line:
            assert line.recv(10) == b"\n"
            assert line.recv(10) == b"", "it has said all"
        with until("nc listens", lambda: _connected(two[1].port)) as line:
            line.sendall(b"that is all")
            line.shutdown(socket.SHUT_WR)
            assert next(nc.frames())[1] == b"that is all"
            assert line.recv(10) == b""


def _connected(port: int) -> socket.socket | None:
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    line.settimeout(0.3)
    try:
        if line.recv(1, socket.MSG_PEEK):
            line.settimeout(10)
            return line
    except TimeoutError:  # it is there, and says nothing
        line.settimeout(10)
        return line
    except OSError:
        pass
    line.close()
    return None


def test_where_nobody_listens_that_is_told(bob: Connection) -> None:
    with pytest.raises(
        NotReached, match=r"mail\.receiver\.example:81 can't be reached: Connection refused$"
    ):
        bob.dial("mail.receiver.example", 81)
    with pytest.raises(NotReached, match=r"nowhere\.example:25 can't be reached: Name or service"):
        bob.dial("nowhere.example", 25)
    told: list[str] = []
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 81)], told.append) as (port,),
        socket.create_connection(("127.0.0.1", port.port), timeout=10) as line,
    ):
        assert line.recv(10) == b""
    assert len(told) == 1 and "mail.receiver.example:81" in told[0]


def test_a_port_is_open_on_this_machine_alone_and_closed_afterwards(bob: Connection) -> None:
    with forwarding(bob, [Wanted(0, "mail.receiver.example", 25)]) as (port,):
        assert port.listener.getsockname()[0] == "127.0.0.1"
        said, bye = hello("127.0.0.1", port.port)
        assert said.startswith("220 mail.receiver.example") and bye.startswith("221")
        with (
            pytest.raises(LabError, match=f"port {port.port} of this machine can't be opened"),
            forwarding(bob, [Wanted(0), Wanted(port.port)]),
        ):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.port), timeout=10)


def test_many_callers_at_once(bob: Connection) -> None:
    with (
        forwarding(bob, [Wanted(0, "mail.receiver.example", 110)]) as (port,),
        contextlib.ExitStack() as stack,
    ):
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=20))
            for _ in range(30)
        ]
        assert all(line.recv(100).startswith(b"+OK") for line in lines)


# --- As it is typed -------------------------------------------------------------------------------


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


@contextmanager
def terminal(lab: Lab, *words: str) -> Iterator[object]:
    """The command on a terminal of 33 rows and 101 columns: say something, wait for an answer."""
    import fcntl
    import struct
    import termios

    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        os.execv(LAB[0], [*LAB, "--lab", lab.name, *words])
    heard = bytearray()

    def wait_for(what: str) -> None:
        deadline = time.monotonic() + 30
        while what.encode() not in heard:
            ready, _, _ = select.select([master], [], [], deadline - time.monotonic())
            assert ready, heard.decode(errors="replace")
            try:
                heard.extend(os.read(master, 9999))
            except OSError as error:  # the other end has closed
                raise AssertionError(heard.decode(errors="replace")) from error

    def say(line: str, until_: str) -> str:
        wait_for("$ ")
        os.write(master, line.encode())
        wait_for(until_)
        return heard.decode()

    try:
        yield say
    finally:
        os.close(master)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)


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
