"""The fabric as the engine sees it: cables plugged, pulled and questioned from outside the nodes.

The work is done by images/fabric/agent.py inside the fabric container; this is its other end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.engine import containers
from lab.engine.exec import STDERR, Exec, Stream, attach
from lab.errors import EngineError
from lab.services import File, Question
from lab.topology.addressing import Interface, Route

AGENT = "/lab/agent.py"
_LOOK_SECONDS = 2.0  # of silence, before we look whether the fabric is still there


@dataclass(frozen=True)
class Cable:
    """Who has a cable out and whose rules its frames are treated by (`owner`s, as they gave them);
    `box`: whether there is a box that treats them; `done`: what it says of each owner's rules;
    `there`: whether it hangs at a node, which then is on.
    """

    pulled: list[str]
    rules: list[str]
    box: bool
    done: dict[str, Any]
    there: bool = True


@dataclass(frozen=True)
class Lent:
    """Whose rules a service has that a node was lent, whether it runs, and what it says of them."""

    rules: list[str]
    runs: bool
    done: dict[str, Any]


def mac_address(interface: Interface) -> str:
    """A locally administered MAC that spells the IP address, so ARP tables can be read."""
    return "02:00:" + ":".join(f"{octet:02x}" for octet in interface.address.packed)


class Fabric:
    """An open line to the agent. Not for use by several threads at once."""

    def __init__(self, program: Stream, container: str) -> None:
        self._program = program
        self._container = container
        self._pending = bytearray()

    @classmethod
    @contextmanager
    def of(cls, container: str, *, fresh: bool = False) -> Iterator[Fabric]:
        """A line to the agent in the fabric container `container`.

        A `fresh` one, to which nobody has spoken yet, is spoken to as its main program.
        """
        with attach(container) if fresh else Exec(container, [AGENT, "serve"]) as program:
            program.socket.settimeout(_LOOK_SECONDS)
            yield cls(program, container)

    def _call(self, verb: str, **arguments: Any) -> Any:
        self._program.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")
        said = bytearray()
        for stream, data in self._frames():
            if stream == STDERR:
                said += data
                continue
            self._pending += data
            line, end, rest = self._pending.partition(b"\n")
            if end:
                self._pending = bytearray(rest)
                if not line.startswith(b"{"):  # not the agent: the engine, saying it can't run it
                    said += line
                    break
                answer = json.loads(line)
                if "error" in answer:
                    raise EngineError(f"the fabric could not {verb}: {answer['error']}")
                return answer["ok"]
        raise EngineError("the fabric ended unexpectedly", detail=said.decode(errors="replace"))

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """What the agent says, until it ends; of a container that is removed not every engine
        tells us so.
        """
        while True:
            try:
                yield from self._program.frames()
                return
            except TimeoutError:
                if not containers.process(self._container):
                    return

    def interfaces(self) -> dict[str, bool]:
        """The fabric's interfaces: name → plugged in (a pulled cable is False)."""
        found: dict[str, bool] = self._call("interfaces")
        return found

    def bridges(self, names: Sequence[str]) -> None:
        """Make a bridge for each network of `names` that has none."""
        self._call("bridges", names=list(names))

    def configure(self, files: Sequence[File], pid: int) -> bool:
        """Give a new node (its first process is `pid`) its files, for which its start waits.

        True if it was new; a node that has had its files keeps them as they are.
        """
        new: bool = self._call("configure", pid=pid, files=[vars(file) for file in files])
        return new

    def furnish(self, files: Sequence[File], pid: int) -> None:
        """Have files of the node whose first process is `pid` say what they should."""
        self._call("furnish", pid=pid, files=[vars(file) for file in files])

    def keep(self, name: str, text: str | None = None) -> str | None:
        """What the lab keeps under `name` while it is there: `text`, unless it has some already.

        None if it has none, and is given none.
        """
        kept: str | None = self._call("keep", name=name, text=text)
        return kept

    def plug(
        self, interface: Interface, routes: Sequence[Route], pid: int, *, anew: bool = False
    ) -> bool:
        """Lay the cable of `interface` to the node whose first process is `pid`.

        What faults want of it (that it is out, say) holds, unless it is as if laid `anew`. True if
        it had to be laid, False if it was there.
        """
        laid: bool = self._call(
            "plug",
            port=interface.port,
            network=interface.network,
            pid=pid,
            interface=interface.name,
            mac=mac_address(interface),
            address=str(interface.address),
            # A route needs its gateway's network to be there: each comes with its own cable.
            routes=[
                (str(route.destination), str(route.via))
                for route in routes
                if route.via in interface.address.network
            ],
            anew=anew,
        )
        return laid

    def pull(self, interface: Interface, owner: str) -> None:
        """Pull the cable of `interface` out, until `owner` (and whoever else did) pushes it in."""
        self._call("pull", port=interface.port, owner=owner, network=interface.network)

    def push(self, interface: Interface, owner: str) -> None:
        """`owner` pushes the cable of `interface` in; it stays out if others pulled it too."""
        self._call("push", port=interface.port, owner=owner, network=interface.network)

    def lead(self, interface: Interface, owner: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Have the frames of a cable treated by `rules` (images/fabric/box.py), `owner`'s.

        They replace those that `owner` had; with none the cable is straight again, unless others
        have rules.
        """
        place = {"port": interface.port, "network": interface.network}
        self._call("lead", **place, owner=owner, rules=list(rules))

    def cable(self, interface: Interface) -> Cable:
        """How a cable is."""
        return Cable(**self._call("cable", port=interface.port))

    def lend(
        self, node: str, pid: int, program: str, port: int, owner: str, rules: Sequence[Any]
    ) -> None:
        """Lend `node` (first process `pid`; 0 if off) a service at 127.0.0.1:`port`.

        `program` is one of images/fabric (`policy`), `rules` what `owner` wants of it; with none,
        `owner` wants nothing of it any more.
        """
        place = {"node": node, "pid": pid, "program": program, "port": port}
        self._call("lend", **place, owner=owner, rules=list(rules))

    def lent(self, node: str, program: str, port: int) -> Lent:
        """What `node` was lent."""
        return Lent(**self._call("lent", node=node, program=program, port=port))

    def command(self, pid: int, *argv: str) -> tuple[int, str]:
        """Run a program of the fabric's in the network of process `pid`: status and output."""
        status, output = self._call("command", pid=pid, argv=argv)
        return int(status), str(output)

    def note(self, case: Mapping[str, Any]) -> str:
        """Write a fault into the lab's journal; its `id`, which is new if it has none."""
        return str(self._call("note", case=case))

    def cross_out(self, id: str) -> None:
        """Cross a fault out in the lab's journal."""
        self._call("cross_out", id=id)

    def noted(self) -> list[dict[str, Any]]:
        """The faults in the lab's journal, in order."""
        found: list[dict[str, Any]] = self._call("noted")
        return found

    def tell(self, event: Mapping[str, Any]) -> None:
        """Put on the lab's own record that a fault went on or off."""
        self._call("tell", event=event)

    def told(self, after: int = 0) -> list[dict[str, Any]]:
        """What was so told, from number `after` on; `time` in epoch seconds is added."""
        found: list[dict[str, Any]] = self._call("told", after=after)
        return found

    def frozen(self, pid: int) -> bool:
        """Whether the main program of the node whose first process is `pid` has been stopped."""
        return bool(self._call("frozen", pid=pid))

    def deaf(self, asked: Sequence[tuple[int, Question]]) -> list[Question]:
        """Those of the questions to which nothing listens; nobody is called to find out."""
        wire = [(pid, *question.ask) for pid, question in asked]
        heard: list[bool] = self._call("listening", questions=wire)
        return [question for (_, question), ok in zip(asked, heard, strict=True) if not ok]

    def answering(
        self, asked: Sequence[tuple[int, Question]], seconds: float
    ) -> list[tuple[Question, str]]:
        """Put questions, each from the machine of the process before it, for up to `seconds`.

        Those that got no answer, each with the last error.
        """
        wire = [(pid, *question.ask) for pid, question in asked]
        outcome = self._call("answering", questions=wire, seconds=seconds)
        return [
            (question, error)
            for (_, question), error in zip(asked, outcome, strict=True)
            if error is not None
        ]

    def record(self, networks: Sequence[str]) -> float:
        """See to it that all that passes on these networks is kept on record; since when it is."""
        since: float = self._call("record", networks=list(networks))
        return since

    def recorded_since(self) -> float | None:
        """Since when what passes is on record (epoch seconds); None if it is not."""
        since: float | None = self._call("recorded_since")
        return since
