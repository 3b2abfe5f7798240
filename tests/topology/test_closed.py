"""A closed lab: root on any machine of it reaches nothing outside, and nothing outside hears it.

Each attack is also seen to work where it may: a service that nobody reaches is reached from the
machine it runs on, and a frame that is on no wire of this machine is on the lab's own record.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path

from harness import ALICE, BOB, arrived, delivered, send, textbook, until
from outside import (
    FAR_AWAY,
    Service,
    call_out,
    everyone,
    new_marker,
    of_lab,
    own_addresses,
    recorded,
    recorded_on,
    sniffing,
    this_machine_has_the_engine,
    throw_out,
)

from lab.engine.client import in_parallel
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import FABRIC
from lab.observe.packets import Tcp, Udp, decode
from lab.observe.pcap import read_frames
from lab.seats.user import UserAgent

OUTSIDE_NAMES = (
    "www.debian.org",
    "host.docker.internal",
    "gateway.docker.internal",
    "docker",
    socket.gethostname(),
)
OPEN_PORTS = {
    "pc": set(),
    "router": set(),
    FABRIC: set(),
    "dns": {"tcp 53", "udp 53"},
    "mail-server": {"tcp 25", "tcp 110", "tcp 143", "tcp 587"},
}


@contextmanager
def roads_everywhere(lab: Lab) -> Iterator[None]:
    """The router's root, who may set routes, sends what it knows no way for out of its cables."""
    node = next(name for name, node in lab.plan.nodes.items() if node.kind == "router")
    count = len(lab.plan.nodes[node].interfaces)
    hops = " ".join(f"nexthop dev eth{number}" for number in range(count))
    lab.run(node, ["sh", "-c", f"ip route add default {hops}"]).check("adding routes")
    try:
        yield
    finally:
        lab.run(node, ["ip", "route", "del", "default"]).check("removing routes")


# --- Routes -------------------------------------------------------------------------------------


def test_no_machine_has_a_route_to_anything_but_the_lab(lab: Lab) -> None:
    routers = {
        str(end.address.ip)
        for node in lab.plan.nodes.values()
        if node.kind == "router"
        for end in node.interfaces
    }

    def look(name: str) -> None:
        own = lab.plan.nodes[name].interfaces if name != FABRIC else ()
        said = lab.run(name, ["sh", "-c", "ip -j route; echo; ip -j addr"]).check("ip").text
        routes, addresses = (json.loads(line or "[]") for line in said.splitlines() if line != "")
        direct = {ip_network(route["dst"]) for route in routes if "gateway" not in route}
        assert direct == {end.address.network for end in own}, name
        ways = {route["gateway"] for route in routes if "gateway" in route}
        assert ways <= routers, name
        # Beyond the last router there is nothing.
        assert bool(ways) == (name not in ("internet", FABRIC)), name
        found = [
            f"{info['local']}/{info['prefixlen']}"
            for link in addresses
            for info in link["addr_info"]
        ]
        assert found == ["127.0.0.1/8", *(str(end.address) for end in own)], name

    in_parallel(look, everyone(lab))


def test_only_the_router_may_change_routes_or_addresses(lab: Lab) -> None:
    attempts = (
        f"ip addr add {FAR_AWAY}/32 dev lo",
        f"ip route add {FAR_AWAY} dev lo",
        "ip link add name out type veth peer name in",
        "echo 1 > /proc/sys/net/ipv4/conf/all/accept_source_route",
    )
    told = "; ".join(f"if {attempt}; then echo yes; else echo no; fi" for attempt in attempts)
    for name, node in lab.plan.nodes.items():
        may = "yes" if node.kind == "router" else "no"
        assert lab.run(name, ["sh", "-c", told]).text.split() == [may, may, may, "no"], name
    undo = f"ip link del out; ip route del {FAR_AWAY} dev lo; ip addr del {FAR_AWAY}/32 dev lo"
    lab.run("internet", ["sh", "-c", undo]).check("undoing it")


# --- Names --------------------------------------------------------------------------------------


def test_no_machine_learns_a_name_from_outside(lab: Lab) -> None:
    known = "mail.receiver.example"
    look = (
        "grep -v ^# /etc/resolv.conf; "
        'for name; do getent ahosts "$name" > /dev/null && echo "$name"; done; true'
    )

    def ask(name: str) -> list[str]:
        done = lab.run(name, ["sh", "-c", look, "sh", known, *OUTSIDE_NAMES])
        return done.check("asking for names").text.splitlines()

    names = everyone(lab)
    found = dict(zip(names, in_parallel(ask, names), strict=True))
    server = f"nameserver {lab.plan.site.address('dns')}"
    # The fabric asks nobody; without a word Docker would give it the name servers of the host.
    assert found.pop(FABRIC) == ["nameserver 127.0.0.1"]
    assert found == {name: [server, known] for name in found}


