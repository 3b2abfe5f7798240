"""One soak: letters and trouble at once, then peace, then the judgment."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import events
from lab.engine.interrupt import put_off
from lab.errors import LabError
from lab.events import EventLog, Refs
from lab.faults import journal
from lab.observe.capture import Listener, ports
from lab.observe.recorder import about, fault
from lab.record import CAPTURES, write_log
from lab.services.pc import seat_of
from lab.soak import found, nemesis, senders
from lab.soak.checker import Cause, Fate, Found, Judgment, Submission, judge
from lab.soak.letters import Letter, letters
from lab.topology.check_mail import mailboxes_of
from lab.units import counted

if TYPE_CHECKING:
    from lab.engine.lab import Lab

PEACE_SECONDS = 300.0  # real seconds, for what waits to be delivered when all is well again
LAST_TRIES_SECONDS = 60.0  # and for letters that could not be handed in before
SUMMARY = "soak.json"


@dataclass(frozen=True)
class Spec:
    """What a soak is made of. `seconds` is real time."""

    seed: int
    messages: int
    faults: int
    seconds: float
    intensity: float
    only: tuple[str, ...] = ()


@dataclass
class Progress:
    """How far it is, for who watches."""

    stage: str = "letters and trouble"
    handed_in: int = 0
    strikes: int = 0
    waiting: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How it went: `strokes` are what the nemesis did, `drained` whether the queues came empty."""

    spec: Spec
    judgment: Judgment
    strokes: list[nemesis.Stroke]
    drained: bool
    dropped: int
    real_seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, nothing unexpected, and every duplicate has its cause."""
        return self.judgment.valid

    @property
    def struck(self) -> int:
        """How many faults were put on: not all that are wanted find room, or can be done."""
        return sum(stroke.case is not None for stroke in self.strokes)

    @property
    def noteworthy(self) -> list[Fate]:
        """The fates that somebody will want to follow, once each."""
        found = self.judgment
        odd = [one for one in found.fates if one.unexpected or one.vain]
        fates = [*found.lost, *odd, *found.duplicated]
        return list({id(one): one for one in [*fates, *found.recovered]}.values())


def people_of(lab: Lab) -> list[str]:
    """Who can write: everybody with a mailbox and a PC."""
    topology = lab.plan.topology
    return [one for one in mailboxes_of(topology) if seat_of(lab.plan.site, one)]


def planned(lab: Lab, spec: Spec) -> tuple[list[Letter], list[nemesis.Strike]]:
    """The letters and the strikes of a soak; the same for the same seed and topology."""
    written = letters(people_of(lab), seed=spec.seed, count=spec.messages, seconds=spec.seconds)
    able = nemesis.able(lab, spec.only)
    strikes = nemesis.schedule(
        able,
        lab.plan,
        seed=spec.seed,
        count=spec.faults,
        seconds=spec.seconds,
        intensity=spec.intensity,
        fits=lambda fault: fault.misfit(lab.plan) is None,
    )
    return written, strikes


def soak(
    lab: Lab,
    spec: Spec,
    plan: tuple[Sequence[Letter], Sequence[nemesis.Strike]],
    folder: Path,
    look: Callable[[Progress], None],
) -> Outcome:
    """Send the letters and have the strikes of `plan` strike, keeping all evidence in `folder`.

    `look` is called again and again meanwhile. Raises LabError if it can't be judged, because
    something was not recorded, say.
    """
    progress = Progress()
    submissions: list[Submission] = []
    began = time.time()

    def handed_in(submission: Submission) -> None:
        submissions.append(submission)
        progress.handed_in = len(submissions)

    def struck(stroke: nemesis.Stroke) -> None:
        progress.strikes += 1

    with _captured(lab, folder) as listeners:
        strokes = _storm(lab, spec, plan, (handed_in, struck), progress, look)
        progress.stage = "peace: what waits is delivered"

        def waits(count: int) -> None:
            progress.waiting = count
            look(progress)

        drained = found.drained(lab, PEACE_SECONDS, waits)
        progress.stage = "judgment"
        look(progress)
        seen = found.look(lab, list(mailboxes_of(lab.plan.topology)))
    for node, lines in seen.logs.items():
        write_log(folder, node, lines)
    judgment = judge(sorted(submissions, key=lambda one: one.letter.number), seen)
    dropped = sum(listener.dropped for listener in listeners)
    outcome = Outcome(spec, judgment, strokes, drained, dropped, time.time() - began)
    _write(lab, folder, outcome, seen, began)
    return outcome


def _storm(
    lab: Lab,
    spec: Spec,
    plan: tuple[Sequence[Letter], Sequence[nemesis.Strike]],
    tell: tuple[Callable[[Submission], None], Callable[[nemesis.Stroke], None]],
    progress: Progress,
    look: Callable[[Progress], None],
) -> list[nemesis.Stroke]:
    """Letters and trouble, until all letters are handed in (or refused) and all is healed."""
    began = time.monotonic()
    strokes: list[nemesis.Stroke] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # told to whoever waits for us
                failures.append(error)
                stop.set()

        return threading.Thread(target=run, daemon=True)

    def write() -> None:
        until = began + spec.seconds + LAST_TRIES_SECONDS
        senders.send_all(lab, plan[0], began, until, tell[0])

    def trouble() -> None:
        strokes.extend(nemesis.strike(lab, plan[1], began, tell[1], stop))

    threads = [guarded(write), guarded(trouble)]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not failures:
            look(progress)
            threads[0].join(0.2)
            threads[1].join(0.2)
    finally:
        stop.set()
        with put_off():
            threads[1].join(journal.PATIENCE_SECONDS)
    if failures:
        raise failures[0]
    return strokes


@contextmanager
def _captured(lab: Lab, folder: Path) -> Iterator[list[Listener]]:
    """Everything that passes on a network in the block is in the folder's captures."""
    failures: list[BaseException] = []
    (folder / CAPTURES).mkdir(exist_ok=True)
    with ExitStack() as stack:
        listeners = []
        for port in ports(lab, lab.plan.networks):
            listener = Listener(lab, port)
            stack.callback(listener.close)
            listeners.append(listener)

            def keep(listener: Listener = listener) -> None:
                try:
                    with (folder / CAPTURES / f"{listener.port.name}.pcap").open("wb") as file:
                        for data in listener.chunks():
                            file.write(data)
                except BaseException as error:  # told to whoever waits for us
                    failures.append(error)

            thread = threading.Thread(target=keep, daemon=True)
            thread.start()
            stack.callback(thread.join, 30)
            stack.callback(listener.stop)
        yield listeners
    if failures:
        raise LabError("not all that passed is on record", detail=str(failures[0]))


