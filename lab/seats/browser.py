"""The user's own browser, in somebody's chair: all it fetches comes by way of their PC.

It is given a profile of its own, which is gone afterwards: no cookie, no password and no page of
the user's is in it, and nothing of the lab stays.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

# The names under which they are installed, the likelier first; macOS has them elsewhere.
CHROMIUM = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)  # fmt: skip
FIREFOX = ("firefox", "firefox-esr", "/Applications/Firefox.app/Contents/MacOS/firefox")
# Firefox: everything by the proxy, names included, and not a word to its maker.
_PREFERENCES = {
    "network.proxy.type": "1",
    "network.proxy.socks": '"127.0.0.1"',
    "network.proxy.socks_version": "5",
    "network.proxy.socks_remote_dns": "true",
    "network.proxy.no_proxies_on": '""',
    "network.captive-portal-service.enabled": "false",
    "network.connectivity-service.enabled": "false",
    "browser.shell.checkDefaultBrowser": "false",
    "browser.aboutwelcome.enabled": "false",
    "datareporting.policy.dataSubmissionEnabled": "false",
    "dom.security.https_first": "false",
    "app.update.enabled": "false",
}
_LAST_LINES = 5


def installed(wanted: str | None = None) -> str:
    """The browser there is (or `wanted`, a program). Raises LabError if there is none."""
    for name in (wanted,) if wanted else (*CHROMIUM, *FIREFOX):
        if found := shutil.which(name):
            return found
    raise LabError(
        f"there is no browser '{wanted}' on this machine"
        if wanted
        else "there is neither Chromium (or a kin of it) nor Firefox on this machine",
        hint="lab forward --socks 1080, and have your browser use it as its SOCKS 5 proxy",
    )


@contextmanager
def opened(browser: str, url: str, port: int, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The browser runs, with the SOCKS port `port` as its only way out, while the block does.

    Its profile is in `place`. It ends with us, however we end; on Linux, that is.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix="browser-", dir=place, ignore_cleanup_errors=True
    ) as home:
        if "firefox" in Path(browser).name.lower():
            argv = _firefox(browser, Path(home), port)
        else:
            argv = _chromium(browser, Path(home), port)
        silent = subprocess.DEVNULL
        with (Path(home) / "said").open("wb+") as said:
            program = subprocess.Popen(
                [*argv, url], stdin=silent, stdout=silent, stderr=said, preexec_fn=_with_us()
            )
        try:
            yield program
            if program.poll():
                words = (Path(home) / "said").read_text(errors="replace").splitlines()
                raise LabError(
                    f"{browser} ended with status {program.returncode}",
                    detail="\n".join(words[-_LAST_LINES:]),
                    hint="lab forward --socks 1080, and use a browser on the machine you sit at",
                )
        finally:
            program.terminate()
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _with_us() -> Callable[[], None] | None:
    """What a program has to do before it begins, to be ended when we are (prctl(2))."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def ask() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    return ask


def _chromium(browser: str, home: Path, port: int) -> list[str]:
    return [
        browser,
        f"--user-data-dir={home}",
        f"--proxy-server=socks5://127.0.0.1:{port}",
        # Else it would not send what is for 127.0.0.1 by the proxy, nor keep from asking the DNS.
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        # Its sandbox refuses to be root's; there is nothing but the lab to be kept out.
        *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]


def _firefox(browser: str, home: Path, port: int) -> list[str]:
    told = _PREFERENCES | {"network.proxy.socks_port": str(port)}
    lines = (f'user_pref("{name}", {value});\n' for name, value in told.items())
    (home / "user.js").write_text("".join(lines))
    return [browser, "--no-remote", "--profile", str(home)]
