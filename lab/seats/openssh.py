"""The seats for the user's own OpenSSH: a configuration (ssh_config(5)) that stays good.

ssh starts `lab ssh --stdio`, which is its line to the machine, and which first sees to it that the
files named in the configuration hold the keys of the lab that is up now.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from lab.seats.keys import Keys
from lab.seats.seat import Seat


def folder(lab: str) -> Path:
    """Where the keys of a lab lie on this machine for ssh to read (XDG Base Directory)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local/state"
    return base / "maillab" / lab


def store(lab: str, keys: Keys) -> None:
    """Have the keys lie where the configuration says; for their owner alone."""
    place = folder(lab)
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o700)
    _write(place / "key", keys.user)
    _write(place / "known_hosts", f"{_alias(lab)} {keys.host_public}\n")


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: somebody may be reading it."""
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)


def forget(lab: str) -> None:
    """Remove what was stored for a lab that is no more."""
    shutil.rmtree(folder(lab), ignore_errors=True)


def configuration(lab: str, seats: list[Seat]) -> str:
    """A file for `ssh -F`: each PC is a host, and so is each person whose name is theirs alone.

    In a lab that is not called `lab`, names end in its: `receiver-pc.NAME`.
    """
    suffix = "" if lab == "lab" else f".{lab}"
    logins = [seat.login for seat in seats]
    hosts: dict[str, Seat] = {}
    for seat in seats:
        hosts.setdefault(seat.node, seat)  # whoever is the first there
    for seat in seats:
        if logins.count(seat.login) == 1:
            hosts.setdefault(seat.login, seat)
    parts = [
        f"Host {host}{suffix}\n    User {seat.login}\n    ProxyCommand {_proxy(lab, seat.node)}\n"
        for host, seat in hosts.items()
    ]
    place = folder(lab)
    return (
        f"# The seats of the lab '{lab}', by `lab ssh-config`. Good for each lab of this name.\n"
        + "".join(parts)
        + f"Host {' '.join(f'{host}{suffix}' for host in hosts)}\n"
        f"    HostKeyAlias {_alias(lab)}\n"
        f'    UserKnownHostsFile "{place / "known_hosts"}"\n'
        "    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
        f'    IdentityFile "{place / "key"}"\n'
        "    IdentitiesOnly yes\n"
        "    IdentityAgent none\n"
    )


def _alias(lab: str) -> str:
    return f"maillab-{lab}"


def _proxy(lab: str, node: str) -> str:
    """What ssh has its shell run; a % would be one of its own signs."""
    engine = os.environ.get("DOCKER_HOST")
    started = Path(sys.argv[0])
    tool = [str(started.resolve())] if started.name == "lab" else [sys.executable, "-m", "lab"]
    argv = [*(["env", f"DOCKER_HOST={engine}"] if engine else []), *tool]
    return shlex.join([*argv, "--lab", lab, "ssh", "--stdio", node]).replace("%", "%%")
