"""From a frame to the packet in it: Ethernet, Linux cooked or raw IP; TCP, UDP, ICMP, ARP.

Only what the lab shows is decoded, and nothing is believed: a frame that is too short or makes
no sense decodes to None, never to an exception. Addresses are text (`198.51.100.25`), ports and
sequence numbers integers, payloads the octets that were captured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct, error
from typing import NamedTuple, TypeAlias, cast

from lab.observe.pcap import Frame

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_FLAG_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
ETHERNET, RAW_IP, COOKED, COOKED2 = 1, 101, 113, 276
_IPV4, _IPV6, _ARP, _VLANS = 0x0800, 0x86DD, 0x0806, (0x8100, 0x88A8, 0x9100)
_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_HOP_OPTIONS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION_OPTIONS = 0, 43, 44, 51, 60

_short = Struct(">H").unpack_from
_udp_header = Struct(">HHHxx").unpack_from
_ports_seq = Struct(">HHI").unpack_from
_ipv4_header = Struct(">BxHxxHBBxx4s4s").unpack_from
_ipv6_header = Struct(">B3xHBB16s16s").unpack_from
_tcp_header = Struct(">HHIIBBH").unpack_from
_arp_packet = Struct(">HHBBH6s4s6s4s").unpack_from
# Nearly every frame: Ethernet, IPv4 and TCP at once, neither tagged nor with IP options.
_plain = Struct(">12xHBxHxxHBBxx4s4sHHIIBBH").unpack_from
_PLAIN_SIZE = 54

_REASONS = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 3, 6): "network unknown",
    (4, 3, 7): "host unknown",
    (4, 3, 9): "network prohibited",
    (4, 3, 10): "host prohibited",
    (4, 3, 13): "administratively prohibited",
    (4, 11, 0): "time to live exceeded",
    (6, 1, 0): "network unreachable",
    (6, 1, 1): "administratively prohibited",
    (6, 1, 3): "host unreachable",
    (6, 1, 4): "port unreachable",
    (6, 2, 0): "packet too big",
    (6, 3, 0): "hop limit exceeded",
}
# Types of ICMP that quote the packet they complain of (RFC 792; RFC 4443: all below 128).
_QUOTING = frozenset([(4, 3), (4, 4), (4, 5), (4, 11), (4, 12), (6, 1), (6, 2), (6, 3), (6, 4)])


class Tcp(NamedTuple):
    """A TCP segment (RFC 9293). `length` is its payload on the wire; `payload` may be cut short."""

    frame: Frame
    src: str
    dst: str
    ttl: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    payload: bytes


def flag_names(flags: int) -> list[str]:
    """The names of a segment's flags: `["SYN", "ACK"]`."""
    return [name for bit, name in _FLAG_NAMES if flags & bit]


class Udp(NamedTuple):
    """A UDP datagram (RFC 768)."""

    frame: Frame
    src: str
    dst: str
    ttl: int
    sport: int
    dport: int
    payload: bytes


class Quoted(NamedTuple):
    """The start of the packet an ICMP error complains of; no ports where they are not quoted."""

    src: str
    dst: str
    protocol: int
    sport: int | None = None
    dport: int | None = None
    seq: int | None = None


class Icmp(NamedTuple):
    """An ICMP or ICMPv6 message (`version` 4 or 6), with what it quotes if it is an error."""

    frame: Frame
    src: str
    dst: str
    version: int
    type: int
    code: int
    quoted: Quoted | None

    @property
    def reason(self) -> str:
        """What the message says, in words: `host unreachable`."""
        known = _REASONS.get((self.version, self.type, self.code))
        return known or f"type {self.type} code {self.code}"


class Arp(NamedTuple):
    """An ARP packet (RFC 826): `op` 1 asks who has `target`, 2 says that `sender` is at `mac`."""

    frame: Frame
    op: int
    mac: str
    sender: str
    target: str


class Ip(NamedTuple):
    """An IP packet of another protocol, or a fragment (whose ports only the first piece has)."""

    frame: Frame
    src: str
    dst: str
    ttl: int
    protocol: int
    fragment: bool
    payload: bytes


