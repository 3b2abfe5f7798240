"""What is expected of POP3: its three states, what undoes a DELE, and who remembers what.

Until QUIT a DELE is but a mark that the server keeps for this session; the update, which deletes,
begins with QUIT and with nothing else (RFC 1939 §6). Of a session that is over it keeps nothing: a
program that leaves mail at the server tells old from new by the unique-ids that it has kept itself
(§7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.observe.turns import Turn
from lab.scenarios import devices
from lab.scenarios.devices import Device
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.exchanges import Exchange
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage


def count(stat: Exchange) -> int:
    """How many messages STAT says there are."""
    return int(stat.reply.text.split()[1])


# --- One session -----------------------------------------------------------------------------


def three_states(stage: Stage, device: Device) -> None:
    """A session, from its first command to the reply to QUIT, and the state each was said in."""
    commands = device.commands()
    last = commands[-1]
    states: dict[str, list[Turn]] = {"authorization": [], "transaction": []}
    for turn in commands:
        states.setdefault(turn.phase or "", []).append(turn)
    said = "; ".join(f"{state}: {', '.join(map(_verb, turns))}" for state, turns in states.items())
    ends = last.reply
    stage.check(
        "three states",
        "authorization by USER and PASS, then the transaction, and QUIT, which begins the update",
        f"{said}; update: {ends.text if ends else 'never begun'}",
        [turn.command for turn in states.pop("authorization")] == ["USER", "PASS"]
        and list(states) == ["transaction"]
        and last.command == "QUIT"
        and ends is not None
        and ends.status == "+OK",
        [device.call.turn(turn) for turn in (*commands, ends) if turn],
    )


def _verb(turn: Turn) -> str:
    return turn.command or "?"


def unmarked(
    stage: Stage, letter: Message, mark: Exchange, unmark: Exchange, stats: list[Exchange]
) -> None:
    """STAT before DELE, after it, and after RSET; and `letter` is there when all is over."""
    before, marked, after = map(count, stats)
    there, mailbox = _there(stage, letter)
    stage.check(
        "RSET",
        "a message that is marked is counted no more; RSET takes the mark away, and QUIT then "
        "deletes nothing",
        f"STAT counts {before}, after {mark.said.text} {marked}, after RSET {after}; after QUIT "
        f'"{letter.subject}" is {_or_not(there)} in the mailbox',
        mark.ok and unmark.ok and (marked, after) == (before - 1, before) and there,
        [
            *(place for one in (*stats, mark, unmark) for place in one.evidence),
            mailbox,
        ],
    )


# --- Sessions that end without QUIT, and with it ---------------------------------------------


def still_there(stage: Stage, letter: Message) -> Evidence:
    """Look into the mailbox now: what was marked is there as long as nobody says QUIT."""
    there, mailbox = _there(stage, letter)
    stage.check(
        "a mark is no deletion",
        f'"{letter.subject}" is in the mailbox while its reader is cut off',
        f"it is {_or_not(there)} there",
        there,
        [mailbox],
    )
    return mailbox


def never_updated(stage: Stage, device: Device, deleted: Exchange, again: Exchange) -> None:
    """A session with a DELE and no QUIT, and the message, fetched in the next one by `again`."""
    line, said = device.ended()
    quits = device.call.commands("QUIT")
    letter = again.more[0].message_id if again.ok else None
    stage.check(
        "no QUIT, no update",
        "the session ends without QUIT, so what was marked is not deleted: the next session has "
        "the message again",
        f"{deleted.said.text}: {deleted.words}; {'no' if not quits else len(quits)} QUIT; "
        f"{device.person.server} notes: {said['said']}; then {again.said.text}: {letter}",
        deleted.ok
        and not quits
        and _deleted(said["said"]) == 0
        and letter is not None
        and deleted.said.argument == again.said.argument,
        [*deleted.evidence, logged(line), *again.evidence],
    )


def updated(stage: Stage, device: Device, letter: Message, deleted: Exchange) -> None:
    """A session with a DELE, ended by QUIT: the message is gone."""
    line, said = device.ended()
    there, mailbox = _there(stage, letter)
    quits = device.call.commands("QUIT")
    stage.check(
        "QUIT deletes",
        f'DELE, and then QUIT: "{letter.subject}" is gone',
        f"{device.person.server} notes: {said['said']}; it is {_or_not(there)} in the mailbox",
        deleted.ok and len(quits) == 1 and _deleted(said["said"]) == 1 and not there,
        [*deleted.evidence, *quits, logged(line), mailbox],
    )


def _deleted(said: str) -> int | None:
    """How many messages a session has deleted, as Dovecot notes at its end."""
    found = re.search(r"\bdel=(\d+)/", said)
    return int(found[1]) if found else None


def _there(stage: Stage, letter: Message) -> tuple[bool, Evidence]:
    messages, evidence = stage.mailbox(letter.recipients[0])
    return any(one.message_id == letter.message_id for one in messages), evidence


def _or_not(there: bool) -> str:
    return "still" if there else "no longer"


# --- Two devices -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Collection:
    """What a mail program found and took in one session."""

    device: Device
    stat: Exchange
    listed: Exchange
    unique_ids: tuple[str, ...]
    taken: tuple[Exchange, ...]

    @property
    def message_ids(self) -> list[str | None]:
        """The messages it took."""
        return [one.more[0].message_id for one in self.taken]

    @property
    def evidence(self) -> list[Evidence]:
        """What the server said there is, and each message that was taken."""
        return [
            place for one in (self.stat, self.listed, *self.taken) for place in one.evidence[:3]
        ]


class MailProgram:
    """A mail program that downloads mail, and deletes it at the server or keeps it there.

    The first `spared` messages, which were there before, it leaves alone.
    """

    def __init__(self, stage: Stage, person: Person, name: str, *, spared: int) -> None:
        self._stage, self._person, self._name, self._spared = stage, person, name, spared
        self._has: set[str] = set()  # unique-ids (RFC 1939 §7): only here is this remembered

    def collect(self, *, keep: bool) -> Collection:
        """One session: take what it has not got yet, and delete it unless it is to be kept."""
        with devices.pop3(self._stage, self._person, self._name) as device:
            device.log_in()
            stat = device.say("STAT")
            listed = device.say("UIDL")
            unique = tuple(line.split()[1] for line in listed.lines[self._spared :])
            taken = []
            for number, identity in enumerate(unique, self._spared + 1):
                if identity not in self._has:
                    taken.append(device.say(f"RETR {number}"))
                    if not keep:
                        device.say(f"DELE {number}")
            self._has |= set(unique)
            device.say("QUIT")
        return Collection(device, stat, listed, unique, tuple(taken))


def emptied(stage: Stage, first: Collection, second: Collection) -> None:
    """The first device has taken all there was, and there is nothing of it for the second."""
    stage.check(
        "download and delete",
        f"the {first.device.name} takes all, and the {second.device.name} finds nothing of it",
        f"{first.device.name}: {first.stat.words}, {counted(len(first.taken), 'message')} taken; "
        f"{second.device.name}: {second.stat.words}, {counted(len(second.taken), 'message')} taken",
        bool(first.taken)
        and count(second.stat) == count(first.stat) - len(first.taken)
        and not second.unique_ids
        and not second.taken,
        first.evidence + second.evidence,
    )


def shared(stage: Stage, first: Collection, second: Collection) -> None:
    """Both devices have taken the same messages, which have the same unique-ids to both."""
    stage.check(
        "download and keep",
        "both devices take the same messages, under the same unique-ids",
        "; ".join(
            f"{one.device.name}: {', '.join(map(str, one.message_ids))}, as "
            f"{', '.join(one.unique_ids)}"
            for one in (first, second)
        ),
        bool(first.taken)
        and first.message_ids == second.message_ids
        and first.unique_ids == second.unique_ids,
        first.evidence + second.evidence,
    )


def not_remembered(stage: Stage, before: Collection, again: Collection) -> None:
    """The server lists what was taken twice as if it had never been; its unique-ids stay.

    So the device knows what is new: of all that is listed it takes only that.
    """
    old = len(before.unique_ids)
    same = before.listed.lines == again.listed.lines[: len(before.listed.lines)]
    new = again.unique_ids[old:]
    stage.check(
        "nothing remembered",
        "in a later session the server lists what was fetched before, each under its number and "
        "unique-id as the first time, and marks none as read; only who kept the unique-ids knows "
        "what is new",
        f"{again.stat.words}: of {counted(len(again.unique_ids), 'message')}, {old} listed as "
        f"before, word for word ({'yes' if same else 'no'}); the {again.device.name} knows those "
        f"and takes {counted(len(again.taken), 'message')}: "
        f"{', '.join(map(str, again.message_ids))}",
        same and len(again.taken) == len(new) == 1,
        before.evidence[:2] + again.evidence,
    )
