"""The other topologies there are: a backup MX, two receivers, queues in memory."""

from __future__ import annotations

import re

from harness import ALICE, BOB, SCALE, arrived, delivered, mail_works, run_lab, say, send, until

from lab.engine import power
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.observe import maillog
from lab.seats.user import Sent
from lab.services import dovecot, postfix
from lab.services.postfix import QueueEntry
from lab.topology.loader import load

BACKUP = "backup.receiver.example"


def stood_up(topology: str, name: str) -> Lab:
    return up(plan(load(topology), name, SCALE))


def tried(lab: Lab, node: str, times: int = 1) -> list[QueueEntry]:
    """What waits at `node`, once each message has been tried so often."""

    def waiting() -> list[QueueEntry] | None:
        found = postfix.queue(lab, node)
        return found if found and all(one.attempts >= times for one in found) else None

    return until(f"mail waits at {node}", waiting)


def reasons(lab: Lab, sent: Sent) -> str:
    """What the sender's server was told, or found out, each time it could not pass on a message."""
    found = maillog.attempts(maillog.read(lab, sent.server), sent.queue_id)
    return "\n".join(one.reason for one in found)


# --- A backup MX ------------------------------------------------------------------------------


def test_a_backup_mx_takes_over_keeps_the_mail_and_passes_it_on_once(name: str) -> None:
    lab = stood_up("backup-mx", name)
    power.off(lab, "receiver-mail")
    sent = send(lab, ALICE, BOB)
    [waiting] = tried(lab, "backup-mail", times=2)
    assert waiting.message_id == sent.message_id
    assert postfix.queue(lab, "sender-mail") == [], "it waits at the backup alone"
    power.on(lab, "receiver-mail")
    stored = delivered(lab, BOB, sent)
    until("nothing waits", lambda: not postfix.queue(lab, "backup-mail"))
    content = dovecot.message(lab, BOB, stored.folder, stored.uid).decode()
    assert re.findall(r"\bby (\S+) \(Postfix\)", content) == [
        "mail.receiver.example",
        BACKUP,
        "mail.sender.example",
    ]
    assert len(arrived(lab, BOB, sent.message_id)) == 1


def test_mail_passes_by_a_backup_that_is_not_needed_and_one_that_is_down(name: str) -> None:
    lab = stood_up("backup-mx", name)
    mail_works(lab)
    power.off(lab, "backup-mail")
    mail_works(lab)
    taken = maillog.queue_events(maillog.read(lab, "backup-mail"), "client")
    assert taken == []


def test_a_backup_refuses_whom_the_receiver_would_refuse_and_relays_for_nobody(name: str) -> None:
    lab = stood_up("backup-mx", name)
    power.off(lab, "receiver-mail")
    hello = ("EHLO pc", "MAIL FROM:<mallory@nowhere.example>")

    def answer(recipient: str) -> str:
        return say(lab, "sender-pc", BACKUP, 25, *hello, f"RCPT TO:<{recipient}>")[-1]

    unknown = "nobody@receiver.example"
    assert answer(unknown).startswith(f"550 5.1.1 <{unknown}>: Recipient address rejected")
    assert answer("bob@sub.receiver.example").startswith("550 5.1.1 ")
    for taken in (BOB, "dave@receiver.example", "postmaster@receiver.example", "postmaster"):
        assert answer(taken) == "250 2.1.5 Ok", taken
    for elsewhere in (ALICE, "bob@nowhere.example", "alice%sender.example@receiver.example"):
        assert answer(elsewhere) == f"554 5.7.1 <{elsewhere}>: Relay access denied"


def test_a_server_without_mailboxes_listens_at_port_25_alone(name: str) -> None:
    lab = stood_up("backup-mx", name)
    listening = lab.run("backup-mail", ["ss", "-Htln"]).check("ss").text
    assert re.findall(r"0\.0\.0\.0:(\d+) ", listening) == ["25"]


# --- Two receivers ----------------------------------------------------------------------------


def test_mail_for_a_dead_receiver_does_not_hold_up_mail_for_another(name: str) -> None:
    lab = stood_up("two-receivers", name)
    power.off(lab, "receiver-mail")
    stuck = [send(lab, ALICE, BOB, f"Note {n}") for n in range(5)]
    tried(lab, "sender-mail")
    delivered(lab, "erin@other.example", send(lab, ALICE, "erin@other.example"))
    waiting = {one.message_id for one in postfix.queue(lab, "sender-mail")}
    assert waiting == {one.message_id for one in stuck}
    both = send(lab, ALICE, (BOB, "erin@other.example"), "To both")
    delivered(lab, "erin@other.example", both)
    assert both.message_id in {one.message_id for one in postfix.queue(lab, "sender-mail")}
    power.on(lab, "receiver-mail")
    for one in [*stuck, both]:
        delivered(lab, BOB, one)
    assert len(arrived(lab, "erin@other.example", both.message_id)) == 1


# --- Queues in memory -------------------------------------------------------------------------


def test_a_queue_in_memory_is_lost_with_the_power(name: str) -> None:
    lab = stood_up("ram-queue", name)
    power.set_cables(lab, "receiver-mail", up=False)
    lost = send(lab, ALICE, BOB, "Lost")
    assert [one.message_id for one in tried(lab, "sender-mail")] == [lost.message_id]
    power.off(lab, "sender-mail")
    power.on(lab, "sender-mail")
    assert postfix.queue(lab, "sender-mail") == []
    power.set_cables(lab, "receiver-mail", up=True)
    # It works as before, and what is sent and delivered now would have had that before it.
    later = send(lab, ALICE, BOB, "Later")
    delivered(lab, BOB, later)
    mail_works(lab)
    assert arrived(lab, BOB, lost.message_id) == []


def test_a_queue_in_memory_can_be_full_and_then_mail_waits_at_the_one_before(name: str) -> None:
    lab = stood_up("ram-queue", name)
    spool = "/var/spool/postfix"
    fill = f"dd if=/dev/zero of={spool}/fill bs=1M; df --output=avail {spool}"
    assert lab.run("receiver-mail", ["sh", "-c", fill]).text.split() == ["Avail", "0"]
    sent = send(lab, ALICE, BOB)
    refused = "452 4.3.1 Insufficient system storage"
    until("it is refused", lambda: refused in reasons(lab, sent))
    assert [one.message_id for one in postfix.queue(lab, "sender-mail")] == [sent.message_id]
    lab.run("receiver-mail", ["rm", f"{spool}/fill"]).check("making room")
    delivered(lab, BOB, sent)


def test_a_scenario_is_not_played_where_a_machine_is_missing(lab: Lab) -> None:
    done = run_lab(lab.name, "scenario", "run", "backup-mx", "--here")
    assert done.returncode == 2
    assert done.stderr == (
        f"lab: scenario backup-mx needs topology backup-mx, and lab '{lab.name}' "
        "(textbook) has no backup-mail\n"
        "  → leave out --here, or: lab --lab NAME up backup-mx\n"
    )
