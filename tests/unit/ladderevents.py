"""Events of a small lab, made by hand, and those of real runs, for the ladder's tests.

Moments are real seconds since the lab began. A packet that passes the router is told of by both
networks, as the lab's taps do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.events import Event, Refs, in_order, parse
from lab.kinds import Kind
from lab.topology.loader import load
from lab.views.ladder.layout import Ladder

STARTED = 1_795_445_246.0  # 2026-11-23 14:47:26 UTC
SCALE = 60.0
RECORDS = Path(__file__).parents[1] / "records"
ROOT = Path(__file__).parents[2]
NOWHERE = Refs()
PC, MAIL, DNS, FAR = "sender-pc", "sender-mail", "dns", "receiver-mail"
ADDRESSES = {
    PC: "198.51.100.10",
    MAIL: "198.51.100.25",
    DNS: "198.51.100.193",
    FAR: "203.0.113.25",
    "receiver-pc": "203.0.113.10",
}
NETWORKS = {
    PC: "sender-lan",
    MAIL: "sender-lan",
    DNS: "dns-lan",
    FAR: "receiver-lan",
    "receiver-pc": "receiver-lan",
}


def real(name: str) -> list[Event]:
    """The events of a real run, as they were noticed (tests/records)."""
    lines = (RECORDS / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [parse(line) for line in lines]


def ladder_of(events: list[Event], *, ended: bool = True) -> Ladder:
    """The ladder of a run."""
    run = next(event for event in events if event.kind == "run")
    return Ladder.of(run, in_order(events), ended=ended)


@dataclass
class Scene:
    """A run, as it is written."""

    events: list[Event] = field(default_factory=list)
    _frames: dict[str, int] = field(default_factory=dict)
    _lines: int = 0

    def __post_init__(self) -> None:
        topology = load(ROOT / "topologies" / "textbook.yaml")
        about = {
            "scenario": None,
            "rows": [],
            "summary": "",
            "lab": "lab",
            "topology": topology.model_dump(mode="json"),
            "addresses": {address: name for name, address in ADDRESSES.items()},
            "time_scale": SCALE,
            "started": STARTED,
            "parameters": {},
        }
        self.add(0, "run", "A small story", None, about)

    def add(
        self, at: float, kind: Kind, summary: str, node: str | None, data: Any, refs: Refs = NOWHERE
    ) -> Event:
        """An event."""
        event = Event(
            len(self.events) + 1, STARTED + at, at * SCALE, node, kind, summary, data, refs
        )
        self.events.append(event)
        return event

    def ladder(self, *, ended: bool = True) -> Ladder:
        """What is to be seen so far."""
        return ladder_of(self.events, ended=ended)

    # On the wires -------------------------------------------------------------------------------

    def _wire(
        self,
        at: float,
        kind: Kind,
        summary: str,
        ends: tuple[str, str, int],
        side: str,
        data: dict[str, Any],
        only: str | None = None,
        message_id: str | None = None,
        queue_id: str | None = None,
    ) -> None:
        client, server, port = ends
        order = [NETWORKS[client], NETWORKS[server]][:: 1 if side == "client" else -1]
        number = int(data.pop("number", 1))
        for index, network in enumerate(dict.fromkeys(order)):
            if only is not None and network != only:
                continue
            frame = self._frames[network] = self._frames.get(network, 0) + 1
            file = f"captures/{network}.pcap"
            common = {
                "connection": f"{client}:{40000 + number}>{server}:{port}",
                "network": network,
                "protocol": {25: "smtp", 587: "smtp", 143: "imap", 53: "dns"}[port],
                "client": f"{ADDRESSES[client]}:{40000 + number}",
                "server": f"{ADDRESSES[server]}:{port}",
                "client_node": client,
                "server_node": server,
                "side": side,
            }
            refs = Refs(message_id, queue_id, None if port == 53 else number, file, frame)
            more = {"last_frame": frame} if kind == "turn" else {}
            if data.get("answers") == "last":
                more["answers"] = self._frames[network] - 1
            node = client if side == "client" else server
            self.add(at + index * 1e-5, kind, summary, node, common | data | more, refs)

    def happens(self, at: float, what: str, ends: tuple[str, str, int], **more: Any) -> None:
        """Something happens to a connection: syn, accepted, fin, reset, over."""
        only, number = more.get("only"), more.get("number", 1)
        side = more.get("side", "server" if what == "accepted" else "client")
        data = {"what": what, "state": "", "tries": more.get("tries", 1), "history": []}
        self._wire(at, "connection", what, ends, side, data | {"number": number}, only)

    def says(
        self, at: float, side: str, text: str, ends: tuple[str, str, int], **more: Any
    ) -> None:
        """A command, or the reply to what was said last."""
        first = text.split()[0] if text else ""
        reply = side == "server"
        data = {
            "what": more.get("what", ("reply" if reply else "command")),
            "command": None if reply else first,
            "argument": None if reply else text.partition(" ")[2],
            "code": int(first) if reply and first.isdigit() else None,
            "status": None,
            "tag": None,
            "text": text,
            "size": more.get("size", len(text)),
            "answers": "last" if reply and more.get("what") != "greeting" else None,
            "complete": True,
            "failed": reply and first[:1] in "45",
            "number": more.get("number", 1),
        }
        ids = (more.get("only"), more.get("message_id"), more.get("queue_id"))
        self._wire(at, "turn", text, ends, side, data, *ids)

    def asks(self, at: float, what: str, answer: str | None, who: str = MAIL, **more: Any) -> None:
        """A question to the name server, and its answer unless there is none."""
        kind, name = what.split()
        ends = (who, DNS, 53)
        data = {"type": kind, "name": name, "status": None, "answers": [], "number": 9}
        question = {"what": "question", "text": f"{what}?"}
        only = more.get("only")
        self._wire(at, "dns", f"{what}?", ends, "client", data | question, only)
        if answer is not None:
            records = [f"{name} {kind} {answer}"]
            told = {"what": "answer", "text": records[0], "answers": records, "number": 9}
            self._wire(at + 0.001, "dns", records[0], ends, "server", data | told, only)

    def message(self, at: float, ends: tuple[str, str, int], number: int, **more: Any) -> float:
        """A transaction from MAIL to the last reply; returns when it is over.

        `steps`: only so many of it. `only(step)`: the one network that tells of a step, or None.
        """
        with_number = {"number": more.get("connection", 1)}
        ids = {"message_id": f"<{number}@pc>", "queue_id": f"A{number:04}"}
        said = (
            ("client", "MAIL FROM:<a@sender.example>", {}),
            ("server", "250 2.1.0 Ok", {}),
            ("client", "RCPT TO:<b@receiver.example>", {}),
            ("server", "250 2.1.5 Ok", {}),
            ("client", "DATA", {}),
            ("server", "354 End data", {}),
            ("client", f"(message {number})", {"what": "content", "size": 400 + number, **ids}),
            ("server", f"250 2.0.0 Ok: queued as A{number:04}", ids),
        )[: more.get("steps")]
        for step, (side, text, extra) in enumerate(said):
            extra = extra | {"only": more["only"](step)} if "only" in more else extra
            self.says(at + step * 0.001, side, text, ends, **with_number, **extra)
        return at + len(said) * 0.001

    # In logs, and done --------------------------------------------------------------------------

    def changes(
        self, at: float, what: str, queue_id: str, node: str = MAIL, message: str | None = None
    ) -> None:
        """A line about a message in a queue."""
        self._lines += 1
        data = {"line": self._lines, "program": "postfix/qmgr", "what": what, "value": "a@x"}
        self.add(at, "queue_change", f"{queue_id} {what}", node, data, Refs(message, queue_id))

    def tries(self, at: float, status: str, queue_id: str, took: float = 0, **more: Any) -> None:
        """An attempt that began at `at`."""
        self._lines += 1
        reason = more.get("reason", "connect to mail[203.0.113.25]:25: Connection timed out")
        data = {
            "line": self._lines,
            "program": more.get("program", "smtp"),
            "recipient": "b@receiver.example",
            "relay": "none",
            "status": status,
            "dsn": "4.4.1",
            "reason": reason,
            "began": STARTED + at,
            "ended": STARTED + at + took,
            "remote_id": None,
        }
        refs = Refs(more.get("message"), queue_id)
        self.add(at, "attempt", reason, more.get("node", MAIL), data, refs)

    def fault(self, at: float, *, on: bool, node: str | None = FAR) -> None:
        """A power cut, or its end."""
        data = {
            "on": on,
            "fault": f"power-cut {node}",
            "what": "power-cut",
            "title": f"{node} has no power",
            "evidence": [],
        }
        self.add(at, "fault", "no power" if on else "power is back", node, data)
