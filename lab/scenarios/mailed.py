"""A page with pictures as one message (RFC 2387): pushed by who has it, pulled by who reads it."""

from __future__ import annotations

import time
from email.message import EmailMessage
from typing import TYPE_CHECKING

from lab.scenarios.legs import Leg, decoded, high, leaves, legs
from lab.scenarios.pages import PAGE, Page, Visit, called, ends
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage

_POP3 = 110


def compose(sender: Person, to: Person, page: Page, subject: str) -> EmailMessage:
    """The page and its pictures as one message, a part each (RFC 2387); RFC 2392 has the names."""
    written = sender.compose(to, subject)
    names = {name: f"{name}@{sender.address.partition('@')[2]}" for name in page.files}
    html = page.files[PAGE].decode()
    for name, identity in names.items():
        html = html.replace(f'src="{name}"', f'src="cid:{identity}"')
    written.set_content(html, subtype="html")
    for name, octets in page.files.items():
        if name != PAGE:
            written.add_related(octets, "image", "png", cid=f"<{names[name]}>", filename=name)
    written.set_param("type", "text/html")
    return written


def pushed(stage: Stage, message: Message, page: Page) -> Leg:
    """Who had the page opened the connections: one on each leg, one message in it, a part a file.

    The second leg, of which sizes can be told.
    """
    both = legs(stage, message)
    seat = stage.person(message.sender).seat
    others = called(stage, seat, both[0].call.dialogue.opened.time)
    parts = [_parts(leg.content) for leg in both]
    pictures = _pictures_of(page)
    stage.check(
        "SMTP pushes",
        "whoever has the message sends the SYN: 1 connection on each leg, with 1 MAIL FROM and 1 "
        f"DATA, and all {len(page.files)} files as parts of 1 message; nobody calls {seat}",
        "; ".join(
            f"{ends([leg.call])}: {len(leg.call.commands('MAIL'))} MAIL FROM, "
            f"{len(leg.call.commands('DATA'))} DATA, {counted(len(of_it), 'part')} "
            f"({', '.join(kind for kind, _ in of_it)})"
            for leg, of_it in zip(both, parts, strict=True)
        )
        + f"; {counted(len(others), 'call')} to {seat}",
        all(
            [kind for kind, _ in of_it] == ["text/html", *(["image/png"] * len(pictures))]
            and [octets for _, octets in of_it[1:]] == pictures
            for of_it in parts
        )
        and all(len(leg.mail.data) == 1 and leg.mail.code == 250 for leg in both)
        and all(len(leg.call.said("MAIL")) == len(leg.call.said("DATA")) == 1 for leg in both)
        and not others,
        [*(one for leg in both for one in (leg.call.syn, *leg.evidence)), *others],
    )
    return both[1]


def weighed(stage: Stage, visit: Visit, leg: Leg) -> str:
    """The message is larger than all responses together, by what base64 adds; how many times."""
    mailed = len(leg.content)
    factor = f"{mailed / visit.size:.2f}"
    stage.check(
        "octets",
        "mailed, the page is larger than fetched: all of it has to be 7-bit text",
        f"{visit.size:,} octets in {counted(len(visit.exchanges), 'response')}, "
        f"{high(b''.join(one.body.data for one in visit.exchanges)):,} of them 0x80 or "
        f"more; {mailed:,} in 1 message, {leg.high} of them: {factor} times as many",
        mailed > visit.size and not leg.high,
        [*(visit.calls[0].turn(one.head) for one in visit.exchanges), *leg.evidence],
    )
    return factor


def fetched(stage: Stage, message: Message, by: Person, page: Page) -> None:
    """`by` calls their server, and pulls the message from there by POP3: every part of it."""
    began = time.time()
    reading = by.fetch(message, protocol="pop3")
    calls = stage.wire.connections(
        stage.network(by.server),
        client=stage.address(by.seat),
        server=stage.address(by.server),
        port=_POP3,
        after=began,
    )
    pictures = [octets for kind, octets in _parts(reading.content) if kind == "image/png"]
    same = pictures == _pictures_of(page)
    stage.check(
        "POP3 pulls",
        f"{by.seat} sends the SYN, to port {_POP3} of {by.server}, and gets the whole message",
        f"{ends(calls)}: {len(reading.content):,} octets with {counted(len(pictures), 'picture')}, "
        f"{'the same' if same else 'NOT the same'} as on {page.server}",
        len(calls) == 1 and same and reading.message_id == message.message_id,
        list(reading.evidence),
    )


def _pictures_of(page: Page) -> list[bytes]:
    return [octets for name, octets in page.files.items() if name != PAGE]


def _parts(content: bytes) -> list[tuple[str, bytes]]:
    """The type of each part of a message that is none of parts itself, and its octets, decoded."""
    return [(part.get_content_type(), decoded(part)) for part in leaves(content)]
