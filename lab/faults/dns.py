"""Name servers that say nothing, say it late, say that something went wrong, or what is not so.

What a sender's server makes of it: without an answer, or with SERVFAIL, it tries again later; of a
domain that does not exist (NXDOMAIN) or takes no mail (RFC 7505) it tells the sender at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.engine import containers
from lab.errors import LabError, UsageError
from lab.faults import inside
from lab.faults.box import Treated
from lab.faults.inside import Inside
from lab.faults.parameters import REAL_TIME, one_of, option, text
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from lab.engine.lab import Lab

PORT = 10053
_FOLDER = "/lab/dnsmasq.d"
_DOMAIN = text("DOMAIN")
_NOWHERE = "nowhere"


@dataclass(frozen=True)
class DnsSilent(Treated):
    """Questions to the name server are lost."""

    name = "dns-silent"
    help = "the name server does not answer: questions to it are lost on the way"
    kinds = ("dns",)

    @property
    def title(self) -> str:
        return f"{self.node} answers no questions"

    @property
    def healed(self) -> str:
        return f"{self.node} answers questions"

    def rules(self, lab: Lab) -> Sequence[dict[str, Any]]:
        return [{"what": "drop", "share": 1.0, "toward": "node", "port": 53}]


@dataclass(frozen=True)
class DnsSlow(Treated):
    """Answers of the name server are late."""

    name = "dns-slow"
    help = "the name server's answers are late (real time)"
    kinds = ("dns",)

    by: float = option(REAL_TIME, "by how much", default="2s")

    @property
    def title(self) -> str:
        return f"{self.node} answers {self.by:g} real seconds late"

    @property
    def healed(self) -> str:
        return f"{self.node} answers at once"

    def rules(self, lab: Lab) -> Sequence[dict[str, Any]]:
        return [
            {"what": "delay", "seconds": self.by, "jitter": 0.0, "toward": "network", "port": 53}
        ]


@dataclass(frozen=True)
class _Wrong(Inside):
    """A name server that is configured to say something wrong about mail domains."""

    kinds = ("dns",)

    domain: str | None = option(_DOMAIN, "of which mail domain; left out: of all", default=None)

    @property
    def whose(self) -> str:
        """The domain, for people."""
        return self.domain or "every mail domain"

    @property
    def healed(self) -> str:
        return f"{self.node} knows the way to {self.whose}"

    def domains(self, lab: Lab) -> list[str]:
        """Which. Raises UsageError if the lab has no such mail domain."""
        nodes = lab.plan.topology.nodes.values()
        known = [node.domain for node in nodes if isinstance(node, MailServer) and node.domain]
        if self.domain and self.domain not in known:
            raise UsageError(
                f"there is no mail domain '{self.domain}' in lab '{lab.name}'",
                hint="one of: " + ", ".join(known),
            )
        return [self.domain] if self.domain else known

    def without(self, domain: str) -> list[str]:
        """The lines to leave out of what it knows about `domain`, as patterns of grep(1)."""
        raise NotImplementedError

    def lines(self, lab: Lab, domain: str) -> list[str]:
        """The lines of dnsmasq.conf(5) it has about `domain` instead."""
        return []

    def apply(self, lab: Lab, id: str) -> None:
        domains = self.domains(lab)
        without = [pattern for domain in domains for pattern in self.without(domain)]
        lines = [line for domain in domains for line in self.lines(lab, domain)]
        # Nothing to do if it says so already: a restart is short, but some question may fall in it.
        text = """
            cat > "$1/$2.new"
            ! cmp -s "$1/$2.new" "$1/$2.both" || { rm "$1/$2.new"; exit 0; }
            sed -n '/^[^^]/p' "$1/$2.new" > "$1/$2.conf"
            sed -n '/^^/p' "$1/$2.new" > "$1/$2.without"
            mv "$1/$2.new" "$1/$2.both"
            /lab/service restart dnsmasq
        """
        both = "\n".join([*without, *lines]) + "\n"
        inside.script(lab, self.node, "changing its answers", text, _FOLDER, id, stdin=both)
        self._settled(lab)

    def verify(self, lab: Lab, id: str) -> bool:
        return lab.run(self.node, ["test", "-e", f"{_FOLDER}/{id}.both"]).status == 0

    def undo(self, lab: Lab, id: str) -> None:
        text = """
            [ -e "$1/$2.both" ] || [ -e "$1/$2.conf" ] || exit 0
            rm -f "$1/$2".*
            /lab/service restart dnsmasq
        """
        inside.script(lab, self.node, "changing its answers back", text, _FOLDER, id)
        self._settled(lab)

    def _settled(self, lab: Lab) -> None:
        if inside.runs(lab, self.node, "dnsmasq"):
            inside.settled(lab, self.node, "dnsmasq", listens=True)


def _all_of(domain: str) -> list[str]:
    """All that is said about a domain and what is in it."""
    name = _pattern(domain)
    return [rf"^host-record=\([^,]*\.\)\?{name},", rf"^mx-host=\([^,]*\.\)\?{name},"]


def _pattern(domain: str) -> str:
    return domain.replace(".", r"\.")


@dataclass(frozen=True)
class DnsServfail(_Wrong):
    """The name server has lost the one it would have to ask: it answers SERVFAIL."""

    name = "dns-servfail"
    help = "the name server answers SERVFAIL: it knows of the domain, and can't find out more"

    @property
    def title(self) -> str:
        return f"{self.node} answers SERVFAIL for {self.whose}"

    def without(self, domain: str) -> list[str]:
        return _all_of(domain)

    def lines(self, lab: Lab, domain: str) -> list[str]:
        return [f"server=/{domain}/127.0.0.1#{PORT}"]

    def apply(self, lab: Lab, id: str) -> None:
        with lab.fabric() as fabric:
            fabric.lend(self.node, lab.process(self.node), "servfail", PORT, id, [{}])
        super().apply(lab, id)

    def verify(self, lab: Lab, id: str) -> bool:
        with lab.fabric() as fabric:
            lent = fabric.lent(self.node, "servfail", PORT)
        return lent.runs and id in lent.rules and super().verify(lab, id)

    def revert(self, lab: Lab, id: str) -> None:
        super().revert(lab, id)
        with lab.fabric() as fabric:
            process = containers.process(lab.container(self.node))
            fabric.lend(self.node, process, "servfail", PORT, id, [])


@dataclass(frozen=True)
class DnsNoSuchDomain(_Wrong):
    """The name server says that the domain does not exist, as if nobody had paid for it."""

    name = "dns-no-such-domain"
    help = "the name server answers NXDOMAIN: the domain does not exist (any more)"

    @property
    def title(self) -> str:
        gone = f"{self.domain} does not exist" if self.domain else "no mail domain exists"
        return f"{self.node} says that {gone}"

    def without(self, domain: str) -> list[str]:
        return _all_of(domain)


@dataclass(frozen=True)
class DnsMxToNowhere(_Wrong):
    """The name server sends mail for the domain to where it can't go."""

    name = "dns-mx-to-nowhere"
    help = "the MX names a machine without an address, an address without a machine, or nobody"

    where: str = option(
        one_of("no-address", "no-machine", "null"),
        "no-address: a name that is not there; no-machine: an address where nobody is; "
        "null: the domain takes no mail (RFC 7505)",
        default="no-address",
    )

    @property
    def title(self) -> str:
        return f"{self.node} has an MX of {self.whose} that leads nowhere ({self.where})"

    def without(self, domain: str) -> list[str]:
        return [rf"^mx-host={_pattern(domain)},"]

    def lines(self, lab: Lab, domain: str) -> list[str]:
        if self.where == "null":
            return [f"mx-host={domain},.,0"]
        name = f"{_NOWHERE}.{domain}"
        lines = [f"mx-host={domain},{name},10"]
        if self.where == "no-machine":
            lines.append(f"host-record={name},{_free_address(lab, domain)}")
        return lines


def _free_address(lab: Lab, domain: str) -> str:
    """An address beside the server of `domain` that no machine has."""
    site = lab.plan.site
    server = next(
        name
        for name, node in lab.plan.topology.nodes.items()
        if isinstance(node, MailServer) and node.domain == domain
    )
    network = site.addressing.interfaces[server][0].address.network
    taken = {
        one.address.ip for interfaces in site.addressing.interfaces.values() for one in interfaces
    }
    free = next((one for one in reversed(list(network.hosts())) if one not in taken), None)
    if free is None:
        raise LabError(f"there is no free address beside the server of {domain}")
    return str(free)


dns_silent = DnsSilent
dns_slow = DnsSlow
dns_servfail = DnsServfail
dns_no_such_domain = DnsNoSuchDomain
dns_mx_to_nowhere = DnsMxToNowhere
