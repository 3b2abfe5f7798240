"""The rules about mail servers, whose domains they serve, and the people who sit at PCs.

See `check` for what a rule is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.topology.model import MailServer, Pc, Topology, size_in_bytes
from lab.topology.problem import Problem, shown, suggest

# The accounts of a Debian system with what the lab installs; a person cannot have these on a PC.
# fmt: off
ACCOUNTS = frozenset((
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
    "www-data", "backup", "list", "irc", "nobody", "sshd", "messagebus", "tcpdump", "postfix",
    "dovecot", "dovenull", "systemd-network", "systemd-timesync",
))
# fmt: on
# Postfix takes no mail where less than 1.5 times its message_size_limit (10240000) is free.
SMALLEST_QUEUE = 16 * 2**20
_OTHERS = "the domains of the others are"


def _servers(topology: Topology) -> dict[str, MailServer]:
    return {name: node for name, node in topology.nodes.items() if isinstance(node, MailServer)}


def _mailboxes(topology: Topology) -> Iterator[Problem]:
    """A domain and its users go together; only a backup MX can do without both."""
    for name, node in _servers(topology).items():
        if node.backup_for and not node.domain and not node.users:
            continue
        instead = "; a backup MX needs neither domain nor users" if node.backup_for else ""
        if not node.domain:
            hint = f"for example: domain: sender.example{instead}"
            yield Problem(("nodes", name), f"node '{name}' has no 'domain'", hint)
        if not node.users:
            hint = f"for example: users: {{alice: {{password: wonderland}}}}{instead}"
            if "users" in node.model_fields_set:
                what = f"'users' of node '{name}' is empty"
                yield Problem(("nodes", name, "users"), what, hint)
            else:
                yield Problem(("nodes", name), f"node '{name}' has no 'users'", hint)


def _domains(topology: Topology) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, node in _servers(topology).items():
        if node.domain and owners.setdefault(node.domain, name) != name:
            what = f"domain {node.domain} belongs to node '{owners[node.domain]}' already"
            hint = f"a second server can only stand in for it: backup_for: [{node.domain}]"
            yield Problem(("nodes", name, "domain"), what, hint)


def _backups(topology: Topology) -> Iterator[Problem]:
    servers = _servers(topology)
    for name, node in servers.items():
        others = [one.domain for one in servers.values() if one.domain not in (None, node.domain)]
        for index, domain in enumerate(node.backup_for):
            path = ("nodes", name, "backup_for", index)
            if domain == node.domain:
                what = f"node '{name}' cannot stand in for itself: {domain} is its own domain"
                yield Problem(path, what, suggest(domain, others, _OTHERS, alike=1))
            elif domain in node.backup_for[:index]:
                what = f"node '{name}' is a backup for {domain} already"
                yield Problem(path, what, "remove one of them")
            elif domain not in others:
                what = f"no other mail server has the domain {shown(domain)}"
                # All domains end in .example and are alike in that.
                hint = suggest(domain, others, _OTHERS, alike=0.8)
                yield Problem(path, what, hint)


def _queues(topology: Topology) -> Iterator[Problem]:
    for name, node in _servers(topology).items():
        if node.ram_queue and size_in_bytes(node.ram_queue) < SMALLEST_QUEUE:
            what = f"a ram_queue of {node.ram_queue} is too small: Postfix wants 15 MB to stay free"
            hint = "16M has room for 1 MB of mail, 32M for 17 MB"
            yield Problem(("nodes", name, "ram_queue"), what, hint)


def _webmail(topology: Topology) -> Iterator[Problem]:
    for name, node in _servers(topology).items():
        if node.webmail and node.backup_for and not node.users:
            what = f"web mail of node '{name}' would be nobody's: it has no mailboxes"
            yield Problem(
                ("nodes", name, "webmail"), what, "give it a domain and users, or no webmail"
            )


def _seats(topology: Topology) -> Iterator[Problem]:
    if next(_mailboxes(topology), None):
        return  # Which mailboxes are missing there nobody knows.
    mailboxes = mailboxes_of(topology)
    for pc, node in topology.nodes.items():
        if not isinstance(node, Pc):
            continue
        accounts: dict[str, str] = {}
        for index, address in enumerate(node.users):
            path = ("nodes", pc, "users", index)
            local = address.partition("@")[0]
            if address not in mailboxes:
                same = [mailbox for mailbox in mailboxes if mailbox.partition("@")[0] == local]
                if len(same) == 1:
                    hint = f"did you mean '{same[0]}'?"
                else:
                    # All addresses end in .example and are alike in that.
                    hint = suggest(address, same or mailboxes, "the mailboxes are", alike=0.8)
                yield Problem(path, f"no mail server has a mailbox '{address}'", hint)
            elif address in accounts.values():
                yield Problem(path, f"{address} has a seat at '{pc}' already", "remove one of them")
            elif local in accounts:
                what = f"{address} and {accounts[local]} cannot both sit at '{pc}'"
                hint = f"the account there is called '{local}'; seat one of them at another PC"
                yield Problem(path, what, hint)
            elif local in ACCOUNTS:
                what = f"{address} cannot sit at '{pc}'"
                hint = f"Linux has an account '{local}' of its own; rename the user"
                yield Problem(path, what, hint)
            accounts.setdefault(local, address)


def mailboxes_of(topology: Topology) -> tuple[str, ...]:
    """The mail address of every mailbox, in the order of the file."""
    servers = _servers(topology).values()
    return tuple(f"{user}@{server.domain}" for server in servers for user in server.users)


RULES: tuple[Callable[[Topology], Iterator[Problem]], ...] = (
    _mailboxes, _domains, _backups, _queues, _webmail, _seats,
)  # fmt: skip