Packet: TypeAlias = Tcp | Udp | Icmp | Arp | Ip

# As in pcap.py: the constructor is the dearest call of the whole decoding.
_tcp: Callable[[tuple[Frame, str, str, int, int, int, int, int, int, int, int, bytes]], Tcp] = (
    partial(tuple.__new__, Tcp)
)


class _Addresses(dict[bytes, str]):
    """Addresses as text; remembers those it was asked for, up to a limit."""

    def __missing__(self, packed: bytes) -> str:
        if len(self) >= 65536:
            self.clear()
        text = inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
        self[packed] = text
        return text


_addresses = _Addresses()


def decode(frame: Frame) -> Packet | None:
    """The packet in `frame`; None if it is of a kind the lab does not know, or malformed."""
    linktype, data = frame.linktype, frame.data
    if linktype == ETHERNET and len(data) >= _PLAIN_SIZE:
        # fmt: off
        (kind, first, total, fragment, ttl, protocol, src, dst,
         sport, dport, seq, ack, offset, flags, window) = _plain(data)
        # fmt: on
        at, end = 34 + (offset >> 4) * 4, 14 + total
        if (
            kind == _IPV4
            and first == 0x45
            and protocol == _TCP
            and not fragment & 0x3FFF
            and 54 <= at <= end
        ):
            near, far, payload = _addresses[src], _addresses[dst], data[at:end]
            size = end - at
            return _tcp(
                (frame, near, far, ttl, sport, dport, seq, ack, flags, window, size, payload)
            )
    return _decode(frame)


class Checksums:
    """Tells damaged segments and datagrams, which their receivers drop, from those as they were
    sent, by their checksums (RFC 9293 §3.1, RFC 768); over IPv4 on Ethernet.

    A card that computes checksums does so after its own machine's capture: there all that it sends
    looks wrong. So a sender's are believed as long as most of them are right.
    """

    def __init__(self) -> None:
        self._right: dict[str, int] = {}  # of each sender, how many more were right than wrong

    def damaged(self, packet: Packet | None) -> bool:
        """Whether `packet` is; those of a capture are to be given in order."""
        kind = packet.__class__
        if kind is not Tcp and kind is not Udp:
            return False
        frame, src = cast("Tcp | Udp", packet)[:2]
        data, linktype = frame.data, frame.linktype
        # Plain IPv4 on Ethernet (its header is 20 octets long), all of it captured.
        if linktype != ETHERNET or len(data) < 42 or data[12:15] != b"\x08\x00\x45":
            return False
        end = 14 + (data[16] << 8 | data[17])
        if end > len(data) or (kind is Udp and data[40:42] == b"\0\0"):
            return False
        segment = data[34:end]
        # The sum of 16-bit words, carries added again, is the number they make modulo 2^16 - 1.
        number = int.from_bytes(segment, "big")
        if end & 1:
            number <<= 8
        if end > 600:  # halved first, twice: the remainder of a long number takes long
            number = (number & _LOW) + (number >> 5840)
            number = (number & _LOWER) + (number >> 2928)
        pseudo_header = int.from_bytes(data[26:34], "big") + data[23] + end - 34
        right = self._right.get(src, 0)
        if not (pseudo_header + number) % 0xFFFF:
            self._right[src] = right + 1
            return False
        self._right[src] = right - 1
        return right > 0


_LOW, _LOWER = (1 << 5840) - 1, (1 << 2928) - 1  # both of a whole number of 16-bit words


def _decode(frame: Frame) -> Packet | None:
    """Any frame."""
    data, linktype = frame.data, frame.linktype
    try:
        if linktype == ETHERNET:
            at, kind = 14, _short(data, 12)[0]
        else:
            at, kind = _link(linktype, data)
        while kind in _VLANS:
            at, kind = at + 4, _short(data, at + 2)[0]
        if kind == _IPV4:
            return _transport(frame, 4, _ipv4(data, at))
        if kind == _IPV6:
            return _transport(frame, 6, _ipv6(data, at))
        return _arp(frame, at) if kind == _ARP else None
    except (error, IndexError):
        return None


