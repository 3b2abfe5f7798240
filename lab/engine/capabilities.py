"""What each kind of node may do: everything is dropped (cap_drop ALL) and only this is added.

Found by taking one away at a time (images/README.md says what then breaks). Ports below 1024 need
no NET_BIND_SERVICE: Docker lets a container with its own network namespace open them.
"""

from __future__ import annotations

# root in a node is root to a student: reads every home, ends every program, watches the wire.
_ROOT = (
    "CHOWN",  # tcpdump -w as root gives its file to the user tcpdump
    "DAC_OVERRIDE",  # root reads a home or a mailbox that is not its own
    "KILL",  # root ends what runs as someone else, a tcpdump for instance
    "NET_RAW",  # ping, traceroute, tcpdump
    "SETGID",  # tcpdump, as root, becomes the user tcpdump
    "SETUID",
)

CAPABILITIES: dict[str, tuple[str, ...]] = {
    # Postfix and Dovecot: CHOWN and DAC_OVERRIDE for Dovecot's sockets, among them those in
    # Postfix's private folder; SETUID and SETGID because every service has its own user;
    # SYS_CHROOT for Dovecot's login processes.
    "mail-server": (*_ROOT, "SYS_CHROOT"),
    # sshd: SYS_CHROOT for the part that speaks before login, SETUID and SETGID for the one after,
    # CHOWN for the terminal, AUDIT_WRITE because root's sshd refuses a terminal it can't report.
    "pc": (*_ROOT, "AUDIT_WRITE", "SYS_CHROOT"),
    "dns": _ROOT,
    # nginx: SETUID and SETGID for who answers, who is not root; CHOWN for that one's folders.
    "web-server": _ROOT,
    # A router's administrator may look at its rules ("nft list ruleset") and routes, and set them.
    "router": (*_ROOT, "NET_ADMIN"),
    # Gives new nodes their files (CHOWN), makes bridges and cables (NET_ADMIN), enters the nodes'
    # network namespaces (SYS_ADMIN, and SYS_PTRACE to find them under /proc), listens on cables
    # and asks nodes (NET_RAW).
    "fabric": ("CHOWN", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"),
}
