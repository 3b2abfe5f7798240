"""Programs that are stopped or crash while their machine runs on, and a clock that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lab.errors import LabError
from lab.faults import inside, journal
from lab.faults.fault import Fault
from lab.faults.inside import Inside
from lab.faults.parameters import LAB_TIME, one_of, option
from lab.topology.model import MailServer
from lab.units import write_duration

if TYPE_CHECKING:
    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

_SERVICES = {"mail-server": ("postfix", "dovecot"), "dns": ("dnsmasq",)}
_ANY_SERVICE = one_of("postfix", "dovecot", "dnsmasq")
# As a program is called in the process list; Dovecot's are those that run without a user.
_PROGRAMS = one_of("smtpd", "cleanup", "qmgr", "smtp", "lmtp", "imap", "imap-login", "pop3", "auth")


_OF_MAILBOXES = ("lmtp", "imap", "imap-login", "pop3", "auth")


@dataclass(frozen=True)
class _Stopped(Inside):
    """A service does not run; the kernel of its machine refuses all connections to it."""

    kinds = tuple(_SERVICES)

    service: str | None = option(
        _ANY_SERVICE, "which; left out: the one that takes mail, or answers questions", default=None
    )

    def which(self, plan: Plan) -> str:
        """The service it strikes."""
        return self.service or self._known(plan)[0]

    def misfit(self, plan: Plan) -> str | None:
        known = self._known(plan)
        if self.service in (None, *known):
            return None
        return f"{self.node} has no {self.service}, but " + " and ".join(known)

    def _also(self, lab: Lab, other: Fault) -> bool:
        """Whether another fault has the same service down."""
        same = isinstance(other, _Stopped) and other.node == self.node
        return same and cast(_Stopped, other).which(lab.plan) == self.which(lab.plan)

    def _known(self, plan: Plan) -> list[str]:
        """The services its node has, the main one first."""
        node = plan.topology.nodes[self.node]
        mailboxes = isinstance(node, MailServer) and node.users
        return [one for one in _SERVICES[node.kind] if one != "dovecot" or mailboxes]

    @property
    def what(self) -> str:
        """The service, for people."""
        return self.service or "the main service"

    @property
    def healed(self) -> str:
        return f"{self.what} of {self.node} runs again"

    def verify(self, lab: Lab, id: str) -> bool:
        return not inside.runs(lab, self.node, self.which(lab.plan))

    def undo(self, lab: Lab, id: str) -> None:
        name = self.which(lab.plan)
        if any(self._also(lab, case.fault) for case in journal.cases(lab) if case.id != id):
            return  # it is still to be down for another reason
        inside.service(lab, self.node, "start", name)
        inside.settled(lab, self.node, name, listens=True)


@dataclass(frozen=True)
class ServiceStopped(_Stopped):
    """A service was stopped by its administrator: it said goodbye to whoever was connected."""

    name = "service-stopped"
    help = "the administrator has stopped a service: connections to it are refused at once"

    @property
    def title(self) -> str:
        return f"{self.what} of {self.node} is stopped"

    def apply(self, lab: Lab, id: str) -> None:
        name = self.which(lab.plan)
        inside.service(lab, self.node, "stop", name)
        inside.settled(lab, self.node, name, listens=False)


@dataclass(frozen=True)
class ServiceKilled(_Stopped):
    """All programs of a service end at once, as by a crash (SIGKILL), and stay so."""

    name = "service-killed"
    help = "all of a service crashes (kill -9) whatever it is doing, and nobody starts it again"

    @property
    def title(self) -> str:
        return f"{self.what} of {self.node} has crashed"

    def apply(self, lab: Lab, id: str) -> None:
        name = self.which(lab.plan)
        inside.service(lab, self.node, "kill", name)
        inside.settled(lab, self.node, name, listens=False)


@dataclass(frozen=True)
class ProcessKilled(Inside):
    """One program of a service crashes; Postfix's master, or Dovecot's, starts another.

    Postfix waits a minute before that only if the program had done nothing yet (master(8)).
    """

    name = "process-killed"
    help = "one program crashes (kill -9) whatever it is doing; its master starts another"
    kinds = ("mail-server",)
    momentary = True

    program: str = option(
        _PROGRAMS,
        "which; those that run at that moment",
        default="smtpd",
        at_random=("smtpd", "cleanup", "qmgr", "smtp", "lmtp"),  # others run while somebody reads
    )

    def misfit(self, plan: Plan) -> str | None:
        node = plan.topology.nodes[self.node]
        if self.program in _OF_MAILBOXES and isinstance(node, MailServer) and not node.users:
            return f"{self.node} has no mailboxes, and no {self.program}"
        return None

    @property
    def title(self) -> str:
        return f"{self.program} of {self.node} has crashed"

    @property
    def healed(self) -> str:
        return f"{self.program} of {self.node} is started as it is needed"

    def apply(self, lab: Lab, id: str) -> None:
        # Whom it has struck is noted: who comes after them is not to be killed too.
        text = """
            [ ! -e "$1" ] || exit 0
            pids=$(pgrep -x "$2") || { echo nobody; exit 0; }
            echo $pids > "$1"
            kill -KILL $pids
        """
        what = f"killing {self.program}"
        if inside.script(lab, self.node, what, text, _note(id), self.program):
            raise LabError(
                f"no {self.program} runs on {self.node} at this moment",
                hint=f"lab exec {self.node} -- ps ax shows what does",
            )

    def verify(self, lab: Lab, id: str) -> bool:
        text = 'for pid in $(cat "$1"); do ! kill -0 "$pid" 2>&- || exit 1; done'
        return lab.run(self.node, ["sh", "-c", text, "sh", _note(id)]).status == 0

    def undo(self, lab: Lab, id: str) -> None:
        lab.run(self.node, ["rm", "-f", _note(id)])
        for name in _SERVICES["mail-server"]:
            if inside.questions(lab, self.node, name) and inside.runs(lab, self.node, name):
                inside.settled(lab, self.node, name, listens=True)


def _note(id: str) -> str:
    return f"/run/killed.{id}"


# libfaketime, by ld.so.preload(8): Postfix and Dovecot pass no LD_PRELOAD on. The times of files
# stay the kernel's, which Postfix copes with (it was made for file servers whose clock differs):
# if they were shifted, so would be when a message is tried again (NO_FAKE_STAT, which main.cf has
# Postfix pass on).
_WRONG = """
    lib=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)
    [ -e "$lib" ]
    echo "$1" > /etc/faketimerc
    echo "$lib" > /etc/ld.so.preload
