"""A packet as a report shows it: in Wireshark's words, what it says, its bytes, how to find it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lab.events import Event
from lab.observe.packets import ACK, FIN, PSH, RST, SYN, Arp, Icmp, Ip, Tcp, Udp, decode
from lab.observe.pcap import Frame
from lab.record import Record
from lab.scenarios.evidence import Evidence
from lab.units import counted
from lab.views.report import capturefiles
from lab.views.report.capturefiles import CaptureFile
from lab.views.report.exhibits import Exhibit
from lab.views.report.text import Moment, moment

_DUMPED = 512  # octets of a frame
_LINES, _LINE = 24, 400  # lines and characters of what is said
_FLAGS = ((FIN, "FIN"), (SYN, "SYN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
_ASCII = bytes(code if 0x20 <= code < 0x7F else 0x2E for code in range(256))
# What Wireshark calls a protocol where it is not the name itself; LMTP it can't tell from SMTP
_WIRESHARK = {"pop3": "pop", "lmtp": "smtp"}


class Said(NamedTuple):
    """Something said in a packet: by whom (C, S, or nobody), and its lines."""

    by: str
    lines: list[str]
    more: int = 0


@dataclass(frozen=True)
class Shown:
    """A packet for the page. `when` is None and `trouble` says why if it can't be read."""

    exhibit: Exhibit
    number: int
    file: str
    network: str
    when: Moment | None
    protocol: str
    source: str
    target: str
    headline: str
    summary: str
    said: list[Said]
    layers: str
    dump: str
    more: int
    trouble: str
    filter: str
    conversation: str
    stream: int | None


def shown(
    record: Record, exhibits: Iterable[Exhibit], captures: Mapping[str, CaptureFile]
) -> list[Shown]:
    """The packets cited, those of a capture together, in the order of their frames."""
    exhibits = sorted(exhibits, key=lambda one: _place(one.evidence))
    heard = _Heard(record, {_place(exhibit.evidence) for exhibit in exhibits})
    return [_shown(record, exhibit, captures, heard) for exhibit in exhibits]


def _place(evidence: Evidence) -> tuple[str, int]:
    return evidence.file or "", evidence.frame or 0


class _Heard:
    """What the events tell of some frames (`places`) that their octets alone don't: what was said
    in them, and with which number their connections began to count.
    """

    def __init__(self, record: Record, places: set[tuple[str, int]]) -> None:
        self.packets: dict[tuple[str, int], Event] = {}
        self.starts: dict[tuple[str, int | None, str], int] = {}
        self._said: dict[tuple[str, int], list[Event]] = {}
        numbers: dict[str, list[int]] = {}
        for file, frame in sorted(places):
            numbers.setdefault(file, []).append(frame)
        for event in record.of("packet", "turn", "dns", "connection"):
            file, frame = event.refs.file or "", event.refs.frame or 0
            if event.kind == "packet":
                self.packets[file, frame] = event
                if "SYN" in event.data.get("flags", ""):
                    start = (file, event.refs.stream, event.data["src"])
                    self.starts[start] = event.data["seq"]
                continue
            if event.data["what"] == "over":  # told of its first frame, when all is done
                continue
            last = event.data.get("last_frame") or frame
            cited = numbers.get(file, [])
            for number in cited[bisect_left(cited, frame) : bisect_right(cited, last)]:
                self._said.setdefault((file, number), []).append(event)

    def said(self, place: tuple[str, int]) -> list[Event]:
        """What is said in a frame, and what it does, by the connection it belongs to."""
        packet = self.packets.get(place)
        if packet is None:
            return self._said.get(place, [])
        # Between the first and the last frame of a long message are those of others
        ends = {packet.data["src"], packet.data["dst"]}
        return [
            event
            for event in self._said.get(place, [])
            if {event.data["client"], event.data["server"]} == ends
        ]


def _shown(
    record: Record, exhibit: Exhibit, captures: Mapping[str, CaptureFile], heard: _Heard
) -> Shown:
    file, number = place = _place(exhibit.evidence)
    capture = captures.get(file)
    frame = capture.wanted.get(number) if capture else None
    event = heard.packets.get(place)
    said = heard.said(place)
    told = [_lines(one) for one in said]
    protocol = next((one.data["protocol"] for one in said if one.kind != "connection"), None)
    stream = event.refs.stream if event else None
    summary, layers, kind = _words(frame, event, heard)
    data = frame.data if frame else b""
    when = frame.time if frame else event.time if event else None
    names = record.about["addresses"]
    return Shown(
        exhibit=exhibit,
        number=number,
        file=file,
        network=capture.network if capture else file,
        when=moment(record.clock, when) if when is not None else None,
        protocol=(protocol or kind).upper(),
        source=_named(event.data["src"], names) if event else "",
        target=_named(event.data["dst"], names) if event else "",
        headline=_headline(event, names, next((one for one in told if one.by), None), summary),
        summary=summary,
        said=told,
        layers=layers,
        dump=dump(data[:_DUMPED]),
        more=max(0, len(data) - _DUMPED),
        trouble="" if frame else capturefiles.absent(capture, number),
        filter=f"frame.number == {number}",
        conversation=stream_filter(protocol, stream),
        stream=stream,
    )


