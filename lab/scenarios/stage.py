"""The stage: a running lab in which a scenario acts, with everything that happens on record.

The recorder listens on every network and to every log for as long as the stage is open. Whatever
a scenario claims has to be found there, in a queue or in a mailbox.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar

from lab.engine.lab import Lab
from lab.errors import LabError
from lab.events import EventLog
from lab.faults import journal
from lab.faults.fault import Fault
from lab.faults.journal import Case
from lab.observe import maillog
from lab.observe.maillog import Attempt, LogLine
from lab.observe.recorder import Recorder
from lab.scenarios.batch import BatchExpectation
from lab.scenarios.evidence import Evidence, Verdict
from lab.scenarios.expect import MessageExpectation
from lab.scenarios.narration import Narration
from lab.scenarios.people import Message, Person, Reading
from lab.scenarios.wire import Wire
from lab.services import dovecot, postfix
from lab.services.dovecot import StoredMessage
from lab.services.postfix import QueueEntry
from lab.units import format_duration, parse_duration

if TYPE_CHECKING:
    from types import TracebackType

POLL_SECONDS = 0.1  # between two looks at a log, a queue or a mailbox
PATIENCE_SECONDS = 60.0  # real time beyond what the schedule says, for a slow machine

_T = TypeVar("_T")

Pause: TypeAlias = Literal["asked", "observed", "explained"]
"""What has just happened when a class thinks."""


class Audience(Protocol):
    """Who watches: they think at a pause, and see that something is waited for."""

    def pause(self, what: Pause) -> None:
        """Return when they have thought."""

    def acting(self) -> AbstractContextManager[None]:
        """Somebody acts in the block, which will be on record when they have."""

    def waiting(self, what: str) -> None:
        """Called again and again while nothing happens that is worth an event."""


class Stage:
    """What a scenario acts on. Made by the runner; see lab/scenarios/__init__.py for its use."""

    def __init__(
        self, lab: Lab, folder: Path, log: EventLog, narration: Narration, audience: Audience
    ) -> None:
        self.lab = lab
        self.folder = folder
        self.log = log
        self.narration = narration
        self.verdicts: list[Verdict] = []
        self._recorder = Recorder(lab, log, folder)
        self.wire = Wire(self._recorder.taps)
        self.opened = time.time()
        self.audience = audience
        self._shown: list[Evidence] = []  # what was seen since something was told

    # --- Opening and closing -------------------------------------------------------------

    def __enter__(self) -> Stage:
        self._recorder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recorder.__exit__(kind, error, trace)

    @property
    def dropped(self) -> int:
        """Frames that the captures missed; known when the stage has closed."""
        return self._recorder.dropped

    # --- Telling -------------------------------------------------------------------------

    def tell(self, key: str, **values: object) -> None:
        """Tell the class the narration's text of `key`."""
        self._narrate("tell", key, values)

    def predict(self, key: str, **values: object) -> None:
        """Ask the class what will happen; with --step, wait for them."""
        self._narrate("predict", key, values)
        self.audience.pause("asked")

    def explain(self, key: str, **values: object) -> None:
        """Say why it happened; with --step, wait before, for them to say why, and after."""
        self.audience.pause("observed")
        self._narrate("explain", key, values)
        self.audience.pause("explained")

    def _narrate(self, role: str, key: str, values: dict[str, object]) -> None:
        text = self.narration.text(key, **values)
        shown = [] if role == "predict" else [one.as_json() for one in dict.fromkeys(self._shown)]
        self.log.add("narration", text, data={"role": role, "key": key, "evidence": shown})
        self._shown.clear()

    @property
    def patience(self) -> str:
        """How long a message may wait here before it is given up."""
        return format_duration(self.lab.plan.topology.schedule.give_up)

    # --- Acting --------------------------------------------------------------------------

    def person(self, name: str) -> Person:
        """Somebody who uses the lab: `bob` or `bob@receiver.example`."""
        return Person(self, name)

    def address(self, node: str) -> str:
        """The IP address of `node`."""
        return self.lab.plan.site.address(self.lab.node(node))

    def network(self, node: str) -> str:
        """The network that the (first) cable of `node` is plugged into."""
        return self.lab.plan.nodes[self.lab.node(node)].interfaces[0].network

    @contextmanager
    def outage(self, fault: Fault) -> Iterator[Case]:
        """`fault` is on while the block runs, and is undone whatever happens in it."""
        case = journal.apply(self.lab, fault, by=self._recorder.token)
        try:
            self._fault(case, on=True)
            yield case
        finally:
            try:
                self._recorder.settle()  # what the logs say comes before what follows from it
            finally:
                journal.heal(self.lab, case)
                self._fault(case, on=False)

    def _fault(self, case: Case, *, on: bool) -> None:
        when = time.time()
        fault = case.fault
        _, evidence = self.machine(fault.node)
        self.log.add(
            "fault",
            fault.title if on else fault.healed,
            node=fault.node,
            when=when,
            data={**case.event(on=on), "evidence": [one.as_json() for one in evidence]},
        )
        self._shown += evidence

    @contextmanager
    def operator(self, node: str, **settings: object) -> Iterator[None]:
        """The operator of a mail server sets parameters of Postfix while the block runs."""
        shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
        with postfix.configured(self.lab, node, settings):
            self._act(
                node,
                f"the operator of {node} sets {shown}",
                settings={k: str(v) for k, v in settings.items()},
            )
            yield

    def flush(self, node: str) -> None:
        """The operator of a mail server has everything in its queue tried now."""
        self._act(node, f"the operator of {node} types postqueue -f")
        postfix.flush(self.lab, node)

    def _act(self, node: str | None, what: str, **data: object) -> None:
        """Put on record what was done; that it was done is all there is to see."""
        self.log.add("action", what, node=node, data={"evidence": [], **data})

    def wait(self, lab_duration: str) -> None:
        """Let lab time pass: `2h`."""
        seconds = parse_duration(lab_duration)
        real = self.lab.clock.real(seconds)
        said = f"{lab_duration} pass ({format_duration(real)} of real time)"
        self._act(None, said, lab_seconds=seconds)
        ends = time.monotonic() + real
        while (left := ends - time.monotonic()) > 0:
            self._recorder.check()
            self.audience.waiting("time passes")
            time.sleep(min(left, POLL_SECONDS))

    # --- Observing -----------------------------------------------------------------------

    def look(self, node: str) -> list[LogLine]:
        """All log lines of `node` so far."""
        return self._recorder.lines(node)

    def attempts(self, node: str, queue_id: str | None = None) -> list[Attempt]:
        """The attempts that `node` has made to pass mail on to others, in order."""
        found = maillog.attempts(self.look(node), queue_id)
        return [attempt for attempt in found if attempt.program not in maillog.LOCAL]

    def queue(self, node: str) -> tuple[list[QueueEntry], Evidence]:
        """What is in the queue of `node` now, as an event."""
        self._recorder.settle()
        entries = postfix.queue(self.lab, node)
        event = self.log.add(
            "queue",
            f"{len(entries)} in the queue of {node}",
            node=node,
            data={"entries": [dataclasses.asdict(entry) for entry in entries]},
        )
        return entries, Evidence("queue", node=node, event=event.seq, says=event.summary)

    def mailbox(self, address: str) -> tuple[list[StoredMessage], Evidence]:
        """What is in a mailbox now, as an event."""
        from lab.services.pc import server_of

        self._recorder.settle()
        messages = dovecot.mailbox(self.lab, address)
        node = server_of(self.lab.plan.site, address)
        event = self.log.add(
            "mailbox",
            f"{len(messages)} in the mailbox of {address}",
            node=node,
            data={"user": address, "messages": [dataclasses.asdict(one) for one in messages]},
        )
        return messages, Evidence("mailbox", node=node, event=event.seq, says=event.summary)

    def machine(self, node: str) -> tuple[str, list[Evidence]]:
        """The state of `node` (`ready`, `off`, …), and of its cables, as events."""
        state = self.lab.state()
        found = next(one for one in state["nodes"] if one["name"] == node)
        links = {one["network"]: one["state"] for one in state["links"] if one["node"] == node}
        machine = self.log.add("machine", f"{node} is {found['state']}", node=node, data=found)
        words = ", ".join(f"{network} {state}" for network, state in links.items())
        cable = self.log.add("cable", f"{node}: {words}", node=node, data={"links": links})
        evidence = [
            Evidence(event.kind, node=node, event=event.seq, says=event.summary)
            for event in (machine, cable)
        ]
        return found["state"], evidence

    def until(self, what: str, look: Callable[[], _T | None], lab_seconds: float = 0) -> _T:
        """What `look` returns once it is not None; it is asked again and again.

        Raises LabError if that takes longer than `lab_seconds` and some patience more.
        """
        deadline = time.monotonic() + self.lab.clock.real(lab_seconds) + PATIENCE_SECONDS
        while (found := look()) is None:
            self._recorder.check()
            if time.monotonic() > deadline:
                raise LabError(f"waited in vain until {what}", hint=f"see {self.folder}")
            self.audience.waiting(f"until {what}")
            time.sleep(POLL_SECONDS)
        return found

    # --- Judging -------------------------------------------------------------------------

    def expect(self, message: Message) -> MessageExpectation:
        """What is expected of `message`."""
        return MessageExpectation(self, message)

    def expect_all(self, messages: list[Message]) -> BatchExpectation:
        """What is expected of several messages from one server."""
        return BatchExpectation(self, messages)

    def check(
        self, id: str, expected: str, observed: str, ok: bool, evidence: list[Evidence]
    ) -> bool:
        """Put a verdict on record; True if the expectation is met.

        Raises LabError if not all was recorded meanwhile: then nothing can be judged.
        """
        self._recorder.check()
        self._recorder.settle()
        verdict = Verdict(id, expected, observed, ok, tuple(dict.fromkeys(evidence)))
        self.verdicts.append(verdict)
        self._shown += verdict.evidence
        self.log.add("verdict", f"{id}: {observed}", data=verdict.as_json())
        return ok


__all__ = ["Message", "Person", "Reading", "Stage"]
