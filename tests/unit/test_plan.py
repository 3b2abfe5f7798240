"""What has to exist for a topology: containers, cables, routes, and who asks whether it is up."""

from __future__ import annotations

import json

import pytest

from lab.engine.capabilities import CAPABILITIES
from lab.engine.plan import Plan, plan
from lab.topology.loader import load, parse, topology_names
from lab.topology.model import Topology

TWO_ROUTERS = """
name: chain
title: Two routers in a row, and nobody at a PC
networks:
  left: {subnet: 198.51.100.0/26}
  middle: {subnet: 198.51.100.64/26}
  right: {subnet: 203.0.113.0/24}
nodes:
  west: {kind: router, interfaces: {left: null, middle: 198.51.100.65}}
  east: {kind: router, interfaces: {middle: 198.51.100.66, right: null}}
  dns: {kind: dns, network: left}
  mail-a: {kind: mail-server, network: left, domain: a.example, users: {ann: {password: pw}}}
  mail-b: {kind: mail-server, network: right, domain: b.example, users: {ben: {password: pw}}}
"""


@pytest.fixture
def textbook() -> Plan:
    return plan(load("textbook"), "lab")


def two_routers() -> Topology:
    return parse(TWO_ROUTERS.encode(), "chain.yaml")


@pytest.fixture
def chain() -> Plan:
    return plan(two_routers(), "lab")


def cables(planned: Plan) -> dict[str, list[str]]:
    """Each node's cables: `its interface, the fabric's port, the network, the address`."""
    return {
        name: [f"{i.name} {i.port} {i.network} {i.address}" for i in node.interfaces]
        for name, node in planned.nodes.items()
    }


def routes(planned: Plan) -> dict[str, list[str]]:
    return {
        name: [f"{route.destination} via {route.via}" for route in node.routes]
        for name, node in planned.nodes.items()
    }


def vantages(planned: Plan) -> dict[str, set[str]]:
    """For each node that is asked something, from where it is asked."""
    asked: dict[str, set[str]] = {}
    for vantage, question in planned.readiness():
        asked.setdefault(question.node, set()).add(vantage)
    return asked


def test_containers_are_named_after_the_lab_and_the_node(textbook: Plan) -> None:
    second = plan(textbook.topology, "second")
    assert textbook.container("sender-mail") == "maillab-lab-sender-mail"
    assert second.container("fabric") == "maillab-second-fabric"


def test_each_node_is_made_of_the_image_of_its_kind(textbook: Plan) -> None:
    assert {name: node.image for name, node in textbook.nodes.items()} == {
        "internet": "maillab/router",
        "dns": "maillab/dns",
        "sender-mail": "maillab/mail-server",
        "sender-pc": "maillab/pc",
        "receiver-mail": "maillab/mail-server",
        "receiver-pc": "maillab/pc",
    }
    assert textbook.fabric().image == "maillab/fabric"


def test_a_lab_takes_the_image_with_web_mail_only_where_its_topology_says_so(
    textbook: Plan,
) -> None:
    planned = plan(load("webmail"), "lab")
    assert set(textbook.images) == {
        f"maillab/{name}" for name in ("mail-server", "pc", "router", "dns", "fabric")
    }
    assert set(planned.images) ^ set(textbook.images) == {
        "maillab/mail-server", "maillab/webmail-server"
    }  # fmt: skip
    servers = [node for node in planned.nodes.values() if node.kind == "mail-server"]
    assert {node.image for node in servers} == {"maillab/webmail-server"}
    assert all(node.capabilities == CAPABILITIES["mail-server"] for node in servers)


def test_the_first_page_of_web_mail_is_asked_for_by_its_own_people() -> None:
    planned = plan(load("webmail"), "lab")
    asked = {(q.node, q.what): (by, q.ask) for by, q in planned.readiness()}
    assert asked["sender-mail", "port 80"] == ("sender-pc", ("http", "198.51.100.25", 80))
    assert asked["receiver-mail", "port 80"] == ("receiver-pc", ("http", "203.0.113.25", 80))


def test_a_web_server_is_asked_for_its_page_by_a_pc() -> None:
    planned = plan(load("web"), "lab")
    asked = [(by, q.what, q.ask) for by, q in planned.readiness() if q.node == "web"]
    assert asked == [("sender-pc", "port 80", ("http", "203.0.113.80", 80))]
    assert "maillab/web-server" in planned.images


def test_only_routers_and_the_fabric_may_change_the_wiring(textbook: Plan) -> None:
    planned = [*textbook.nodes.values(), textbook.fabric()]
    assert all(node.capabilities == CAPABILITIES[node.kind] for node in planned)
    assert [n.name for n in planned if "NET_ADMIN" in n.capabilities] == ["internet", "fabric"]
    assert [n.name for n in planned if "SYS_ADMIN" in n.capabilities] == ["fabric"]


def test_the_cables_of_the_textbook(textbook: Plan) -> None:
    assert textbook.networks == ("sender-lan", "dns-lan", "receiver-lan")
    assert cables(textbook) == {
        "internet": [
            "eth0 internet.0 sender-lan 198.51.100.1/26",
            "eth1 internet.1 dns-lan 198.51.100.194/26",
            "eth2 internet.2 receiver-lan 203.0.113.1/24",
        ],
        "dns": ["eth0 dns dns-lan 198.51.100.193/26"],
        "sender-mail": ["eth0 sender-mail sender-lan 198.51.100.25/26"],
        "sender-pc": ["eth0 sender-pc sender-lan 198.51.100.10/26"],
        "receiver-mail": ["eth0 receiver-mail receiver-lan 203.0.113.25/24"],
        "receiver-pc": ["eth0 receiver-pc receiver-lan 203.0.113.10/24"],
    }


