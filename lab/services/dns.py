"""The name server: dnsmasq with MX, A and PTR for every machine of the lab."""

from __future__ import annotations

from lab.services import File, Question, Site, render
from lab.topology.model import MailServer


def files(site: Site, name: str) -> tuple[File, ...]:
    """dnsmasq's configuration, with every name of the lab in it."""
    domains = {
        node.domain: site.hostname(server)
        for server, node in site.topology.nodes.items()
        if isinstance(node, MailServer)
    }
    values = {
        "names": site.addressing.names,
        "pointers": site.addressing.pointers,
        "domains": domains,
    }
    return (File("/etc/dnsmasq.conf", render("dnsmasq.conf", values)),)


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """The MX question for each mail domain; without any, its own address."""
    server = site.address(name)
    asked = [
        Question.dns(name, server, node.domain, "MX")
        for node in site.topology.nodes.values()
        if isinstance(node, MailServer)
    ]
    return tuple(asked) or (Question.dns(name, server, site.hostname(name), "A"),)
