"""Captures are read in every format, while they grow, and up to where they are damaged."""

from __future__ import annotations

import io
import os
import struct
import subprocess
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packetbuilder import (
    ACK,
    CLIENT,
    SERVER,
    START,
    SYN,
    Talk,
    arp,
    ethernet,
    ip,
    pcap,
    tcp,
    unreachable,
)

from lab.observe.dialogue import attempts, dialogues
from lab.observe.packets import Arp, Icmp, Ip, Tcp, Udp, decode
from lab.observe.pcap import CaptureCut, CaptureError, Frame, PcapngWriter, read_frames

PACKET = tcp((CLIENT, 40000), (SERVER, 25), SYN | ACK, 7, 9, b"hello")


def read(octets: bytes) -> list[Frame]:
    return list(read_frames(io.BytesIO(octets)))


def decoded(data: bytes, linktype: int = 1) -> object:
    return decode(Frame(1, START, linktype, None, data, len(data)))


def pcapng(*frames: Frame, names: tuple[str, ...] = ("sender-mail",)) -> bytes:
    stream = io.BytesIO()
    writer = PcapngWriter(stream)
    for name in names:
        writer.add_interface(name, 1)
    for index, frame in enumerate(frames):
        writer.write(frame, index % len(names))
    return stream.getvalue()


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_classic_captures_of_both_byte_orders_and_resolutions(order: str, nano: bool) -> None:
    first, second = read(pcap([b"one", b"two!"], 101, order=order, nano=nano))
    assert first == Frame(1, START, 101, None, b"one", 3)
    assert second == Frame(2, START + 1_000_000, 101, None, b"two!", 4)
    assert second.time == 1_700_000_000.001


def test_pcapng_keeps_times_names_and_lengths() -> None:
    frames = [Frame(1, START + 1, 1, None, b"abcde", 99), Frame(2, START + 2, 1, None, b"", 0)]
    octets = pcapng(*frames, names=("sender-lan", "받는 쪽"))
    assert read(octets) == [
        Frame(1, START + 1, 1, "sender-lan", b"abcde", 99),
        Frame(2, START + 2, 1, "받는 쪽", b"", 0),
    ]


def test_pcapng_of_several_sections_resolutions_and_unknown_blocks() -> None:
    big = section(">")
    big += block(1, struct.pack(">HHI", 101, 0, 0) + struct.pack(">HHB3x", 9, 1, 0x80 | 10), ">")
    big += block(6, struct.pack(">IIIII", 0, 0, 1024 * 5 + 512, 4, 4) + b"big!", ">")
    little = section("<") + block(0x0BAD, b"whatever")
    little += block(1, struct.pack("<HHI", 1, 0, 3) + struct.pack("<HHq", 14, 8, 100))
    little += block(6, struct.pack("<IIIII", 0, 0, 2_000_000, 2, 2) + b"ab\0\0")
    little += block(3, struct.pack("<I", 5) + b"sim\0")
    assert read(big + little) == [
        Frame(1, 5_500_000_000, 101, None, b"big!", 4),
        Frame(2, 102_000_000_000, 1, None, b"ab", 2),
        Frame(3, 0, 1, None, b"sim", 5),
    ]


@pytest.mark.parametrize("octets", [pcap([b"one", b"two"]), pcapng(*read(pcap([b"one", b"two"])))])
def test_a_cut_capture_delivers_everything_before_the_cut(octets: bytes) -> None:
    frames = []
    with pytest.raises(CaptureCut, match="cut off after frame 1"):
        frames.extend(frame.data for frame in read_frames(io.BytesIO(octets[:-1])))
    assert frames == [b"one"]
    cuts: list[CaptureCut] = []
    assert len(list(read_frames(io.BytesIO(octets[:-1]), cuts.append))) == 1
    assert len(cuts) == 1


