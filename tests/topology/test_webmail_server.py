"""A mail server with web mail: ready when `lab up` says so, and again after a power cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker import DockerClient
from harness import (
    ALICE,
    BOB,
    SCALE,
    delivered,
    is_whole,
    new_name,
    removed_afterwards,
    send,
    until,
)

from lab.engine import images, power
from lab.engine.exec import Result
from lab.engine.lab import Lab
from lab.engine.lifecycle import up
from lab.engine.plan import plan
from lab.topology.loader import load

PAGE = "http://mail.sender.example/"


@pytest.fixture(scope="module")
def lab(engine: DockerClient) -> Iterator[Lab]:
    """A lab of the topology `webmail`."""
    images.build(engine, lambda step: None)
    with removed_afterwards(new_name()) as name:
        yield up(plan(load("webmail"), name, SCALE))


def fetched(lab: Lab, *options: str, by: str = "sender-pc") -> Result:
    return lab.run(by, ["curl", "-sS", "--max-time", "10", *options, PAGE])


def key(lab: Lab, node: str) -> str:
    return lab.run(node, ["cat", "/lab/webmail.key"]).check("the key").text


def test_its_first_page_is_in_the_language_of_the_browser(lab: Lab) -> None:
    assert is_whole(lab)
    for language, name in (("en", "Username"), ("ko-KR,ko;q=0.9", "사용자명"), ("xx", "Username")):
        page = fetched(lab, "-H", f"Accept-Language: {language}").check("the page").text
        assert f">{name}</label>" in page, language
    assert fetched(lab, by="receiver-pc").status == 0, "from elsewhere too"


def test_only_web_pages_can_be_fetched(lab: Lab) -> None:
    """Neither its settings nor what it keeps lie where the web server looks."""
    for path in ("config/config.inc.php", "db/mail.db", "logs/", "temp/", "SQL/", "installer/"):
        code = lab.run(
            "sender-pc", ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", PAGE + path]
        )
        assert code.text in ("403", "404"), path


def test_each_machine_has_a_key_of_its_own_which_a_power_cut_does_not_change(lab: Lab) -> None:
    before = key(lab, "sender-mail")
    assert len(before.strip()) == 24
    assert before != key(lab, "receiver-mail")
    power.off(lab, "sender-mail")
    assert fetched(lab).status != 0
    power.on(lab, "sender-mail")
    assert "_token" in fetched(lab).check("the page").text
    assert key(lab, "sender-mail") == before
    delivered(lab, BOB, send(lab, ALICE, BOB))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_service_is_stopped_and_started_without_the_mail_server(lab: Lab, how: str) -> None:
    service = ["/lab/service", how, "webmail"]
    lab.run("sender-mail", service).check("stopping it")
    assert lab.run("sender-mail", ["/lab/service", "runs", "webmail"]).status == 1
    assert "Connection refused" in fetched(lab).stderr.decode() or fetched(lab).status == 7
    delivered(lab, BOB, send(lab, ALICE, BOB))
    lab.run("sender-mail", ["/lab/service", "start", "webmail"]).check("starting it")
    assert "_token" in fetched(lab).check("the page").text


def test_lab_up_mends_web_mail_that_does_not_answer(lab: Lab) -> None:
    lab.run("sender-mail", ["/lab/service", "kill", "webmail"]).check("killing it")
    until("it is noticed", lambda: not is_whole(lab))
    assert "_token" in fetched(up(lab.plan)).check("the page").text
