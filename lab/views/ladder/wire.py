"""What passed on the wires, each thing once, however many networks it crossed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

from lab.events import Event
from lab.observe.turns import ENDS_TRANSACTION
from lab.views.ladder import words
from lab.views.ladder.marks import Conversation, Mail, Mark, Sighting, sighting
from lab.views.ladder.model import What
from lab.views.ladder.repeats import Repeats

_NOTHING = frozenset[str]()


class Wire:
    """Takes the events of the wires as they come; `networks` says who is plugged in where."""

    def __init__(self, networks: Mapping[str, frozenset[str]], hosts: Mapping[str, str]) -> None:
        self.networks = networks
        self.marks: list[Mark] = []
        self.connections: dict[str, Conversation] = {}
        self.streams: dict[tuple[str | None, int | None], Conversation] = {}
        self._hosts = hosts
        self._alike: dict[tuple[str, ...], Repeats] = defaultdict(Repeats)
        self._icmp: dict[tuple[Hashable, ...], Repeats] = defaultdict(Repeats)
        self._packets: dict[tuple[Hashable, ...], Repeats] = defaultdict(Repeats)
        self._packet_marks: list[Mark] = []
        self._heard: dict[str, float] = {}  # network -> the time of the last packet there
        self._passed_since: list[Event] = []  # packets that no mark was made of yet

    def add(self, event: Event) -> None:
        """Take an event, if it is of the wires."""
        match event.kind:
            case "connection" if event.data["protocol"] != "dns":
                self._happened(event)
            case "turn":
                self._said(event)
            case "dns":
                self._asked(event)
            case "packet":
                network = event.data["network"]
                self._heard[network] = max(self._heard.get(network, 0.0), event.time)
                if event.data["protocol"] not in ("arp", "other"):
                    self._passed_since.append(event)
                if event.data["protocol"] == "icmp":
                    self._reported(event)

    def crosses(self, mark: Mark) -> bool:
        """Whether it has to pass a router to arrive."""
        if mark.source is None or mark.target is None:
            return False
        far = self.networks.get(mark.target, _NOTHING)
        return bool(mark.near) and bool(far) and not mark.near & far

    def arrived(self, mark: Mark) -> Sighting | None:
        """Where it was seen on a network of whom it is for."""
        far = self.networks.get(mark.target or "", _NOTHING)
        return next((one for one in mark.sightings if one.network in far), None)

    def may_come(self, mark: Mark, seconds: float) -> bool:
        """Whether what is known of the networks of whom it is for ends before it could arrive.

        Where much passes, one network may be read some time after another.
        """
        far = self.networks.get(mark.target or "", _NOTHING)
        known = [self._heard[network] for network in far if network in self._heard]
        return bool(known) and max(known) < mark.time + seconds

    def belated(self) -> dict[Mark, Mark]:
        """What arrived long after it was sent: the mark of its arrival, and that of its sending.

        A router may hold a call for seconds, asking who has the address. Only once all is known
        can be told which of several calls it was: the first that was not seen to arrive before.
        """
        found: dict[Mark, Mark] = {}
        calls = (one.calls for one in self.connections.values())
        for repeats in (*calls, *self._alike.values()):
            known = repeats.marks
            if len(known) < 2:
                continue
            missing = [mark for mark in known if self.crosses(mark) and not self.arrived(mark)]
            for mark in known:
                begins = any(one.network in mark.near for one in mark.sightings)
                if missing and not begins and self.crosses(mark) and missing[0].time < mark.time:
                    found[mark] = missing.pop(0)
        return found

    # Connections --------------------------------------------------------------------------------

    def _connection(self, data: Mapping[str, Any]) -> Conversation:
        name = data["connection"]
        found = self.connections.get(name)
        if found is None:
            found = self.connections[name] = Conversation(
                name,
                data["protocol"],
                data["client_node"] or data["client"].rpartition(":")[0],
                data["server_node"] or data["server"].rpartition(":")[0],
            )
        return found

    def _mark(self, event: Event, what: What, label: str, connection: Conversation) -> Mark:
        """A new one, said or done by the side that the event names."""
        ends = (connection.client, connection.server)
        source, target = ends if event.data["side"] == "client" else ends[::-1]
        return Mark(
            what,
            label,
            event.summary,
            [sighting(event, event.data["network"])],
            source,
            target,
            protocol=event.data["protocol"],
            near=self.networks.get(source, _NOTHING),
            connection=connection,
        )

    def _happened(self, event: Event) -> None:
        data = event.data
        connection = self._connection(data)
        self.streams[event.refs.file, event.refs.stream] = connection
        port = data["server"].rpartition(":")[2]
        match data["what"]:
            case "syn":
                again = bool(connection.calls.marks) and data["tries"] > 1
                label = f"calls {'again' if again else f'port {port}'} (SYN)"
                mark = self._mark(event, "call", label, connection)
                mark.shape = "again" if again else ""
                self._once_each(connection.calls, mark, self.marks)
            case "accepted":
                connection.answered = True
                self._once(self._mark(event, "accept", "accepts (SYN ACK)", connection))
            case "fin":
                self._once(self._mark(event, "close", "closes (FIN)", connection))
            case "reset":
                refused = not connection.answered
                connection.answered = True
                label = "refuses (RST)" if refused and data["side"] == "server" else "resets (RST)"
                mark = self._mark(event, "reset", label, connection)
                mark.mood = "bad"
                self._once(mark)
            case "over":
                connection.over = True

    def _once(self, mark: Mark) -> None:
        """Something that a side does once."""
        connection = mark.connection
        assert connection is not None
        key = (mark.what, mark.source or "")
        if key in connection.once:
            connection.once[key].see(mark.first)
        else:
            connection.once[key] = mark
            self.marks.append(mark)

    def _once_each(self, known: Repeats, mark: Mark, into: list[Mark]) -> Mark:
        """Something that may be repeated: if it was seen elsewhere just now, this is the same."""
        same = known.find(mark.first)
        if same is not None:
            same.see(mark.first)
            return same
        known.add(mark)
        into.append(mark)
        return mark

    # What is said -------------------------------------------------------------------------------

    def _said(self, event: Event) -> None:
        data = event.data
        connection = self._connection(data)
        side, network = data["side"], data["network"]
        connection.answered = True
        said, text = connection.said[side], _text(data)
        mark = said.find(network, text, unique=bool(event.refs.names))
        if mark is not None:
            mark.see(sighting(event, network))
        else:
            mark = self._new_turn(event, connection)
            said.add(mark, network, text)
            self.marks.append(mark)
        self._joined(event, connection, mark)

    def _new_turn(self, event: Event, connection: Conversation) -> Mark:
        data = event.data
        what: What = "reply" if data["side"] == "server" else "command"
        if data["what"] == "content":
            what = "content"
        mail = connection.mail
        if data["what"] == "command" and data["side"] == "client" and _is_smtp(data):
            mail = self._mail(connection, data)
        dotted = mail is not None and mail.dotted
        mark = self._mark(event, what, words.turn(event.summary, data, dotted=dotted), connection)
        mark.text = _whole(event)
        mark.mood = "bad" if data["failed"] else "plain"
        if data["what"] == "untagged":
            mark.shape = "untagged"
        if data["side"] == "client" and mail is not None:
            self._belongs(mark, mail)
        return mark

    def _mail(self, connection: Conversation, data: Mapping[str, Any]) -> Mail | None:
        """The transaction that a command begins, belongs to, or ends."""
        command = data["command"]
        if command == "MAIL":
            connection.mail = Mail(len(connection.mails) + 1)
            connection.mails.append(connection.mail)
        elif command in ENDS_TRANSACTION:
            # RSET between two messages is the first's tail: so nothing stands between them.
            ended, connection.mail = connection.mail, None
            last = connection.mails[-1] if connection.mails else None
            return (ended or last) if command == "RSET" else None
        elif connection.mail is not None and command in ("DATA", "BDAT"):
            connection.mail.dotted = command == "DATA"
        return connection.mail

    def _joined(self, event: Event, connection: Conversation, mark: Mark) -> None:
        """What answers what, and which message it is about."""
        data = event.data
        network = data["network"]
        if data["side"] == "client":
            connection.asked[network, data["last_frame"]].append(mark)
        elif data["answers"] is not None:
            asked = connection.asked[network, data["answers"]]
            if asked:
                # Replies to commands that came in one packet come in the order of these.
                answered = asked.popleft() if len(asked) > 1 and _is_smtp(data) else asked[0]
                answered.answered = True
                if answered.mail is not None and mark.mail is None:
                    self._belongs(mark, answered.mail)
                    if answered.what == "content":
                        answered.mail.reply = mark
        if mark.mail is not None:
            mark.mail.ids |= event.refs.names
        elif event.refs.message_id:
            mark.ids.add(event.refs.message_id)

    def _belongs(self, mark: Mark, mail: Mail) -> None:
        mark.mail = mail
        mail.marks.append(mark)
        if mark.what == "content":
            mail.content = mark

    # Questions, packets -------------------------------------------------------------------------

    def _asked(self, event: Event) -> None:
        data = event.data
        connection = self._connection(data)
        question = data["what"] == "question"
        label = event.summary if question else words.answer(event.summary, data)
        mark = self._mark(event, "question" if question else "answer", label, connection)
        if not question:
            records = [record for record in data["answers"] if not record.startswith("(")]
            mark.text = "; ".join(records) or event.summary
            if data["status"] not in (None, "NOERROR"):
                mark.mood = "bad"
        known = self._alike[data["connection"], data["side"], data["text"]]
        mark = self._once_each(known, mark, self.marks)
        mark.unit = ("dns", data["connection"])
        mark.alike = ("dns", connection.client, data["type"], data["name"])
        if mark not in connection.said[data["side"]]:
            connection.said[data["side"]].add(mark)
        if not question:
            for asked in connection.said["client"]:
                asked.answered = True

    @property
    def packets(self) -> list[Mark]:
        """Each packet; made of what passed only when somebody wants to see them."""
        passed, self._passed_since = self._passed_since, []
        for event in passed:
            icmp = event.data["protocol"] == "icmp"
            label = _kind(event) if icmp else _flags(event.data)
            mark = self._packet(event, "icmp" if icmp else "packet", label)
            mark.unit = ("packet", event.refs.file, event.refs.stream)
            self._once_each(self._packets[_identity(event)], mark, self._packet_marks)
        return self._packet_marks

    def _reported(self, event: Event) -> None:
        """ICMP is more than a packet, and shown at every level."""
        mark = self._packet(event, "icmp", f"ICMP: {_kind(event)}")
        mark.mood = "plain" if "echo" in mark.label else "bad"
        mark.unit = ("icmp", event.seq)
        mark.alike = ("icmp", mark.source, mark.target, mark.label)
        self._once_each(self._icmp[_identity(event)], mark, self.marks)

    def _packet(self, event: Event, what: What, label: str) -> Mark:
        source, target = self._at(event.data["src"]), self._at(event.data["dst"])
        return Mark(
            what,
            label,
            event.summary,
            [sighting(event, event.data["network"])],
            source,
            target,
            protocol=event.data["protocol"],
            near=self.networks.get(source, _NOTHING),
            answered=True,
        )

    def _at(self, place: str) -> str:
        """The host at an address, with its port or without."""
        address = place.rpartition(":")[0] or place
        return self._hosts.get(address, address)


_IDENTITY = ("src", "dst", "protocol", "flags", "seq", "ack", "length")


def _identity(event: Event) -> tuple[Hashable, ...]:
    """By which a packet is known again on another network."""
    return (*map(event.data.get, _IDENTITY), event.summary)


def _kind(event: Event) -> str:
    """What a packet of ICMP says."""
    return event.summary.partition(" ICMP ")[2]


def _text(data: Mapping[str, Any]) -> Hashable:
    """By which something said is known again on another network; None if it can't be."""
    return None if data["what"] == "lost" else (data["text"], data["what"], data["size"])


def _is_smtp(data: Mapping[str, Any]) -> bool:
    return data["protocol"] in ("smtp", "lmtp")


def _flags(data: Mapping[str, Any]) -> str:
    octets = f" {data['length']} octets" if data["length"] else ""
    return f"{data.get('flags') or data['protocol'].upper()}{octets}"


def _whole(event: Event) -> str:
    """What was said, in full where that is one line."""
    if event.data["what"] == "content":
        return f"({event.data['size']} octets) {event.data['text'][:300]}"
    return event.summary
