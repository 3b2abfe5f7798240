"""What tests of faults share: to put on and heal as users do, and what servers made of a mail."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from harness import LAB, arrived, run_lab, until

from lab.engine.lab import Lab
from lab.faults import journal
from lab.observe import maillog
from lab.observe.maillog import Attempt
from lab.seats.user import Sent
from lab.services import dovecot
from lab.services.dovecot import StoredMessage


@contextmanager
def struck(lab: Lab, name: str, target: str, *told: str) -> Iterator[str]:
    """A fault is on in the block, though whoever put it on is dead (SIGKILL): its number.

    It is healed by yet another process.
    """
    argv = [*LAB, "--lab", lab.name, "fault", "apply", name, target, "--for", "900h", *told]
    tool = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert tool.stdout and tool.stderr
        said = tool.stdout.readline()
        assert ": " in said, tool.stderr.read()
    finally:
        tool.kill()
        tool.communicate()
    id = said.partition(":")[0]
    (case,) = [one for one in journal.cases(lab) if one.id == id]
    assert case.fault.verify(lab, id)
    try:
        yield id
    finally:
        healed = run_lab(lab.name, "fault", "heal", id)
    assert healed.returncode == 0, healed.stderr
    assert all(one.id != id for one in journal.cases(lab))


def attempts(lab: Lab, sent: Sent) -> list[Attempt]:
    """The attempts to pass a message on from where it was handed in."""
    return maillog.attempts(maillog.read(lab, sent.server), sent.queue_id)


def attempt(lab: Lab, sent: Sent, status: str = "") -> Attempt:
    """The first of them, or the first that ended in `status`; waited for."""
    return until(
        f"{sent.queue_id} is {status or 'tried'}",
        lambda: next((one for one in attempts(lab, sent) if status in ("", one.status)), None),
    )


def returned(lab: Lab, sender: str, sent: Sent) -> StoredMessage:
    """The report that came back about a message, in its sender's mailbox; waited for."""

    def look() -> StoredMessage | None:
        for one in dovecot.mailbox(lab, sender):
            if "MAILER-DAEMON" not in one.sender:
                continue
            if sent.message_id.encode() in dovecot.message(lab, sender, one.folder, one.uid):
                return one
        return None

    return until(f"{sender} is told about {sent.message_id}", look)


def dig(lab: Lab, name: str, kind: str = "MX", node: str = "sender-pc") -> str:
    """What dig prints on `node`, asking once and waiting a second."""
    return lab.run(node, ["dig", "+time=1", "+tries=1", kind, name]).text


def not_there(lab: Lab, address: str, sent: Sent) -> bool:
    """Whether a message is in no folder of a mailbox now."""
    return not arrived(lab, address, sent.message_id)