def stream_filter(protocol: str | None, stream: int | None) -> str:
    """The display filter of Wireshark for what is said on a TCP connection."""
    if stream is None:
        return ""
    name = _WIRESHARK.get(protocol or "", protocol)
    known = name in ("smtp", "pop", "imap", "http", "tls", "dns")
    return f"{name} && tcp.stream eq {stream}" if known else f"tcp.stream eq {stream}"


def _named(end: str, names: Mapping[str, str]) -> str:
    """`sender-mail 198.51.100.25:34220`"""
    address = end.rpartition(":")[0] if end.rpartition(":")[0] in names else end
    return f"{names[address]} {end}" if address in names else end


def _headline(
    event: Event | None, names: Mapping[str, str], said: Said | None, summary: str
) -> str:
    """Who to whom, and the first thing said; where nothing is, what TCP says."""
    what = said.lines[0] if said else summary
    if event is None or not event.data["dst"]:
        return what
    ends = (event.data[end].rpartition(":")[0] or event.data[end] for end in ("src", "dst"))
    return f"{' → '.join(names.get(end, end) for end in ends)}: {what}"


def _lines(event: Event) -> Said:
    if event.kind == "connection":
        return Said("", [f"({event.summary.rpartition(': ')[2]})"])
    by = "C" if event.data["side"] == "client" else "S"
    text = event.data["text"].split("\n")
    first = event.summary
    if len(text) > 1 and event.data["what"] != "content":
        first = first.rpartition(" (+")[0] or first
        text = text[1:]
    elif event.data["what"] != "content":
        text = []
    while text and not text[-1].strip():
        text.pop()
    shown = [line[:_LINE] for line in text[:_LINES]]
    return Said(by, [first, *shown], max(0, len(text) - _LINES))


def _words(frame: Frame | None, event: Event | None, heard: _Heard) -> tuple[str, str, str]:
    """The packet in one line, what its octets are, and its kind."""
    packet = decode(frame) if frame else None
    if frame is None or packet is None:
        return (event.summary if event else ""), "", (event.data["protocol"] if event else "")
    total = len(frame.data)
    match packet:
        case Tcp():
            return _tcp(packet, event, heard), _layers(total, len(packet.payload), "TCP"), "tcp"
        case Udp():
            line = f"{packet.sport} → {packet.dport} Len={len(packet.payload)}"
            return line, _layers(total, len(packet.payload), "UDP"), "udp"
        case Icmp():
            quoted = packet.quoted
            about = f", about {quoted.src} → {quoted.dst}" if quoted else ""
            return f"{packet.reason}{about}", "", "icmp"
        case Arp():
            if packet.op == 1:
                return f"Who has {packet.target}? Tell {packet.sender}", "", "arp"
            return f"{packet.sender} is at {packet.mac}", "", "arp"
        case Ip():
            return f"IP protocol {packet.protocol}", "", "ip"


def _tcp(packet: Tcp, event: Event | None, heard: _Heard) -> str:
    flags = ", ".join(name for bit, name in _FLAGS if packet.flags & bit)
    # Counted from the connection's start, as Wireshark does
    seq, ack = packet.seq, packet.ack
    if event is not None:
        file, stream = event.refs.file or "", event.refs.stream
        seq = (seq - heard.starts.get((file, stream, event.data["src"]), 0)) & 0xFFFFFFFF
        ack = (ack - heard.starts.get((file, stream, event.data["dst"]), 0)) & 0xFFFFFFFF
    acked = f" Ack={ack}" if packet.flags & ACK else ""
    return (
        f"{packet.sport} → {packet.dport} [{flags}] Seq={seq}{acked} "
        f"Win={packet.window} Len={packet.length}"
    )


def _layers(total: int, payload: int, transport: str) -> str:
    head = total - payload
    if not payload:
        return f"{counted(total, 'octet')}: headers only (Ethernet, IP, {transport})"
    return (
        f"{counted(total, 'octet')}: {head} of headers (Ethernet, IP, {transport}), then {payload} "
        f"of what is said, from {head:04x} on"
    )


def dump(data: bytes) -> str:
    """Octets as Wireshark's bytes pane has them: offset, sixteen in hexadecimal, and as ASCII."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        octets = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        lines.append(f"{at:04x}  {octets:<48}   {row.translate(_ASCII).decode('ascii')}")
    return "\n".join(lines)
