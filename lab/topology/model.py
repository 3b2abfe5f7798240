"""The topology file's model: networks, nodes, mail users, and the mail system's schedule.

The classes are the file format: their fields are its keys, their docstrings and descriptions
its reference (`lab schema` publishes them). Durations are lab seconds once loaded.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from lab.units import DURATION_PATTERN, parse_duration, write_duration

SUBNET_PATTERN = r"^[0-9]+(\.[0-9]+){3}/[0-9]+$"


def size_in_bytes(size: str) -> int:
    """The bytes in a Size such as `32M`."""
    return int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]


# These take text only: YAML and pydantic would make 0.0.0.30 of the address 30, and nobody can
# say whether the duration 30 means seconds or minutes. The wording of a refusal for people is
# in wording.py, by the first argument of the error.
def _duration(value: Any) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        raise PydanticCustomError("duration", "not a duration such as 30m, 5d or 1h30m") from None


def _address(value: Any) -> IPv4Address:
    try:
        return value if isinstance(value, IPv4Address) else IPv4Address(_text(value))
    except ValueError:
        raise PydanticCustomError("address", "not an IPv4 address like 198.51.100.10") from None


def _subnet(value: Any) -> IPv4Network:
    try:
        if isinstance(value, IPv4Network):
            return value
        if not re.fullmatch(SUBNET_PATTERN, _text(value)):
            raise ValueError("no prefix length")
        return IPv4Network(value)
    except ValueError:
        raise PydanticCustomError("subnet", "not a subnet such as 198.51.100.0/26") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("not text")


Duration = Annotated[
    int,
    BeforeValidator(_duration),
    PlainSerializer(write_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30m", "5d"]}),
]
Address = Annotated[IPv4Address, BeforeValidator(_address)]
Subnet = Annotated[
    IPv4Network,
    BeforeValidator(_subnet),
    WithJsonSchema({"type": "string", "pattern": SUBNET_PATTERN, "examples": ["203.0.113.0/24"]}),
]

# A Linux interface name has 15 characters at most, and the fabric names each cable after its node.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"
# A label has 63 characters at most (RFC 1035 §2.3.4).
DOMAIN_PATTERN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+example$"
USER_PATTERN = r"^[a-z]([a-z0-9._-]{0,30}[a-z0-9])?$"
# A line break in a name would end a header or a record that it is written into.
LINE_PATTERN = r"^[^\x00-\x1f\x7f]+$"
# A password stands as it is in the settings of mutt, swaks, curl and Dovecot, whose ways to quote
# differ: nothing that any of them takes for a quote, a comment, an option or a variable.
PASSWORD_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9!#%&()*+,./;<=>?@\[\]^_{|}~-]*$"

# Upper case, as in dd(1): beside retry: 30m, 16m would be minutes.
SIZE_PATTERN = r"^[1-9][0-9]{0,5}[KMG]$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Domain = Annotated[str, Field(pattern=DOMAIN_PATTERN)]
UserName = Annotated[str, Field(pattern=USER_PATTERN)]
Line = Annotated[str, Field(pattern=LINE_PATTERN)]
Password = Annotated[str, Field(pattern=PASSWORD_PATTERN)]
Size = Annotated[str, Field(pattern=SIZE_PATTERN, examples=["32M"])]


class Model(BaseModel):
    """Frozen, and strict about keys: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Schedule(Model):
    """When mail is tried again, given up, and reported late, in lab time (RFC 5321 §4.5.4.1)."""

    retry: Duration = Field(default=1800, json_schema_extra={"default": "30m"})
    """How long a server waits after a failed attempt before it tries again."""
    give_up: Duration = Field(default=432000, json_schema_extra={"default": "5d"})
    """The age at which an undelivered message goes back to its sender."""
    delay_notice: Duration | None = None
    """The age at which the sender is told that the message is late; left out: never."""


class Network(Model):
    """One wire: everything plugged into it hears everything on it."""

    subnet: Subnet
    """Its addresses, from 198.51.100.0/24, 203.0.113.0/24 or 198.18.0.0/15."""


class User(Model):
    """Somebody with a mailbox."""

    password: Password = Field(min_length=1)
    """A teaching password, readable by design; never use a real one."""
    name: Line | None = None
    """The name shown in From and To."""


class Host(Model):
    """A machine with one cable."""

    network: str
    """The network its cable is plugged into."""
    address: Address | None = None
    """Its address; left out: the lowest free one."""
    hostname: Domain | None = None
    """Its name in the DNS; left out: mail.DOMAIN for the server of a domain, else NODE.example."""


class Pc(Host):
    """A person's computer: mutt, swaks, netcat, tcpdump; no mail server."""

    kind: Literal["pc"]
    users: tuple[str, ...] = ()
    """Who sits here, as mail addresses."""


def _mailboxes_or_backup(schema: dict[str, Any]) -> None:
    """What `check` says of the keys of a mail server, in the words of JSON Schema."""
    schema["dependentRequired"] = {"domain": ["users"], "users": ["domain"]}
    schema["anyOf"] = [{"required": ["domain"]}, {"required": ["backup_for"]}]


class MailServer(Host):
    """Postfix and Dovecot for one domain: submission, relay, mailboxes, POP3 and IMAP.

    Without a domain and users of its own it is a backup MX and nothing else: SMTP on port 25.
    """

    model_config = ConfigDict(json_schema_extra=_mailboxes_or_backup)

    kind: Literal["mail-server"]
    domain: Domain | None = None
    """The domain whose mailboxes it has; left out: it has none (see backup_for)."""
    users: dict[UserName, User] = Field(
        default_factory=dict, json_schema_extra={"minProperties": 1}
    )
    """The mailboxes, by the part before the @; they and the domain go together."""
    backup_for: tuple[str, ...] = ()
    """Domains of other servers, for whose people it takes mail while those servers can't be
    reached, and passes it on when they can: a backup MX (RFC 5321 §5.1)."""
    ram_queue: Size | None = None
    """The size of a RAM disk for its queue, which a power cut empties and mail can fill (K, M, G:
    powers of 1024); left out: the queue is on disk."""
    webmail: bool = Field(default=False, strict=True)
    """Whether its people can read and write in a browser, too: at http://HOSTNAME/."""


class Dns(Host):
    """The name server: MX, A and PTR of everything in the lab, NXDOMAIN for the rest."""

    kind: Literal["dns"]


class WebServer(Host):
    """nginx, and a page with two pictures: HTTP on port 80, connections kept open; no mail."""

    kind: Literal["web-server"]


class Router(Model):
    """Forwards packets between networks; has no mail software."""

    kind: Literal["router"]
    interfaces: dict[str, Address | None] = Field(min_length=2)
    """The networks it joins, each with its address there (null: the lowest free one)."""
    hostname: Domain | None = None
    """Its name in the DNS; left out: NODE.example."""


Node = Annotated[Pc | MailServer | Dns | WebServer | Router, Field(discriminator="kind")]


class Topology(Model):
    """A lab: wires, machines, people, and how long mail waits."""

    name: Name
    """What the topology is called; `lab up NAME` finds topologies/NAME.yaml."""
    title: Line
    """One line for people."""
    time_scale: float = Field(default=60, gt=0, strict=True, allow_inf_nan=False)
    """Lab seconds in one real second, unless --time-scale says otherwise; 1 is the real thing."""
    schedule: Schedule = Field(default=Schedule(), json_schema_extra={"default": {}})
    """When mail is tried again, given up, and reported late."""
    networks: dict[Name, Network] = Field(min_length=1)
    """The wires, by name."""
    nodes: dict[Name, Node] = Field(min_length=1)
    """The machines, by name."""
