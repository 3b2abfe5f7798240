"""The record of a lab that is up: what has happened in it since it was ready.

Nobody has to have thought of recording: the fabric keeps what passes, the engine what the machines
write, and both together are the events of a run, as if somebody had watched.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab import events
from lab.engine import scratch
from lab.errors import LabError
from lab.events import EventLog, Observation
from lab.observe import maillog
from lab.observe.capture import Replay
from lab.observe.logbook import Logbook
from lab.observe.pcap import read_frames
from lab.observe.recorder import about, fault, logging_nodes, nodes_by_address, recorded_since
from lab.observe.tap import Tap
from lab.record import CAPTURES, Record, write_log
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@contextmanager
def record_of(lab: Lab, *, wires: bool = True) -> Iterator[Record]:
    """The record of `lab` so far, in a folder that is there while the block runs (see snapshot)."""
    with scratch.folder(lab.name) as folder:
        yield snapshot(lab, folder, wires=wires)


def snapshot(lab: Lab, folder: Path, *, wires: bool = True) -> Record:
    """Write the record of `lab` so far into `folder`. Raises LabError if it keeps none.

    What has passed on the wires is always in the captures; with `wires` it is among the events too,
    which is most of the work.
    """
    since = recorded_since(lab)
    (folder / CAPTURES).mkdir(exist_ok=True)
    seen = [
        *(one for one in _logged(lab, folder) if one.time >= since),
        *(one for network in lab.plan.networks for one in _passed(lab, network, folder, wires)),
        *_faults(lab),
    ]
    # Under another name until it is whole: this is no run in progress that one could watch.
    unfinished = folder / f".{events.FILE}"
    with EventLog(unfinished, lab.clock) as log:
        begin(log, lab)
        for one in sorted(seen, key=lambda one: one.time):
            log.record(one)
        for one in _now(lab):
            log.record(one)
    unfinished.replace(folder / events.FILE)
    return Record.load(folder)


def begin(log: EventLog, lab: Lab) -> None:
    """Record what the events of a lab that is up are about."""
    log.add(
        "run",
        f"Lab '{lab.name}'",
        when=lab.clock.started,
        data={
            "scenario": None,
            "rows": [],
            "summary": "",
            **about(lab),
            "parameters": {},
        },
    )


def _logged(lab: Lab, folder: Path) -> Iterator[Observation]:
    """What the machines have written."""
    book = Logbook()
    for node in logging_nodes(lab):
        lines = maillog.read(lab, node)
        write_log(folder, node, lines)
        for line in lines:
            yield from book.read(line)


def _passed(lab: Lab, network: str, folder: Path, told: bool) -> Iterator[Observation]:
    """Keep what has passed on a network, and (if it is to be `told`) what it was."""
    tap = Tap(network, f"{CAPTURES}/{network}.pcap", nodes_by_address(lab))
    path = folder / tap.file
    replay = Replay(lab, network, follow=False)
    try:
        with path.open("wb") as file:
            for data in replay.chunks():
                file.write(data)
    finally:
        replay.close()
    if not told:
        return
    with path.open("rb") as capture:
        for frame in read_frames(capture, on_cut=lambda cut: None):
            yield from tap.feed(frame)
    yield from tap.finish()


def _faults(lab: Lab) -> list[Observation]:
    """What was done to it on purpose."""
    with lab.fabric() as fabric:
        return [fault(told) for told in fabric.told()]


def _now(lab: Lab) -> Iterator[Observation]:
    """How things stand: the queues of the mail servers that can be asked."""
    from lab.engine import containers
    from lab.services import postfix

    for name, node in lab.plan.topology.nodes.items():
        if isinstance(node, MailServer) and containers.process(lab.container(name)):
            try:
                entries = postfix.queue(lab, name)
            except LabError:
                continue  # frozen, say: what has happened so far can be told all the same
            data = {"entries": [dataclasses.asdict(entry) for entry in entries]}
            yield Observation(
                "queue", f"{len(entries)} in the queue of {name}", time.time(), name, data
            )