def test_the_name_server_asks_nobody(lab: Lab) -> None:
    asked = new_marker()
    name = f"{asked}.debian.org"
    for question in ([name], [name, "+tcp"], [name, "MX"], [".", "NS"], ["-x", "8.8.8.8"]):
        answer = lab.run("sender-pc", ["dig", *question]).check("dig").text
        assert "status: NXDOMAIN" in answer, question
    until("it is on record", lambda: recorded(lab, "dns-lan").count(asked.encode()) >= 6)
    frames = read_frames(BytesIO(recorded(lab, "dns-lan")))
    packets = [decode(frame) for frame in frames if asked.encode() in frame.data]
    ends = [{packet.src, packet.dst} for packet in packets if isinstance(packet, Tcp | Udp)]
    pair = {lab.plan.site.address(node) for node in ("sender-pc", "dns")}
    assert ends == [pair] * len(packets)


# --- Services -----------------------------------------------------------------------------------


def test_machines_listen_where_they_should_and_nowhere_else(lab: Lab) -> None:
    def look(name: str) -> None:
        kind = FABRIC if name == FABRIC else lab.plan.nodes[name].kind
        sockets = lab.run(name, ["ss", "-Hltun"]).check("ss").text.splitlines()
        found = {f"{line.split()[0]} {line.split()[4].rpartition(':')[2]}" for line in sockets}
        assert found == OPEN_PORTS[kind], name

    in_parallel(look, everyone(lab))


def test_no_service_of_this_machine_is_reached_from_inside(lab: Lab) -> None:
    this_machine_has_the_engine()
    markers = {name: new_marker() for name in everyone(lab)}
    with Service() as service:
        with socket.create_connection(("127.0.0.1", service.port)) as caller:
            caller.sendall(b"control")
        until("it can be reached", lambda: service.visitors == [("127.0.0.1", b"control")], 5)
        targets = own_addresses()
        assert call_out(lab, markers, service.port, *targets) == []
        with roads_everywhere(lab):
            assert call_out(lab, {"internet": markers["internet"]}, service.port, *targets) == []
        assert len(service.visitors) == 1, service.visitors
    # The same calls, where they may succeed.
    nodes = {name: marker for name, marker in markers.items() if name != FABRIC}
    server = lab.plan.site.address("receiver-mail")
    answered = call_out(lab, nodes, 25, server)
    assert answered == sorted(
        f"{name}: {how} {server}" for name in nodes for how in ("ping", "tcp")
    )


# --- Wires --------------------------------------------------------------------------------------


def test_no_frame_of_the_lab_is_on_an_interface_of_this_machine(lab: Lab) -> None:
    markers = {name: new_marker() for name in everyone(lab)}
    with sniffing() as sniffer, roads_everywhere(lab):
        letter = UserAgent(lab, ALICE).send(BOB, "Closed", f"{new_marker()}\n")
        delivered(lab, BOB, letter)
        here = next(one for one in own_addresses() if not one.startswith("127."))
        throw_out(lab, markers, here, FAR_AWAY, "255.255.255.255")
        assert call_out(lab, markers, 9, here, FAR_AWAY) == []
        for name, marker in markers.items():
            recorded_on(lab, name, marker)  # they were on the lab's wires
    assert of_lab(lab, sniffer.frames, letter.message_id, *markers.values()) == []
    # A frame like theirs is known when it is there.
    mail = recorded(lab, "sender-lan")
    assert letter.message_id.encode() in mail
    known = [("lan", mail[24 + 16 :])]  # the first frame, without the headers of file and record
    assert of_lab(lab, known)


# --- Other labs ---------------------------------------------------------------------------------


def test_two_labs_with_the_same_addresses_hear_nothing_of_each_other(lab: Lab, name: str) -> None:
    second = up(textbook(name))
    labs = (lab, second)
    look = ["readlink", "/proc/self/ns/net"]
    places = [(one, node) for one in labs for node in everyone(one)]
    networks = in_parallel(lambda place: place[0].run(place[1], look).text.strip(), places)
    assert len(set(networks)) == len(places)
    assert str(Path("/proc/self/ns/net").readlink()) not in networks

    markers = [{node: new_marker() for node in everyone(one)} for one in labs]
    letters = []
    for one, own in zip(labs, markers, strict=True):
        with roads_everywhere(one):
            throw_out(one, own, lab.plan.site.address("receiver-mail"), "255.255.255.255")
        letters.append(send(one, ALICE, BOB))
    for one, own, letter in zip(labs, markers, letters, strict=True):
        delivered(one, BOB, letter)
        for node, marker in own.items():
            recorded_on(one, node, marker)
    for one, foreign, letter in zip(labs, reversed(markers), reversed(letters), strict=True):
        heard = b"".join(recorded(one, network) for network in one.plan.networks)
        assert not [node for node, marker in foreign.items() if marker.encode() in heard]
        assert letter.message_id.encode() not in heard
        assert not arrived(one, BOB, letter.message_id)
