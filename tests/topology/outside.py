"""The world outside a lab as an attacker would want it: this machine, its wires, its services.

And what root inside a lab tries, to get there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Self
from uuid import uuid4

import pytest
from harness import until

from lab.engine.client import in_parallel
from lab.engine.fabric import mac_address
from lab.engine.lab import Lab
from lab.engine.plan import FABRIC

# Where nothing is: of the range for benchmarks, and on no network of the textbook's.
FAR_AWAY = "198.18.99.99"
DOCKERS_BRIDGE = "172.17.0.1"  # unless somebody has configured another
_EVERY_PROTOCOL = 0x0003  # ETH_P_ALL, packet(7)
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33

# Everything that calls for an address: what got an answer, a line each. The marker is in every
# packet that may carry one.
CALL = r"""
marker=$1 hex=$2 port=$3; shift 3
for address; do
    case $address in 127.*) ;; *)
        (ping -n -c 1 -W 1 -p "$hex" "$address" >&2 && echo "ping $address") & ;;
    esac
    (echo "$marker" | nc -N -w 1 "$address" "$port" >&2 && echo "tcp $address") &
    (echo "$marker" | nc -u -w 1 "$address" "$port" >&2) &
done
wait
"""

# Frames (in hexadecimal) as they are, out of each interface but lo, in no need of any route.
THROW = r"""
opendir my $all, '/sys/class/net' or die;
for my $name (grep !/^(\.|lo$)/, readdir $all) {
    open my $file, '<', "/sys/class/net/$name/ifindex" or die;
    socket my $out, 17, 3, 0 or die "socket: $!";
    my $there = pack 'SnlSCCa8', 17, 0x0800, <$file>, 1, 0, 6, '';
    for my $frame (@ARGV) { send $out, pack('H*', $frame), 0, $there or die "$name: $!"; }
    print "$name\n";
}
"""


def this_machine_has_the_engine() -> None:
    """Skip the test unless the machine that runs it also runs the engine, and it is root there."""
    if "DOCKER_HOST" in os.environ or not sys.platform.startswith("linux"):
        pytest.skip("looks at the machine of the engine, which is another")
    if os.geteuid() != 0:
        pytest.skip("listens on all interfaces of this machine: needs root")


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses, the loopback's too, and where Docker's bridge would be."""
    said = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout
    found = [info["local"] for link in json.loads(said) for info in link.get("addr_info", ())]
    return list(dict.fromkeys([*found, DOCKERS_BRIDGE]))


def new_marker() -> str:
    """Sixteen octets that occur nowhere else: as many as a ping carries."""
    return uuid4().hex[:16]


