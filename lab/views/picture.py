"""The lab as a picture: networks as lines, machines hanging from them, routers between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.scenarios.narration import ENGLISH
from lab.topology.model import MailServer, Node
from lab.views.tables import paint
from lab.views.words import Words

if TYPE_CHECKING:
    from lab.engine.plan import Plan


def picture(plan: Plan, lang: str = ENGLISH) -> str:
    """A drawing of any topology: each network, what hangs from it, and who sits there."""
    topology, words = plan.topology, Words(lang)
    lines = [f"{paint(topology.title, bold=True)}", ""]
    for network, wire in topology.networks.items():
        lines.append(f"  {paint('═══', 'cyan')} {paint(network, 'cyan')}  {wire.subnet}")
        attached = [
            (name, interface)
            for name, node in plan.nodes.items()
            for interface in node.interfaces
            if interface.network == network
        ]
        for index, (name, interface) in enumerate(attached):
            branch = "└──" if index == len(attached) - 1 else "├──"
            node = topology.nodes[name]
            role = {
                "pc": words("used_by", people=", ".join(getattr(node, "users", ()))),
                "mail-server": _serving(node, words),
                "dns": words("name_server"),
                "web-server": words("web_server"),
                "router": words(
                    "router_to",
                    networks=", ".join(
                        sorted({i.network for i in plan.nodes[name].interfaces} - {network})
                    ),
                ),
            }[node.kind]
            lines.append(
                f"   {paint(branch, 'cyan')} {paint(f'{name:<14}', bold=True)}"
                f" {interface.address.ip!s:<15} {role}"
            )
        lines.append("")
    return "\n".join(lines)


def _serving(node: Node, words: Words) -> str:
    """What a mail server is there for; empty for others."""
    if not isinstance(node, MailServer):
        return ""
    own = [words("mail_server_of", domain=node.domain)] if node.domain else []
    backup = [words("backup_for", domains=", ".join(node.backup_for))] if node.backup_for else []
    return ", ".join(own + backup)
