"""What the model cannot see: rules that join several parts of a topology.

Each rule is one generator of problems and looks at a topology that fits the model; none relies on
another, so that all faults are told at once. The loader gives the problems their line and column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from lab.errors import LabError
from lab.topology import check_mail
from lab.topology.addressing import names_of, plugs, port
from lab.topology.model import Dns, MailServer, Node, Router, Schedule, Topology
from lab.topology.problem import KeyPath, Problem, suggest
from lab.units import write_duration

RANGES = tuple(map(IPv4Network, ("198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")))
FORBIDDEN = IPv4Network("192.0.2.0/24")
# Linux: IFNAMSIZ less the final NUL, and HOST_NAME_MAX.
LONGEST_INTERFACE = 15
LONGEST_HOSTNAME = 64
# Postfix keeps times in a signed 32-bit count of seconds.
LONGEST_WAIT = 2**31 - 1
# The least each wait lasts, in real seconds, and why. Postfix takes a message up again as much as a
# second before it is due (qmgr_active.c); should its last attempt then still hold it, Postfix lets
# it lie for a minute ("skipped, still being delivered").
LEAST = {
    "retry": (3, "mail servers need 3 seconds between two tries"),
    "delay_notice": (1, "mail servers count whole seconds"),
}
# Linux refuses these as names of interfaces, or has them already; the fabric is a container of
# its own beside the nodes.
RESERVED = {
    "lo": "every machine has an interface 'lo' already",
    "all": "Linux keeps 'all' for settings of all interfaces",
    "default": "Linux keeps 'default' for settings of new interfaces",
    "tunl0": "Linux may have an interface 'tunl0' already",
    "gre0": "Linux may have an interface 'gre0' already",
    "gretap0": "Linux may have an interface 'gretap0' already",
    "erspan0": "Linux may have an interface 'erspan0' already",
    "sit0": "Linux may have an interface 'sit0' already",
    "ip6tnl0": "Linux may have an interface 'ip6tnl0' already",
    "ip6gre0": "Linux may have an interface 'ip6gre0' already",
    "fabric": "the container that holds the lab's wires is called 'fabric'",
}


def check(topology: Topology) -> list[Problem]:
    """Every fault of a topology that fits the model; an empty list if it can be built."""
    return [problem for rule in RULES for problem in rule(topology)]


def check_schedule(schedule: Schedule, time_scale: float) -> list[LabError]:
    """Why mail servers cannot keep `schedule` (lab seconds) at a `--time-scale` given by hand.

    `time_scale` is lab seconds in one real second. An empty list if they can.
    """
    if not 0 < time_scale < float("inf"):
        what = f"the time scale must be greater than 0, not {time_scale:g}"
        return [LabError(what, hint="60 makes one real second a minute of the lab")]
    return [LabError(p.what, hint=p.hint) for p in _schedule_at(schedule, time_scale)]


def _schedule(topology: Topology) -> Iterator[Problem]:
    return _schedule_at(topology.schedule, topology.time_scale)


def _schedule_at(schedule: Schedule, time_scale: float) -> Iterator[Problem]:
    yield from _order(schedule)
    yield from _scale(schedule, time_scale)


def _order(schedule: Schedule) -> Iterator[Problem]:
    retry, give_up, notice = schedule.retry, schedule.give_up, schedule.delay_notice
    if give_up < retry:
        what = (
            f"mail is given up after {write_duration(give_up)}, "
            f"before it is first tried again after {write_duration(retry)}"
        )
        path = _stated(schedule, "give_up", "retry")
        yield Problem(path, what, f"make give_up {write_duration(retry)} or longer, or retry less")
    if notice is not None and notice >= give_up:
        what = (
            f"delay_notice {write_duration(notice)} is not before give_up "
            f"{write_duration(give_up)}, so no notice would ever be sent"
        )
        path = ("schedule", "delay_notice")
        yield Problem(path, what, "make delay_notice shorter, or leave it out")


def _scale(schedule: Schedule, time_scale: float) -> Iterator[Problem]:
    """A wait must last as long as Postfix needs at least, and not overflow."""
    for key in ("retry", "delay_notice", "give_up"):
        lab_seconds = getattr(schedule, key)
        if lab_seconds is None:
            continue
        least, reason = LEAST.get(key, (0, ""))  # an early give_up is earlier than the retry
        path = _stated(schedule, key, "time_scale")
        written = write_duration(lab_seconds)
        if lab_seconds == 0:
            hint = "leave it out for no notice" if key == "delay_notice" else f"{key}: 30m, say"
            yield Problem(path, f"{key} must be longer than {written}", hint)
        elif lab_seconds < least * time_scale:
            real = f"{lab_seconds / time_scale:.2g}"
            what = f"at time scale {time_scale:g}, {key} {written} lasts {real} real seconds"
            hint = f"{reason}: the largest time scale is {lab_seconds / least:.10g}"
            yield Problem(path, what, hint)
        elif lab_seconds / time_scale > LONGEST_WAIT:
            what = f"at time scale {time_scale:g}, {key} {written} lasts longer than 68 real years"
            yield Problem(path, what, "use a larger time scale or a shorter time")


def _stated(schedule: Schedule, *keys: str) -> KeyPath:
    """Where the first of `keys` stands that is in the file."""
    for key in keys:
        if key in schedule.model_fields_set:
            return ("schedule", key)
    return (keys[-1],) if keys[-1] == "time_scale" else ("schedule",)


def _names(topology: Topology) -> Iterator[Problem]:
    """Nodes and networks share one list of interface names, that of the fabric."""
    for group, kind in (("networks", "network"), ("nodes", "node")):
        for name in getattr(topology, group):
            if name in RESERVED:
                what = f"{kind} '{name}' needs another name"
                yield Problem((group, name), what, RESERVED[name], on_key=True)
    for name, node in topology.nodes.items():
        if name in topology.networks:
            yield Problem(
                ("nodes", name),
                f"node '{name}' has the name of a network",
                f"rename one of them, '{name[:11]}-lan' for the network, say",
                on_key=True,
            )
        longest = port(name, node, len(plugs(node)) - 1)
        if len(longest) > LONGEST_INTERFACE:
            room = LONGEST_INTERFACE - len(longest) + len(name)
            what = f"router '{name}' has a name of {len(name)} characters, {room} are possible"
            hint = f"its cables are called {name}.0 to {longest}, and Linux allows 15 characters"
            yield Problem(("nodes", name), what, hint, on_key=True)


def _subnets(topology: Topology) -> Iterator[Problem]:
    for name, network in topology.networks.items():
        subnet = network.subnet
        path: KeyPath = ("networks", name, "subnet")
        if subnet.overlaps(FORBIDDEN):
            what = f"subnet {subnet} is not allowed: 192.0.2.0/24 never stands in a lab"
            yield Problem(path, what, f"machines that run labs may sit there; {_USE}")
        elif not any(subnet.subnet_of(allowed) for allowed in RANGES):
            what = f"subnet {subnet} is not reserved for examples: somebody may really use it"
            yield Problem(path, what, _USE)
        if subnet.prefixlen > 30:
            what = f"subnet {subnet} has no room for two machines"
            yield Problem(path, what, "a prefix of /30 has room for 2, /26 for 62, /24 for 254")
    for (first, a), (second, b) in combinations(topology.networks.items(), 2):
        if a.subnet.overlaps(b.subnet):
            what = f"subnet {b.subnet} shares addresses with {a.subnet} of network '{first}'"
            hint = "every address belongs to one network"
            yield Problem(("networks", second, "subnet"), what, hint)


_USE = (
    "use 198.51.100.0/24 or 203.0.113.0/24, which are reserved for documentation (RFC 5737), "
    "or 198.18.0.0/15, for benchmarks (RFC 2544)"
)


def _cables(topology: Topology) -> Iterator[tuple[str, str, IPv4Address | None, KeyPath]]:
    """(node, network, stated address, where that address stands) of every cable."""
    for name, node in topology.nodes.items():
        for network, address in plugs(node).items():
            inside = ("interfaces", network) if isinstance(node, Router) else ("address",)
            yield name, network, address, ("nodes", name, *inside)


def _plugs(topology: Topology) -> Iterator[Problem]:
    for name, node in topology.nodes.items():
        router = isinstance(node, Router)
        for network in plugs(node):
            if network not in topology.networks:
                inside = ("interfaces", network) if router else ("network",)
                what = f"node '{name}' is plugged into the unknown network '{network}'"
                hint = suggest(network, topology.networks, "the networks are")
                yield Problem(("nodes", name, *inside), what, hint, on_key=router)


def _addresses(topology: Topology) -> Iterator[Problem]:
    owners: dict[IPv4Address, str] = {}
    for node, network, address, path in _cables(topology):
        if address is None:
            continue
        if address in owners:
            what = f"address {address} belongs to node '{owners[address]}' already"
            yield Problem(path, what, "leave it out, and the lowest free one is used")
        owners.setdefault(address, node)
        if network not in topology.networks:
            continue
        subnet = topology.networks[network].subnet
        if address not in subnet:
            what = f"address {address} is not in network '{network}', which is {subnet}"
            yield Problem(path, what, _hosts(subnet))
        elif subnet.prefixlen <= 30 and address == subnet.network_address:
            what = f"address {address} is that of network '{network}' itself, {subnet}"
            yield Problem(path, what, _hosts(subnet))
        elif subnet.prefixlen <= 30 and address == subnet.broadcast_address:
            what = f"address {address} is the broadcast address of network '{network}', {subnet}"
            yield Problem(path, what, _hosts(subnet))


def _hosts(subnet: IPv4Network) -> str | None:
    if subnet.prefixlen > 30:
        return None
    return f"machines there have {subnet[1]} to {subnet[-2]}"


def _full(topology: Topology) -> Iterator[Problem]:
    seated = Counter(network for _, network, _, _ in _cables(topology))
    for name, network in topology.networks.items():
        room = network.subnet.num_addresses - 2
        if 0 < room < seated[name]:
            what = f"subnet {network.subnet} has {room} addresses for {seated[name]} machines"
            # Two addresses of each subnet name the network itself and everyone on it.
            enough = 32 - (seated[name] + 1).bit_length()
            hint = f"a prefix of /{enough} has room for {2 ** (32 - enough) - 2}"
            yield Problem(("networks", name, "subnet"), what, hint)


def _reachable(topology: Topology) -> Iterator[Problem]:
    """With more than one network, routers must join them all."""
    routers = [node for node in topology.nodes.values() if isinstance(node, Router)]
    if any(network not in topology.networks for node in routers for network in node.interfaces):
        return  # A misspelt network is reported; whether something else is missing nobody knows.
    islands: list[set[str]] = [{name} for name in topology.networks]
    for node in routers:
        joined = [island for island in islands if island & set(node.interfaces)]
        apart = [island for island in islands if not island & set(node.interfaces)]
        islands = [*apart, set().union(*joined)]
    mainland = max(islands, key=len)
    anchor = next(name for name in topology.networks if name in mainland)
    seen = set(mainland)
    for name in topology.networks:
        if name not in seen:
            seen |= next(island for island in islands if name in island)
            what = f"no router joins network '{name}' to network '{anchor}'"
            hint = f"add '{name}' to the 'interfaces' of a router"
            yield Problem(("networks", name), what, hint, on_key=True)


def _dns(topology: Topology) -> Iterator[Problem]:
    servers = [name for name, node in topology.nodes.items() if isinstance(node, Dns)]
    if not servers:
        network = next(iter(topology.networks))
        hint = f"add, for example: dns: {{kind: dns, network: {network}}}"
        yield Problem(("nodes",), "no node is the name server, and mail needs one", hint)
    for other in servers[1:]:
        what = f"node '{other}' is a second name server, beside '{servers[0]}'"
        yield Problem(("nodes", other), what, "a lab has exactly one", on_key=True)


def _hostnames(topology: Topology) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for node, model in topology.nodes.items():
        path: KeyPath = ("nodes", node, "hostname") if model.hostname else ("nodes", node)
        names = names_of(topology, node)
        for name in names:
            other = owners.setdefault(name, node)
            if other != node and not _same_domain(model, topology.nodes[other]):
                what = f"the name {name} belongs to node '{other}' already"
                hint = f"give node '{node}' a hostname of its own, like {node}.lab.example"
                yield Problem(path, what, hint)
        if len(names[0]) > LONGEST_HOSTNAME:
            what = f"the hostname of node '{node}' has {len(names[0])} characters: {names[0]}"
            yield Problem(path, what, f"Linux allows {LONGEST_HOSTNAME}; state a shorter hostname")


def _same_domain(one: Node, other: Node) -> bool:
    """Whether both are mail servers for one domain, a fault that check_mail reports."""
    return (
        isinstance(one, MailServer)
        and isinstance(other, MailServer)
        and one.domain == other.domain is not None
    )


RULES: tuple[Callable[[Topology], Iterator[Problem]], ...] = (
    _schedule, _names, _subnets, _plugs, _addresses, _full,
    _reachable, _dns, _hostnames, *check_mail.RULES,
)  # fmt: skip