def _link(linktype: int, data: bytes) -> tuple[int, int]:
    """Where the network layer begins, and its EtherType (0 if the link type is not known)."""
    if linktype == COOKED:
        return 16, _short(data, 14)[0]
    if linktype == COOKED2:
        return 20, _short(data, 0)[0]
    if linktype in (RAW_IP, 12, 14, 228, 229):
        return 0, _IPV6 if data[0] >> 4 == 6 else _IPV4
    if linktype in (0, 108):  # BSD's loopback: an address family in somebody's byte order
        return 4, _IPV6 if data[4] >> 4 == 6 else _IPV4
    return 0, 0


# Source, destination, TTL, protocol, where the payload begins and ends, is it a fragment.
_Header: TypeAlias = tuple[str, str, int, int, int, int, bool]


def _ipv4(data: bytes, at: int) -> _Header:
    first, total, fragment, ttl, protocol, src, dst = _ipv4_header(data, at)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or 0 < total < header:
        raise IndexError
    # A length of 0 is what the sender's own capture shows of a segment its card will cut up.
    end = at + total if total else len(data)
    more = fragment & 0x3FFF != 0
    return _addresses[src], _addresses[dst], ttl, protocol, at + header, end, more


def _ipv6(data: bytes, at: int) -> _Header:
    """RFC 8200; extension headers are passed over."""
    first, length, following, ttl, src, dst = _ipv6_header(data, at)
    if first >> 4 != 6:
        raise IndexError
    end = at + 40 + length if length else len(data)
    at += 40
    fragment = False
    while following in (_HOP_OPTIONS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION_OPTIONS):
        here, following = following, data[at]
        if here == _FRAGMENT:
            fragment = fragment or _short(data, at + 2)[0] & 0xFFF9 != 0
            at += 8
            if fragment:
                break
        elif here == _AUTHENTICATION:
            at += (data[at + 1] + 2) * 4
        else:
            at += (data[at + 1] + 1) * 8
    return _addresses[src], _addresses[dst], ttl, following, at, end, fragment


def _transport(frame: Frame, version: int, header: _Header) -> Packet | None:
    src, dst, ttl, protocol, at, end, fragment = header
    data = frame.data
    if fragment:
        return Ip(frame, src, dst, ttl, protocol, True, data[at:end])
    if protocol == _TCP:
        sport, dport, seq, ack, offset, flags, window = _tcp_header(data, at)
        at += (offset >> 4) * 4
        if offset < 0x50 or at > end:
            return None
        return _tcp(
            (frame, src, dst, ttl, sport, dport, seq, ack, flags, window, end - at, data[at:end])
        )
    if protocol == _UDP:
        sport, dport, length = _udp_header(data, at)
        if at + 8 > end or length < 8:
            return None
        return Udp(frame, src, dst, ttl, sport, dport, data[at + 8 : min(at + length, end)])
    if protocol == (_ICMP if version == 4 else _ICMPV6):
        kind, code = data[at], data[at + 1]
        quoted = _quoted(data, at + 8) if (version, kind) in _QUOTING else None
        return Icmp(frame, src, dst, version, kind, code, quoted)
    return Ip(frame, src, dst, ttl, protocol, False, data[at:end])


def _quoted(data: bytes, at: int) -> Quoted | None:
    """The quoted packet; routers quote at least its header and 8 octets (RFC 792)."""
    try:
        header = _ipv6(data, at) if data[at] >> 4 == 6 else _ipv4(data, at)
    except (error, IndexError):
        return None
    src, dst, _, protocol, start, _, fragment = header
    if fragment or protocol not in (_TCP, _UDP) or len(data) < start + 8:
        return Quoted(src, dst, protocol)
    sport, dport, seq = _ports_seq(data, start)
    return Quoted(src, dst, protocol, sport, dport, seq if protocol == _TCP else None)


def _arp(frame: Frame, at: int) -> Arp | None:
    hardware, network, mac_size, ip_size, op, mac, sender, _, target = _arp_packet(frame.data, at)
    if (hardware, network, mac_size, ip_size) != (1, _IPV4, 6, 4):
        return None
    return Arp(frame, op, mac.hex(":"), _addresses[sender], _addresses[target])
