"""What a mail server is told to ask a policy server before it answers the Internet.

Done with overrides of master.cf for port 25 only: main.cf is its operators', who may change it
meanwhile, and submission by its own people is left alone. What was to be asked already still is;
so are the relay restrictions. A policy server that can't be reached has no objection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.faults import inside

if TYPE_CHECKING:
    from lab.engine.lab import Lab

STAGES = {
    "connect": "smtpd_client_restrictions",
    "helo": "smtpd_helo_restrictions",
    "mail": "smtpd_sender_restrictions",
    "rcpt": "smtpd_recipient_restrictions",
    "data": "smtpd_data_restrictions",
    "end-of-data": "smtpd_end_of_data_restrictions",
}
"""When a client can be answered, and which restrictions (postconf(5)) are asked then."""

# Else Postfix puts off its answers to the first three until RCPT.
_AT_ONCE = "smtpd_delay_reject"
_EARLY = ("connect", "helo", "mail")

_READ = 'postconf -h "$1"; echo; postconf -P | sed -n "s|^smtp/inet/\\([a-z_]*\\) = |\\1 |p"'
# Postfix waits for files that were written in the last seconds, so ours claims to be older.
_CHANGED = "touch -d '1 minute ago' /etc/postfix/master.cf; /lab/service runs postfix || exit 0"
# No blanks: "postconf -P" takes none. The last is what forgets it after a power cut too.
_ASK = "check_policy_service,{{{server},default_action=DUNNO,timeout=5s,try_limit=1,{whose}}}"


def ask(server: str, id: str) -> str:
    """The restriction that asks the policy server `server` (`inet:…`, `unix:…`) for fault `id`."""
    return _ASK.format(server=server, whose=f"policy_context={id}")


def add(lab: Lab, node: str, stage: str, server: str, id: str) -> None:
    """From the next connection on, `server` says what clients of port 25 are told at `stage`."""
    own, overrides = _now(lab, node, stage)
    name, asked = STAGES[stage], ask(server, id)
    asked_now = overrides.get(name, own)
    if asked in asked_now:
        return
    changes = [f"smtp/inet/{name}={','.join(filter(None, [asked, asked_now]))}"]
    if stage in _EARLY:
        changes.append(f"smtp/inet/{_AT_ONCE}=no")
    _change(lab, node, ["-P"], changes)


def present(lab: Lab, node: str, stage: str, server: str, id: str) -> bool:
    """Whether `add` is in force."""
    _, overrides = _now(lab, node, stage)
    return ask(server, id) in overrides.get(STAGES[stage], "")


def remove(lab: Lab, node: str, stage: str, server: str, id: str) -> None:
    """Undo `add`."""
    own, overrides = _now(lab, node, stage)
    name, asked = STAGES[stage], ask(server, id)
    if asked in overrides.get(name, ""):
        rest = overrides[name].replace(asked, "").replace(",,", ",").strip(",")
        if rest and rest != own:
            _change(lab, node, ["-P"], [f"smtp/inet/{name}={rest}"])
        else:
            _change(lab, node, ["-PX"], [f"smtp/inet/{name}"])
    # Also if only this was left to be done by who was killed in between.
    early = [overrides.get(STAGES[one], "").replace(asked, "") for one in _EARLY]
    needed = any("policy_context=" in one for one in early)
    if stage in _EARLY and _AT_ONCE in overrides and not needed:
        _change(lab, node, ["-PX"], [f"smtp/inet/{_AT_ONCE}"])


def _now(lab: Lab, node: str, stage: str) -> tuple[str, dict[str, str]]:
    """What main.cf asks at `stage`, and what master.cf has instead for port 25, without blanks."""
    said = inside.script(lab, node, "reading the settings of Postfix", _READ, STAGES[stage])
    own, *lines = said.split("\n\n", 1)
    pairs = (line.partition(" ") for line in "".join(lines).splitlines())
    return ",".join(own.replace(",", " ").split()), {name: value for name, _, value in pairs}


def _change(lab: Lab, node: str, how: Sequence[str], changes: Sequence[str]) -> None:
    text = f'postconf "$@"; {_CHANGED}; postfix reload'
    inside.script(lab, node, "changing the settings of Postfix", text, *how, *changes)
