"""A tap on one network: frames in, observations out.

Everything that passes is a `packet`; what it does to a connection, what is said over it, and what
becomes of a message in it are observations of their own, each with the frame in which it can be
looked up. What a router passes on is seen on two networks and told twice; `connection` is the
same both times.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lab.events import Observation, Refs
from lab.observe.dialogue import Conversations, Dialogue, Steps, Transaction, Turn
from lab.observe.history import epilogue, happenings
from lab.observe.maillog import QUEUED_AS
from lab.observe.packets import Arp, Icmp, Ip, Packet, Tcp, Udp, decode, flag_names
from lab.observe.pcap import Frame
from lab.observe.protocols import EVERY
from lab.observe.tcp import Endpoint, Step, Stream
from lab.observe.turns import ENDS_TRANSACTION

_TEXT = 4000  # characters of what is said that an event holds; the capture has the rest


class Tap:
    """What passes on `network`, whose capture is `file` (a path within the run's folder).

    `nodes` tells which machine has which address. With `keep`, `dialogues` are all connections so
    far, also those that nobody can read; whoever reads them while frames are fed holds `lock`.
    """

    def __init__(
        self, network: str, file: str, nodes: Mapping[str, str], *, keep: bool = False
    ) -> None:
        self.network = network
        self.file = file
        self.dialogues: list[Dialogue] = []
        self.lock = threading.Lock()
        self._keep = keep
        self._nodes = nodes
        self._steps = Steps()
        self._conversations = Conversations(EVERY)
        self._mails: dict[Dialogue, _Mails] = {}
        self._now = 0.0

    def feed(self, frame: Frame) -> list[Observation]:
        """What `frame` is, and what it did."""
        with self.lock:
            packet = decode(frame)
            self._now = frame.time
            steps = self._steps.feed(packet)
            seen = [self._packet(frame, packet, steps)]
            for step in steps:
                seen += self._step(step)
            return seen

    def finish(self) -> list[Observation]:
        """The capture is at its end, and every connection over."""
        with self.lock:
            return [one for step in self._steps.finish() for one in self._step(step)]

    # Packets ------------------------------------------------------------------------------------

    def _packet(self, frame: Frame, packet: Packet | None, steps: Iterable[Step]) -> Observation:
        data = {"network": self.network, **_described(frame, packet)}
        stream = self._steps.stream(packet) if isinstance(packet, Tcp) else None
        if isinstance(packet, Icmp):  # which complains of a connection
            stream = next((step.stream for step in steps if _is_tcp(step)), None)
        by = packet.sender if isinstance(packet, Arp) else packet.src if packet else ""
        where = f"{data['src']} → {data['dst']}" if data["dst"] else data["src"]
        words = _words(packet, data)
        if self._steps.damaged:
            data["damaged"] = True
            words += ", damaged"
        return Observation(
            "packet",
            f"{where} {words}",
            frame.time,
            self._nodes.get(by),
            data,
            Refs(file=self.file, frame=frame.number, stream=stream.number if stream else None),
        )

    # Connections --------------------------------------------------------------------------------

    def _step(self, step: Step) -> Iterator[Observation]:
        for dialogue, turn in self._conversations.take(step):
            mails = self._mails.get(dialogue)
            if mails is None:
                mails = self._mails[dialogue] = _Mails(lmtp=dialogue.protocol == "lmtp")
                if self._keep:
                    self.dialogues.append(dialogue)
            if turn is None:
                if dialogue.over:
                    yield from self._finished(dialogue, mails.finish())
                    del self._mails[dialogue]
                yield self._connection(dialogue, step)
                continue
            yield self._turn(dialogue, turn)
            yield from self._finished(dialogue, mails.take(turn))

    def _connection(self, dialogue: Dialogue, step: Step) -> Observation:
        stream = dialogue.stream
        over = step.kind == "over"
        history = [one.words for one in happenings(stream)] + epilogue(stream) if over else []
        tries = len(stream.syns)
        data = self._common(dialogue) | {
            "what": step.kind,
            "side": step.side,
            "state": dialogue.state,
            "tries": tries,
            "history": history,
        }
        by = stream.client if step.side == "client" else stream.server
        again = " again" if step.kind == "syn" and tries > 1 else ""
        words = dialogue.state if over else _HAPPENED.get(step.kind, step.kind) + again
        return Observation(
            "connection",
            f"{stream.client} → {stream.server}: {words}",
            self._now if over else step.time,
            self._nodes.get(by.address),
            data,
            self._refs(dialogue, step.frame),
        )

    def _common(self, dialogue: Dialogue) -> dict[str, Any]:
        stream = dialogue.stream
        return {
            "connection": identity(stream),
            "network": self.network,
            "protocol": dialogue.protocol,
            "client": str(stream.client),
            "server": str(stream.server),
            "client_node": self._nodes.get(stream.client.address),
            "server_node": self._nodes.get(stream.server.address),
        }

    def _refs(
        self, dialogue: Dialogue, frame: int, message: str | None = None, queue: str | None = None
    ) -> Refs:
        stream = dialogue.stream
        number = stream.number if stream.transport == "tcp" else None
        return Refs(message, queue, number, self.file, frame)

    # What is said -------------------------------------------------------------------------------

    def _turn(self, dialogue: Dialogue, turn: Turn) -> Observation:
        if dialogue.protocol == "dns":
            return self._dns(dialogue, turn)
        data = self._common(dialogue) | {
            "side": turn.side,
            "what": turn.kind,
            "command": turn.command,
            "argument": turn.argument,
            "code": turn.code,
            "status": turn.status,
            "tag": turn.tag,
            "text": turn.text[:_TEXT],
            "size": turn.size,
            "last_frame": turn.last_frame,
            "answers": turn.answers.last_frame if turn.answers else None,
            "complete": turn.complete,
            "failed": turn.failed,
        }
        queued = QUEUED_AS.search(turn.text) if turn.side == "server" and turn.code == 250 else None
        refs = self._refs(dialogue, turn.frame, turn.message_id, queued[1] if queued else None)
        return self._said(dialogue, turn, "turn", data, refs)

    def _dns(self, dialogue: Dialogue, turn: Turn) -> Observation:
        data = self._common(dialogue) | {
            "side": turn.side,
            "what": turn.kind,
            "type": turn.command,
            "name": turn.argument,
            "status": turn.status,
            "answers": turn.text.splitlines() if turn.kind == "answer" and not turn.code else [],
            "text": turn.text,
        }
        return self._said(dialogue, turn, "dns", data, self._refs(dialogue, turn.frame))

    def _said(
        self, dialogue: Dialogue, turn: Turn, kind: Any, data: dict[str, Any], refs: Refs
    ) -> Observation:
        stream = dialogue.stream
        by = stream.client if turn.side == "client" else stream.server
        return Observation(kind, told(turn), turn.time, self._nodes.get(by.address), data, refs)

    # What became of a message -------------------------------------------------------------------

    def _finished(
        self, dialogue: Dialogue, finished: list[tuple[int, Transaction]]
    ) -> Iterator[Observation]:
        for number, mail in finished:
            found = mail.as_json()
            reply = mail.reply
            queued = QUEUED_AS.search(reply.text) if reply else None
            data = self._common(dialogue) | {
                "mail_from": found["mail_from"],
                "recipients": found["recipients"],
                "accepted": found["accepted"],
                "code": mail.code,
                "reply": reply.text[:_TEXT] if reply else None,
                "size": sum(turn.size for turn in mail.content),
                "number": number,
                "frames": found["frames"],
            }
            words = reply.text.partition("\n")[0] if reply else ""
            outcome = f"{mail.code} {words}".rstrip() if reply else "no reply"
            yield Observation(
                "transaction",
                f"<{mail.mail_from}> → {', '.join(f'<{to}>' for to in mail.recipients)}: {outcome}",
                reply.time if reply else self._now,
                self._nodes.get(dialogue.client.address),
                data,
                self._refs(
                    dialogue, mail.mail.frame, mail.message_id, queued[1] if queued else None
                ),
            )


_HAPPENED = {
    "syn": "calls",
    "accepted": "accepted",
    "established": "connected",
    "fin": "closes",
    "reset": "reset",
    "icmp": "unreachable",
}


class _Mails:
    """The transactions of one dialogue, each told once: when its last reply has come, or no more
    can. Clients don't wait for that reply before they say the next MAIL, or QUIT (RFC 2920)."""

    def __init__(self, *, lmtp: bool) -> None:
        self._lmtp = lmtp
        self._current: Transaction | None = None
        self._said: list[tuple[int, Transaction]] = []  # whole, or broken off, and not answered
        self._answers: Counter[Turn] = Counter()
        self._count = 0

    def take(self, turn: Turn) -> list[tuple[int, Transaction]]:
        """What has come to its end with `turn`."""
        if turn.kind == "command" and turn.command == "MAIL":
            self._close()
            self._current = Transaction(turn)
            self._count += 1
        elif turn.kind == "command" and turn.command in ENDS_TRANSACTION:
            self._close()
        elif self._current:
            self._current.take(turn)
            if self._current.whole:
                self._close()
        if not self._said:
            return []
        if self._lmtp and turn.answers:
            self._answers[turn.answers] += 1
        ended = [one for one in self._said if self._answered(one[1])]
        self._said = [one for one in self._said if one not in ended]
        return ended

    def finish(self) -> list[tuple[int, Transaction]]:
        """Whatever there is, more will not come of it."""
        self._close()
        ended, self._said = self._said, []
        return ended

    def _close(self) -> None:
        if self._current:
            self._said.append((self._count, self._current))
        self._current = None

    def _answered(self, mail: Transaction) -> bool:
        """Whether all answers have come: one, or in LMTP one for each recipient (RFC 2033)."""
        if self._lmtp and mail.whole:
            return self._answers[mail.content[-1]] >= max(len(mail.accepted), 1)
        return mail.reply is not None


def identity(stream: Stream) -> str:
    """A name for a connection that is the same on every network that it crosses."""
    isn = "" if stream.isn is None else f"#{stream.isn:08x}"
    return f"{stream.client}>{stream.server}{isn}"


def told(turn: Turn) -> str:
    """What was said, on one line."""
    match turn.kind:
        case "lost":
            return f"({turn.size} octets are missing in the capture)"
        case "encrypted":
            return "(encrypted from here on)"
        case "opaque":
            return "(another protocol from here on)"
        case "content":
            return f"({turn.size} octets of message)"
    lines = (turn.words if turn.words is not None else turn.data.decode("utf-8", "replace")).split(
        "\n"
    )
    more = f" (+{len(lines) - 1} lines)" if len(lines) > 2 else ""
    return lines[0].rstrip("\r")[:300] + more


def _is_tcp(step: Step) -> bool:
    return step.stream.transport == "tcp"


def _described(frame: Frame, packet: Packet | None) -> dict[str, Any]:
    """The keys of a packet event."""
    match packet:
        case Tcp():
            return {
                "protocol": "tcp",
                "src": str(Endpoint(packet.src, packet.sport)),
                "dst": str(Endpoint(packet.dst, packet.dport)),
                "length": packet.length,
                "flags": " ".join(flag_names(packet.flags)),
                "seq": packet.seq,
                "ack": packet.ack,
            }
        case Udp():
            return {
                "protocol": "udp",
                "src": str(Endpoint(packet.src, packet.sport)),
                "dst": str(Endpoint(packet.dst, packet.dport)),
                "length": len(packet.payload),
            }
        case Icmp():
            return {
                "protocol": "icmp",
                "src": packet.src,
                "dst": packet.dst,
                "length": frame.length,
            }
        case Arp():
            return {
                "protocol": "arp",
                "src": packet.sender,
                "dst": packet.target,
                "length": frame.length,
            }
        case Ip():
            return {
                "protocol": f"ip {packet.protocol}",
                "src": packet.src,
                "dst": packet.dst,
                "length": len(packet.payload),
            }
    return {"protocol": "other", "src": "?", "dst": "", "length": frame.length}


def _words(packet: Packet | None, data: Mapping[str, Any]) -> str:
    match packet:
        case Tcp():
            return f"TCP [{data['flags']}] {packet.length} octets"
        case Udp():
            return f"UDP {data['length']} octets"
        case Icmp():
            return f"ICMP {packet.reason}"
        case Arp():
            return (
                f"ARP who has {packet.target}?"
                if packet.op == 1
                else f"ARP {packet.sender} is at {packet.mac}"
            )
        case Ip():
            return f"{'fragment of ' if packet.fragment else ''}IP protocol {packet.protocol}"
    return f"{data['length']} octets of another kind, or malformed"