"""
_RIGHT = "rm -f /etc/ld.so.preload /etc/faketimerc"
_DRIFT = """
    file=$(mktemp) now=$(date +%s)
    echo $((now - $(NO_FAKE_STAT=1 stat -c %Y "$file")))
    rm "$file"
"""


@dataclass(frozen=True)
class ClockOff(Inside):
    """The clock of a mail server is wrong; its services were started with that."""

    name = "clock-off"
    help = "the server's clock is wrong: what it writes into headers, and how old mail is to it"
    kinds = ("mail-server",)

    by: int = option(LAB_TIME, "by how much", default="2h")
    way: str = option(one_of("ahead", "behind"), "in which direction", default="ahead")

    @property
    def title(self) -> str:
        return f"the clock of {self.node} is {write_duration(self.by)} {self.way}"

    @property
    def healed(self) -> str:
        return f"the clock of {self.node} is right"

    def _seconds(self, lab: Lab) -> int:
        """How far it is off, in whole real seconds, at least 1: behind is less than 0."""
        seconds = max(1, round(lab.clock.real(self.by)))
        return seconds if self.way == "ahead" else -seconds

    def apply(self, lab: Lab, id: str) -> None:
        off = f"{self._seconds(lab):+d}"
        if lab.run(self.node, ["cat", "/etc/faketimerc"]).text.strip() == off:
            return
        inside.script(lab, self.node, "setting the clock", _WRONG, off)
        self._start_anew(lab)

    def verify(self, lab: Lab, id: str) -> bool:
        off = int(inside.script(lab, self.node, "reading the clock", _DRIFT))
        return abs(off - self._seconds(lab)) <= 1

    def undo(self, lab: Lab, id: str) -> None:
        if lab.run(self.node, ["test", "-e", "/etc/faketimerc"]).status != 0:
            return
        inside.script(lab, self.node, "setting the clock right", _RIGHT)
        self._start_anew(lab)
        if inside.runs(lab, self.node, "postfix"):
            # What was to be tried again at a moment of the wrong clock would wait until then.
            lab.run(self.node, ["postqueue", "-f"])

    def _start_anew(self, lab: Lab) -> None:
        node = cast(MailServer, lab.plan.topology.nodes[self.node])
        for name in ("dovecot", "postfix") if node.users else ("postfix",):
            inside.service(lab, self.node, "restart", name)
            if inside.runs(lab, self.node, name):
                inside.settled(lab, self.node, name, listens=True)


service_stopped = ServiceStopped
service_killed = ServiceKilled
process_killed = ProcessKilled
clock_off = ClockOff
