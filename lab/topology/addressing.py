"""Who has which address and which route: everything about IP that follows from a topology.

Pure and deterministic, so that worksheets can name addresses: what the file states is kept, what
it leaves out is the lowest free address, in the order of the file. Routers learn the shortest way
to every network, hosts only the way out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lab.topology.model import MailServer, Node, Router, Topology

EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class Interface:
    """One end of a cable: where it is plugged in, and its address there.

    `name` is the interface in the node (`eth0`), `port` the cable's other end in the fabric: the
    node's name, or `internet.0`, `internet.1`, … for the interfaces of a router.
    """

    node: str
    name: str
    port: str
    network: str
    address: IPv4Interface


@dataclass(frozen=True)
class Route:
    """Packets for `destination` go to the router at `via`."""

    destination: IPv4Network
    via: IPv4Address


@dataclass(frozen=True)
class Addressing:
    """All interfaces and routes by node, and all names of the DNS.

    `names` has each hostname, and NETWORK.HOSTNAME for each interface of a router; `pointers` has
    the one name of each address, so that a traceroute says which side of a router answered.
    """

    interfaces: Mapping[str, tuple[Interface, ...]]
    routes: Mapping[str, tuple[Route, ...]]
    names: Mapping[str, IPv4Address]
    pointers: Mapping[IPv4Address, str]


def hostname(topology: Topology, node_name: str) -> str:
    """The node's name in the DNS: its own, else mail.DOMAIN for a domain's server, or NODE.example.

    Raises KeyError when there is no such node.
    """
    node = topology.nodes[node_name]
    if node.hostname:
        return node.hostname
    own = node.domain if isinstance(node, MailServer) else None
    return f"mail.{own}" if own else f"{node_name}.example"


def names_of(topology: Topology, node_name: str) -> tuple[str, ...]:
    """Every name of a node: its hostname, then one name for each interface of a router."""
    name = hostname(topology, node_name)
    node = topology.nodes[node_name]
    if isinstance(node, Router):
        return (name, *(f"{network}.{name}" for network in node.interfaces))
    return (name,)


def plugs(node: Node) -> dict[str, IPv4Address | None]:
    """The networks a node is plugged into, with its address there if the file states one."""
    if isinstance(node, Router):
        return dict(node.interfaces)
    return {node.network: node.address}


def port(node_name: str, node: Node, index: int) -> str:
    """The fabric's end of the cable to the node's interface `eth{index}`."""
    return f"{node_name}.{index}" if isinstance(node, Router) else node_name


def assign(topology: Topology) -> Addressing:
    """Addresses, routes and names of a topology that `check` finds no fault in.

    Raises KeyError for an unknown network, ValueError when a subnet is full; `check` reports both
    (and whatever else is wrong) with their places.
    """
    interfaces = _interfaces(topology)
    names: dict[str, IPv4Address] = {}
    pointers: dict[IPv4Address, str] = {}
    for node, ends in interfaces.items():
        own, *sides = names_of(topology, node)
        names[own] = ends[0].address.ip
        for name, end in zip(sides or [own], ends, strict=True):
            names[name] = end.address.ip
            pointers[end.address.ip] = name
    routes = {
        node: _router_routes(topology, node, interfaces)
        if isinstance(topology.nodes[node], Router)
        else _host_routes(topology, ends[0], interfaces)
        for node, ends in interfaces.items()
    }
    return Addressing(interfaces, routes, names, pointers)


def _interfaces(topology: Topology) -> dict[str, tuple[Interface, ...]]:
    taken = {a for node in topology.nodes.values() for a in plugs(node).values() if a}
    free = {name: _free(network.subnet, taken) for name, network in topology.networks.items()}
    found = {}
    for name, node in topology.nodes.items():
        ends = []
        for index, (network, stated) in enumerate(plugs(node).items()):
            address = stated or next(free[network], None)
            if address is None:
                raise ValueError(f"no address is left in network {network!r}")
            length = topology.networks[network].subnet.prefixlen
            interface = IPv4Interface((address, length))
            ends.append(Interface(name, f"eth{index}", port(name, node, index), network, interface))
        found[name] = tuple(ends)
    return found


def _free(subnet: IPv4Network, taken: set[IPv4Address]) -> Iterator[IPv4Address]:
    """The host addresses nobody has stated, lowest first."""
    return (address for address in subnet.hosts() if address not in taken)


def _routers_on(
    topology: Topology, network: str, interfaces: Mapping[str, tuple[Interface, ...]]
) -> list[Interface]:
    """The routers' interfaces on a network, lowest address first."""
    ends = (end for node in topology.nodes for end in interfaces[node])
    here = (end for end in ends if end.network == network)
    routers = (end for end in here if isinstance(topology.nodes[end.node], Router))
    return sorted(routers, key=lambda end: end.address.ip)


def _host_routes(
    topology: Topology, end: Interface, interfaces: Mapping[str, tuple[Interface, ...]]
) -> tuple[Route, ...]:
    """One default route; where several routers share the wire, they know the rest of the way."""
    routers = _routers_on(topology, end.network, interfaces)
    return tuple(Route(EVERYWHERE, router.address.ip) for router in routers[:1])


def _router_routes(
    topology: Topology, node: str, interfaces: Mapping[str, tuple[Interface, ...]]
) -> tuple[Route, ...]:
    """The first hop of a shortest path to every network not attached to `node`, in file order."""
    hops: dict[str, IPv4Address | None] = {end.network: None for end in interfaces[node]}
    nearest = deque(hops)
    while nearest:
        network = nearest.popleft()
        for peer in _routers_on(topology, network, interfaces):
            for beyond in interfaces[peer.node]:
                if beyond.network not in hops:
                    hops[beyond.network] = hops[network] or peer.address.ip
                    nearest.append(beyond.network)
    return tuple(
        Route(topology.networks[network].subnet, via)
        for network in topology.networks
        if (via := hops.get(network))
    )
