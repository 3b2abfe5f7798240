CAPABILITIES: dict[str, tuple[str, ...]] = {
    k: (
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SYS_CHROOT",
        "SETFCAP",
    )
    for k in ("mail-server", "dns", "pc", "router")
} | {"fabric": ("NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "NET_RAW")}
