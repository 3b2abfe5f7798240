"""Mail servers that answer other than they would: refusals on demand, and greylisting.

The answer is given by a policy server that the fabric lends the node (images/fabric/policy.py) and
that Postfix asks (lab/faults/restrictions.py). The words around it are Postfix's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lab.engine import containers
from lab.errors import UsageError
from lab.faults import restrictions
from lab.faults.fault import Fault
from lab.faults.parameters import COUNT, LAB_TIME, SHARE, kind_of, one_of, option, text
from lab.units import counted, write_duration

if TYPE_CHECKING:
    from lab.engine.lab import Lab

PORT = 10031
_WORDS, _ADDRESS = text("TEXT"), text("ADDRESS")
_SERVER = f"inet:127.0.0.1:{PORT}"

# RFC 5321 §4.2.2's words, with the enhanced status codes of RFC 3463 (RFC 5248 has the list).
_TEXTS = {
    "421": "4.3.2 Service not available, closing transmission channel",
    "450": "4.2.1 Mailbox unavailable",
    "451": "4.3.0 Local error in processing",
    "452": "4.3.1 Insufficient system storage",
    "550": "5.2.1 Mailbox unavailable",
    "552": "5.2.2 Exceeded storage allocation",
    "554": "5.7.1 Transaction failed",
}


@dataclass(frozen=True)
class _Answered(Fault):
    """A Postfix that is told by a lent policy server what to answer on port 25."""

    kinds = ("mail-server",)

    at: ClassVar[str] = "rcpt"

    def rule(self, lab: Lab) -> dict[str, Any]:
        """What the policy server is told."""
        raise NotImplementedError

    def apply(self, lab: Lab, id: str) -> None:
        with lab.fabric() as fabric:
            process = lab.process(self.node)
            fabric.lend(self.node, process, "policy", PORT, id, [self.rule(lab)])
        restrictions.add(lab, self.node, self.at, _SERVER, id)

    def verify(self, lab: Lab, id: str) -> bool:
        with lab.fabric() as fabric:
            lent = fabric.lent(self.node, "policy", PORT)
        return (
            lent.runs
            and id in lent.rules
            and restrictions.present(lab, self.node, self.at, _SERVER, id)
        )

    def revert(self, lab: Lab, id: str) -> None:
        process = containers.process(lab.container(self.node))
        if process:  # else it is forgotten when the node starts
            restrictions.remove(lab, self.node, self.at, _SERVER, id)
        with lab.fabric() as fabric:
            fabric.lend(self.node, process, "policy", PORT, id, [])

    def counted(self, lab: Lab, id: str) -> int:
        """How many mails were so answered (greylisting: how many recipients) so far."""
        with lab.fabric() as fabric:
            return int(fabric.lent(self.node, "policy", PORT).done.get(id, {}).get("count", 0))


@dataclass(frozen=True)
class SmtpAnswer(_Answered):
    """A mail server answers a command of other servers with a code of choice."""

    name = "smtp-answer"
    help = "the server answers other servers with 421, 450, 451, 452, 550, 552 or 554, at any stage"

    code: str = option(one_of(*_TEXTS), "the code: 4.. try again, 5.. don't", default="451")
    stage: str = option(one_of(*restrictions.STAGES), "in answer to what", default="rcpt")
    text: str | None = option(
        _WORDS, "the words; left out: those of RFC 5321 for the code", default=None
    )
    times: int | None = option(COUNT, "how many mails; left out: all", default=None)
    share: float | None = option(SHARE, "what share of them; left out: all", default=None)
    recipient: str | None = option(
        _ADDRESS, "only mail to this address (stage rcpt); left out: all", default=None
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        found = re.match(r"([0-9])\.[0-9]+\.[0-9]+ ", self.text or "")
        if found and found[1] != self.code[0]:
            raise UsageError(
                f"--text '{self.text}' does not go with --code {self.code}",
                hint=f"begin it with {self.code[0]}.… (RFC 3463), or leave the numbers out",
            )
        if self.recipient and self.stage != "rcpt":
            raise UsageError(
                f"who it is to is not known at stage {self.stage}", hint="--stage rcpt"
            )

    @property
    def at(self) -> str:  # type: ignore[override]
        return self.stage

    @property
    def said(self) -> str:
        """The code and the words, without what Postfix puts between them."""
        usual = _TEXTS[self.code]
        words = self.text or usual
        if not re.match(r"[0-9]\.[0-9]+\.[0-9]+ ", words):
            words = f"{usual.partition(' ')[0]} {words}"
        return f"{self.code} {words}"

    @property
    def title(self) -> str:
        which = counted(self.times, "mail") if self.times else "mail"
        if self.share is not None:
            which = f"{kind_of(self._option('share')).write(self.share)} of {which}"
        if self.recipient:
            which += f" to {self.recipient}"
        return f"{self.node} answers {which} with {self.said} ({self.stage})"

    @property
    def healed(self) -> str:
        return f"{self.node} no longer answers with {self.code}"

    def rule(self, lab: Lab) -> dict[str, Any]:
        code, _, words = self.said.partition(" ")
        return {
            "what": "answer",
            "stage": self.stage,
            "code": int(code),
            "text": words,
            "left": self.times,
            "share": self.share,
            "recipient": self.recipient,
        }

    def _option(self, name: str) -> Any:
        return next(one for one in self.parameters() if one.name == name)


@dataclass(frozen=True)
class Greylisting(_Answered):
    """A mail server lets nobody in whom it does not know, until they come again (RFC 6647)."""

    name = "greylisting"
    help = "whom the server does not know is told 450, and let in when they come again later"

    wait: int = option(LAB_TIME, "how much later, at the earliest", default="5m")

    @property
    def title(self) -> str:
        wait = write_duration(self.wait)
        return f"{self.node} greylists: who is new has to come again after {wait}"

    @property
    def healed(self) -> str:
        return f"{self.node} lets in whoever comes"

    def rule(self, lab: Lab) -> dict[str, Any]:
        return {"what": "greylist", "seconds": lab.clock.real(self.wait)}


smtp_answer = SmtpAnswer
greylisting = Greylisting
