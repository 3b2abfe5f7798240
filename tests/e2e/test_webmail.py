"""A letter from browser to browser, in a real one: Chromium at Alice's PC, and at Bob's (N19).

What the browsers show is read off their pages; what carried it, off the lab's own record of its
wires.
"""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import sys
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.engine.lab import Lab
from lab.observe.packets import ACK, SYN, Tcp, decode
from lab.observe.pcap import read_frames
from lab.seats.forward import Wanted, forwarding
from lab.seats.seat import find
from lab.seats.ssh import connect
from lab.services import dovecot

pytestmark = pytest.mark.topology("webmail", time_scale=600)

ALICE, BOB = "alice@sender.example", "bob@receiver.example"
SENDER_PC, SENDER_MAIL = "198.51.100.10", "198.51.100.25"
RECEIVER_PC, RECEIVER_MAIL = "203.0.113.10", "203.0.113.25"
RELAY = (SENDER_MAIL, RECEIVER_MAIL, 25)
TEXT = "점심 같이 먹을래요? 사진도 보냅니다."
CHUNK = re.compile(rb"\r\n[0-9a-f]+\r\n")  # RFC 9112 §7.1
expect.set_options(timeout=30_000)
WIDTH, HEIGHT, COLOUR = 64, 48, (200, 30, 90)


def picture() -> bytes:
    """A PNG (RFC 2083), all of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack("!I", len(data)) + checked + struct.pack("!I", zlib.crc32(checked))

    rows = (b"\0" + bytes(COLOUR) * WIDTH) * HEIGHT
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack("!2I5B", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows, 0))
        + chunk(b"IEND", b"")
    )


@contextlib.contextmanager
def at_the_pc_of(user: str, lab: Lab, browser: Browser, language: str) -> Iterator[Page]:
    """A page of a browser whose every connection starts at the user's PC."""
    with (
        connect(lab, find(lab.plan.topology, user)) as seated,
        forwarding(seated, [Wanted(0)]) as (port,),
    ):
        proxy = {"server": f"socks5://127.0.0.1:{port.port}"}
        context = browser.new_context(proxy=proxy, locale=language)
        try:
            yield context.new_page()
        finally:
            context.close()


def log_in(page: Page, url: str, user: str, password: str) -> None:
    page.goto(url)
    page.fill("input[name=_user]", user)
    page.fill("input[name=_pass]", password)
    page.click("#rcmloginsubmit")
    ready(page, "compose")


def ready(page: Page, command: str) -> None:
    """Wait until its button would do something: when the page is set up, and has loaded."""
    page.wait_for_function(
        "command => window.rcmail && rcmail.commands[command] && !rcmail.busy", arg=command
    )


def test_alice_writes_and_bob_reads_in_a_browser(
    lab: Lab, browser: Browser, tmp_path: Path
) -> None:
    began, before = time.time(), dovecot.mailbox(lab, BOB)
    subject = f"점심 {began}"
    with at_the_pc_of("alice", lab, browser, "ko-KR") as page:
        log_in(page, "http://mail.sender.example/", "alice", "wonderland")
        page.locator("a.compose:visible", has_text="쓰기").click()
        page.locator("#compose_to input").press_sequentially(f"{BOB},")
        page.fill("input[name=_subject]", subject)
        page.fill("textarea[name=_message]", TEXT)
        file = {"name": "점심.png", "mimeType": "image/png", "buffer": picture()}
        page.set_input_files("#uploadformInput", [file])
        expect(page.locator("#attachment-list li:not(.uploading)")).to_contain_text("점심.png")
        ready(page, "send")
        page.locator("button.send", has_text="보내기").click()
        while len(dovecot.mailbox(lab, BOB)) == len(before):
            assert time.time() < began + 100, "it did not arrive"
            page.wait_for_timeout(100)  # meanwhile the browser goes on

    with at_the_pc_of("bob", lab, browser, "en-US") as page:
        log_in(page, "http://mail.receiver.example/", "bob", "builder")
        page.locator("#messagelist .message", has_text=subject).dblclick()
        expect(page.get_by_title("Reply to sender")).to_have_text("Reply")
        expect(page.locator("#messagebody")).to_contain_text(TEXT)
        image = page.locator("#messagebody img, .image-attachment img").first
        expect(image).to_be_visible()
        assert image.evaluate(SEEN) == [WIDTH, HEIGHT, *COLOUR]

    only_http_smtp_and_http(lab, tmp_path, began)


# How large a picture is as it is shown, and the colour in its middle.
SEEN = """async (image) => {
    await image.decode();
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const canvas = new OffscreenCanvas(width, height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    return [width, height, ...canvas.getImageData(width / 2, height / 2, 1, 1).data.slice(0, 3)];
}"""


def only_http_smtp_and_http(lab: Lab, folder: Path, since: float) -> None:
    """What passed on the lab's wires since then: who called whom, and where the letter was."""
    sender_lan = recorded(lab, "sender-lan", folder, since)
    receiver_lan = recorded(lab, "receiver-lan", folder, since)
    assert opened(sender_lan) == {(SENDER_PC, SENDER_MAIL, 80), RELAY}
    assert opened(receiver_lan) == {(RECEIVER_PC, RECEIVER_MAIL, 80), RELAY}
    assert opened(recorded(lab, "dns-lan", folder, since)) == set()

    posted = said(sender_lan, SENDER_PC, 80)
    shown = CHUNK.sub(b"", said(receiver_lan, RECEIVER_MAIL, 80))
    assert quote_plus(TEXT).encode() in posted and picture() in posted
    assert TEXT.encode() in shown and picture() in shown
    for lan in (sender_lan, receiver_lan):
        mailed = said(lan, SENDER_MAIL, 25)
        assert max(mailed) < 128, "seven bits between the servers"
        assert b64encode(picture()) in mailed.replace(b"\r\n", b"")
    for lan in (said(sender_lan, RECEIVER_MAIL, 25), said(receiver_lan, RECEIVER_PC, 80)):
        assert TEXT.encode() not in lan and picture() not in lan, "it goes one way"


def recorded(lab: Lab, network: str, folder: Path, since: float) -> list[Tcp]:
    """The TCP segments that passed on a network since then, from the lab's own record."""
    file = folder / f"{network}.pcap"
    argv = [sys.executable, "-m", "lab", "--lab", lab.name, "capture", network, "--past"]
    subprocess.run([*argv, "-w", str(file)], capture_output=True, timeout=60, check=True)
    with file.open("rb") as stream:
        found = [decode(frame) for frame in read_frames(stream) if frame.time > since]
    return [one for one in found if isinstance(one, Tcp)]


def opened(segments: list[Tcp]) -> set[tuple[str, str, int]]:
    """Who has called whom, at which port."""
    calls = [one for one in segments if one.flags & (SYN | ACK) == SYN]
    return {(one.src, one.dst, one.dport) for one in calls}


def said(segments: list[Tcp], by: str, port: int) -> bytes:
    """All that `by` has said to, or from, `port`: each octet once, in order, call after call."""
    pieces: dict[tuple[int, str, int], dict[int, bytes]] = {}
    for one in segments:
        if one.src == by and port in (one.sport, one.dport) and one.payload:
            pieces.setdefault((one.sport, one.dst, one.dport), {})[one.seq] = one.payload
    return b"".join(found[seq] for found in pieces.values() for seq in sorted(found))
