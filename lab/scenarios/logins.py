"""What is expected of logins: who is let in, who can read the password, and that TLS hides it.

Without TLS all that is said is for everybody on the way to read, base64 too, in which PLAIN is sent
(RFC 4616 §2). After STLS or STARTTLS (RFC 2595) it is encrypted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.observe.packets import Tcp
from lab.scenarios.devices import Device, password_of
from lab.scenarios.evidence import Evidence, logged
from lab.scenarios.exchanges import Exchange
from lab.scenarios.mailprogram import guises, login
from lab.scenarios.wire import Connection
from lab.services import dovecot_tls
from lab.units import counted

if TYPE_CHECKING:
    from lab.observe.maillog import LogLine
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage

_UPGRADES = {"pop3": "STLS", "imap": "STARTTLS"}
_BAD_CERTIFICATE = 60  # curl(1)


@contextmanager
def tls(stage: Stage, node: str) -> Iterator[bytes]:
    """The operator of `node` gives it a certificate, and TLS, while the block runs."""
    with dovecot_tls.encrypted(stage.lab, node) as certificate:
        name = stage.lab.plan.site.hostname(node)
        stage.log.add(
            "action",
            f"the operator of {node} makes a certificate for {name} and sets ssl = yes",
            node=node,
            data={"evidence": [], "settings": {"ssl": "yes"}},
        )
        yield certificate


# --- With the right password and a wrong one -------------------------------------------------


def refused(stage: Stage, device: Device, wrong: str) -> None:
    """A wrong password: the server says no, and says so in its log."""
    done = device.log_in(wrong)
    device.hang_up()
    line, _ = device.noted(rf"{device.protocol}-login: Info: Login aborted: .*\bauth failed\b")
    took = done.reply.time - done.said.time
    stage.check(
        f"{device.protocol.upper()}: a wrong password",
        "it is refused, on the wire and in the log",
        f"{done.said.text}: {done.words}, after {took:.1f}s of real time; "
        f"{device.person.server} notes: {_words(line)}",
        not done.ok,
        [*done.evidence, logged(line)],
    )


def accepted(stage: Stage, device: Device) -> Exchange:
    """The right password: the server lets one in, and says so in its log. The command with it."""
    done = device.log_in()
    line, _ = device.noted(rf"{device.protocol}-login: Info: Logged in: .*\buser=<{device.person}>")
    device.say("QUIT" if device.protocol == "pop3" else "LOGOUT")
    stage.check(
        f"{device.protocol.upper()}: the right password",
        "it is accepted, on the wire and in the log",
        f"{done.said.text}: {done.words}; {device.person.server} notes: {_words(line)}",
        done.ok,
        [*done.evidence, logged(line)],
    )
    return done


def _words(line: LogLine) -> str:
    """What a line says of a login, without addresses."""
    return re.split(r", rip=| \(disconnected ", line.text.partition("-login: Info: ")[2])[0]


# --- On the way ------------------------------------------------------------------------------


def readable(stage: Stage, done: Exchange, secret: str) -> None:
    """The password as it crossed the wire, for everybody to read."""
    found = [
        packet for packet in done.call.packets(stage.folder) if secret.encode() in packet.payload
    ]
    stage.check(
        f"{done.call.dialogue.protocol.upper()}: readable",
        "whoever listens on the way reads the password",
        "; ".join(_place(done.call, packet, secret.encode()) for packet in found)
        or "it is nowhere",
        len(found) == 1,
        [done.call.at(packet.frame.number, done.said.text) for packet in found],
    )


def _place(call: Connection, packet: Tcp, secret: bytes) -> str:
    """Where in a capture a secret is to be read, to the octet, and the line it is in."""
    at = packet.frame.data.rfind(secret)
    [line] = [line for line in packet.payload.splitlines() if secret in line][:1]
    return (
        f"{call.file}, frame {packet.frame.number}, octets {at + 1} to {at + len(secret)}: "
        f"{line.decode(errors='replace')}"
    )


def decoded(stage: Stage, person: Person, protocol: str) -> None:
    """A mail program that says it in base64, by AUTH PLAIN: decoded, it is the same password."""
    one = login(stage, person, protocol)
    with one.call.lock:
        turns = [turn for turn in one.call.dialogue.turns if turn.side == "client"]
    said = [(turn, clear) for turn in turns if (clear := _decoded(turn.text.split(" ")[-1]))]
    secret = password_of(stage, person)
    stage.check(
        f"{protocol.upper()}: base64 is no secret",
        "what a mail program sends for PLAIN is, decoded, the name and the password",
        "; ".join(f"{turn.text} is {clear.replace(chr(0), '␀')}" for turn, clear in said)
        or "nothing that can be decoded",
        one.done.status == 0 and [clear for _, clear in said] == [f"\0{person}\0{secret}"],
        [*(one.call.turn(turn) for turn, _ in said), logged(one.line)],
    )


def _decoded(word: str) -> str | None:
    """What a word is decoded, if it is base64 with the zeros of PLAIN (RFC 4616 §2)."""
    try:
        clear = base64.b64decode(word, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return clear if clear.count("\0") == 2 else None


# --- With TLS --------------------------------------------------------------------------------


def distrusted(stage: Stage, person: Person, protocol: str) -> None:
    """A mail program that has not been handed the certificate: it ends before it says a word."""
    one = login(stage, person, protocol, "--ssl-reqd", notes="SSL_accept")
    agreed, seen = _traces(stage, one.call, person)
    said = one.done.stderr.decode(errors="replace").strip().splitlines()
    stage.check(
        f"{protocol.upper()}: a certificate that nobody vouches for",
        "a mail program that checks it ends the call, and sends no password",
        f"{said[0] if said else 'nothing'}; {person.server} notes: {_words(one.line)}; "
        f"{seen or 'no password in the capture'}",
        one.done.status == _BAD_CERTIFICATE and bool(agreed) and not seen,
        [*agreed, logged(one.line)],
    )


def hidden(stage: Stage, person: Person, protocol: str, certificate: bytes) -> None:
    """The same login with TLS: accepted, and in no encoding is the password in the capture."""
    options = ("--ssl-reqd", "--cacert", "/dev/stdin")
    one = login(stage, person, protocol, *options, certificate=certificate)
    agreed, seen = _traces(stage, one.call, person)
    packets = [packet for packet in one.call.packets(stage.folder) if packet.payload]
    dark = one.call.dialogue.encrypted
    stage.check(
        f"{protocol.upper()}: with TLS",
        f"after {_UPGRADES[protocol]} the same mail program logs in with the same password, and "
        "the capture does not have it: not as it is, nor in base64, hexadecimal or UTF-16",
        f"{person.server} notes: {_words(one.line)}, {'TLS' if _by_tls(one.line) else 'no TLS'}; "
        f"{counted(len(packets), 'frame')} with {sum(one.length for one in packets):,} octets, of "
        f"them {dark.size if dark else 0:,} encrypted: "
        f"{seen or 'the password is in none of them'}",
        one.done.status == 0 and _by_tls(one.line) and bool(agreed) and not seen,
        [*agreed, logged(one.line)],
    )


def _by_tls(line: LogLine) -> bool:
    return ", TLS, " in line.text


def _traces(stage: Stage, call: Connection, person: Person) -> tuple[list[Evidence], str]:
    """Where TLS was asked for and agreed to; and in which guise the password is seen, if it is."""
    asked = [turn for verb in _UPGRADES.values() for turn in call.said(verb)]
    agreed = [
        call.turn(turn)
        for one in asked
        if one.reply and not one.reply.failed
        for turn in (one, one.reply)
    ]
    streams: dict[str, bytes] = {}
    for packet in call.packets(stage.folder):
        streams[packet.src] = streams.get(packet.src, b"") + packet.payload
    seen = [
        name
        for name, guise in guises(password_of(stage, person)).items()
        if any(guise in stream for stream in streams.values())
    ]
    return agreed, f"the password is there, {', '.join(seen)}" if seen else ""
