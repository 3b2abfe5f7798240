"""A closed lab: its servers are nobody's relay, and a seat opens with its key alone."""

from __future__ import annotations

import base64
import re

from harness import ALICE, BOB, say, until
from outside import everyone

from lab.engine.client import in_parallel
from lab.engine.lab import Lab
from lab.services import postfix

SERVERS = {"sender-mail": (ALICE, BOB), "receiver-mail": (BOB, ALICE)}

# --- Relaying -----------------------------------------------------------------------------------

# Ways to write "foreign@away" so that a careless server takes it for its own, or for nobody's.
# As many as Postfix lets pass in one call before it slows down (smtpd_soft_error_limit).
WAYS = (
    (
        "{user}@{away}",
        "{user}%{away}@{home}",
        '"{user}@{away}"@{home}',
        '"{user}@{away}"',
        "@{home}:{user}@{away}",
        "@a.example,@{home}:{user}@{away}",
        "{away}!{user}",
        "{away}!{user}@{home}",
    ),
    (
        "{user}@{away}@{home}",
        "{user}@[{address}]",
        "{user}%{away}",
        "{user}%{away}@[127.0.0.1]",
        "postmaster%{away}@{home}",
        "{user}@{away}.",
        "{home}!{away}!{user}@mail.{home}",
        "{user}%{away}@localhost",
    ),
)
STRANGERS = ("", "mallory@nowhere.example", "postmaster@{home}", "{own}")


def relayed(lab: Lab, node: str, server: str, ways: tuple[str, ...], sender: str) -> list[str]:
    """What `server` takes of `node` for people elsewhere; and it must take what is for its own."""
    own, foreign = SERVERS[server]
    user, _, away = foreign.partition("@")
    home = own.partition("@")[2]
    address = lab.plan.site.address("sender-mail" if server == "receiver-mail" else "receiver-mail")
    words = {"user": user, "away": away, "home": home, "address": address, "own": own}
    to = [way.format(**words) for way in ways]
    lines = [
        "HELO localhost",
        f"MAIL FROM:<{sender.format(**words)}>",
        *(f"RCPT TO:<{recipient}>" for recipient in to),
        "DATA",
        f"RCPT TO:<{own}>",
        "QUIT",
    ]
    _, helo, mail, *replies, data, control, _ = say(
        lab, node, lab.plan.site.address(server), 25, *lines
    )
    assert (helo[:3], mail[:3], data[:3], control[:3]) == ("250", "250", "554", "250"), node
    return [way for way, reply in zip(to, replies, strict=True) if reply[0] != "5"]


def test_no_server_relays_for_anybody_on_port_25(lab: Lab) -> None:
    calls = [
        (lab, node, server, ways, sender)
        for node in lab.plan.nodes
        for server in SERVERS
        for number, ways in enumerate(WAYS)
        for sender in STRANGERS[number::2]
    ]
    taken = in_parallel(lambda call: relayed(*call), calls)
    assert [call[1:] for call, ways in zip(calls, taken, strict=True) if ways] == []
    assert [postfix.queue(lab, server) for server in SERVERS] == [[], []]
    # On the server itself it is another matter: that is its administrator.
    own = say(
        *(lab, "sender-mail", "127.0.0.1", 25),
        *("HELO localhost", "MAIL FROM:<>", f"RCPT TO:<{BOB}>", "QUIT"),
    )
    assert own[3].startswith("250 ")


