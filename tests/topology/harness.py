"""What the tests on a running lab share: waiting, the command line, and mail from end to end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from lab.engine import containers
from lab.engine.containers import Container
from lab.engine.lab import Lab
from lab.engine.lifecycle import down
from lab.engine.plan import Plan, plan
from lab.seats.user import Sent, UserAgent
from lab.services import dovecot
from lab.services.dovecot import StoredMessage
from lab.topology.loader import load

LAB = (sys.executable, "-m", "lab")
SCALE = 600.0  # the textbook's half hour between two tries lasts 3 seconds
BOB = "bob@receiver.example"
ALICE = "alice@sender.example"

_T = TypeVar("_T")


def until(what: str, look: Callable[[], _T | None], seconds: float = 30) -> _T:
    """What `look` returns once that is true; fails if it takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(pause)
        # Most looks are programs started in a machine: they keep it from what is waited for.
        pause = min(1.5 * pause, 0.25)
    return found


def new_name() -> str:
    """A name that no lab has."""
    return f"test-{uuid4().hex[:8]}"


def textbook(name: str) -> Plan:
    """The textbook's picture as a lab called `name`, its clock fast."""
    return plan(load("textbook"), name, SCALE)


@contextmanager
def removed_afterwards(name: str) -> Iterator[str]:
    """Whatever becomes of the lab `name` in the block, none is there afterwards."""
    try:
        yield name
    finally:
        down(name)


def run_lab(name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The `lab` command on the lab `name`, as a user runs it."""
    return subprocess.run(
        [*LAB, "--lab", name, *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def as_json(lab: Lab, *arguments: str) -> Any:
    """What `lab ... --json` prints."""
    done = run_lab(lab.name, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def of(expected: Mapping[str, object], found: Mapping[str, object]) -> dict[str, object]:
    """What `found` has under the keys of `expected`, and no more."""
    return {key: found[key] for key in expected}


# --- Machines ---------------------------------------------------------------------------------


def made(lab: Lab | str) -> dict[str, Container]:
    """The containers of a lab, by node, as the engine lists them."""
    name = lab if isinstance(lab, str) else lab.name
    return {container.node: container for container in containers.find(name)}


def is_whole(lab: Lab) -> bool:
    """Whether `lab status` has nothing to complain of."""
    state = lab.state()
    return (
        all(node["state"] == "ready" for node in state["nodes"])
        and all(link["state"] == "up" for link in state["links"])
        and not state["faults"]
    )


def processes_of(identities: set[str], program: str | None = None) -> list[int]:
    """The processes of this machine that belong to one of these containers (by cgroup).

    Only those of `program` (its name, up to 15 letters), if given.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            group = (folder / "cgroup").read_text()
            if any(identity in group for identity in identities) and (
                program in (None, (folder / "comm").read_text().strip())
            ):
                found.append(int(folder.name))
    return found


def lock_files(name: str) -> list[Path]:
    """The lock files of a lab, its scenario's too."""
    import tempfile

    return list(Path(tempfile.gettempdir()).glob(f"maillab-{os.getuid()}-{name}*.lock"))


def nothing_left(name: str) -> bool:
    """Whether neither a container nor a lock file of a lab is there."""
    return not made(name) and not lock_files(name)


# --- Mail -------------------------------------------------------------------------------------


def send(lab: Lab, sender: str, to: str | tuple[str, ...], subject: str = "Lunch?") -> Sent:
    """`sender` writes from their PC."""
    return UserAgent(lab, sender).send(to, subject, f"{subject} {uuid4().hex}\n")


def arrived(lab: Lab, address: str, message_id: str) -> list[StoredMessage]:
    """The copies of a message in a mailbox, as its server has them now."""
    return [one for one in dovecot.mailbox(lab, address) if one.message_id == message_id]


def delivered(lab: Lab, address: str, sent: Sent | str) -> StoredMessage:
    """The one copy of a message in a mailbox, waited for."""
    message_id = sent if isinstance(sent, str) else sent.message_id
    found = until(
        f"{message_id} is in the mailbox of {address}", lambda: arrived(lab, address, message_id)
    )
    assert len(found) == 1
    return found[0]


def mail_works(lab: Lab) -> None:
    """Alice and Bob write to each other, and Bob reads his at his PC."""
    there, back = send(lab, ALICE, BOB), send(lab, BOB, ALICE)
    read = delivered(lab, BOB, there).uid
    delivered(lab, ALICE, back)
    fetched = curl(lab, "receiver-pc", "bob", f"imap://mail.receiver.example/INBOX/;UID={read}")
    assert there.message_id.encode() in fetched


def curl(lab: Lab, node: str, user: str, url: str, *more: str) -> bytes:
    """What curl fetches for `user` at their PC, with the password that is kept there."""
    argv = ["curl", "-sS", "--netrc-file", f"/home/{user}/.netrc", *more, url]
    return lab.run(node, argv, user=user).check(f"curl {url}").stdout


def parsed(content: bytes) -> EmailMessage:
    """A stored message, taken apart."""
    return cast(EmailMessage, BytesParser(policy=policy.default).parsebytes(content))


def body_of(content: bytes) -> str:
    """The text of a stored message, its transfer encoding undone, lines ended by \\n."""
    part = parsed(content).get_body()
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def say(lab: Lab, node: str, host: str, port: int, *lines: str) -> list[str]:
    """A conversation with a mail server by hand from `node`: its replies, one for each line.

    The first is its greeting. Of a reply of several lines, the last.
    """
    # A PC has no Python: bash's own /dev/tcp speaks.
    talk = r"""
        exec 3<>"/dev/tcp/$0/$1" || exit; shift
        reply() { while IFS= read -r line <&3; do case $line in
            [0-9][0-9][0-9]-*) ;; *) echo "${line%$'\r'}"; return;; esac; done; }
        reply
        for said; do printf '%s\r\n' "$said" >&3; reply; done
    """
    done = lab.run(node, ["bash", "-c", talk, host, str(port), *lines])
    return done.check(f"talking to {host}:{port}").text.splitlines()
