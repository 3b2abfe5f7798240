"""Bad lines: frames that are lost, late, slow, damaged or out of order, or go one way only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.faults.box import Treated
from lab.faults.parameters import RATE, REAL_TIME, SHARE, kind_of, one_of, option

if TYPE_CHECKING:
    from lab.engine.lab import Lab


@dataclass(frozen=True)
class _Bad(Treated):
    """A line that is bad in some way, and said so with its parameters."""

    @property
    def title(self) -> str:
        how = ", ".join(
            f"{one.name} {kind_of(one).write(getattr(self, one.name))}"
            for one in self.parameters()
            if getattr(self, one.name)
        )
        return f"the line of {self.node}: {self.name} ({how})"

    @property
    def healed(self) -> str:
        return f"the line of {self.node}: no more {self.name}"


@dataclass(frozen=True)
class Loss(_Bad):
    """Frames are lost."""

    name = "loss"
    help = "a share of the packets is lost, in both directions"

    share: float = option(SHARE, "how many are lost", default="20%")

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "drop", "share": self.share}]


@dataclass(frozen=True)
class Delay(_Bad):
    """Frames are late."""

    name = "delay"
    help = "every packet is late, in both directions (real time, as ping shows it)"

    by: float = option(REAL_TIME, "by how much, each way", default="200ms")
    jitter: float = option(REAL_TIME, "and up to so much more or less", default=0.0)

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "delay", "seconds": self.by, "jitter": self.jitter}]


@dataclass(frozen=True)
class Rate(_Bad):
    """Frames pass slowly."""

    name = "rate"
    help = "a slow line: so many bits a second each way, what is more waits, then is lost"

    bits: int = option(RATE, "how many bits a second", default="56k")

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "rate", "bits": self.bits, "queue": 65536}]


@dataclass(frozen=True)
class Corruption(_Bad):
    """Frames are damaged."""

    name = "corruption"
    help = "one bit of a share of the packets is flipped; TCP's checksum notices, and it is resent"

    share: float = option(SHARE, "how many are damaged", default="5%")

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "corrupt", "share": self.share}]


@dataclass(frozen=True)
class Reordering(_Bad):
    """Frames overtake others."""

    name = "reordering"
    help = "a share of the packets is overtaken by those behind them"

    share: float = option(SHARE, "how many are overtaken", default="20%")
    by: float = option(REAL_TIME, "for how long they are held back", default="50ms")

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "reorder", "share": self.share, "seconds": self.by}]


@dataclass(frozen=True)
class Duplication(_Bad):
    """Frames come twice."""

    name = "duplication"
    help = "a share of the packets comes twice; TCP drops the copies, no mail is doubled by it"

    share: float = option(SHARE, "how many come twice", default="20%")

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        return [{"what": "duplicate", "share": self.share}]


@dataclass(frozen=True)
class OneWay(Treated):
    """Packets pass in one direction only."""

    name = "one-way"
    help = "half a cable: the machine is deaf (nothing reaches it), or mute (nothing leaves it)"

    side: str = option(one_of("deaf", "mute"), "which half is broken", default="deaf")

    @property
    def title(self) -> str:
        return f"{self.node} hears nobody" if self.side == "deaf" else f"nobody hears {self.node}"

    @property
    def healed(self) -> str:
        return f"{self.node} hears and is heard"

    def rules(self, lab: Lab) -> list[dict[str, Any]]:
        # ARP passes: else it would know nobody's hardware address, and send nothing at all.
        toward = "node" if self.side == "deaf" else "network"
        return [{"what": "drop", "share": 1.0, "toward": toward, "protocol": "ip"}]


loss = Loss
delay = Delay
rate = Rate
corruption = Corruption
reordering = Reordering
duplication = Duplication
one_way = OneWay
