"""A topology other than the textbook's: two routers in a line, and mail from end to end."""

from __future__ import annotations

from pathlib import Path

from harness import run_lab, until

LINE = """
name: line
title: Two routers in a line
time_scale: 600
networks:
  left: {subnet: 198.18.1.0/24}
  middle: {subnet: 198.18.2.0/24}
  right: {subnet: 198.18.3.0/24}
nodes:
  west: {kind: router, interfaces: {left: 198.18.1.1, middle: 198.18.2.1}}
  east: {kind: router, interfaces: {middle: 198.18.2.2, right: 198.18.3.1}}
  dns: {kind: dns, network: left}
  mail-a: {kind: mail-server, network: left, domain: a.example, users: {ann: {password: anagram}}}
  mail-b: {kind: mail-server, network: right, domain: b.example, users: {ben: {password: benefit}}}
  pc-a: {kind: pc, network: left, users: [ann@a.example]}
"""


def test_mail_crosses_two_routers(name: str, tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text(LINE)
    stood_up = run_lab(name, "up", str(file))
    assert stood_up.returncode == 0, stood_up.stderr
    sent = run_lab(name, "send", "--from", "ann", "--to", "ben", "--subject", "Far away")
    assert sent.returncode == 0, sent.stderr
    until("it has arrived", lambda: "Far away" in run_lab(name, "mailbox", "ben").stdout)
    path = run_lab(name, "exec", "pc-a", "--", "traceroute", "-n", "198.18.3.2").stdout
    hops = [line.split()[1] for line in path.splitlines()[1:]]
    assert hops == ["198.18.1.1", "198.18.2.2", "198.18.3.2"]
