"""What became of every letter, by the far ends: mailboxes, reports of failure, queues.

In the manner of Jepsen's total-queue checker. What a server has acknowledged must be delivered,
or returned to its sender, or still be queued: else it is lost. What nobody sent must be nowhere.
What was delivered twice is named, and forgiven only where a server's log shows why it could not
know of the first time (RFC 5321 §6.1, RFC 1047).

Pure: it is given what was found, and judges.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from lab.observe import maillog
from lab.observe.maillog import Attempt, LogLine
from lab.soak.letters import Letter

_SLACK = 0.5  # seconds by which a busy machine may note a line late
_DOUBTFUL = "may be sent more than once"  # so says smtp(8), and lmtp(8)
_TOO_LATE = re.compile(r"said: 4\d\d .*\(in reply to end of DATA command\)")
_SAVED = re.compile(r"lmtp\((?P<user>[^)]+)\).*msgid=(?P<id><[^>]*>): saved mail to ")
# Only of those that pass mail on: that an smtpd or an imap was killed explains no second copy.
_ENDED = re.compile(
    r"postfix/master\[\d+\]: (?:daemon started|terminating on signal|warning: process "
    r"\S*/(?:smtp|lmtp|qmgr) pid \d+ killed by signal)"
    r"|master: .*(?:starting up for|service\(lmtp\): child \d+ killed with signal)"
)

_Place = tuple[str, str, int]
"""A message at a server: the node, the queue ID, and how many had that ID there before it."""

Answer = Literal["acknowledged", "refused", "unknown"]


@dataclass(frozen=True)
class Submission:
    """A letter handed in: `acknowledged` (250 to its content), `refused` (it is known not to have
    been taken), or `unknown` (the connection was lost before the answer came).
    """

    letter: Letter
    answer: Answer
    said: str
    tries: int = 1


@dataclass(frozen=True)
class Report:
    """A report in the mailbox of `sender` that a message could not be delivered (RFC 3464)."""

    sender: str
    message_id: str
    recipient: str


@dataclass(frozen=True)
class Waiting:
    """A message in a queue, for one recipient."""

    node: str
    queue_id: str
    message_id: str | None
    recipient: str


@dataclass(frozen=True)
class Found:
    """What was found in the end: mailboxes (address → Message-IDs), reports, queues, logs; and what
    in the mailboxes is not as it was written (address, Message-ID).
    """

    mailboxes: Mapping[str, Sequence[str]]
    reports: Sequence[Report]
    waiting: Sequence[Waiting]
    logs: Mapping[str, Sequence[LogLine]]
    damaged: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Cause:
    """Why a message came twice: the line in which the giving server says what it did not know."""

    line: LogLine
    words: str


@dataclass(frozen=True)
class Fate:
    """What became of a letter for one of its recipients."""

    submission: Submission
    recipient: str
    copies: int
    returned: int
    waits: tuple[Waiting, ...]
    causes: tuple[Cause, ...] = ()
    """Why there is more than one copy, or one and a report of failure; empty: nobody knows."""
    vain: Cause | None = None
    """It was given up, and the report of that could not be delivered to its sender either."""

    @property
    def lost(self) -> bool:
        """A server said it had it, and it is nowhere."""
        return self.submission.answer == "acknowledged" and not (
            self.copies or self.returned or self.waits or self.vain
        )

    @property
    def unexpected(self) -> bool:
        """Nobody took it, and yet it is there, or some server had it."""
        return self.submission.answer == "refused" and bool(
            self.copies or self.returned or self.waits
        )

    @property
    def recovered(self) -> bool:
        """The sender could not know whether it was taken, and it was."""
        return self.submission.answer == "unknown" and self.copies > 0

    @property
    def twice(self) -> bool:
        """Its recipient has more than one copy, or one though its sender was told of failure."""
        return self.copies > 1 or bool(self.copies and self.returned)


@dataclass(frozen=True)
class Judgment:
    """The fates of all letters, and what was found that nobody sent, or a report about nothing its
    reader has sent (whose mailbox it is in, the Message-ID).
    """

    fates: Sequence[Fate]
    strangers: Sequence[tuple[str, str]] = field(default=())
    damaged: Sequence[tuple[str, str]] = field(default=())

    @property
    def valid(self) -> bool:
        """No accepted message lost, none unexpected or damaged, every duplicate explained."""
        return not (self.lost or self.unexpected or self.unexplained or self.damaged)

    @cached_property
    def lost(self) -> list[Fate]:
        return [one for one in self.fates if one.lost]

    @cached_property
    def unexpected(self) -> list[Fate | tuple[str, str]]:
        return [*(one for one in self.fates if one.unexpected), *self.strangers]

    @cached_property
    def duplicated(self) -> list[Fate]:
        return [one for one in self.fates if one.twice]

    @cached_property
    def unexplained(self) -> list[Fate]:
        return [one for one in self.duplicated if not one.causes]

    @cached_property
    def recovered(self) -> list[Fate]:
        return [one for one in self.fates if one.recovered]

    def counts(self) -> dict[str, int]:
        """How many: letters by what their sender was told, then deliveries (one a recipient)."""
        answers = {id(one.submission): one.submission.answer for one in self.fates}
        told = Counter(answers.values())
        return {
            "attempted": len(answers),
            "acknowledged": told["acknowledged"],
            "refused": told["refused"],
            "unknown": told["unknown"],
            "deliveries": len(self.fates),
            "delivered": sum(one.copies > 0 for one in self.fates),
            "bounced": sum(one.returned > 0 for one in self.fates),
            "in vain": sum(one.vain is not None for one in self.fates),
            "queued": sum(bool(one.waits) for one in self.fates),
            "lost": len(self.lost),
            "unexpected": len(self.unexpected),
            "duplicated": len(self.duplicated),
            "unexplained": len(self.unexplained),
            "recovered": len(self.recovered),
            "damaged": len(self.damaged),
        }


def judge(submissions: Sequence[Submission], found: Found) -> Judgment:
    """What became of each letter for each of its recipients."""
    copies = Counter(
        (address, message_id)
        for address, message_ids in found.mailboxes.items()
        for message_id in message_ids
    )
    returned = Counter(found.reports)
    waiting: dict[tuple[str | None, str], list[Waiting]] = defaultdict(list)
    for one in found.waiting:
        waiting[one.message_id, one.recipient].append(one)
    books = _Books(found.logs)
    fates = []
    for submission in submissions:
        letter = submission.letter
        for recipient in letter.recipients:
            fate = Fate(
                submission,
                recipient,
                copies.pop((recipient, letter.message_id), 0),
                returned.pop(Report(letter.sender, letter.message_id, recipient), 0),
                tuple(waiting[letter.message_id, recipient]),
            )
            if fate.lost:
                fate = replace(fate, vain=books.why_untold(letter, recipient))
            elif fate.twice:
                fate = replace(fate, causes=tuple(books.why_twice(fate)))
            fates.append(fate)
    others = [(one.sender, one.message_id) for one in returned]
    return Judgment(fates, sorted([*copies, *others]), found.damaged)


class _Books:
    """The servers' logs, looked up by message."""

    def __init__(self, logs: Mapping[str, Sequence[LogLine]]) -> None:
        self._removed: Counter[tuple[str, str]] = Counter()
        self._entries: dict[str, dict[_Place, float]] = defaultdict(dict)
        self._attempts: dict[_Place, list[Attempt]] = defaultdict(list)
        self._begins: dict[_Place, float] = {}
        self._reports: dict[_Place, list[_Place]] = defaultdict(list)
        self._identities: dict[_Place, str] = {}
        self._saves: dict[tuple[str, str], list[LogLine]] = defaultdict(list)
        self._starts: dict[str, list[LogLine]] = defaultdict(list)
        for node, lines in logs.items():
            for line in lines:
                self._read(node, line)

    def _read(self, node: str, line: LogLine) -> None:
        if attempt := maillog.attempt(line):
            self._attempts[self._place(node, attempt.queue_id)].append(attempt)
        elif event := maillog.queue_event(line):
            place = self._place(node, event.queue_id)
            self._begins.setdefault(place, line.time)
            if event.what == "message-id":
                self._entries[event.value].setdefault(place, line.time)
                self._identities[place] = event.value
            elif event.what == "dsn":
                self._reports[place].append(self._place(node, event.value))
            elif event.what == "removed":
                self._removed[node, event.queue_id] += 1
        elif saved := _SAVED.search(line.text):
            self._saves[saved["user"], saved["id"]].append(line)
        elif _ENDED.search(line.text):
            self._starts[node].append(line)

    def _place(self, node: str, queue_id: str) -> _Place:
        """The message that has `queue_id` at this point of the log: Postfix's are soon used again
        (enable_long_queue_ids in postconf(5)).
        """
        return node, queue_id, self._removed[node, queue_id]

    def why_twice(self, fate: Fate) -> list[Cause]:
        """For each time it was passed on once too often, why; nothing unless all can be told."""
        message_id, recipient = fate.submission.letter.message_id, fate.recipient
        places = sorted(self._entries[message_id], key=self._entries[message_id].__getitem__)
        ends = [place for place in places if self._delivers(place, recipient)]
        came = [self._entries[message_id][place] for place in ends]
        saved = [line.time for line in self._saves[recipient, message_id]]
        causes: list[Cause] = []
        # From one server to the next: there it is under several queue IDs. What was said may reach
        # the next long after the giver has given up hope, and after it has said it once more:
        # doubts count from the first word on.
        givers = [place for place in places if place not in ends]
        begun = min((self._begins[place] for place in ends), default=0)
        for later in came[1:]:
            found = self._between(givers, recipient, begun, later)
            causes += [one for one in found if one not in causes][:1]
        # From the last server into the mailbox.
        again = max(0, len(saved) - max(len(ends), 1))
        if again:
            causes += self._between(ends, recipient, saved[0], saved[-1])[:again]
        if len(causes) < max(0, len(ends) - 1) + again:
            return []
        # A report of failure comes beside the copies; and who was killed has noted no copy.
        wanted = fate.copies - 1 + bool(fate.returned)
        if len(causes) < wanted and places:
            begun = min(self._begins[place] for place in places)
            found = self._between(places, recipient, begun, self._done(places, recipient))
            causes += [one for one in found if one not in causes][: wanted - len(causes)]
        return causes if len(causes) >= wanted else []

    def _done(self, places: Iterable[_Place], recipient: str) -> float:
        """When it was last tried: what comes later is the cause of nothing."""
        return max(
            (
                one.line.time
                for place in places
                for one in self._attempts[place]
                if one.recipient == recipient
            ),
            default=-math.inf,
        )

    def why_untold(self, letter: Letter, recipient: str) -> Cause | None:
        """Where the report that it could not be delivered was itself refused, if it was: a server
        must not report that again (RFC 5321 §6.1), so that its sender never hears.
        """
        for place in self._entries[letter.message_id]:
            gave_up = any(
                one.recipient == recipient and one.status in maillog.GIVEN_UP
                for one in self._attempts[place]
            )
            for own in self._reports[place] if gave_up else ():
                report = self._identities.get(own, "")
                for there in self._entries.get(report, ()):
                    for one in self._attempts[there]:
                        if one.recipient == letter.sender and one.status in maillog.GIVEN_UP:
                            words = f"{there[0]} could not deliver the report: {one.reason}"
                            return Cause(one.line, words)
        return None

    def _delivers(self, place: _Place, recipient: str) -> bool:
        """Whether this is where it is (or was tried to be) put into the mailbox."""
        return any(
            one.recipient == recipient and one.program in maillog.LOCAL
            for one in self._attempts[place]
        )

    def _doubt(self, place: _Place, attempt: Attempt) -> str:
        """What makes an attempt that failed one that may have succeeded; empty if nothing does."""
        if attempt.status == "sent":
            return ""
        if _DOUBTFUL in attempt.reason:
            return "did not hear the answer"
        # Dovecot, when it is being shut down, can say 421 of what it has just saved.
        if attempt.program in maillog.LOCAL and _TOO_LATE.search(attempt.reason):
            begun = attempt.line.time - sum(attempt.delays[2:])
            for line in self._saves[attempt.recipient, self._identities.get(place, "")]:
                if begun - _SLACK <= line.time <= attempt.line.time + _SLACK:
                    return "was told that it had not been stored, which it had"
        return ""

    def _between(
        self, places: Iterable[_Place], recipient: str, begin: float, end: float
    ) -> list[Cause]:
        """The lines of the servers that had it which say why one did not know it was taken."""

        def within(line: LogLine) -> bool:
            return begin - _SLACK <= line.time <= end + _SLACK

        doubts = [
            Cause(one.line, f"{place[0]} {what}: {one.reason}")
            for place in places
            for one in self._attempts[place]
            if one.recipient == recipient and (what := self._doubt(place, one))
        ]
        ends = [
            Cause(line, f"{node} was ended before it had noted the answer")
            for node in dict.fromkeys(place[0] for place in places)
            for line in self._starts[node]
        ]
        # What a server says of the message itself says more than that it was ended.
        return [
            cause
            for found in (doubts, ends)
            for cause in sorted(found, key=lambda cause: cause.line.time)
            if within(cause.line)
        ]