# --- What is kept ---------------------------------------------------------------------------------


def _write(lab: Lab, folder: Path, outcome: Outcome, seen: Found, began: float) -> None:
    """The judgment with all it rests on, and the events that are no packet and no log line."""
    (folder / SUMMARY).write_text(
        json.dumps(summary(outcome), ensure_ascii=False, indent=1), encoding="utf-8"
    )
    spec = outcome.spec
    with EventLog(folder / events.FILE, lab.clock) as log:
        log.add(
            "run",
            f"Soak: {counted(spec.messages, 'message')}, {counted(outcome.struck, 'fault')}",
            when=began,
            data={
                "scenario": "soak",
                "rows": [],
                "summary": "Is any accepted message lost, whatever goes wrong?",
                **about(lab),
                "parameters": {**vars(spec), "only": list(spec.only)},
                "partial": True,
            },
        )
        with lab.fabric() as fabric:
            for told in fabric.told():
                log.record(fault(told))
        _verdicts(log, outcome, seen)
        log.add("outcome", "ok" if outcome.ok else "failed", data=_ended(lab, folder, outcome))


def _verdicts(log: EventLog, outcome: Outcome, seen: Found) -> None:
    evidence = []
    for address, message_ids in seen.mailboxes.items():
        words = f"{counted(len(message_ids), 'message')} in the mailbox of {address}"
        event = log.add("mailbox", words, data={"user": address, "messages": []})
        evidence.append({"kind": "mailbox", "event": event.seq, "says": words})
    for id, expected, ok, observed in checks(outcome):
        data = {"id": id, "expected": expected, "observed": observed, "ok": ok}
        log.add("verdict", f"{id}: {observed}", data=data | {"evidence": evidence})
    for fate in outcome.noteworthy:
        log.add(
            "action",
            told(fate),
            data={"evidence": [_place(cause.line) for cause in _causes(fate)]},
            refs=Refs(message_id=fate.submission.letter.message_id),
        )


