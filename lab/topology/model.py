"""The topology file's model: networks, nodes, mail users, and the mail system's schedule.

The classes are the file format: their fields are its keys, their docstrings and descriptions
its reference (`lab schema` publishes them). Durations are lab seconds once loaded.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from lab.units import DURATION_PATTERN, parse_duration


def _duration(value: Any) -> int:
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration (write 30m, 5d or 1h30m)")


Duration = Annotated[
    int,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30m", "5d"]}),
]

# A Linux interface name has 15 characters at most, and the fabric names each cable after its node.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"
DOMAIN_PATTERN = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+example$"
USER_PATTERN = r"^[a-z]([a-z0-9._-]{0,30}[a-z0-9])?$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Domain = Annotated[str, Field(pattern=DOMAIN_PATTERN)]
UserName = Annotated[str, Field(pattern=USER_PATTERN)]


class Model(BaseModel):
    """Frozen, and strict about keys: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Schedule(Model):
    """When mail is tried again, given up, and reported late, in lab time (RFC 5321 §4.5.4.1)."""

    retry: Duration = 1800
    """How long a server waits after a failed attempt before it tries again."""
    give_up: Duration = 432000
    """The age at which an undelivered message goes back to its sender."""
    delay_notice: Duration | None = None
    """The age at which the sender is told that the message is late; left out: never."""


class Network(Model):
    """One wire: everything plugged into it hears everything on it."""

    subnet: IPv4Network
    """Its addresses, from 198.51.100.0/24, 203.0.113.0/24 or 198.18.0.0/15."""


class User(Model):
    """Somebody with a mailbox."""

    password: str = Field(min_length=1)
    """A teaching password, readable by design; never use a real one."""
    name: str | None = None
    """The name shown in From and To."""


class Host(Model):
    """A machine with one cable."""

    network: str
    """The network its cable is plugged into."""
    address: IPv4Address | None = None
    """Its address; left out: the lowest free one."""
    hostname: Domain | None = None
    """Its name in the DNS; left out: mail.DOMAIN for a mail server, NODE.example otherwise."""


class Pc(Host):
    """A person's computer: mutt, swaks, netcat, tcpdump; no mail server."""

    kind: Literal["pc"]
    users: tuple[str, ...] = ()
    """Who sits here, as mail addresses."""


class MailServer(Host):
    """Postfix and Dovecot for one domain: submission, relay, mailboxes, POP3 and IMAP."""

    kind: Literal["mail-server"]
    domain: Domain
    """The domain whose mail it takes."""
    users: dict[UserName, User] = Field(min_length=1)
    """The mailboxes, by the part before the @."""


class Dns(Host):
    """The name server: MX, A and PTR of everything in the lab, NXDOMAIN for the rest."""

    kind: Literal["dns"]


class Router(Model):
    """Forwards packets between networks; has no mail software."""

    kind: Literal["router"]
    interfaces: dict[str, IPv4Address | None] = Field(min_length=2)
    """The networks it joins, each with its address there (null: the lowest free one)."""
    hostname: Domain | None = None
    """Its name in the DNS; left out: NODE.example."""


Node = Annotated[Pc | MailServer | Dns | Router, Field(discriminator="kind")]


class Topology(Model):
    """A lab: wires, machines, people, and how long mail waits."""

    name: Name
    """What the topology is called; `lab up NAME` finds topologies/NAME.yaml."""
    title: str
    """One line for people."""
    time_scale: float = Field(default=60, gt=0)
    """Lab seconds in one real second, unless --time-scale says otherwise; 1 is the real thing."""
    schedule: Schedule = Schedule()
    networks: dict[Name, Network] = Field(min_length=1)
    nodes: dict[Name, Node] = Field(min_length=1)
