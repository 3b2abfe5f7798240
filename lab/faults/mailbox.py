"""Mailboxes that are full: Dovecot's quota, and three ways to let the sender know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lab.errors import UsageError
from lab.faults import inside, restrictions
from lab.faults.inside import Inside
from lab.faults.parameters import SIZE, one_of, option, text
from lab.services import dovecot, render
from lab.topology.model import MailServer

if TYPE_CHECKING:
    from random import Random

    from lab.engine.lab import Lab
    from lab.engine.plan import Plan

_SERVER = "unix:private/quota-status"
_FOLDER = "/etc/dovecot/faults"
_SAYS = {"452": "452 4.2.2 Mailbox full", "552": "552 5.2.2 Mailbox full", "late": ""}


@dataclass(frozen=True)
class MailboxFull(Inside):
    """Mailboxes may not grow: their quota is what they hold. Who deletes mail has room again.

    Asked at RCPT, Dovecot's quota-status has Postfix refuse, and the sender's server tells the
    sender. Unasked, Postfix takes the mail, Dovecot does not, and the receiver's server has to.
    """

    name = "mailbox-full"
    help = "a mailbox is over quota: refused at RCPT (452, 552), or taken and returned (late)"
    kinds = ("mail-server",)

    says: str = option(one_of(*_SAYS), "what other servers hear at RCPT; late: 250", default="552")
    user: str | None = option(text("USER"), "whose (bob); left out: everybody's", default=None)
    room: int | None = option(
        SIZE, "how much more it may hold; left out: nothing at all", default=None
    )

    @classmethod
    def targets(cls, plan: Plan) -> list[str]:
        nodes = plan.topology.nodes
        return [name for name in super().targets(plan) if getattr(nodes[name], "users", None)]

    @classmethod
    def by_chance(cls, plan: Plan, target: str, chance: Random) -> dict[str, str]:
        # One mailbox only: if all are full, so are those of who would have to be told of it.
        node = cast(MailServer, plan.topology.nodes[target])
        return {"user": chance.choice(sorted(node.users))}

    @property
    def title(self) -> str:
        whose = f"the mailbox of {self.user} on" if self.user else "every mailbox of"
        return f"{whose} {self.node} is full ({self.says})"

    @property
    def healed(self) -> str:
        return f"there is room in the mailboxes of {self.node}"

    def _addresses(self, lab: Lab) -> list[str]:
        """Whose mailboxes. Raises UsageError if the node has no such user."""
        node = cast(MailServer, lab.plan.topology.nodes[self.node])
        known = [f"{login}@{node.domain}" for login in node.users]
        found = [one for one in known if self.user in (None, one, one.partition("@")[0])]
        if not found:
            raise UsageError(
                f"{self.node} has no mailbox of '{self.user}'", hint="one of: " + ", ".join(known)
            )
        return found

    def apply(self, lab: Lab, id: str) -> None:
        held = {
            address: sum(one.size for one in dovecot.mailbox(lab, address))
            for address in self._addresses(lab)
        }
        # One octet less than it holds: full to who does not say how much they bring, too. And 0
        # would be without limit.
        more = -1 if self.room is None else self.room
        lines = [f"{address} {max(1, size + more)}" for address, size in held.items()]
        # Whoever has a quota keeps it: nothing is to grow because this is said twice.
        text = """
            mkdir -p "$1"
            [ ! -e "$1/$2.users" ] || exit 0
            uid=$(id -u vmail) gid=$(id -g vmail)
            while read -r address size; do
                home=/srv/mail/$address
                echo "$address::$uid:$gid::$home::userdb_quota_storage_size=${size}B"
            done > "$1/$2.new"
            mv "$1/$2.new" "$1/$2.users"
        """
        what = "setting the quota"
        inside.script(lab, self.node, what, text, _FOLDER, id, stdin="\n".join(lines) + "\n")
        values = {"id": id, "folder": _FOLDER, "says": _SAYS[self.says]}
        settings = render("quota.conf", values)
        inside.script(
            lab,
            self.node,
            what,
            f'cat > "$1/$2.conf"; {_RELOAD}',
            _FOLDER,
            id,
            stdin=settings,
        )
        if self.says != "late":
            restrictions.add(lab, self.node, "rcpt", _SERVER, id)

    def verify(self, lab: Lab, id: str) -> bool:
        for address in self._addresses(lab):
            asked = lab.run(self.node, ["doveadm", "user", "-f", "quota_storage_size", address])
            if asked.status != 0 or not asked.text.strip():
                return False
        return self.says == "late" or restrictions.present(lab, self.node, "rcpt", _SERVER, id)

    def undo(self, lab: Lab, id: str) -> None:
        restrictions.remove(lab, self.node, "rcpt", _SERVER, id)
        text = f'rm -f "$1/$2.users" "$1/$2.new" "$1/$2.conf"; {_RELOAD}'
        inside.script(lab, self.node, "lifting the quota", text, _FOLDER, id)


_RELOAD = "! /lab/service runs dovecot || doveadm reload"

mailbox_full = MailboxFull
