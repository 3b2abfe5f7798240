"""Which messages a record knows, and which of them somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.observe.trace.stays import real_id

if TYPE_CHECKING:
    from lab.observe.trace.stays import Stay
    from lab.observe.trace.tracer import Tracer
    from lab.record import Record

_LISTED = 5  # messages named where one is not found


@dataclass(frozen=True)
class Message:
    """A message on record: what it is called, and where it was first. `began` is epoch seconds.

    `mail` is whether a person wrote it, as opposed to a mail server's report.
    """

    message_id: str | None
    stay: Stay | None
    names: tuple[str, ...]
    subject: str | None
    began: float
    mail: bool

    @property
    def name(self) -> str:
        """Its Message-ID, or the queue ID it had first."""
        return self.message_id or self.names[0]

    def __str__(self) -> str:
        queue_ids = [name for name in self.names if name != self.message_id]  # the first of all
        words = [self.name, *queue_ids[: 1 if self.message_id else 0]]
        return "  ".join(words) + (f'  "{self.subject}"' if self.subject else "")


def listed(tracer: Tracer) -> list[Message]:
    """The messages of a record, the last to begin at the end."""
    titles = tracer.subjects
    reports = {
        (stay.node, queue_id) for stay in tracer.stays.all for queue_id, _, _ in stay.reports
    }
    found: list[Message] = []
    done: set[Stay] = set()
    for stay in tracer.stays.all:
        if stay in done:
            continue
        start = tracer.stays.of(stay.message_id) if stay.message_id else [stay]
        stays = tracer.stays.linked(start)
        done.update(stays)
        ids = tracer.message_ids(stays)
        named = next((one.message_id for one in stays if one.message_id), None)
        first = stays[0]
        found.append(
            Message(
                message_id=named,
                stay=first,
                names=tuple(
                    dict.fromkeys(filter(None, [named, *(s.queue_id for s in stays), *ids]))
                ),
                subject=next(filter(None, map(titles.get, ids)), None),
                began=first.began,
                mail=first.sender != ""
                and (first.node, first.queue_id) not in reports
                and any(one.message_id or one.queued or one.attempts for one in stays),
            )
        )
    known = {name for one in found for name in one.names}
    for offer in tracer.connections.transactions:  # of messages that are in no server's log
        named = real_id(offer.message_id)
        if named and named not in known and tracer.came_to(offer) is None:
            known.add(named)
            found.append(Message(named, None, (named,), titles.get(named), offer.began, True))
    return sorted(found, key=lambda one: one.began)


def find(tracer: Tracer, text: str) -> Message:
    """The message of that Message-ID (with or without <>) or queue ID, or what begins like it.

    Raises UsageError if there is none, or several.
    """
    known = listed(tracer)
    wanted = text.strip().strip("<>").casefold()
    for matches in (str.__eq__, str.startswith):
        found = [
            one
            for one in known
            if wanted and any(matches(name.strip("<>").casefold(), wanted) for name in one.names)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"'{text}' may be any of {len(found)} messages",
                detail=_named(found),
                hint="type more of the Message-ID, or a queue ID",
            )
    raise _unknown(f"there is no message '{text}' on record", known)


def last(tracer: Tracer) -> Message:
    """The message that was submitted last, reports left out. Raises UsageError if there is none."""
    known = listed(tracer)
    mails = [one for one in known if one.mail]
    if not mails:
        raise _unknown("nobody has sent a message", known)
    return mails[-1]


def nothing_named(record: Record) -> UsageError:
    """What to say to somebody who names no message."""
    from lab.observe.trace.tracer import Tracer

    return _unknown("which message?", listed(Tracer(record)))


def _unknown(what: str, known: list[Message]) -> UsageError:
    if not known:
        return UsageError(f"{what}; there is none at all on record", hint="lab send --help")
    return UsageError(what, detail=_named(known), hint="lab trace MESSAGE, or lab trace --last")


def _named(found: list[Message]) -> str:
    more = len(found) > _LISTED
    title = f"the last {_LISTED} of {len(found)} are:" if more else "there are:"
    # A subject may have lines of its own.
    return "\n".join([title, *(" ".join(str(one).split("\n")) for one in found[-_LISTED:])])