def _causes(fate: Fate) -> list[Cause]:
    return [*fate.causes, *filter(None, [fate.vain])]


def _place(line: Any) -> dict[str, Any]:
    return {"kind": "log", "node": line.node, "line": line.number, "says": line.text}


def checks(outcome: Outcome) -> list[tuple[str, str, bool, str]]:
    """What was expected of the soak, and what was observed: id, expected, ok, observed."""
    found = outcome.judgment
    numbers = found.counts()
    return [
        (
            "lost",
            "what a server has acknowledged is delivered, returned, or still queued",
            not found.lost,
            f"{numbers['lost']} of {numbers['deliveries']} deliveries lost"
            + (f", {numbers['in vain']} returned in vain" if numbers["in vain"] else ""),
        ),
        (
            "unexpected",
            "nothing is there that no server has taken",
            not found.unexpected,
            f"{numbers['unexpected']} unexpected",
        ),
        (
            "damaged",
            "what is delivered is, octet by octet, what was written",
            not found.damaged,
            f"{numbers['damaged']} of {numbers['delivered']} damaged",
        ),
        (
            "duplicated",
            "what comes twice has its cause in a server's log",
            not found.unexplained,
            f"{numbers['duplicated']} came twice, {numbers['unexplained']} of them unexplained",
        ),
    ]


def told(fate: Fate) -> str:
    """A fate in words."""
    letter = fate.submission.letter
    words = f"{letter.message_id} from {letter.sender} to {fate.recipient}"
    if fate.lost:
        return f"{words}: LOST ({fate.submission.said})"
    if fate.vain:
        return f"{words}: returned, but its sender was not told: {fate.vain.words}"
    if fate.unexpected:
        return f"{words}: there, though refused ({fate.submission.said})"
    if fate.twice:
        copies = counted(fate.copies, "copy").replace("copys", "copies")
        what = copies + (" and a report of failure" if fate.returned else "")
        why = "; ".join(cause.words for cause in fate.causes) or "nobody knows why"
        return f"{words}: {what}: {why}"
    return f"{words}: delivered, though its sender never heard so"


def _ended(lab: Lab, folder: Path, outcome: Outcome) -> dict[str, Any]:
    return {
        "scenario": "soak",
        "ok": outcome.ok,
        "run": str(folder),
        "lab_seconds": round(outcome.real_seconds * lab.clock.scale, 1),
        "real_seconds": round(outcome.real_seconds, 2),
        "dropped": outcome.dropped,
        "expectations": [],
    }


def summary(outcome: Outcome) -> dict[str, Any]:
    """The outcome as `lab soak --json` prints it, and as it is kept: all letters, all strikes."""
    return {
        "ok": outcome.ok,
        **{key: value for key, value in vars(outcome.spec).items() if key != "only"},
        "only": list(outcome.spec.only),
        "real_seconds": round(outcome.real_seconds, 1),
        "drained": outcome.drained,
        "dropped": outcome.dropped,
        "counts": outcome.judgment.counts(),
        "strikes": [
            {
                "fault": stroke.strike.fault.name,
                "target": stroke.strike.fault.target,
                "parameters": stroke.strike.fault.written(),
                "began": stroke.began,
                "ended": stroke.ended,
                "case": stroke.case,
                "refused": stroke.refused,
            }
            for stroke in outcome.strokes
        ],
        "letters": [_fate(fate) for fate in outcome.judgment.fates],
        "strangers": [list(one) for one in outcome.judgment.strangers],
        "damaged": [list(one) for one in outcome.judgment.damaged],
    }


def _fate(fate: Fate) -> dict[str, Any]:
    letter = fate.submission.letter
    return {
        "message_id": letter.message_id,
        "sender": letter.sender,
        "recipient": fate.recipient,
        "size": letter.size,
        "form": letter.form,
        "answer": fate.submission.answer,
        "said": fate.submission.said,
        "tries": fate.submission.tries,
        "copies": fate.copies,
        "returned": fate.returned,
        "queued": [dataclasses.asdict(one) for one in fate.waits],
        "lost": fate.lost,
        "unexpected": fate.unexpected,
        "recovered": fate.recovered,
        "in_vain": fate.vain is not None,
        "causes": [{"words": cause.words, **_place(cause.line)} for cause in _causes(fate)],
    }
