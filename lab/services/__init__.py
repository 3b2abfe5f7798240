"""What runs on each kind of node. A kind is one module here with two functions:

    files(site, name)      the configuration files of node `name`
    questions(site, name)  what it must answer once it is up

Both are pure: they turn the model into text and data and know nothing of Docker.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from lab.topology import addressing
from lab.topology.model import Topology

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True)
class Site:
    """What a service is configured from: the topology, who has which address, and the clock."""

    topology: Topology
    addressing: addressing.Addressing
    time_scale: float

    def address(self, node: str) -> str:
        """The (first) address of `node`, as text."""
        return str(self.addressing.interfaces[node][0].address.ip)

    def hostname(self, node: str) -> str:
        """The name of `node` in the DNS."""
        return addressing.hostname(self.topology, node)

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """The nodes of `kind`, in the topology's order."""
        return tuple(name for name, node in self.topology.nodes.items() if node.kind == kind)


@dataclass(frozen=True)
class File:
    """A file put into a node before it starts; `owner` is both user and group ID."""

    path: str
    content: str
    mode: int = 0o644
    owner: int = 0


@dataclass(frozen=True)
class Question:
    """Something a node must answer when it is ready: how to ask it, and its name for people."""

    node: str
    what: str
    ask: tuple[Any, ...]

    @classmethod
    def dns(cls, node: str, server: str, name: str, kind: str) -> Question:
        """Ask `server` (an address) for the records of `kind` (`MX` or `A`) of `name`."""
        return cls(node, f"{kind} {name}", ("dns", server, name, {"A": 1, "MX": 15}[kind]))

    @classmethod
    def tcp(cls, node: str, host: str, port: int, greeting: str, farewell: str) -> Question:
        """Connect to host:port, expect a line that begins with `greeting`, send `farewell`."""
        return cls(node, f"port {port}", ("tcp", host, port, greeting, farewell))

    @classmethod
    def http(cls, node: str, host: str, port: int = 80) -> Question:
        """Fetch the first page of the web server at host:port."""
        return cls(node, f"port {port}", ("http", host, port))


class Service(Protocol):
    """The shape of a module of this package."""

    def files(self, site: Site, name: str) -> tuple[File, ...]:
        """The configuration files of node `name`."""

    def questions(self, site: Site, name: str) -> tuple[Question, ...]:
        """What node `name` must answer when it is ready."""


def service(kind: str) -> Service:
    """The service of nodes of `kind` (`mail-server`, `dns`, …)."""
    return cast(Service, importlib.import_module(f"lab.services.{kind.replace('-', '_')}"))


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("lab.services"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (configuration files, not HTML)
    )


def render(template: str, values: Mapping[str, Any]) -> str:
    """The file `templates/TEMPLATE.j2` filled in with `values`."""
    return _templates().get_template(f"{template}.j2").render(values)