def test_every_host_of_the_textbook_has_one_way_out_and_the_router_needs_none(
    textbook: Plan,
) -> None:
    assert routes(textbook) == {
        "internet": [],
        "dns": ["0.0.0.0/0 via 198.51.100.194"],
        "sender-mail": ["0.0.0.0/0 via 198.51.100.1"],
        "sender-pc": ["0.0.0.0/0 via 198.51.100.1"],
        "receiver-mail": ["0.0.0.0/0 via 203.0.113.1"],
        "receiver-pc": ["0.0.0.0/0 via 203.0.113.1"],
    }


def test_every_node_asks_the_name_server_of_the_lab(textbook: Plan) -> None:
    assert {node.resolvers for node in textbook.nodes.values()} == {("198.51.100.193",)}


def test_only_the_router_forwards_and_nobody_speaks_ipv6(textbook: Plan) -> None:
    forwarding = [
        name
        for name, node in textbook.nodes.items()
        if node.sysctls.get("net.ipv4.ip_forward") == "1"
    ]
    assert forwarding == ["internet"]
    assert "net.ipv4.ip_forward" not in textbook.fabric().sysctls
    for node in (*textbook.nodes.values(), textbook.fabric()):
        assert node.sysctls["net.ipv6.conf.all.disable_ipv6"] == "1"
        assert node.sysctls["net.ipv6.conf.default.disable_ipv6"] == "1"


def test_each_question_is_asked_by_who_would_ask_it_in_earnest(textbook: Plan) -> None:
    asked = {(question.node, question.what): by for by, question in textbook.readiness()}
    assert asked["dns", "MX receiver.example"] == "sender-mail"
    assert asked["receiver-mail", "port 25"] == "sender-mail"
    assert asked["sender-mail", "port 25"] == "receiver-mail"
    for port in (587, 110, 143):
        assert asked["sender-mail", f"port {port}"] == "sender-pc"
        assert asked["receiver-mail", f"port {port}"] == "receiver-pc"


def test_a_backup_mx_is_asked_at_port_25_and_its_domain_once() -> None:
    planned = plan(load("backup-mx"), "lab")
    asked = [(by, question.node, question.what) for by, question in planned.readiness()]
    assert [one for one in asked if one[1] == "backup-mail"] == [
        ("sender-mail", "backup-mail", "port 25")
    ]
    assert asked.count(("sender-mail", "dns", "MX receiver.example")) == 1


def test_a_queue_is_in_memory_only_where_the_topology_says_so(textbook: Plan) -> None:
    assert not any(node.ram_disks for node in (*textbook.nodes.values(), textbook.fabric()))
    planned = plan(load("ram-queue"), "lab")
    disks = {name: node.ram_disks for name, node in planned.nodes.items() if node.ram_disks}
    queue = {"/var/spool/postfix": "size=32M,mode=0755"}
    assert disks == {"sender-mail": queue, "receiver-mail": queue}


def test_readiness_asks_all_that_the_services_promise(textbook: Plan) -> None:
    asked = {f"{question.node}: {question.what}" for _, question in textbook.readiness()}
    ports = {
        f"{n}: port {p}" for n in ("sender-mail", "receiver-mail") for p in (25, 587, 110, 143)
    }
    assert asked == ports | {"dns: MX sender.example", "dns: MX receiver.example"}


def test_the_digest_changes_with_the_topology_and_the_time_scale_and_nothing_else() -> None:
    topology = load("textbook")
    known = plan(topology, "lab").digest
    assert plan(load("textbook"), "another", scenario="delivery").digest == known
    assert plan(topology, "lab", topology.time_scale).digest == known
    schedule = topology.schedule.model_copy(update={"retry": 1801})
    for change in ({"title": "Another"}, {"schedule": schedule}, {"time_scale": 61.0}):
        assert plan(topology.model_copy(update=change), "lab").digest != known
    assert len({plan(topology, "lab", scale).digest for scale in (1, 1.5, 60, 600)} - {known}) == 3


@pytest.mark.parametrize(
    "topology", [*map(load, topology_names()), two_routers()], ids=lambda topology: topology.name
)
def test_a_topology_survives_the_trip_through_a_label(topology: Topology) -> None:
    there = plan(topology, "lab")
    label = there.topology.model_dump_json(exclude_defaults=True)
    back = Topology.model_validate(json.loads(label))
    assert back == there.topology
    assert plan(back, "lab").digest == there.digest


def test_two_routers_know_the_way_to_each_other(chain: Plan) -> None:
    assert routes(chain) == {
        "west": ["203.0.113.0/24 via 198.51.100.66"],
        "east": ["198.51.100.0/26 via 198.51.100.65"],
        "dns": ["0.0.0.0/0 via 198.51.100.1"],
        "mail-a": ["0.0.0.0/0 via 198.51.100.1"],
        "mail-b": ["0.0.0.0/0 via 203.0.113.1"],
    }
    assert chain.nodes["west"].sysctls["net.ipv4.ip_forward"] == "1"
    assert chain.nodes["east"].sysctls["net.ipv4.ip_forward"] == "1"


def test_without_a_pc_the_servers_ask_each_other(chain: Plan) -> None:
    assert vantages(chain) == {"dns": {"mail-a"}, "mail-a": {"mail-b"}, "mail-b": {"mail-a"}}


def test_a_pc_of_nobody_asks_where_there_is_no_other() -> None:
    with_pc = TWO_ROUTERS + "  pc: {kind: pc, network: left}\n"
    assert vantages(plan(parse(with_pc.encode(), "chain.yaml"), "lab")) == {
        "dns": {"mail-a"},
        "mail-a": {"mail-b", "pc"},
        "mail-b": {"mail-a", "pc"},
    }
