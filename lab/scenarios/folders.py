"""What is expected of IMAP: mail stays at the server, in folders that all devices share.

Folders, and the flags of what is in them, are the server's (RFC 9051 §2.3.2); a device is told what
others have changed with the reply to whatever it says next (§5.2), or, while it listens, at once
(IDLE, RFC 2177). And it can ask for a part of a message (§6.4.5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.observe.turns import Turn
from lab.scenarios.devices import Device, Idle
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.exchanges import Exchange
from lab.services import dovecot
from lab.units import format_duration

if TYPE_CHECKING:
    from lab.observe.maillog import LogLine
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage

_AT_ONCE = 10.0  # real seconds; who is not told unasked, but looked for, waits for 30 (Dovecot)


def number(device: Device, letter: Message) -> int:
    """The number of a message in the folder that is selected, by SEARCH."""
    found = _numbers(device.say(f"SEARCH HEADER Message-ID {letter.message_id}"))
    if len(found) != 1:
        raise LabError(f"{device} finds {len(found)} of {letter.message_id} in its folder")
    return found[0]


def _numbers(search: Exchange) -> list[int]:
    return [int(word) for turn in search.data("SEARCH") for word in (turn.argument or "").split()]


def unused(device: Device, name: str) -> str:
    """`name`, or that with a number, such as no folder has."""
    taken = _folders(device.say('LIST "" *'))
    more = (f"{name}-{count}" for count in range(2, len(taken) + 3))
    return next(one for one in (name, *more) if one not in taken)


def _folders(listed: Exchange) -> list[str]:
    return [(turn.argument or "").rpartition(" ")[2].strip('"') for turn in listed.data("LIST")]


# --- Folders ---------------------------------------------------------------------------------


def arrived(stage: Stage, letter: Message, selected: Exchange, found: int) -> None:
    """Without anybody's doing, a new message is in INBOX, under number `found`."""
    line = _saved(stage, letter)
    exists = selected.data("EXISTS")
    there = int((exists[0].argument or "0").split()[0]) if exists else 0
    stage.check(
        "INBOX",
        f'the server has put "{letter.subject}" into INBOX, where each device finds it',
        f"{line.node} notes: {line.text.rpartition(': ')[2]}; SELECT INBOX: {there} EXISTS, and "
        f"SEARCH finds it as number {found}",
        "saved mail to INBOX" in line.text and 1 <= found <= there,
        [logged(line), selected.call.turn(selected.said), *map(selected.call.turn, exists)],
    )


def moved(
    stage: Stage, letter: Message, create: Exchange, move: Exchange, seen: list[Exchange]
) -> None:
    """One device makes a folder and moves a message there; another lists, selects, searches it."""
    listed, selected, search = seen
    folder = create.said.argument or ""
    messages, mailbox = stage.mailbox(letter.recipients[0])
    places = [one.folder for one in messages if one.message_id == letter.message_id]
    hits = _numbers(search)
    stage.check(
        "a folder, and a message moved",
        f'one device makes the folder {folder} and moves "{letter.subject}" there; the other, over '
        "a connection of its own, sees the folder and finds the message in it",
        f"{create.said.text}: {create.reply.status}; {move.said.text}: {move.reply.status}; the "
        f"other: {search.said.text}: {hits}; at the server it is in {', '.join(places)}",
        all(one.ok for one in (create, move, *seen))
        and folder in _folders(listed)
        and hits == [1]
        and places == [folder],
        [
            *(place for one in (create, move, selected, search) for place in one.evidence),
            *(listed.call.turn(turn) for turn in listed.data("LIST")),
            mailbox,
        ],
    )


def flagged(stage: Stage, store: Exchange, heard: Exchange, flag: str) -> None:
    """One device sets a flag; another, in the same folder, hears of it."""
    told = [turn for turn in heard.data("FETCH") if flag in (turn.argument or "")]
    stage.check(
        "flags are shared",
        f"one device sets {flag}; with the reply to what it says next, the other is told",
        f"{store.said.text}: {store.reply.status}; the other says {heard.said.command}, and is "
        f"told: {_told(told)}",
        store.ok and bool(told),
        [*store.evidence, heard.call.turn(heard.said), *map(heard.call.turn, told)],
    )


