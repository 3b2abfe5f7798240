"""The stage: a running lab in which a scenario acts, with everything that happens on record.

Captures run on every network for as long as the stage is open, so a cable that is pulled does
not end them. Log lines are collected whenever the stage looks; whatever a scenario claims has to
be found there, in a queue or in a mailbox.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from lab.engine.lab import Lab
from lab.errors import LabError
from lab.events import EventLog, Refs
from lab.faults import Fault
from lab.observe import maillog
from lab.observe.capture import Port, Recording, ports
from lab.observe.maillog import Attempt, LogLine, QueueEvent
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

POLL_SECONDS = 0.1  # between two looks at a log, a queue or a mailbox
PATIENCE_SECONDS = 60.0  # real time beyond what the schedule says, for a slow machine

_T = TypeVar("_T")


class Audience(Protocol):
    """Who watches: they think at a pause, and see that something is waited for."""

    def pause(self) -> None:
        """Return when they have thought."""

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
        self.wire = Wire(folder)
        self.opened = time.time()
        self._audience = audience
        self._lines: dict[str, list[LogLine]] = {}
        self._stack = ExitStack()

    # --- Opening and closing -------------------------------------------------------------

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            captures = self.folder / "captures"
            captures.mkdir(exist_ok=True)
            files: dict[Port, BinaryIO] = {}
            for port in ports(self.lab, self.lab.plan.networks):
                files[port] = stack.enter_context((captures / f"{port.name}.pcap").open("wb"))
            for node in self._logging_nodes():
                self._lines[node] = maillog.read(self.lab, node)
            self._recording = stack.enter_context(Recording(self.lab, files))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        for node in self._logging_nodes():
            self.look(node)
            text = "".join(f"{line.time:.6f} {line.text}\n" for line in self._lines[node])
            (logs / f"{node}.log").write_text(text, encoding="utf-8")

    def _logging_nodes(self) -> list[str]:
        return [name for name in self.lab.plan.nodes if self.lab.plan.health(name)]

    # --- Telling -------------------------------------------------------------------------

    def tell(self, key: str, **values: object) -> None:
        """Tell the class the narration's text of `key`."""
        self._narrate("tell", key, values)

    def predict(self, key: str, **values: object) -> None:
        """Ask the class what will happen; with --step, wait for them."""
        self._narrate("predict", key, values)
        self._audience.pause()

    def explain(self, key: str, **values: object) -> None:
        """Say why it happened; with --step, wait."""
        self._narrate("explain", key, values)
        self._audience.pause()

    def _narrate(self, role: str, key: str, values: dict[str, object]) -> None:
        text = self.narration.text(key, **values)
        self.log.add("narration", text, data={"role": role, "key": key})

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
    def outage(self, fault: Fault) -> Iterator[None]:
        """`fault` is on while the block runs, and is undone whatever happens in it."""
        fault.apply(self.lab)
        self.log.add("fault", fault.title, node=fault.node, data={"on": True})
        try:
            yield
        finally:
            self._catch_up()
            fault.revert(self.lab)
            self.log.add("fault", fault.healed, node=fault.node, data={"on": False})

    @contextmanager
    def operator(self, node: str, **settings: object) -> Iterator[None]:
        """The operator of a mail server sets parameters of Postfix while the block runs."""
        shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
        with postfix.configured(self.lab, node, settings):
            self.log.add("action", f"the operator of {node} sets {shown}", node=node)
            yield

    def flush(self, node: str) -> None:
        """The operator of a mail server has everything in its queue tried now."""
        self.log.add("action", f"the operator of {node} types postqueue -f", node=node)
        postfix.flush(self.lab, node)

    def wait(self, lab_duration: str) -> None:
        """Let lab time pass: `2h`."""
        seconds = parse_duration(lab_duration)
        real = self.lab.clock.real(seconds)
        self.log.add("action", f"{lab_duration} pass ({format_duration(real)} of real time)")
        ends = time.monotonic() + real
        while (left := ends - time.monotonic()) > 0:
            self._audience.waiting("time passes")
            time.sleep(min(left, POLL_SECONDS))

    def _catch_up(self) -> None:
        """Put on record what the logs say, so that it is told before what follows from it."""
        for node in self._logging_nodes():
            self.look(node)

    # --- Observing -----------------------------------------------------------------------

    def look(self, node: str) -> list[LogLine]:
        """All log lines of `node` so far; new ones become events."""
        lines = maillog.read(self.lab, node)
        for line in lines[len(self._lines[node]) :]:
            attempt = maillog.attempt(line)
            event = attempt or maillog.queue_event(line)
            self.log.add(
                "log",
                line.text,
                node=node,
                when=line.time,
                data={"line": line.number},
                refs=Refs(queue_id=event.queue_id if event else None),
            )
            if isinstance(event, QueueEvent) and event.what == "dsn":
                said = line.text.rpartition(": sender ")[2].partition(":")[0]
                self.log.add(
                    "action",
                    f"{node} writes to the sender of {event.queue_id}: {said}",
                    node=node,
                    when=line.time,
                    data={"line": line.number},
                    refs=Refs(queue_id=event.value),
                )
            if attempt is not None and attempt.program.endswith("smtp"):
                self._attempt_event(attempt)
        self._lines[node] = lines
        return lines

    def _attempt_event(self, attempt: Attempt) -> None:
        self.log.add(
            "attempt",
            attempt.reason,
            node=attempt.line.node,
            when=attempt.began,
            data={
                "recipient": attempt.recipient,
                "relay": attempt.relay,
                "status": attempt.status,
                "reason": attempt.reason,
                "ended": attempt.line.time,
                "line": attempt.line.number,
            },
            refs=Refs(queue_id=attempt.queue_id),
        )

    def attempts(self, node: str, queue_id: str | None = None) -> list[Attempt]:
        """The attempts that `node` has made to pass mail on by SMTP, in order."""
        found = maillog.attempts(self.look(node), queue_id)
        return [attempt for attempt in found if attempt.program.endswith("smtp")]

    def queue(self, node: str) -> tuple[list[QueueEntry], Evidence]:
        """What is in the queue of `node` now, as an event."""
        self._catch_up()
        entries = postfix.queue(self.lab, node)
        event = self.log.add(
            "queue",
            f"{len(entries)} in the queue of {node}",
            node=node,
            data={"entries": [dataclasses.asdict(entry) for entry in entries]},
        )
        return entries, Evidence("queue", node=node, event=event.seq)

    def mailbox(self, address: str) -> tuple[list[StoredMessage], Evidence]:
        """What is in a mailbox now, as an event."""
        from lab.services.pc import server_of

        self._catch_up()
        messages = dovecot.mailbox(self.lab, address)
        node = server_of(self.lab.plan.site, address)
        event = self.log.add(
            "mailbox",
            f"{len(messages)} in the mailbox of {address}",
            node=node,
            data={"user": address, "messages": [dataclasses.asdict(one) for one in messages]},
        )
        return messages, Evidence("mailbox", node=node, event=event.seq)

    def machine(self, node: str) -> tuple[str, Evidence]:
        """The state of `node` (`ready`, `off`, …), as an event."""
        state = next(one for one in self.lab.state()["nodes"] if one["name"] == node)
        event = self.log.add("machine", f"{node} is {state['state']}", node=node, data=state)
        return state["state"], Evidence("machine", node=node, event=event.seq)

    def until(self, what: str, look: Callable[[], _T | None], lab_seconds: float = 0) -> _T:
        """What `look` returns once it is not None; it is asked again and again.

        Raises LabError if that takes longer than `lab_seconds` and some patience more.
        """
        deadline = time.monotonic() + self.lab.clock.real(lab_seconds) + PATIENCE_SECONDS
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise LabError(f"waited in vain until {what}", hint=f"see {self.folder}")
            self._audience.waiting(f"until {what}")
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

        Raises LabError if a capture has ended meanwhile: then nothing can be judged.
        """
        if self._recording.ended_early:
            raise LabError(
                f"the capture at {', '.join(self._recording.ended_early)} ended while the story "
                "went on; what it did not see can't be judged",
                hint="somebody ended tcpdump, or the fabric; run the scenario again",
            )
        self._catch_up()
        verdict = Verdict(id, expected, observed, ok, tuple(dict.fromkeys(evidence)))
        self.verdicts.append(verdict)
        self.log.add("verdict", f"{id}: {observed}", data=verdict.as_json())
        return ok


__all__ = ["Message", "Person", "Reading", "Stage"]
