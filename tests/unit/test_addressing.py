"""Every machine gets one address of its own and a way to every network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.topology.addressing import EVERYWHERE, Addressing, Interface, assign, hostname
from lab.topology.check import check, check_schedule
from lab.topology.loader import load
from lab.topology.model import Schedule, Topology


def topology(networks: dict[str, str], nodes: dict[str, dict[str, Any]]) -> Topology:
    """A topology of `networks` (name: subnet) and `nodes`; it has not been checked."""
    return Topology.model_validate(
        {
            "name": "test",
            "title": "Test",
            "networks": {name: {"subnet": subnet} for name, subnet in networks.items()},
            "nodes": nodes,
        }
    )


def pc(network: str, address: str | None = None) -> dict[str, Any]:
    return {"kind": "pc", "network": network, "address": address}


def router(*networks: str, **addresses: str | None) -> dict[str, Any]:
    return {"kind": "router", "interfaces": dict.fromkeys(networks) | addresses}


def ip(addressing: Addressing, node: str) -> list[str]:
    return [str(end.address.ip) for end in addressing.interfaces[node]]


def via(addressing: Addressing, node: str) -> dict[str, str]:
    return {str(route.destination): str(route.via) for route in addressing.routes[node]}


def test_textbook_has_the_addresses_of_the_worksheets() -> None:
    addressing = assign(load("textbook"))
    assert ip(addressing, "internet") == ["198.51.100.1", "198.51.100.194", "203.0.113.1"]
    assert [end.port for end in addressing.interfaces["internet"]] == [
        "internet.0",
        "internet.1",
        "internet.2",
    ]
    (end,) = addressing.interfaces["sender-mail"]
    assert (end.node, end.name, end.port) == ("sender-mail", "eth0", "sender-mail")
    assert (end.network, str(end.address)) == ("sender-lan", "198.51.100.25/26")
    assert via(addressing, "sender-pc") == {"0.0.0.0/0": "198.51.100.1"}
    assert via(addressing, "internet") == {}
    assert {name: str(address) for name, address in addressing.names.items()} == {
        "internet.example": "198.51.100.1",
        "sender-lan.internet.example": "198.51.100.1",
        "dns-lan.internet.example": "198.51.100.194",
        "receiver-lan.internet.example": "203.0.113.1",
        "dns.example": "198.51.100.193",
        "mail.sender.example": "198.51.100.25",
        "pc.sender.example": "198.51.100.10",
        "mail.receiver.example": "203.0.113.25",
        "pc.receiver.example": "203.0.113.10",
    }


def test_each_address_points_to_one_name_and_that_name_back_to_it() -> None:
    addressing = assign(load("textbook"))
    ends = [end.address.ip for node in addressing.interfaces.values() for end in node]
    assert set(addressing.pointers) == set(ends)
    assert all(addressing.names[name] == ip for ip, name in addressing.pointers.items())
    assert addressing.pointers[IPv4Address("198.51.100.194")] == "dns-lan.internet.example"


def test_hostnames() -> None:
    textbook = load("textbook")
    assert hostname(textbook, "sender-mail") == "mail.sender.example"
    assert hostname(textbook, "sender-pc") == "pc.sender.example"
    assert hostname(textbook, "internet") == "internet.example"
    without_domain = {"kind": "mail-server", "network": "lan", "backup_for": ["receiver.example"]}
    other = topology({"lan": "203.0.113.0/24"}, {"second": without_domain})
    assert hostname(other, "second") == "second.example"
    with pytest.raises(KeyError):
        hostname(textbook, "nowhere")


def test_missing_addresses_are_the_lowest_free_in_the_order_of_the_file() -> None:
    addressing = assign(
        topology(
            {"lan": "203.0.113.0/29", "wan": "198.51.100.0/24"},
            {
                "c": pc("lan"),
                "gate": router("lan", wan="198.51.100.9"),
                "a": pc("lan", "203.0.113.2"),
                "b": pc("lan"),
            },
        )
    )
    assert ip(addressing, "c") == ["203.0.113.1"]
    assert ip(addressing, "gate") == ["203.0.113.3", "198.51.100.9"]
    assert ip(addressing, "b") == ["203.0.113.4"]


def test_a_full_subnet_is_refused() -> None:
    with pytest.raises(ValueError, match="no address is left in network 'lan'"):
        assign(topology({"lan": "203.0.113.0/30"}, {name: pc("lan") for name in "abc"}))


def test_routers_know_the_shortest_way_and_hosts_the_lowest_router() -> None:
    # a - left - b and a - middle - c - right - b: two ways from one to another.
    addressing = assign(
        topology(
            {
                "one": "198.18.1.0/24",
                "left": "198.18.2.0/24",
                "middle": "198.18.3.0/24",
                "right": "198.18.4.0/24",
                "two": "198.18.5.0/24",
            },
            {
                "b": router(left="198.18.2.2", right="198.18.4.2", two="198.18.5.1"),
                "a": router(one="198.18.1.1", left="198.18.2.1", middle="198.18.3.1"),
                "c": router(middle="198.18.3.2", right="198.18.4.1"),
                "host": pc("left"),
            },
        )
    )
    assert via(addressing, "a") == {"198.18.4.0/24": "198.18.2.2", "198.18.5.0/24": "198.18.2.2"}
    assert via(addressing, "b") == {"198.18.1.0/24": "198.18.2.1", "198.18.3.0/24": "198.18.2.1"}
    assert via(addressing, "c") == {
        "198.18.1.0/24": "198.18.3.1",
        "198.18.2.0/24": "198.18.3.1",
        "198.18.5.0/24": "198.18.4.2",
    }
    assert via(addressing, "host") == {"0.0.0.0/0": "198.18.2.1"}


def test_a_lone_network_needs_no_routes() -> None:
    assert via(assign(topology({"lan": "203.0.113.0/24"}, {"a": pc("lan")})), "a") == {}


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Networks in a tree of routers (and perhaps a ring), machines with and without addresses."""
    count = draw(st.integers(1, 6))
    subnets = {f"n{i}": f"198.18.{i}.0/28" for i in range(count)}
    nodes: dict[str, dict[str, Any]] = {}
    for i in range(1, count):
        nodes[f"r{i}"] = router(f"n{draw(st.integers(0, i - 1))}", f"n{i}")
    if count > 2 and draw(st.booleans()):
        nodes["ring"] = router("n0", f"n{count - 1}")
    seats = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(1, 14)), max_size=6))
    for number, (network, host) in enumerate(dict.fromkeys(seats)):
        stated = f"198.18.{network}.{host}" if draw(st.booleans()) else None
        nodes[f"h{number}"] = pc(f"n{network}", stated)
    nodes["dns"] = {"kind": "dns", "network": "n0"}
    names = draw(st.permutations(list(nodes)))
    return topology(subnets, {name: nodes[name] for name in names})


