"""How much is told: a whole message as one arrow, each command, or each packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab.units import counted
from lab.views.ladder.marks import Conversation, Mail, Mark
from lab.views.ladder.model import View
from lab.views.ladder.notes import Notes
from lab.views.ladder.wire import Wire

_SAID = ("command", "content")


def at_level(wire: Wire, notes: Notes, view: View, *, ended: bool) -> list[Mark]:
    """The marks that a view has, in no particular order; `ended`: no more can come."""
    told = notes.told if view.narration else []
    match view.level:
        case "packets":
            return [*_packets(wire), *notes.marks, *told]
        case "messages":
            return [*_messages(wire, notes, ended=ended), *notes.marks, *told]
    return [*_without_second_fin(wire), *notes.marks, *told]


def _without_second_fin(wire: Wire) -> list[Mark]:
    """Everything, but of two sides that close at once the first only."""
    found = []
    for mark in wire.marks:
        if mark.what == "close" and mark.connection is not None:
            closes = [one for key, one in mark.connection.once.items() if key[0] == "close"]
            first = min(closes, key=lambda one: one.time)
            if mark is not first and mark.time - first.time < 0.2:
                continue
        found.append(mark)
    return found


def _packets(wire: Wire) -> list[Mark]:
    """Each packet, with what was said in it."""
    said: dict[tuple[str | None, int | None], list[str]] = {}
    for mark in wire.marks:
        for seen in mark.sightings:
            said.setdefault((seen.file, seen.frame), []).append(mark.label)
    found = []
    for mark in wire.packets:
        words = next(
            (said[at] for one in mark.sightings if (at := (one.file, one.frame)) in said), []
        )
        stream = mark.unit[2]
        where = (mark.first.file, stream if isinstance(stream, int) else None)
        connection = wire.streams.get(where)
        if connection is not None:
            mark = replace(mark, connection=connection, protocol=connection.protocol)
        if words and "SYN" not in mark.label and mark.what == "packet":
            mark = replace(mark, label=f"{mark.label}: {' · '.join(words)}")
        found.append(mark)
    return found


# A whole message as one arrow -----------------------------------------------------------------


def _messages(wire: Wire, notes: Notes, *, ended: bool) -> list[Mark]:
    found = []
    for connection in wire.connections.values():
        if connection.protocol == "dns":
            found += _lookup(connection)
        elif connection.mails:
            found += [_mail(connection, one, notes, ended=ended) for one in connection.mails]
        elif connection.said["client"] or connection.said["server"]:
            found.append(_session(connection))
        else:
            found += connection.calls.marks
            found += [mark for key, mark in connection.once.items() if key[0] == "reset"]
    return [*found, *(mark for mark in wire.marks if mark.what == "icmp")]


def _lookup(connection: Conversation) -> list[Mark]:
    """Where the mail has to go, and what nobody answered."""
    questions, answers = connection.said["client"], connection.said["server"]
    telling = [mark for mark in questions if "MX " in mark.label or not mark.answered]
    return [*telling, *answers] if telling or any(one.mood == "bad" for one in answers) else []


def _mail(connection: Conversation, mail: Mail, notes: Notes, *, ended: bool) -> Mark:
    subjects = notes.identities(mail.ids) & set(notes.subjects.values())
    name = f"“{min(subjects)}”" if subjects else "message"
    failed = [mark for mark in mail.marks if mark.what == "reply" and mark.mood == "bad"]
    waits = mail.under_way and not ended
    if waits:
        outcome = "under way"
    elif mail.reply is not None:
        code, queued, which = mail.reply.label.partition("queued as")
        outcome = f"{code[:3]}, {queued}{which}" if queued else mail.reply.label
    else:
        outcome = failed[-1].label if failed else "no reply"
    bad = mail.reply is None or mail.reply.mood == "bad"
    first = mail.marks[0]
    text = "; ".join(mark.text for mark in mail.marks if mark.what != "content")
    return Mark(
        "mail",
        f"{name}: {outcome}",
        text,
        first.sightings,
        connection.client,
        connection.server,
        protocol=connection.protocol,
        mood="plain" if waits else "bad" if bad else "good",
        near=first.near,
        connection=connection,
        mail=mail,
        answered=not waits,
        unit=("mail", connection.name, mail.number),
        alike=("mail", connection.client, connection.server, waits, not bad),
    )


def _session(connection: Conversation) -> Mark:
    """A connection in which no message was handed over, told by its commands."""
    whole = sorted(connection.marks, key=lambda mark: (mark.time, mark.first.seq))
    said = [mark for mark in whole if mark.what in _SAID]
    names = [_name(mark.label) for mark in said]
    failed = [mark for mark in connection.said["server"] if mark.mood == "bad"]
    label = f"{connection.protocol.upper()}: {', '.join(dict.fromkeys(names)) or whole[0].label}"
    if failed:
        label += f": {failed[-1].label}"
    return Mark(
        "mail",
        label,
        "; ".join(mark.label for mark in whole),
        whole[0].sightings,
        connection.client,
        connection.server,
        protocol=connection.protocol,
        mood="bad" if failed else "plain",
        near=whole[0].near,
        connection=connection,
        answered=True,
    )


def _name(command: str) -> str:
    """What a command is called, without IMAP's tag and the arguments."""
    words = command.split()
    tagged = len(words) > 1 and any(letter.isdigit() for letter in words[0])
    return (words[1] if tagged else words[0] if words else "").upper()


def untagged_joined(marks: Sequence[Mark]) -> list[Mark]:
    """Marks in order; what an IMAP server says in one breath besides its reply, in one row."""
    found: list[Mark] = []
    more = 0
    for mark in marks:
        last = found[-1] if found else None
        joins = (
            last is not None
            and mark.shape == "untagged"
            and last.shape == "untagged"
            and last.connection is mark.connection
        )
        if joins and last is not None:
            more += 1
            if more == 1:
                last = found[-1] = replace(last, sightings=[*last.sightings])
            last.label = f"{found[-1].text} (+{counted(more, 'line')})"
            last.sightings.extend(mark.sightings)
            continue
        more = 0
        found.append(mark)
    return found
