"""Who plays in the exercises: Alice, who writes, and Bob, who is written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.services.pc import seat_of, server_of
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class Person:
    """Somebody, the PC they sit at and the server that has their mailbox (nodes)."""

    address: str
    password: str
    seat: str
    server: str
    host: str
    """What the DNS calls that server."""
    network: str
    """Where that hangs."""


@dataclass(frozen=True)
class Cast:
    """The two, and everybody's password by their address."""

    alice: Person
    bob: Person
    passwords: Mapping[str, str]

    @classmethod
    def of(cls, lab: Lab) -> Cast:
        """Who they are in `lab`. Raises UsageError if one of them does not live there."""
        return cls(
            _person(lab, "alice"),
            _person(lab, "bob"),
            {
                f"{login}@{node.domain}": user.password
                for node in lab.plan.topology.nodes.values()
                if isinstance(node, MailServer)
                for login, user in node.users.items()
            },
        )

    def values(self, lab: str) -> Mapping[str, object]:
        """What the texts of an exercise may name, for whoever works in the lab called `lab`."""
        return {
            "lab": "lab" if lab == "lab" else f"lab --lab {lab}",
            **{
                f"{who}{suffix}": value
                for who, person in (("alice", self.alice), ("bob", self.bob))
                for suffix, value in (
                    ("", person.address),
                    ("_pc", person.seat),
                    ("_server", person.server),
                    ("_host", person.host),
                    ("_lan", person.network),
                )
            },
        }


def _person(lab: Lab, login: str) -> Person:
    for node in lab.plan.topology.nodes.values():
        if isinstance(node, MailServer) and login in node.users:
            address = f"{login}@{node.domain}"
            seat = seat_of(lab.plan.site, address)
            if seat is not None:
                server = server_of(lab.plan.site, address)
                site = lab.plan.site
                host, network = site.hostname(server), site.addressing.interfaces[server][0].network
                return Person(address, node.users[login].password, seat, server, host, network)
    raise UsageError(
        f"the exercises need {login} at a PC, and nobody of that name sits at one in lab "
        f"'{lab.name}' ({lab.plan.topology.name})",
        hint="do them in a lab of the topology textbook: lab --lab NAME up textbook",
    )