@settings(max_examples=200)
@given(topologies())
def test_addresses_are_unique_and_inside_and_every_network_is_reached(drawn: Topology) -> None:
    assert check(drawn) == []
    addressing = assign(drawn)
    assert addressing == assign(drawn)
    ends = [end for node in addressing.interfaces.values() for end in node]
    assert len({end.address.ip for end in ends}) == len(ends) == len({end.port for end in ends})
    for end in ends:
        subnet = drawn.networks[end.network].subnet
        assert end.address.network == subnet
        assert end.address.ip not in (subnet.network_address, subnet.broadcast_address)
    for start in drawn.nodes:
        for network in drawn.networks.values():
            assert hops(addressing, ends, start, network.subnet) <= len(drawn.nodes)


def hops(addressing: Addressing, ends: list[Interface], start: str, goal: IPv4Network) -> int:
    """How many routers a packet from `start` crosses to `goal`, as the routes say."""
    crossed, node = 0, start
    while all(end.address.network != goal for end in addressing.interfaces[node]):
        ways = [r for r in addressing.routes[node] if r.destination in (goal, EVERYWHERE)]
        assert len(ways) == 1, f"{node} knows no way to {goal}"
        node = next(end.node for end in ends if end.address.ip == ways[0].via)
        crossed += 1
        assert crossed <= len(addressing.interfaces), "packets go round in circles"
    return crossed


def test_schedule_at_another_time_scale() -> None:
    schedule = Schedule.model_validate({"retry": "1h", "give_up": "5d", "delay_notice": "10m"})
    assert check_schedule(schedule, 600) == []
    (problem,) = check_schedule(schedule, 1200)
    assert str(problem) == (
        "at time scale 1200, delay_notice 10m lasts 0.5 real seconds\n"
        "  → mail servers count whole seconds: the largest time scale is 600"
    )
    few, many = check_schedule(schedule, 3600)
    assert str(few) == (
        "at time scale 3600, retry 1h lasts 1 real seconds\n"
        "  → mail servers need 3 seconds between two tries: the largest time scale is 1200"
    )
    assert many.what.startswith("at time scale 3600, delay_notice 10m lasts ")


@pytest.mark.parametrize("scale", [0, -1, float("inf"), float("nan")])
def test_a_senseless_time_scale_is_refused(scale: float) -> None:
    (problem,) = check_schedule(Schedule(), scale)
    assert str(problem).startswith(f"the time scale must be greater than 0, not {scale:g}\n")
