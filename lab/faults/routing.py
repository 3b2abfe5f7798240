"""Routers that do not pass on what is meant for a machine, each in a way of its own.

What the sender sees differs, and so does how long it takes: silence, a refusal (RST) in somebody
else's name, or an honest "unreachable" (RFC 792). The student who is root on the router can look
at the cause there, and may undo it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lab.engine import containers
from lab.errors import LabError
from lab.faults.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

    Command = Callable[..., tuple[int, str]]


def routers(plan: Plan, node: str) -> list[str]:
    """The routers on the networks of `node`: all that leaves these networks passes one."""
    near = {interface.network for interface in plan.nodes[node].interfaces}
    return [
        name
        for name, one in plan.nodes.items()
        if one.kind == "router" and near & {interface.network for interface in one.interfaces}
    ]


@dataclass(frozen=True)
class _Routed(Fault):
    """What the routers around a machine do with packets for it."""

    kinds = ("mail-server", "pc", "dns", "web-server")
    outside = True

    @property
    def healed(self) -> str:
        return f"the router passes on what is meant for {self.node}"

    @classmethod
    def targets(cls, plan: Plan) -> list[str]:
        return [name for name in super().targets(plan) if routers(plan, name)]

    @classmethod
    def probe(cls, lab: Lab, target: str) -> str | None:
        near = routers(lab.plan, target)
        if any(containers.process(lab.container(router)) for router in near):
            return None
        return f"{' and '.join(near)} {'is' if len(near) == 1 else 'are'} off"

    def holders(self, plan: Plan) -> list[str]:
        return routers(plan, self.node)

    @contextmanager
    def _each(self, lab: Lab) -> Iterator[list[Command]]:
        """For each router that is on, what runs a program in its network."""
        found = [
            process
            for router in routers(lab.plan, self.node)
            if (process := containers.process(lab.container(router)))
        ]
        with lab.fabric() as fabric:
            yield [
                lambda *argv, process=process: fabric.command(process, *argv) for process in found
            ]

    def _change(
        self, lab: Lab, *changes: list[str], refused: str, hint: str, excused: str | None = None
    ) -> None:
        """Run `changes` at each router; raises LabError, `excused` in what it says excepted."""
        with self._each(lab) as routers:
            for command in routers:
                for change in changes:
                    status, said = command(*change)
                    if status and (excused is None or excused not in said):
                        raise LabError(refused, detail=said, hint=hint)

    def _addresses(self, lab: Lab) -> list[str]:
        return [str(one.address.ip) for one in lab.plan.nodes[self.node].interfaces]


@dataclass(frozen=True)
class _Route(_Routed):
    """A route to nowhere, ahead of the one to the machine's network."""

    route: ClassVar[str]

    def _changes(self, lab: Lab, verb: str, id: str) -> list[list[str]]:
        # The metric tells apart even those whose protocol numbers are the same.
        own = ["metric", str(100 + int(id.removeprefix("f"))), "proto", _number(id)]
        return [
            ["ip", "route", verb, self.route, f"{address}/32", *own]
            for address in self._addresses(lab)
        ]

    def apply(self, lab: Lab, id: str) -> None:
        changes = self._changes(lab, "replace", id)
        self._change(lab, *changes, refused="the router takes no such route", hint="lab doctor")

    def verify(self, lab: Lab, id: str) -> bool:
        ours = ["type", self.route, "proto", _number(id)]
        with self._each(lab) as routers:
            return bool(routers) and all(
                command("ip", "route", "show", "exact", f"{address}/32", *ours)[1]
                for command in routers
                for address in self._addresses(lab)
            )

    def revert(self, lab: Lab, id: str) -> None:
        self._change(
            lab,
            *self._changes(lab, "del", id),
            refused="the router keeps its route",
            hint="lab up",
            excused="No such process",  # there is no such route
        )


def _number(id: str) -> str:
    """Whose route it is stands in its protocol number (ip-route(8)), from 100 on by our own."""
    return str(100 + int(id.removeprefix("f")) % 100)


@dataclass(frozen=True)
class RouterBlackhole(_Route):
    """The router has a blackhole route to the machine."""

    name = "router-blackhole"
    help = "the router swallows what is meant for the machine (a blackhole route): silence"
    route = "blackhole"

    @property
    def title(self) -> str:
        return f"the router swallows what is meant for {self.node}"


@dataclass(frozen=True)
class RouterUnreachable(_Route):
    """The router has an unreachable route to the machine."""

    name = "router-unreachable"
    help = "the router says that the machine can't be reached (ICMP): an answer, and at once"
    route = "unreachable"

    @property
    def title(self) -> str:
        return f"the router says that {self.node} can't be reached"


@dataclass(frozen=True)
class _Filtered(_Routed):
    """A rule in a table of its own (nft(8)), ahead of all that iptables knows.

    So it comes and goes in one piece, and the router's own rules are never touched.
    """

    verdict: ClassVar[str]

    def apply(self, lab: Lab, id: str) -> None:
        rules = [
            f"add rule {_table(id)} forward ip daddr {address} {self.verdict}"
            for address in self._addresses(lab)
        ]
        chain = f"{_table(id)} forward {{ type filter hook forward priority filter - 1; }}"
        self._have(lab, [*_without(id), f"add table {_table(id)}", f"add chain {chain}", *rules])

    def verify(self, lab: Lab, id: str) -> bool:
        with self._each(lab) as routers:
            return bool(routers) and all(
                f"ip daddr {address} " in command("nft", "list", "table", *_table(id).split())[1]
                for command in routers
                for address in self._addresses(lab)
            )

    def revert(self, lab: Lab, id: str) -> None:
        self._have(lab, _without(id))

    def _have(self, lab: Lab, changes: list[str]) -> None:
        """Change the rules of each router, all at once or not at all."""
        refused = "the router does not take the change of its rules"
        self._change(lab, ["nft", "; ".join(changes)], refused=refused, hint="lab doctor")


def _table(id: str) -> str:
    return f"ip maillab-{id}"


def _without(id: str) -> list[str]:
    return [f"add table {_table(id)}", f"delete table {_table(id)}"]  # it need not be there


@dataclass(frozen=True)
class RouterDrops(_Filtered):
    """The router has a firewall rule that drops."""

    name = "router-drops"
    help = "a firewall in the router drops what is meant for the machine: silence"
    verdict = "counter drop"

    @property
    def title(self) -> str:
        return f"a firewall drops what is meant for {self.node}"


@dataclass(frozen=True)
class RouterRejects(_Filtered):
    """The router has a firewall rule that answers with a TCP reset."""

    name = "router-rejects"
    help = "a firewall in the router refuses connections in the machine's name (RST), at once"
    verdict = "meta l4proto tcp counter reject with tcp reset"

    @property
    def title(self) -> str:
        return f"a firewall refuses connections to {self.node}"


def forget(lab: Lab, id: str) -> None:
    """Take away whatever rules the routers have that bear the number `id`."""
    with lab.fabric() as fabric:
        for name, node in lab.plan.nodes.items():
            process = containers.process(lab.container(name)) if node.kind == "router" else 0
            if process:
                fabric.command(process, "nft", "; ".join(_without(id)))


router_blackhole = RouterBlackhole
router_unreachable = RouterUnreachable
router_drops = RouterDrops
router_rejects = RouterRejects
