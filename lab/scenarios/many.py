"""A letter to several people: who carries how many copies of it, who answers, who hands it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.observe import maillog
from lab.observe.maillog import Attempt
from lab.scenarios import tries
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.looking import at, holding
from lab.scenarios.wire import Connection
from lab.services import dovecot
from lab.units import counted

if TYPE_CHECKING:
    from lab.observe.dialogue import Transaction
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage


def handed_in(stage: Stage, message: Message) -> None:
    """The PC hands the letter over once, and names everybody it is for in the envelope."""
    call, mail = stage.person(message.sender).submission(message.message_id)
    stage.check(
        "handed in",
        f"one transaction to {message.server}: a RCPT TO for each of "
        f"{counted(len(message.recipients), 'recipient')}, and the content once",
        f"RCPT TO {', '.join(mail.recipients)}; then {_size(mail)} octets of content: {mail.code}",
        sorted(mail.recipients) == sorted(message.recipients) and mail.code == 250,
        [call.turn(turn) for turn in (*mail.rcpts, *mail.content[:1], mail.reply) if turn],
    )


def passed_on(stage: Stage, message: Message, server: str) -> None:
    """To `server` the content goes once, whatever the number of people who have a mailbox there."""
    theirs = [one for one in message.recipients if stage.person(one).server == server]

    def carried() -> list[tuple[Connection, Transaction]] | None:
        # Not before all of them have it: what is sent twice is sent one after the other.
        tried = maillog.attempts(stage.look(message.server), message.queue_id)
        if not {one.recipient for one in tried if one.status == "sent"}.issuperset(theirs):
            return None
        return [
            (call, mail)
            for call in tries.calls(stage, message)
            for mail in call.transactions
            if mail.message_id == message.message_id and mail.code is not None
        ] or None

    found = stage.until(f"{message.queue_id} is passed on to {server}", carried)
    call, mail = found[0]
    stage.check(
        "passed on",
        f"{message.server} passes it on to {server} once, for {' and '.join(theirs)} together",
        f"{counted(len(found), 'transaction')}: RCPT TO {', '.join(mail.recipients)}; "
        f"{_size(mail)} octets of content: {mail.code}",
        len(found) == 1 and sorted(mail.recipients) == sorted(theirs) and mail.code == 250,
        [call.turn(turn) for turn in (*mail.rcpts, *mail.content[:1], mail.reply) if turn],
    )


def stayed(stage: Stage, message: Message, to: Person) -> None:
    """`to` shares the sender's server: what is for them does not leave it."""

    def put_in() -> Attempt | None:
        tried = maillog.attempts(stage.look(message.server), message.queue_id)
        return next((one for one in tried if one.recipient == to.address), None)

    attempt = stage.until(f"{message.queue_id} is delivered to {to}", put_in)
    named = holding(stage, stage.network(stage.person(message.recipients[0]).seat), to.address)
    called = [one for one in named if b"RCPT TO:<" + to.address.encode() in one.payload]
    stage.check(
        "stays there",
        f"{message.server} puts it in the mailbox of {to} itself, and calls nobody about that",
        f"{attempt.relay}: {attempt.status}; {counted(len(called), 'RCPT TO')} for {to} seen "
        "at the other end",
        attempt.status == "sent" and attempt.program in maillog.LOCAL and not called,
        [logged(attempt.line)],
    )


def in_each(stage: Stage, message: Message) -> None:
    """Everybody it is for has a copy of their own, and it is the same letter by its Message-ID."""
    copies: list[str] = []
    evidence: list[Evidence] = []
    for address in message.recipients:
        dovecot.arrived(stage.lab, address, message.message_id)
        stored, mailbox = stage.mailbox(address)
        count = sum(one.message_id == message.message_id for one in stored)
        copies.append(f"{count} in that of {address}")
        evidence.append(mailbox)
    stage.check(
        "one for each",
        f"one copy of {message.message_id} in each mailbox",
        ", ".join(copies),
        all(one.startswith("1 ") for one in copies),
        evidence,
    )


def answered(stage: Stage, answer: Message, letter: Message, by: Person) -> None:
    """`by` fetches the answer, and its header names the letter (RFC 5322 §3.6.4)."""
    reading = by.fetch(answer)
    named = {name: str(reading.message[name]) for name in ("In-Reply-To", "References")}
    stage.check(
        "belongs to it",
        f"In-Reply-To and References of the answer are the Message-ID {letter.message_id}; its own "
        "is another",
        f"{'; '.join(f'{name}: {value}' for name, value in named.items())}; "
        f"Message-ID: {reading.message_id}",
        set(named.values()) == {letter.message_id}
        and reading.message_id == answer.message_id != letter.message_id,
        [*reading.evidence, *_shown(stage, by, "In-Reply-To: ", reading.time)],
    )


def handed_on(stage: Stage, copy: Message, letter: Message, by: Person) -> None:
    """`by` fetches it: a letter of its own, with the first one as a part of it (message/rfc822)."""
    reading = by.fetch(copy)
    inside = [
        part.get_content()
        for part in reading.message.walk()
        if part.get_content_type() == "message/rfc822"
    ]
    first = inside[0] if inside else None
    names = [str(one[name]) for one in inside for name in ("From", "Message-ID")]
    received = len(first.get_all("Received", [])) if first else 0
    stage.check(
        "a letter in a letter",
        f"{copy.message_id}, and in it {letter.message_id} as it came, with the lines of its way",
        f"{reading.message_id}, From: {reading.message['From']}; in it {', '.join(names)}, with "
        f"{counted(received, 'Received line')}",
        reading.message_id == copy.message_id
        and [letter.message_id] == names[1:2]
        and letter.sender in names[0]
        and received >= 2,
        [*reading.evidence, *_shown(stage, by, "message/rfc822", reading.time)],
    )


def _size(mail: Transaction) -> int:
    return sum(turn.size for turn in mail.content)


def _shown(stage: Stage, by: Person, words: str, before: float) -> list[Evidence]:
    """Where that can be read in what `by` fetched last."""
    network = stage.network(by.seat)
    found = [one for one in holding(stage, network, words) if one.dst == stage.address(by.seat)]
    return [at(network, one, words) for one in found[-1:] if one.frame.time <= before]
