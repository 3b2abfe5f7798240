"""Is everything here that a lab needs? Asked of the engine, the disk and the kernel itself.

What the kernel can do is not looked up but tried, in a container like the fabric's that is
removed again: a kernel's version says little about it, and with a remote engine it is not even
this machine's kernel. It need not do much: what spoils a line (netem elsewhere, which WSL2 and
many virtual machines lack) is done by the lab's own box (images/fabric/box.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab.engine import images
from lab.engine.capabilities import CAPABILITIES
from lab.engine.client import LABEL_KIND, client
from lab.engine.containers import find
from lab.engine.provision import decide, look
from lab.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

State = Literal["ok", "missing", "warning"]

LAB_RANGES = tuple(map(ip_network, ("198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")))
_NEEDED_BYTES = 2 * 10**9
_OLDEST_API = (1, 41)  # Docker 20.10: from there on a container may open ports below 1024
_PROBE = "probe"
_PROBE_SECONDS = 30


@dataclass(frozen=True)
class Finding:
    """One check: `missing` means no lab can run, `warning` that something is less than it could be.

    `meaning` says what was found, `advice` what to do about it (empty if nothing).
    """

    check: str
    state: State
    meaning: str
    advice: str = ""


def examine() -> list[Finding]:
    """Everything, in the order in which to repair it. Makes one container and removes it."""
    try:
        engine = client()
    except EngineError as error:
        return [_no_engine(error)]
    absent = images.missing(engine, [image.name for image in images.IMAGES if image.common])
    findings = [
        _engine(engine),
        _storage(engine),
        *_disk(engine),
        _images(absent),
        _networks(engine),
        _leftovers(),
    ]
    if any(image.name == "fabric" for image in absent):
        unknown = "not tried: it takes the image fabric"
        return [*findings, Finding("kernel", "missing", unknown, "lab images build")]
    return findings + _kernel(engine)


def _no_engine(error: EngineError) -> Finding:
    """Whether `--fix` can see to an engine, or what the user has to do."""
    try:
        decide(look())
    except EngineError as better:
        return Finding("engine", "missing", better.what, better.hint or "")
    return Finding("engine", "missing", error.what, "lab doctor --fix")


def _engine(engine: DockerClient) -> Finding:
    version = engine.version()
    api = tuple(map(int, version["ApiVersion"].split(".")))
    text = f"Docker {version['Version']}, API {version['ApiVersion']}, on {version['Os']}"
    if api < _OLDEST_API:
        return Finding("engine", "missing", text, "install Docker 20.10 or newer")
    return Finding("engine", "ok", text)


def _storage(engine: DockerClient) -> Finding:
    driver = engine.info()["Driver"]
    if driver == "vfs":
        advice = "give Docker a disk that overlay2 works on (ext4, xfs)"
        return Finding("storage", "warning", "vfs copies every image whole: slow, large", advice)
    return Finding("storage", "ok", driver)


def _disk(engine: DockerClient) -> list[Finding]:
    """Free space where the engine keeps its images, if that is on this machine."""
    root = Path(engine.info()["DockerRootDir"])
    if not os.environ.get("DOCKER_HOST", "unix:").startswith("unix:") or not root.is_dir():
        return []
    free = shutil.disk_usage(root).free
    text = f"{free / 1e9:.1f} GB free in {root}"
    if free < _NEEDED_BYTES:
        advice = f"make room: a lab needs {_NEEDED_BYTES / 1e9:.0f} GB"
        return [Finding("disk", "missing", text, advice)]
    return [Finding("disk", "ok", text)]


def _images(absent: list[images.Image]) -> Finding:
    if not absent:
        return Finding("images", "ok", "all that every lab needs are current")
    names = ", ".join(image.name for image in absent)
    return Finding("images", "missing", f"absent or out of date: {names}", "lab images build")


def _networks(engine: DockerClient) -> Finding:
    """Docker networks with the labs' addresses: harmless to the labs, confusing to people."""
    clashes = [
        f"{network['Name']} ({subnet})"
        for network in engine.api.networks()
        for config in (network.get("IPAM") or {}).get("Config") or ()
        if ":" not in (subnet := config.get("Subnet") or "::")
        and any(ip_network(subnet, strict=False).overlaps(reserved) for reserved in LAB_RANGES)
    ]
    if clashes:
        return Finding(
            "networks",
            "warning",
            f"this machine uses addresses that labs use: {', '.join(clashes)}; labs don't mind",
            "docker network rm it, if traces with the same addresses confuse you",
        )
    return Finding("networks", "ok", "no Docker network has the labs' addresses")


