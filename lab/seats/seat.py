"""A seat: somebody at a machine of the lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.topology.addressing import names_of
from lab.topology.model import Pc, Topology

if TYPE_CHECKING:
    from lab.services import Site


@dataclass(frozen=True)
class Seat:
    """The account `login` on the PC `node`; `address` is the mail address of whoever sits there."""

    login: str
    node: str
    address: str

    def __str__(self) -> str:
        return f"{self.login}@{self.node}"


def seats(topology: Topology) -> list[Seat]:
    """All seats there are, in the order of the topology."""
    return [
        Seat(address.partition("@")[0], name, address)
        for name, node in topology.nodes.items()
        if isinstance(node, Pc)
        for address in node.users
    ]


def find(topology: Topology, said: str) -> Seat:
    """The seat that is meant by `bob@receiver-pc`, `bob`, `bob@receiver.example` or `receiver-pc`.

    The last is the seat of the first who sits there. Raises UsageError if there is none, or more
    than one.
    """
    every = seats(topology)
    exact = [seat for seat in every if said in (str(seat), seat.address)]
    found = exact or [seat for seat in every if seat.login == said]
    if not found:
        found = [seat for seat in every if seat.node == said][:1]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"there is more than one '{said}'"
        raise UsageError(what, hint="one of: " + ", ".join(map(str, found)))
    node = topology.nodes.get(said.rpartition("@")[2])
    if node is not None and not isinstance(node, Pc):
        raise UsageError(
            f"{said.rpartition('@')[2]} is a {node.kind}: nobody sits there",
            hint=f"lab exec {said.rpartition('@')[2]} -- bash",
        )
    if not every:
        raise _empty()
    what = f"there is no seat '{said}'"
    raise UsageError(what, hint="one of: " + ", ".join(map(str, every)))


def nearest(site: Site, host: str) -> Seat:
    """The first seat on a network of the machine `host` (a name or an address), else of all.

    Raises UsageError if there is no seat.
    """
    every = seats(site.topology)
    if not every:
        raise _empty()
    near = {
        interface.network
        for name, interfaces in site.addressing.interfaces.items()
        for interface in interfaces
        if host in (str(interface.address.ip), *names_of(site.topology, name))
    }
    for seat in every:
        if near & {interface.network for interface in site.addressing.interfaces[seat.node]}:
            return seat
    return every[0]


def _empty() -> UsageError:
    return UsageError("nobody sits at a machine of this lab", hint="give a pc of it users")