class Service:
    """A service of this machine, open to all who can reach it: TCP and UDP on the same port.

    `visitors` has who came, and what they said.
    """

    def __enter__(self) -> Self:
        self._tcp = socket.create_server(("0.0.0.0", 0))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("0.0.0.0", self.port))
        self.visitors: list[tuple[str, bytes]] = []
        for work in (self._receive_calls, self._receive_datagrams):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for open_socket in (self._tcp, self._udp):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
            open_socket.close()

    def _receive_calls(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, (address, _) = self._tcp.accept()
                with caller, contextlib.suppress(OSError):
                    caller.settimeout(1)
                    self.visitors.append((address, caller.recv(100)))

    def _receive_datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, caller = self._udp.recvfrom(100)
                if not data:  # what shutdown(2) brings
                    return
                self.visitors.append((caller[0], data))


class Sniffer:
    """Every frame on any interface of this machine, loopback and bridges too, while it is open."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self.frames: list[tuple[str, bytes]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._reader.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._socket.close()
        _, dropped = struct.unpack("II", statistics)
        assert not dropped, f"{dropped} frames passed unseen"

    def _read(self) -> None:
        while True:
            try:
                frame, (interface, *_) = self._socket.recvfrom(1 << 16)
            except TimeoutError:
                if self._ended.is_set():  # and all that has passed is read
                    return
            else:
                self.frames.append((interface, frame))

    def sees(self, marker: str) -> bool:
        """Whether a frame with `marker` in it has passed."""
        return any(marker.encode() in frame for _, frame in list(self.frames))


def of_lab(lab: Lab, frames: list[tuple[str, bytes]], *markers: str) -> list[str]:
    """Those of the frames that are the lab's, by sender, receiver or content, in hexadecimal."""
    ends = [end for node in lab.plan.nodes.values() for end in node.interfaces]
    macs = {bytes.fromhex(mac_address(end).replace(":", "")) for end in ends}
    senders = {end.address.ip.packed for end in ends}
    marks = [marker.encode() for marker in markers]
    return [
        f"{interface} {frame[:64].hex()}"
        for interface, frame in frames
        if frame[:6] in macs
        or frame[6:12] in macs
        or _sender(frame) in senders
        or any(mark in frame for mark in marks)
    ]


def _sender(frame: bytes) -> bytes:
    """Who an IPv4 packet, or an ARP question, claims to come from."""
    return {b"\x08\x00": frame[26:30], b"\x08\x06": frame[28:32]}.get(frame[12:14], b"")


def broadcast(source: str, to: str, marker: str) -> bytes:
    """A frame for everybody, with a UDP packet from `source` to `to` that carries `marker`."""
    said = marker.encode()
    datagram = struct.pack(">HHHH", 53, 53, 8 + len(said), 0) + said
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
    head += IPv4Address(source).packed + IPv4Address(to).packed
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    mac = b"\x02\x00" + IPv4Address(source).packed
    return b"\xff" * 6 + mac + b"\x08\x00" + head + datagram


def everyone(lab: Lab) -> list[str]:
    """All machines of a lab, and its fabric."""
    return [*lab.plan.nodes, FABRIC]


def call_out(lab: Lab, markers: Mapping[str, str], port: int, *targets: str) -> list[str]:
    """Root on every machine of `markers` calls every target; who was answered, by what."""

    def call(node: str) -> list[str]:
        marker = markers[node]
        arguments = [marker, marker.encode().hex(), str(port), *targets]
        done = lab.run(node, ["sh", "-c", CALL, "sh", *arguments])
        return [f"{node}: {line}" for line in done.text.splitlines()]

    return sorted(line for lines in in_parallel(call, markers) for line in lines)


def throw_out(lab: Lab, markers: Mapping[str, str], *targets: str) -> None:
    """Root on every machine of `markers` sends a frame for each target out of all its cables."""

    def throw(node: str) -> None:
        own = lab.plan.nodes[node].interfaces if node != FABRIC else ()
        source = str(own[0].address.ip) if own else "198.51.100.77"
        frames = [broadcast(source, to, markers[node]).hex() for to in targets]
        sent = lab.run(node, ["perl", "-e", THROW, *frames]).check(f"{node} sending").text
        assert len(sent.split()) >= max(1, len(own)), f"{node} has cables"

    in_parallel(throw, markers)


def recorded(lab: Lab, network: str) -> bytes:
    """The lab's own record of a network until now, a pcap."""
    replay = ["/lab/agent.py", "replay", network]
    return lab.run(FABRIC, replay).check(f"the record of {network}").stdout


def recorded_on(lab: Lab, node: str, marker: str) -> str:
    """The first network on which the lab itself has seen a marker, waited for."""
    networks = (
        [end.network for end in lab.plan.nodes[node].interfaces]
        if node != FABRIC
        else list(lab.plan.networks)
    )
    return until(
        f"what {node} sends is on record",
        lambda: next((one for one in networks if marker.encode() in recorded(lab, one)), None),
    )


@contextlib.contextmanager
def sniffing() -> Iterator[Sniffer]:
    """A sniffer on this machine that has been seen to hear: skips where there can be none."""
    this_machine_has_the_engine()
    with Sniffer() as sniffer, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
        control = new_marker()
        speaker.sendto(control.encode(), ("127.0.0.1", 9))
        until("the sniffer hears this machine", lambda: sniffer.sees(control), 5)
        yield sniffer
