"""Builds captures by hand: frames of every kind, and whole TCP conversations."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
CLIENT, SERVER, ROUTER = "198.51.100.25", "203.0.113.25", "198.51.100.1"
START = 1_700_000_000_000_000_000  # ns since the epoch


def checksum(octets: bytes) -> int:
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(src: str, dst: str, protocol: int, payload: bytes, *, flags: int = 0x4000) -> bytes:
    """An IPv4 or IPv6 packet, as the addresses are; `flags` is IPv4's flags-and-fragment word."""
    a, b = ip_address(src), ip_address(dst)
    if a.version == 6:
        return (
            struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
            + a.packed
            + b.packed
            + payload
        )
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, flags, 64, protocol, 0)
    head += a.packed + b.packed
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def tcp(
    src: tuple[str, int],
    dst: tuple[str, int],
    flags: int,
    seq: int,
    ack: int = 0,
    payload: bytes = b"",
) -> bytes:
    """An IP packet with a TCP segment from `src` to `dst` (address, port)."""
    segment = struct.pack(
        ">HHIIBBHHH", src[1], dst[1], seq % 2**32, ack % 2**32, 0x50, flags, 64240, 0, 0
    )
    summed = checksum(_pseudo(src[0], dst[0], 6, len(segment + payload)) + segment + payload)
    segment = segment[:16] + struct.pack(">H", summed) + segment[18:]
    return ip(src[0], dst[0], 6, segment + payload)


def _pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    """What a transport's checksum is computed over besides (RFC 9293 §3.1)."""
    return ip_address(src).packed + ip_address(dst).packed + struct.pack(">II", length, protocol)


def unreachable(packet: bytes, code: int = 1, by: str = ROUTER) -> bytes:
    """What a router answers: ICMP destination unreachable, quoting the start of `packet`."""
    message = struct.pack(">BBHI", 3, code, 0, 0) + packet[:28]
    message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    return ip(by, str(ip_address(packet[12:16])), 1, message)


def ethernet(packet: bytes, *vlans: int) -> bytes:
    """An Ethernet frame around an IP packet, with the VLAN tags wanted (outermost first)."""
    tags = b"".join(
        struct.pack(">HH", 0x8100 if last else 0x88A8, vlan)
        for vlan, last in zip(vlans, [*[False] * (len(vlans) - 1), True], strict=False)
    )
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return bytes(range(12)) + tags + struct.pack(">H", kind) + packet


def arp(op: int, sender: str, target: str) -> bytes:
    """An Ethernet frame that asks (1) or answers (2) who has `target`."""
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, op) + b"\2\0\0\0\0\1" + ip_address(sender).packed
    return b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x06" + body + bytes(6) + ip_address(target).packed


def pcap(
    frames: Iterable[bytes], linktype: int = 1, *, order: str = "<", nano: bool = False
) -> bytes:
    """A classic capture, a frame a millisecond."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, linktype)]
    for index, frame in enumerate(frames):
        seconds, ns = divmod(START + index * 1_000_000, 10**9)
        fraction = ns if nano else ns // 1000
        out.append(struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame)) + frame)
    return b"".join(out)


def capture(packets: Iterable[bytes]) -> io.BytesIO:
    """An open Ethernet capture of IP packets."""
    return io.BytesIO(pcap(ethernet(packet) for packet in packets))


@dataclass
class Talk:
    """A TCP conversation: says and answers become IP packets in `packets`, in order.

    `isn` are the initial sequence numbers of client and server; positions run on from there.
    """

    client: tuple[str, int] = (CLIENT, 40000)
    server: tuple[str, int] = (SERVER, 25)
    isn: tuple[int, int] = (1000, 5000)
    packets: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seq = dict(zip("CS", self.isn, strict=True))

    def segment(
        self, who: str, flags: int, payload: bytes = b"", *, at: int | None = None
    ) -> bytes:
        """A segment of `who` ("C" or "S") at its present position, or at position `at`."""
        ends = (self.client, self.server) if who == "C" else (self.server, self.client)
        seq = self.seq[who] if at is None else at
        ack = self.seq["S" if who == "C" else "C"] if flags & ACK else 0
        return tcp(*ends, flags, seq, ack, payload)

    def send(self, who: str, flags: int, payload: bytes = b"") -> Talk:
        """Put a segment on the wire and move on behind it."""
        self.packets.append(self.segment(who, flags, payload))
        self.seq[who] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        return self

    def shake(self) -> Talk:
        """The three-way handshake."""
        return self.send("C", SYN).send("S", SYN | ACK).send("C", ACK)

    def say(self, who: str, *parts: bytes | str) -> Talk:
        """Each part in a segment of its own; then the other side acknowledges."""
        for part in parts:
            self.send(who, PSH | ACK, part.encode() if isinstance(part, str) else part)
        return self.send("S" if who == "C" else "C", ACK)

    def close(self, who: str = "C") -> Talk:
        """An orderly end, `who` first."""
        other = "S" if who == "C" else "C"
        return self.send(who, FIN | ACK).send(other, FIN | ACK).send(who, ACK)
