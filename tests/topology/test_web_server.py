"""A web server in a lab: its page, what it may do, and what becomes of it when its power is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import SCALE, as_json, is_whole, made, new_name, removed_afterwards, run_lab, until
from outside import everyone

from lab.engine import images, power
from lab.engine.client import client
from lab.engine.exec import Result
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.topology.loader import load

SITE = Path(__file__).parents[2] / "images/web-server/site"
URL = "http://www.receiver.example"


@pytest.fixture(scope="module")
def web(engine: object) -> Iterator[Lab]:
    with removed_afterwards(new_name()) as name:
        planned = plan(load("web"), name, SCALE)
        images.build(client(), lambda step: None, planned.images)
        yield up(planned)


def curl(lab: Lab, *more: str, node: str = "sender-pc") -> Result:
    return lab.run(node, ["curl", "--silent", "--show-error", "--max-time", "2", *more])


def test_every_pc_gets_every_file_as_it_is(web: Lab) -> None:
    for node in ("sender-pc", "receiver-pc"):
        for path in SITE.iterdir():
            got = curl(web, f"{URL}/{path.name}", node=node).check("curl").stdout
            assert got == path.read_bytes()
    assert curl(web, f"{URL}/").stdout == (SITE / "index.html").read_bytes()


def test_types_and_what_is_not_there(web: Lab) -> None:
    def head(path: str) -> str:
        return curl(web, "--head", f"{URL}/{path}").text

    assert "Content-Type: text/html; charset=utf-8\r\n" in head("")
    assert "Content-Type: image/png\r\n" in head("sunset.png")
    assert head("moon.png").startswith("HTTP/1.1 404 ")


def test_a_connection_is_kept_for_more(web: Lab) -> None:
    said = curl(web, "--verbose", "--output", "/dev/null", f"{URL}/", f"{URL}/sunset.png").stderr
    assert said.count(b"\n< HTTP/1.1 200") == 2
    assert b"Re-using existing" in said or b"Reusing existing" in said


def test_it_listens_at_port_80_alone_and_takes_part_in_the_status(web: Lab) -> None:
    listening = web.run("web", ["ss", "-Htuln"]).check("ss").text
    assert re.findall(r"\S+:(\d+) ", listening) == ["80"]
    [node] = [one for one in as_json(web, "status")["nodes"] if one["name"] == "web"]
    assert (node["kind"], node["state"]) == ("web-server", "ready")
    assert (node["addresses"], node["hostname"]) == (["203.0.113.80"], "www.receiver.example")
    assert "web" in everyone(web)


def test_who_answers_is_not_root(web: Lab) -> None:
    found = web.run("web", ["ps", "-eo", "user:20=,args="]).check("ps").text
    assert re.search(r"(?m)^www-data +nginx: worker process", found)


def test_its_log_names_who_asked_for_what(web: Lab) -> None:
    curl(web, f"{URL}/sunrise.png").check("curl")
    said = run_lab(web.name, "logs", "web").stdout
    assert re.search(
        r'nginx: 198\.51\.100\.10:\d+ "GET /sunrise\.png HTTP/1\.1" 200, 37028 octets', said
    )


def test_it_is_gone_with_its_power_and_back_with_it(web: Lab) -> None:
    power.off(web, "web")
    assert curl(web, f"{URL}/").status != 0
    [node] = [one for one in web.state()["nodes"] if one["name"] == "web"]
    assert node["state"] == "off"
    power.on(web, "web")
    assert curl(web, f"{URL}/").check("curl").stdout == (SITE / "index.html").read_bytes()
    assert is_whole(web)


def test_up_starts_one_that_has_ended(web: Lab) -> None:
    web.run("web", ["pkill", "-KILL", "nginx"])
    until("it has ended", lambda: made(web)["web"].state != "running")
    again = up(web.plan)
    assert is_whole(again)
    assert curl(again, f"{URL}/").status == 0
