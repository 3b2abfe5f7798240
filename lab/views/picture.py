"""The lab as a picture: networks as lines, machines hanging from them, routers between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.topology.model import MailServer, Node
from lab.views.tables import paint

if TYPE_CHECKING:
    from lab.engine.lab import Lab


def picture(lab: Lab) -> str:
    """A drawing of any topology: each network, what hangs from it, and who sits there."""
    topology = lab.plan.topology
    lines = [f"{paint(topology.title, bold=True)}", ""]
    for network, wire in topology.networks.items():
        lines.append(f"  {paint('═══', 'cyan')} {paint(network, 'cyan')}  {wire.subnet}")
        attached = [
            (name, interface)
            for name, node in lab.plan.nodes.items()
            for interface in node.interfaces
            if interface.network == network
        ]
        for index, (name, interface) in enumerate(attached):
            branch = "└──" if index == len(attached) - 1 else "├──"
            node = topology.nodes[name]
            role = {
                "pc": "used by " + ", ".join(getattr(node, "users", ())),
                "mail-server": _serving(node),
                "dns": "name server",
                "router": "router to "
                + ", ".join(
                    sorted({i.network for i in lab.plan.nodes[name].interfaces} - {network})
                ),
            }[node.kind]
            lines.append(
                f"   {paint(branch, 'cyan')} {paint(f'{name:<14}', bold=True)}"
                f" {interface.address.ip!s:<15} {role}"
            )
        lines.append("")
    return "\n".join(lines)


def _serving(node: Node) -> str:
    """What a mail server is there for; empty for others."""
    if not isinstance(node, MailServer):
        return ""
    own = [f"mail server of {node.domain}"] if node.domain else []
    backup = [f"backup for {', '.join(node.backup_for)}"] if node.backup_for else []
    return ", ".join(own + backup)
