"""Connections that are cut at the worst moment.

Until the final reply to a message's content the sender is responsible for it, from then on the
receiver (RFC 5321 §4.2.5, §6.1). A cut before the end of the content loses nothing; one between
the end of the content and the reply leaves both with the message (RFC 1047).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.faults.box import Treated
from lab.faults.parameters import COUNT, SIZE, one_of, option
from lab.units import counted

if TYPE_CHECKING:
    from lab.engine.lab import Lab

_HOW = one_of("reset", "silent")


@dataclass(frozen=True)
class CutInData(Treated):
    """SMTP connections to a mail server are cut in the middle of a message's content."""

    name = "cut-in-data"
    help = "connections to port 25 are cut in the middle of DATA, after so many octets of content"
    kinds = ("mail-server",)

    after: int = option(SIZE, "after so many octets of the message's content", default="20k")
    times: int | None = option(COUNT, "how many connections are cut; left out: all", default=None)
    how: str = option(_HOW, "whether both ends are told (RST), or nobody is", default="reset")

    @property
    def title(self) -> str:
        which = counted(self.times, "connection") if self.times else "every connection"
        return f"{which} to {self.node} is cut after {self.after} octets of content"

    @property
    def healed(self) -> str:
        return f"connections to {self.node} are no longer cut"

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [
            {
                "what": "cut",
                "at": "data",
                "octets": self.after,
                "times": self.times,
                "silently": self.how == "silent",
                "port": 25,
                "toward": "node",
            }
        ]


@dataclass(frozen=True)
class CutBeforeReply(Treated):
    """SMTP connections to a mail server are cut right before its final reply arrives."""

    name = "cut-before-reply"
    help = "the server has the message, its 250 never arrives: the duplicate of RFC 1047"
    kinds = ("mail-server",)

    times: int | None = option(COUNT, "how many replies are lost; left out: all", default=None)
    how: str = option(_HOW, "whether both ends are told (RST), or nobody is", default="reset")

    @property
    def title(self) -> str:
        which = counted(self.times, "time") if self.times else "every time"
        return f"the 250 of {self.node} is lost, {which}"

    @property
    def healed(self) -> str:
        return f"the 250 of {self.node} arrives"

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [
            {
                "what": "cut",
                "at": "reply",
                "times": self.times,
                "silently": self.how == "silent",
                "port": 25,
                "toward": "node",
            }
        ]


cut_in_data = CutInData
cut_before_reply = CutBeforeReply