def remembered(stage: Stage, selected: Exchange, fetched: Exchange, flag: str) -> None:
    """In a new session, the folder is there and the message in it has its flag."""
    told = [turn for turn in fetched.data("FETCH") if flag in (turn.argument or "")]
    stage.check(
        "kept across sessions",
        f"who logs in anew finds the folder, and in it the message with {flag}",
        f"{selected.said.text}: {selected.reply.status}; {fetched.said.text}: {_told(told)}",
        selected.ok and fetched.ok and len(told) == 1,
        [*selected.evidence, *fetched.evidence],
    )


def _told(turns: list[Turn]) -> str:
    return ", ".join(turn.text.split("\n")[0] for turn in turns) or "nothing"


# --- Parts of a message ----------------------------------------------------------------------


def in_part(
    stage: Stage, letter: Message, parts: list[Exchange], whole: Exchange, attached: int
) -> None:
    """What the header, the structure and one part of a message cost, against all of it.

    Octets that the server has said, in answer to each; and they are those that are stored.
    """
    few = sum(one.octets for one in parts)
    stored, mailbox = _stored(stage, letter)
    got = [_literal(one) for one in (*parts, whole) if one.data("FETCH")[0].literals]
    stage.check(
        "a part of a message",
        "header, structure and text can be had alone, which spares the reader the picture of "
        f"{attached:,} octets, and more",
        "; ".join(f"{one.said.argument}: {one.octets:,} octets" for one in (*parts, whole))
        + f"; {few:,} against {whole.octets:,}, which is {100 * few / whole.octets:.1f} %",
        whole.octets - few > attached and all(one in stored for one in got) and got[-1] == stored,
        [*(place for one in (*parts, whole) for place in one.evidence), mailbox],
    )


def _literal(fetched: Exchange) -> bytes:
    """What a FETCH has brought: the literal in its data."""
    turn = fetched.data("FETCH")[0]
    _, _, rest = turn.data.partition(b"}\r\n")
    return rest[: turn.literals]


def _stored(stage: Stage, letter: Message) -> tuple[bytes, Evidence]:
    """A message as it lies in the mailbox, its lines ended as on the wire."""
    address = letter.recipients[0]
    messages, evidence = stage.mailbox(address)
    [one] = [one for one in messages if one.message_id == letter.message_id]
    text = dovecot.message(stage.lab, address, one.folder, one.uid)
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")[: one.size], evidence


# --- Unasked ---------------------------------------------------------------------------------


def told_unasked(stage: Stage, letter: Message, idle: Idle, asked: Exchange) -> None:
    """A device that listens is told of a new message; one that does not, when it `asked`."""
    line = _saved(stage, letter)
    told = idle.told("EXISTS")
    said = [turn for turn in idle.device.commands() if turn.time < told.time][-1]
    with asked.call.lock:
        early = [
            turn for turn in asked.call.dialogue.turns if line.time < turn.time < asked.said.time
        ]
    later = asked.data("EXISTS")
    took = told.time - line.time
    stage.check(
        "told unasked",
        "a device that has said IDLE, and nothing since, is told of the message when it arrives; "
        "one that has not is told nothing until it says something",
        f"{line.node} notes the delivery; {took:.2f}s of real time later "
        f"({format_duration(took * stage.lab.clock.scale)}) the {idle.device.name} is told "
        f"{told.text}; its last word was {said.command}; the other hears {len(early)} words until "
        f"it says {asked.said.command}, and is told {_told(later)}",
        0 <= took < _AT_ONCE and said is idle.begun.said and not early and bool(later),
        [
            *idle.begun.evidence,
            logged(line),
            idle.device.call.turn(told),
            asked.call.turn(asked.said),
            *map(asked.call.turn, later),
        ],
    )


def _saved(stage: Stage, letter: Message) -> LogLine:
    """The line that says that a message has come into its mailbox."""
    person: Person = stage.person(letter.recipients[0])
    pattern = re.compile(rf"msgid={re.escape(letter.message_id)}: saved mail to ")

    def found() -> LogLine | None:
        lines = stage.look(person.server)
        return next((line for line in lines if pattern.search(line.text)), None)

    return stage.until(f"{letter.message_id} is in the mailbox's log", found)