def test_no_stranger_passes_for_somebody_nearer(lab: Lab) -> None:
    """XCLIENT (Postfix) claims another client; AUTH is for port 587."""
    _, *replies = say(
        lab,
        "receiver-pc",
        "mail.sender.example",
        25,
        *("EHLO localhost", "XCLIENT ADDR=127.0.0.1", "XFORWARD ADDR=127.0.0.1", "AUTH PLAIN AA=="),
        *(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>"),
    )
    assert [reply[:3] for reply in replies] == ["250", "550", "550", "503", "250", "554"]


def test_port_587_takes_nothing_without_a_login(lab: Lab) -> None:
    def submit(pair: tuple[str, str]) -> list[str]:
        node, server = pair
        own, foreign = SERVERS[server]
        lines = ("EHLO localhost", f"MAIL FROM:<{own}>", f"RCPT TO:<{foreign}>", f"RCPT TO:<{own}>")
        return say(lab, node, lab.plan.site.address(server), 587, *lines, "DATA", "QUIT")

    pairs = [(node, server) for node in lab.plan.nodes for server in SERVERS]
    for pair, replies in zip(pairs, in_parallel(submit, pairs), strict=True):
        codes = [reply[:3] for reply in replies]
        assert codes == ["220", "250", "250", "554", "554", "554", "221"], pair


def test_who_has_logged_in_writes_under_no_foreign_address(lab: Lab) -> None:
    login = base64.b64encode(f"\0{ALICE}\0wonderland".encode()).decode()
    foreign = (BOB, "mallory@nowhere.example", "carol@sender.example", "alice@receiver.example")
    attempts = [
        line
        for sender in (*foreign, ALICE)
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{BOB}>", "RSET")
    ]
    _, _, welcome, *replies = say(
        lab, "sender-pc", "mail.sender.example", 587, "EHLO pc", f"AUTH PLAIN {login}", *attempts
    )
    assert welcome[:3] == "235"
    assert [reply[:3] for reply in replies[1::3]] == ["553"] * len(foreign) + ["250"]


# --- Seats --------------------------------------------------------------------------------------

# ssh(1) to the sshd of the same machine, which reads and writes a pipe: nothing has to listen.
SSH = """
    cd /run && rm -rf seat && mkdir seat && cd seat
    ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f key
    echo 'printf "%s\\n" "$SECRET"' > ask && chmod 700 ask
    [ -z "$KEY" ] || { mkdir -p /home/alice/.ssh && cp key.pub /home/alice/.ssh/authorized_keys; }
    for user; do
        SECRET=wonderland SSH_ASKPASS=./ask SSH_ASKPASS_REQUIRE=force setsid ssh \\
            -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \\
            -o 'ProxyCommand=/usr/sbin/sshd -i -h /run/seat/host' -i key "$user@pc" id -un 2>&1
    done
    rm -rf /home/alice/.ssh /run/seat
"""


def seated(lab: Lab, *users: str, key: str) -> list[str]:
    """What ssh says to each of the users, who have a password and, if `key`, alice's key."""
    done = lab.run("sender-pc", ["env", f"KEY={key}", "bash", "-c", SSH, "bash", *users])
    return done.text.splitlines()


def test_a_seat_opens_with_its_key_and_nothing_else(lab: Lab) -> None:
    users = ("alice", "carol", "root", "nobody")
    refused = [f"{user}@pc: Permission denied (publickey)." for user in users]
    assert seated(lab, *users, key="") == refused
    assert seated(lab, *users, key="yes") == ["alice", *refused[1:]]


def test_sshd_does_not_run_and_has_no_key_to_run_with(lab: Lab) -> None:
    def running(node: str) -> bool:
        return b"sshd" in lab.run(node, ["ps", "-e", "-o", "args"]).check("ps").stdout

    for node in ("sender-pc", "receiver-pc"):
        until("whoever sat there last has gone", lambda node=node: not running(node))
        refused = lab.run(node, ["/usr/sbin/sshd", "-t"]).stderr
        assert refused == b"sshd: no hostkeys available -- exiting.\r\n"
        done = lab.run(node, ["/usr/sbin/sshd", "-i"])
        assert (done.status, done.stdout) == (1, b"")
        assert not running(node)


def with_password(shadow: str) -> list[str]:
    """The accounts of shadow(5) that a password opens, be it an empty one."""
    accounts = [line.split(":") for line in shadow.splitlines()]
    return [name for name, password, *_ in accounts if password[:1] not in ("*", "!")]


def test_no_account_of_any_machine_has_a_password(lab: Lab) -> None:
    assert with_password("eve::1:::::\nmallory:$y$j9T$x:1:::::\nbob:*:1:::::\n") == [
        "eve",
        "mallory",
    ]
    for node in everyone(lab):
        shadow = lab.run(node, ["cat", "/etc/shadow"]).check("cat").text
        assert shadow.startswith("root:") and with_password(shadow) == [], node


def test_what_is_in_a_home_is_its_owners(lab: Lab) -> None:
    look = ["sh", "-c", "find /home/*/ -type f -printf '%m %u %p\\n'"]
    files = lab.run("sender-pc", look).check("find").text.splitlines()
    assert len(files) >= 6
    assert [line for line in files if not re.match(r"600 (\w+) /home/\1/", line)] == []
    read = ["cat", "/home/carol/.netrc"]
    assert lab.run("sender-pc", read, user="alice").status == 1
    assert lab.run("sender-pc", read, user="carol").status == 0
