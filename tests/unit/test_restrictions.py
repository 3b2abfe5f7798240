"""What Postfix is told to ask, and that nothing of it is left: whoever is killed, and when."""

from __future__ import annotations

import re

import pytest
from faultylab import FaultyLab

from lab.errors import LabError
from lab.faults import inside, restrictions

NODE, SERVER = "receiver-mail", "inet:127.0.0.1:10031"


class Postfix:
    """The overrides of master.cf for port 25, read and changed as postconf(1) does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.overrides: dict[str, str] = {}
        self.patience = 99
        """How many changes until whoever makes them is killed."""
        monkeypatch.setattr(inside, "script", self.script)

    def script(self, lab: object, node: str, what: str, text: str, *arguments: str) -> str:
        if what.startswith("reading"):
            return "\n\n" + "".join(f"{name} {one}\n" for name, one in self.overrides.items())
        if not self.patience:
            raise LabError("killed")
        self.patience -= 1
        how, *changes = arguments
        for change in changes:
            name, _, value = re.sub("^smtp/inet/", "", change).partition("=")
            if how == "-PX":
                del self.overrides[name]
            else:
                self.overrides[name] = value
        return ""


@pytest.fixture
def postfix(monkeypatch: pytest.MonkeyPatch) -> Postfix:
    return Postfix(monkeypatch)


@pytest.mark.parametrize("stage", restrictions.STAGES)
@pytest.mark.parametrize("patience", [0, 1, 2])
def test_nothing_is_left_though_whoever_healed_was_killed(
    postfix: Postfix, stage: str, patience: int
) -> None:
    lab = FaultyLab()
    restrictions.add(lab, NODE, stage, SERVER, "f1")
    assert restrictions.present(lab, NODE, stage, SERVER, "f1")
    postfix.patience = patience
    try:
        restrictions.remove(lab, NODE, stage, SERVER, "f1")
    except LabError:
        postfix.patience = 99
        restrictions.remove(lab, NODE, stage, SERVER, "f1")
    assert postfix.overrides == {}


def test_what_another_still_needs_stays(postfix: Postfix) -> None:
    lab = FaultyLab()
    restrictions.add(lab, NODE, "helo", SERVER, "f1")
    restrictions.add(lab, NODE, "mail", SERVER, "f2")
    restrictions.remove(lab, NODE, "helo", SERVER, "f1")
    assert postfix.overrides["smtpd_delay_reject"] == "no"
    assert restrictions.present(lab, NODE, "mail", SERVER, "f2")
    restrictions.remove(lab, NODE, "mail", SERVER, "f2")
    assert postfix.overrides == {}


def test_an_override_of_somebody_else_stays(postfix: Postfix) -> None:
    lab = FaultyLab()
    postfix.overrides["smtpd_delay_reject"] = "no"
    restrictions.add(lab, NODE, "rcpt", SERVER, "f1")
    restrictions.remove(lab, NODE, "rcpt", SERVER, "f1")
    assert postfix.overrides == {"smtpd_delay_reject": "no"}