@pytest.mark.parametrize("make", [lambda data: pcap(data), lambda data: pcapng(*read(pcap(data)))])
def test_a_growing_pipe_yields_each_frame_as_soon_as_it_has_arrived(make) -> None:
    whole = make([b"one!", b"two!"])
    short = len(make([b"one!"]))
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb", buffering=0) as stream:
        frames = read_frames(stream)
        os.write(writable, whole[:short])
        assert next(frames).data == b"one!"  # hangs if the reader waits for more than it needs
        os.write(writable, whole[short:-3])
        os.write(writable, whole[-3:])
        assert next(frames).data == b"two!"
        os.close(writable)
        assert list(frames) == []
        assert not stream.closed


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "the capture is empty"),
        (b"GIF89a...", "this is not a capture"),
        (pcap([])[:20], "the capture is cut off before its first frame"),
        (pcap([]) + b"\xff" * 16, "frame 1 claims 4294967295 octets"),
        (section("<") + b"\1\0\0\0\7\0\0\0", "the block after frame 0 claims 7 octets"),
        (section("<") + block(6, bytes(20)), "the block after frame 0 is damaged"),
        (section("<")[:-4] + bytes(4), "two lengths"),
        (section("<").replace(b"\x4d\x3c", b"xx"), "no byte order"),
    ],
)
def test_what_is_no_capture_is_refused_clearly(octets: bytes, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        read(octets)
    assert caught.value.exit_status == 2


def test_the_error_names_the_file(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a capture")
    with pytest.raises(CaptureError) as caught:
        dialogues(path)
    assert str(caught.value) == (
        f"{path}: this is not a capture (neither pcap nor pcapng)\n"
        "  → make one with: lab capture NODE, or tcpdump -i eth0 -w FILE"
    )


def test_link_layers() -> None:
    v6 = tcp(("2001:db8::1", 40000), ("2001:db8::25", 25), SYN, 1)
    cases = [
        (1, ethernet(PACKET)),
        (1, ethernet(PACKET, 5)),
        (1, ethernet(PACKET, 5, 6)),
        (113, bytes(14) + b"\x08\x00" + PACKET),
        (276, b"\x08\x00" + bytes(18) + PACKET),
        (101, PACKET),
        (0, b"\2\0\0\0" + PACKET),
        (1, ethernet(PACKET) + b"padding"),
    ]
    for linktype, data in cases:
        packet = decoded(data, linktype)
        assert isinstance(packet, Tcp)
        assert (packet.src, packet.sport, packet.dst, packet.dport) == (CLIENT, 40000, SERVER, 25)
        assert (packet.seq, packet.ack, packet.flags) == (7, 9, SYN | ACK)
        assert (packet.payload, packet.length, packet.window) == (b"hello", 5, 64240)
    packet = decoded(ethernet(v6))
    assert isinstance(packet, Tcp)
    assert (packet.src, packet.dst, packet.dport) == ("2001:db8::1", "2001:db8::25", 25)


def test_ip_options_extension_headers_and_fragments() -> None:
    options = bytes([0x46, *PACKET[1:20]]) + b"\1\1\1\0" + PACKET[20:]
    options = options[:2] + struct.pack(">H", len(options)) + options[4:]
    packet = decoded(options, 101)
    assert isinstance(packet, Tcp) and packet.payload == b"hello"

    segment = PACKET[20:]
    extended = ip(
        "2001:db8::1", "2001:db8::2", 0, b"\x3c\0" + bytes(6) + b"\6\0" + bytes(6) + segment
    )
    packet = decoded(extended, 101)
    assert isinstance(packet, Tcp) and packet.payload == b"hello"

    for fragment in (
        ip(CLIENT, SERVER, 6, segment, flags=0x2000),
        ip(CLIENT, SERVER, 6, segment, flags=0x0003),
        ip("2001:db8::1", "2001:db8::2", 44, b"\6\0\0\1" + bytes(4) + segment),
    ):
        packet = decoded(fragment, 101)
        assert isinstance(packet, Ip) and packet.fragment and packet.protocol == 6


def test_udp_arp_and_icmp() -> None:
    packet = decoded(ip(CLIENT, SERVER, 17, struct.pack(">HHHH", 999, 53, 11, 0) + b"dns"), 101)
    assert isinstance(packet, Udp) and (packet.dport, packet.payload) == (53, b"dns")
    packet = decoded(arp(1, CLIENT, SERVER))
    assert isinstance(packet, Arp)
    assert (packet.op, packet.mac, packet.sender, packet.target) == (
        1,
        "02:00:00:00:00:01",
        CLIENT,
        SERVER,
    )
    packet = decoded(unreachable(PACKET), 101)
    assert isinstance(packet, Icmp) and packet.reason == "host unreachable"
    assert packet.quoted is not None
    assert packet.quoted[:6] == (CLIENT, SERVER, 6, 40000, 25, 7)


def test_a_packet_cut_by_the_snapshot_length_says_how_long_it_was() -> None:
    packet = decoded(PACKET[:-2], 101)
    assert isinstance(packet, Tcp)
    assert (packet.payload, packet.length) == (b"hel", 5)


def v6(following: int, payload: bytes) -> bytes:
    return ip("2001:db8::1", "2001:db8::2", following, payload)


def udp(payload: bytes, length: int) -> bytes:
    return ip(CLIENT, SERVER, 17, struct.pack(">HHHH", 999, 4711, length, 0) + payload)


SEGMENT, OPTIONS = PACKET[20:], b"\1\4" + bytes(4)
# Link type and octets of frames that others would get wrong.
NASTY = {
    "two VLANs": (1, ethernet(PACKET, 5, 6)),
    "three VLANs": (1, ethernet(PACKET, 5, 6, 7)),
    "old QinQ": (1, ethernet(PACKET)[:12] + b"\x91\0\0\5" + ethernet(PACKET)[12:]),
    "an IPv6 option": (1, ethernet(v6(0, b"\x06\0" + OPTIONS + SEGMENT))),
    "several IPv6 headers": (
        1,
        ethernet(v6(0, b"\x3c\0" + OPTIONS + b"\x2b\0" + OPTIONS + b"\x06" + bytes(7) + SEGMENT)),
    ),
    "an IPv6 authentication header": (1, ethernet(v6(51, b"\6\4" + bytes(22) + SEGMENT))),
    "the only IPv6 fragment": (1, ethernet(v6(44, b"\6" + bytes(7) + SEGMENT))),
    "IPv6 with nothing in it": (1, ethernet(v6(59, b""))),
    "a length the card will fill in": (1, ethernet(PACKET[:2] + b"\0\0" + PACKET[4:])),
    "a later fragment": (1, ethernet(ip(CLIENT, SERVER, 6, SEGMENT, flags=0xB9))),
    "padding": (1, ethernet(tcp((CLIENT, 40000), (SERVER, 25), ACK, 12, 9)) + b"PAD123"),
    "UDP": (1, ethernet(udp(b"abc", 11))),
    "UDP shorter than its packet": (1, ethernet(udp(b"abcdef", 11))),
    "UDP whose header is padding": (1, ethernet(ip(CLIENT, SERVER, 17, b"\3\xe7")) + bytes(20)),
    "cooked": (113, b"\0\0\0\1\0\6" + bytes(8) + b"\x08\0" + PACKET),
    "cooked, of a VLAN": (113, b"\0\0\0\1\0\6" + bytes(8) + b"\x81\0\0\5\x08\0" + PACKET),
    "cooked, second version": (
        276,
        b"\x08\0\0\0" + bytes(4) + b"\0\1\0\6" + bytes(8) + PACKET,
    ),
    "raw IPv4": (101, PACKET),
    "raw IPv6": (101, v6(6, SEGMENT)),
    "loopback": (0, b"\2\0\0\0" + PACKET),
    "OpenBSD's loopback": (108, b"\0\0\0\2" + PACKET),
}


def described(packet: object) -> list[str]:
    """A packet as tshark shows it: addresses, ports, sequence number, length of the payload."""
    match packet:
        case Tcp():
            rest = [packet.sport, packet.dport, packet.seq, packet.length]
        case Udp():
            rest = [packet.sport, packet.dport, "", len(packet.payload)]
        case Ip():
            rest = ["", "", "", ""]
        case _:
            return [""] * 6
    return [packet.src, packet.dst, *map(str, rest)]


@pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")
def test_nasty_frames_as_tshark_reads_them(tmp_path) -> None:
    path, types = tmp_path / "nasty.pcapng", sorted({kind for kind, _ in NASTY.values()})
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        for kind in types:
            writer.add_interface(f"link {kind}", kind)
        for kind, data in NASTY.values():
            writer.write(Frame(1, START, kind, None, data, len(data)), types.index(kind))
    names = ("ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "tcp.srcport", "udp.srcport")
    names += ("tcp.dstport", "udp.dstport", "tcp.seq_raw", "tcp.len", "udp.length")
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    argv += ["-o", "ip.defragment:FALSE", *(word for name in names for word in ("-e", name))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    theirs = {}
    for name, row in zip(NASTY, done.stdout.splitlines(), strict=True):
        src, src6, dst, dst6, *ports, seq, length, datagram = row.split("\t")
        size = length or (str(int(datagram) - 8) if datagram else "")
        theirs[name] = [src or src6, dst or dst6, ports[0] or ports[1], ports[2] or ports[3]]
        theirs[name] += [seq, size]
    theirs["UDP whose header is padding"] = [""] * 6  # of which tshark knows the addresses at least
    ours = {
        name: described(decode(frame))
        for name, frame in zip(NASTY, read(path.read_bytes()), strict=True)
    }
    assert ours == theirs


@pytest.mark.skipif(which("tshark") is None, reason="tshark, the oracle, is not installed")
def test_times_and_interfaces_of_several_sections_as_tshark_reads_them(tmp_path) -> None:
    octets = b""
    for order, resolution in ((">", 0x80 | 10), ("<", 3), ("<", 9), (">", 0)):
        octets += section(order)
        for name in (b"eth0", b"eth1"):
            options = struct.pack(order + "HH", 2, 4) + name
            options += struct.pack(order + "HHB3x", 9, 1, resolution)
            options += struct.pack(order + "HHqHH", 14, 8, 100, 0, 0)
            octets += block(1, struct.pack(order + "HHI", 1, 0, 0) + options, order)
        for interface in (1, 0):
            head = struct.pack(order + "IIIII", interface, 1, 5_000_001, 4, 60)
            octets += block(6, head + b"abcd", order)
    path = tmp_path / "sections.pcapng"
    path.write_bytes(octets)
    names = ("frame.time_epoch", "frame.interface_name", "frame.cap_len", "frame.len")
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    argv += [word for name in names for word in ("-e", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    theirs = [row.split("\t") for row in done.stdout.splitlines()]
    assert len(theirs) == 8
    for frame, (time, name, captured, length) in zip(read(octets), theirs, strict=True):
        seconds, _, fraction = time.partition(".")
        assert frame.ns == int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9])
        assert (frame.interface, len(frame.data), frame.length) == (
            name,
            int(captured),
            int(length),
        )


@given(st.binary(max_size=120), st.sampled_from([0, 1, 12, 101, 108, 113, 276, 999]))
def test_decoding_never_fails(data: bytes, linktype: int) -> None:
    decoded(data, linktype)


@given(st.data())
def test_damaged_captures_raise_nothing_but_capture_errors(data: st.DataObject) -> None:
    talk = Talk().shake().say("S", "220 hi\r\n").say("C", "DATA\r\n").say("S", "354 go\r\n")
    talk.say("C", "Subject: x\r\n\r\n.\r\n").say("S", "250 ok\r\n").close()
    frames = [ethernet(packet) for packet in [*talk.packets, unreachable(talk.packets[0])]]
    octets = bytearray(data.draw(st.sampled_from([pcap(frames), pcapng(*read(pcap(frames)))])))
    for _ in range(data.draw(st.integers(0, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(0, len(octets))) :]
    for function in (dialogues, attempts):
        try:
            found = function(io.BytesIO(bytes(octets)))
        except CaptureError:
            continue
        for each in found:
            assert each.state
            if function is dialogues:
                each.as_json()


@pytest.mark.skipif(which("capinfos") is None, reason="Wireshark's capinfos is not installed")
def test_wireshark_opens_what_the_writer_wrote(tmp_path) -> None:
    path = tmp_path / "merged.pcapng"
    frames = read(pcap([ethernet(PACKET)] * 4))
    path.write_bytes(pcapng(*frames, names=("sender-lan", "receiver-lan")))
    done = subprocess.run(["capinfos", path], capture_output=True, text=True, check=True)
    assert "Number of packets:   4" in done.stdout
    assert "Name = sender-lan" in done.stdout
    assert "Name = receiver-lan" in done.stdout


def test_the_writer_knows_only_the_interfaces_it_was_told_of() -> None:
    writer = PcapngWriter(io.BytesIO())
    with pytest.raises(IndexError):
        writer.write(Frame(1, START, 1, None, b"", 0), 0)
