"""From a topology to what has to exist: containers, files, cables. Pure, and tested without Docker.

The topology travels with the lab: every container carries it as a label, so that any later
command finds the whole story in any one container and nothing is remembered elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from lab.engine.capabilities import CAPABILITIES
from lab.services import File, Question, Site, service
from lab.services.mail_server import image, ram_disks
from lab.topology.addressing import Interface, Route, assign
from lab.topology.model import MailServer, Topology, WebServer

FABRIC = "fabric"

# IPv4 only, and quiet: a capture shows the mail, not neighbour discovery.
_SYSCTLS = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}


@dataclass(frozen=True)
class NodePlan:
    """One container: what it is made of and what is plugged into it."""

    name: str
    kind: str
    image: str
    capabilities: tuple[str, ...]
    sysctls: dict[str, str]
    resolvers: tuple[str, ...]
    write: Callable[[], tuple[File, ...]]
    """Gives its files. Not before they are needed: most commands ask other things of a node."""
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    ram_disks: dict[str, str]
    """Folders in memory, empty at each start; for each the options of its tmpfs."""

    @cached_property
    def files(self) -> tuple[File, ...]:
        """What is put into it before it starts."""
        return self.write()


@dataclass(frozen=True)
class Plan:
    """A whole lab: `lab` is its name, `site` what it is made from."""

    lab: str
    site: Site
    scenario: str | None = None
    """The scenario that owns this lab, if one does."""

    @property
    def topology(self) -> Topology:
        """The topology the lab is made from."""
        return self.site.topology

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks, each of which becomes a bridge."""
        return tuple(self.topology.networks)

    @cached_property
    def nodes(self) -> dict[str, NodePlan]:
        """The nodes by name, the fabric not among them."""
        return {name: self._node(name) for name in self.topology.nodes}

    @property
    def images(self) -> tuple[str, ...]:
        """The images it takes, each once."""
        return tuple(dict.fromkeys(one.image for one in (*self.nodes.values(), self.fabric())))

    @property
    def digest(self) -> str:
        """Changes when anything about the lab would be built differently."""
        source = f"{self.topology.model_dump_json()} {self.site.time_scale!r}"
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def container(self, node: str) -> str:
        """The name of the container of `node` (or of the fabric)."""
        return f"maillab-{self.lab}-{node}"

    def _node(self, name: str) -> NodePlan:
        kind = self.topology.nodes[name].kind
        forwards = {"net.ipv4.ip_forward": "1"} if kind == "router" else {}
        return NodePlan(
            name=name,
            kind=kind,
            image=f"maillab/{image(self.topology.nodes[name])}",
            capabilities=CAPABILITIES[kind],
            sysctls=_SYSCTLS | forwards,
            resolvers=tuple(self.site.address(server) for server in self.site.of_kind("dns")),
            write=partial(service(kind).files, self.site, name),
            interfaces=self.site.addressing.interfaces[name],
            routes=self.site.addressing.routes[name],
            ram_disks=ram_disks(self.topology.nodes[name]),
        )

    def fabric(self) -> NodePlan:
        """The container that holds the bridges and the far ends of all cables."""
        return NodePlan(
            name=FABRIC,
            kind=FABRIC,
            image="maillab/fabric",
            capabilities=CAPABILITIES[FABRIC],
            sysctls=_SYSCTLS,
            resolvers=(),
            write=tuple,
            interfaces=(),
            routes=(),
            ram_disks={},
        )

    def health(self, node: str) -> tuple[Question, ...]:
        """What `node` must answer to itself when its services run."""
        return service(self.topology.nodes[node].kind).questions(self.site, node)

    def readiness(self) -> tuple[tuple[str, Question], ...]:
        """What must be answered before the lab is ready, each with the node to ask from.

        Each is asked by who would ask it in earnest: port 25 and the name server by another mail
        server, a web server by a PC, the rest by a PC of the server's own people. A capture that
        sees the lab come up sees no call that the picture says never happens.
        """
        return tuple(
            (self._asker(node, question), question)
            for node in self.topology.nodes
            for question in self.health(node)
        )

    def _asker(self, node: str, question: Question) -> str:
        nodes = self.topology.nodes
        servers = [name for name in self.site.of_kind("mail-server") if name != node]
        pcs = list(self.site.of_kind("pc"))
        machine = nodes[node]
        if isinstance(machine, MailServer) and question.what != "port 25":
            own = {f"{login}@{machine.domain}" for login in machine.users}
            pcs.sort(key=lambda pc: own.isdisjoint(getattr(nodes[pc], "users", ())))
            return next(iter(pcs + servers), node)
        if isinstance(machine, WebServer):
            return next(iter(pcs), node)
        return next(iter(servers + pcs), node)


def plan(
    topology: Topology, lab: str, time_scale: float | None = None, *, scenario: str | None = None
) -> Plan:
    """The plan of `topology` as a lab called `lab`; `time_scale` overrides the topology's own."""
    site = Site(topology, assign(topology), float(time_scale or topology.time_scale))
    return Plan(lab, site, scenario)
