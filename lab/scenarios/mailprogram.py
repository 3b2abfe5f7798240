"""A mail program that logs in to a mailbox by itself, and the words it may hide a password in."""

from __future__ import annotations

import base64
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.engine.exec import Result
from lab.scenarios.devices import PORTS
from lab.scenarios.wire import Connection

if TYPE_CHECKING:
    from lab.observe.maillog import LogLine
    from lab.scenarios.people import Person
    from lab.scenarios.stage import Stage


@dataclass(frozen=True)
class Login:
    """How a mail program called, how it ended, and the line its server has written of it."""

    call: Connection
    done: Result
    line: LogLine


def login(
    stage: Stage,
    person: Person,
    protocol: str,
    *options: str,
    notes: str = "Logged in: ",
    certificate: bytes = b"",
) -> Login:
    """Somebody's curl logs in, with name and password from ~/.netrc, and lists what is there.

    Waits until the call is over, and the server has written a line in which stands what it `notes`.
    """
    host = stage.lab.plan.site.hostname(person.server)
    argv = ["curl", "--silent", "--show-error", "--netrc", *options, f"{protocol}://{host}/"]
    with stage.audience.acting():
        began = time.time()
        done = stage.lab.run(
            person.seat, ["bash", "-lc", shlex.join(argv)], stdin=certificate, user=person.name
        )
        call = stage.until(
            "the call is in the capture", lambda: _over(stage, person, protocol, began)
        )
        stage.log.add(
            "action",
            f"{person.name}'s mail program logs in by {protocol.upper()}: {shlex.join(argv)}",
            node=person.seat,
            when=began,
            data={"evidence": [call.syn.as_json()], "by": person.address, "protocol": protocol},
        )

    def noted() -> LogLine | None:
        for line in stage.look(person.server):
            if line.time > began and f"{protocol}-login: " in line.text and notes in line.text:
                return line
        return None

    return Login(call, done, stage.until(f"{person.server} has noted '{notes}'", noted))


def _over(stage: Stage, person: Person, protocol: str, since: float) -> Connection | None:
    """The call since then, once it is closed."""
    for call in stage.wire.connections(
        stage.network(person.server),
        client=stage.address(person.seat),
        server=stage.address(person.server),
        port=PORTS[protocol],
        after=since,
    ):
        with call.lock:
            if len(call.dialogue.stream.fins) == 2 or call.dialogue.stream.reset:
                return call
    return None


def guises(secret: str) -> dict[str, bytes]:
    """What `secret` may look like in what is sent: as it is, and encoded.

    In base64 it looks in three ways, by where in what is encoded it begins; the characters at its
    ends, which are its neighbours' too, are left out.
    """
    raw = secret.encode()
    found = {
        "as it is": raw,
        "in UTF-16": secret.encode("utf-16-le"),
        "hexadecimal": raw.hex().encode(),
        "HEXADECIMAL": raw.hex().upper().encode(),
    }
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        found[f"in base64 ({before})"] = whole[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
    return found
