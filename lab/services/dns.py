"""The name server: dnsmasq with MX, A and PTR for every machine of the lab."""

from __future__ import annotations

from lab.services import File, Question, Site, render
from lab.topology.model import MailServer


def exchangers(site: Site, domain: str) -> tuple[tuple[int, str], ...]:
    """Who takes mail for `domain`: (preference, node) of its own server, then of its backups.

    The lower number is preferred (RFC 5321 §5.1); backups differ, so that their order is known.
    """
    servers = [
        (name, node) for name, node in site.topology.nodes.items() if isinstance(node, MailServer)
    ]
    own = [name for name, node in servers if node.domain == domain]
    backups = [name for name, node in servers if domain in node.backup_for]
    return tuple((10 * rank, name) for rank, name in enumerate(own + backups, 1))


def _domains(site: Site) -> list[str]:
    servers = (node for node in site.topology.nodes.values() if isinstance(node, MailServer))
    return [node.domain for node in servers if node.domain]


def files(site: Site, name: str) -> tuple[File, ...]:
    """dnsmasq's configuration, with every name of the lab in it."""
    values = {
        "names": site.addressing.names,
        "pointers": site.addressing.pointers,
        "exchangers": [
            (domain, site.hostname(node), preference)
            for domain in _domains(site)
            for preference, node in exchangers(site, domain)
        ],
    }
    return (File("/etc/dnsmasq.conf", render("dnsmasq.conf", values)),)


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """The MX question for each mail domain; without any, its own address."""
    server = site.address(name)
    asked = [Question.dns(name, server, domain, "MX") for domain in _domains(site)]
    return tuple(asked) or (Question.dns(name, server, site.hostname(name), "A"),)
