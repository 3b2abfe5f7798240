"""The order of the hosts: the sender's people, their server, the middle, the receiver's server,
the receiver's people, as in the textbook's picture; for any topology.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lab.views.ladder.model import Host

_ENDS = ("pc", "web-server", "mail-server")


def networks(topology: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Which networks each node is plugged into."""
    return {
        name: frozenset(node["interfaces"] if "interfaces" in node else [node.get("network")])
        for name, node in topology.get("nodes", {}).items()
    }


def columns(topology: Mapping[str, Any], taking_part: Collection[str]) -> tuple[Host, ...]:
    """The hosts `taking_part` from left to right; those that the topology lacks come last."""
    nodes: Mapping[str, Any] = topology.get("nodes", {})
    used = [node.get("network") for node in nodes.values() if node["kind"] in _ENDS]
    wires = [name for name in topology.get("networks", {}) if name in used]
    half = max(1, len(wires) // 2)  # of three, the sender's stands alone
    left, right = wires[:half], wires[half:]

    def of(network: str | None, kind: str) -> list[str]:
        return [
            name
            for name, node in nodes.items()
            if node["kind"] == kind and (network is None or node.get("network") == network)
        ]

    order = [name for wire in left for kind in _ENDS for name in of(wire, kind)]
    order += of(None, "router") + of(None, "dns")
    order += [name for wire in right for kind in reversed(_ENDS) for name in of(wire, kind)]
    strangers = sorted(set(taking_part) - set(order))
    return tuple(
        [Host(name, nodes[name]["kind"]) for name in order if name in taking_part]
        + [Host(name, "other") for name in strangers]
    )
