"""A closed lab: passwords are in no process list and in no log, right or wrong."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness import ALICE, curl, delivered, run_lab, until
from outside import everyone, new_marker, recorded

from lab.engine import containers
from lab.engine.client import client, in_parallel
from lab.engine.exec import Exec
from lab.engine.lab import Lab
from lab.services import dovecot
from lab.topology.model import MailServer

# All that any process is started with, or has in its environment, seen again and again.
WATCH = r"""
$| = 1;
vec(my $ready = '', 0, 1) = 1;
for (;;) {
    opendir my $all, '/proc' or die;
    for my $pid (grep /^\d+$/, readdir $all) {
        next if $pid == $$;
        for my $part ('cmdline', 'environ') {
            open my $file, '<', "/proc/$pid/$part" or next;
            local $/;
            my $said = <$file>;
            next if !length $said or $seen{$said}++;
            $said =~ s/[\0\n]/ /g;
            print "$said\n";
        }
    }
    last if select my $in = $ready, undef, undef, 0.001;
}
"""


@contextmanager
def watching(lab: Lab, node: str) -> Iterator[list[str]]:
    """Look at the processes of a machine while the block runs; a line for each thing seen."""
    found: list[str] = []
    with Exec(lab.container(node), ["perl", "-e", WATCH]) as watch:
        first = next(watch.frames())[1]
        yield found
        watch.close_stdin()
        rest = b"".join(data for _, data in watch.frames())
    found += (first + rest).decode(errors="replace").splitlines()


def secrets(lab: Lab, *more: str) -> set[str]:
    """All passwords of the lab and `more`, in the ways in which they are sent (RFC 4616 too)."""
    servers = [node for node in lab.plan.topology.nodes.values() if isinstance(node, MailServer)]
    words = {user.password for node in servers for user in node.users.values()} | set(more)
    people = [f"{login}@{node.domain}" for node in servers for login in node.users]
    plain = [f"\0{person}\0{word}" for person in people for word in words]
    return words | {base64.b64encode(text.encode()).decode() for text in (*words, *plain)}


def told(secret: set[str], text: str) -> list[str]:
    return sorted(one for one in secret if one in text)


def test_no_password_is_in_a_process_list(lab: Lab) -> None:
    decoy = new_marker()
    nodes = ("sender-pc", "sender-mail")
    with contextlib.ExitStack() as stack:
        seen = {node: stack.enter_context(watching(lab, node)) for node in nodes}
        for node in nodes:
            lab.run(node, ["env", f"DECOY={decoy}", "sleep", "0.2"])
        sent = run_lab(lab.name, "send", "--from", "alice", "--to", ALICE, "--json")
        assert sent.returncode == 0, sent.stderr
        delivered(lab, ALICE, json.loads(sent.stdout)["message_id"])
        curl(lab, "sender-pc", "alice", "imap://mail.sender.example/INBOX")
        curl(lab, "sender-pc", "alice", "pop3://mail.sender.example/")
        mutt = ["mutt", "-s", decoy, ALICE]
        lab.run("sender-pc", mutt, stdin=b"Hi\n", user="alice").check("mutt")
        until("mutt's is there", lambda: decoy in str(dovecot.mailbox(lab, ALICE)))
    for node, programs in {
        "sender-pc": ("swaks --to", "curl -sS", "mutt -s", f"DECOY={decoy}"),
        "sender-mail": ("smtpd", "dovecot/imap", f"DECOY={decoy}"),
    }.items():
        text = "\n".join(seen[node])
        assert [program for program in programs if program not in text] == [], node
        assert told(secrets(lab), text) == [], node


# A service, and what curl calls the way of logging in; with + it is the protocol's own.
LOGINS = (
    ("imap://{}/", "+LOGIN"),
    *((service, way) for service in ("imap://{}/", "pop3://{}/") for way in ("LOGIN", "PLAIN")),
    *(("smtp://{}:587/", way) for way in ("LOGIN", "PLAIN")),
    ("pop3://{}/", "USER"),  # which curl takes only where there is no other
)
USER = r"""
    exec 3<>"/dev/tcp/$0/110"
    for said in "USER $1" "PASS $2"; do read -r _ <&3; printf '%s\r\n' "$said" >&3; done
    read -r reply _ <&3; [ "$reply" = +OK ]
"""


def logs_in(lab: Lab, node: str, password: str, service: str, way: str) -> bool:
    """Whether Alice's server lets her in that way."""
    host = "mail.sender.example"
    if way == "USER":
        return (
            lab.run(node, ["timeout", "20", "bash", "-c", USER, host, ALICE, password]).status == 0
        )
    settings = f'user = "{ALICE}:{password}"\nlogin-options = "AUTH={way}"\nmax-time = 20\n'
    request = ["-X", "NOOP"] if service.startswith("smtp") else []
    argv = ["curl", "-sS", "-K", "-", *request, service.format(host)]
    status = lab.run(node, argv, stdin=settings.encode()).status
    assert status in (0, 67), "67 is: login denied"
    return status == 0


def test_no_password_right_or_wrong_is_in_a_log(lab: Lab) -> None:
    wrong = new_marker()
    # The wrong ones from where nobody else logs in here: Dovecot makes the next from there wait,
    # and longer if it comes later.
    pairs = (("sender-pc", "wonderland"), ("receiver-pc", wrong))
    attempts = [(*pair, *login) for pair in pairs for login in LOGINS]
    let_in = in_parallel(lambda attempt: logs_in(lab, *attempt), attempts, threads=len(attempts))
    assert let_in == [True] * len(LOGINS) + [False] * len(LOGINS)

    secret = secrets(lab, wrong)
    sent = told(secret, recorded(lab, "receiver-lan").decode("latin-1"))
    assert len([one for one in sent if one in secret - secrets(lab)]) == 3, "by itself, and coded"
    server = lab.container("sender-mail")
    until(
        "the server has logged that somebody could not log in",
        lambda: len(re.findall("auth.* failed", containers.last_output(server, 100))) >= 4,
    )
    look = f"grep -rlF {' '.join(f'-e {one}' for one in secret)} /run /tmp /var/log /var/tmp"
    for name in everyone(lab):
        log = containers.last_output(lab.container(name), 100_000)
        assert told(secret, log) == [], name
        assert lab.run(name, ["sh", "-c", look]).text == "", name


def test_no_password_is_told_by_the_engine(lab: Lab) -> None:
    """But for the label that carries the topology, passwords and all: docs/topologies.md."""
    for name in everyone(lab):
        found = client().api.inspect_container(lab.container(name))
        label = found["Config"]["Labels"].pop(containers.LABEL_TOPOLOGY)
        assert told(secrets(lab), label), "that is where it would be seen"
        assert told(secrets(lab), json.dumps(found)) == [], name