def _leftovers() -> Finding:
    """Labs without a running fabric have no wires: what a killed `lab up` or `down` leaves."""
    containers = find()
    whole = {
        c.lab for c in containers if c.labels.get(LABEL_KIND) == "fabric" and c.state == "running"
    }
    broken = sorted({c.lab for c in containers} - whole)
    if broken:
        advice = "; ".join(f"lab --lab {name} down" for name in broken)
        return Finding("leftovers", "warning", f"labs without wires: {', '.join(broken)}", advice)
    return Finding("leftovers", "ok", "no lab is half there")


@dataclass(frozen=True)
class _Feature:
    """Something the kernel must do: shell `commands` that succeed if it does."""

    check: str
    commands: str
    what: str
    without: str
    advice: str = "run the lab on a kernel that has it"
    state: State = "missing"


_WARN: State = "warning"
_BOX = """python3 -c '
import socket
for name in ("p0", "p1"):
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).bind((name, 0))'"""

_FEATURES = (
    _Feature(
        "wires",
        "ip link add p0 type veth peer name p1 && ip link add b0 type bridge"
        " && ip link set p0 master b0 up && ip link set p1 up && ip link set b0 up",
        "bridges and cables (veth)",
        "no wires, so no lab",
    ),
    _Feature(
        "box",
        _BOX,
        "packet sockets: captures, and lines that are slow, late, lossy, or cut at the byte",
        "no captures, and no bad lines",
    ),
    _Feature(
        "firewall",
        "iptables -w -A FORWARD -p tcp -m comment --comment x -j REJECT --reject-with tcp-reset"
        " && iptables -w -A FORWARD -p tcp -m comment --comment x -j DROP",
        "iptables: firewalls in a router",
        "no faults router-drops and router-rejects",
        state=_WARN,
    ),
    _Feature(
        "routes",
        "ip route add blackhole 198.18.0.1/32 && ip route add unreachable 198.18.0.2/32",
        "routes to nowhere in a router",
        "no faults router-blackhole and router-unreachable",
        state=_WARN,
    ),
)


def _kernel(engine: DockerClient) -> list[Finding]:
    try:
        said = _probe(engine)
    except EngineError as error:
        return [Finding("kernel", "missing", error.what, error.hint or "")]
    findings = []
    for feature in _FEATURES:
        problem = said.get(feature.check, "the probe ended before it")
        if problem:
            meaning = f"{feature.without} ({problem})"
            findings.append(Finding(feature.check, feature.state, meaning, feature.advice))
        else:
            findings.append(Finding(feature.check, "ok", feature.what))
    return findings


def _probe(engine: DockerClient) -> dict[str, str]:
    """Each feature's complaint, empty if it works. Raises EngineError if no fabric can run."""
    from docker.errors import APIError, DockerException

    script = "\n".join(
        f'said=$( {{ {feature.commands}; }} 2>&1 ) && said= || said="${{said:-no}}"\n'
        f'printf \'%s\\t%s\\n\' {feature.check} "$(echo "$said" | head -n 1)"'
        for feature in _FEATURES
    )
    _remove_probes(engine)
    api = engine.api
    try:
        identity = ""
        try:
            identity = api.create_container(
                images.by_name("fabric").tag,
                command=["sh", "-c", script],
                labels={LABEL_KIND: _PROBE},
                host_config=api.create_host_config(
                    network_mode="none",
                    pid_mode="host",
                    init=True,
                    cap_drop=["ALL"],
                    cap_add=list(CAPABILITIES["fabric"]),
                    security_opt=["apparmor=unconfined"],
                ),
            )["Id"]
            api.start(identity)
            api.wait(identity, timeout=_PROBE_SECONDS)
            output = api.logs(identity, stdout=True, stderr=False).decode(errors="replace")
        finally:
            if identity:
                api.remove_container(identity, force=True)
    except APIError as error:
        raise EngineError(
            f"the engine refuses the fabric: {error.explanation or error}",
            hint="it takes --pid host and the capabilities " + ", ".join(CAPABILITIES["fabric"]),
        ) from error
    except (DockerException, OSError) as error:
        raise EngineError(f"the probe of the kernel failed: {error}") from error
    return dict(line.split("\t", 1) for line in output.splitlines() if "\t" in line)


def _remove_probes(engine: DockerClient) -> None:
    """Remove what an earlier doctor left when it was killed; one running may be at work."""
    from docker.errors import APIError

    found: list[dict[str, Any]] = engine.api.containers(
        all=True, filters={"label": f"{LABEL_KIND}={_PROBE}", "status": "exited"}
    )
    for container in found:
        with contextlib.suppress(APIError):
            engine.api.remove_container(container["Id"], force=True)
