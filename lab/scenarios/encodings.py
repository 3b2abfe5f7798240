"""What a message looks like on its way: 7-bit text whatever is in it (RFC 2045, RFC 2047), or,
where both servers agree on it (8BITMIME, RFC 6152), octets as they are.

Counted and measured are the octets that DATA carried, on each leg of a message's way: see legs.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.scenarios.legs import decoded, encoding_of, high, legs, part
from lab.units import counted

if TYPE_CHECKING:
    from lab.scenarios.people import Message, Person
    from lab.scenarios.stage import Stage

_SUBJECT = re.compile(rb"(?im)^(subject:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")


@dataclass(frozen=True)
class Growth:
    """By how much something has grown in an encoding: octets before and on the wire."""

    encoding: str
    before: int
    after: int

    @property
    def factor(self) -> str:
        """How many times as large it is."""
        return f"{self.after / self.before:.2f}"


def letter(sender: Person, to: Person, subject: str, text: str, encoding: str) -> EmailMessage:
    """What the mail program of `sender` makes of `text` if it chooses `encoding` (RFC 2045 §6)."""
    written = sender.compose(to, subject)
    if encoding == "8bit":
        written.policy = written.policy.clone(cte_type="8bit")
    written.set_content(text, cte=encoding)
    return written


def subject_encoded(stage: Stage, message: Message) -> None:
    """Its Subject is on the wire in ASCII, as words of RFC 2047, and says what it should."""
    leg = legs(stage, message)[1]
    found = _SUBJECT.search(leg.content)
    raw = found[1] if found else b""
    line = raw.decode("ascii", "backslashreplace")
    meant = str(make_header(decode_header(" ".join(line.split()).partition(": ")[2])))
    first = line.split("\r\n", 1)[0]
    stage.check(
        "subject",
        f'in ASCII, as words of RFC 2047, that mean "{message.subject}"',
        f"{' '.join(line.split())} means {meant}",
        not high(raw) and "=?utf-8?" in line and meant == message.subject,
        [*leg.call.showing(stage.folder, first), *leg.evidence],
    )


def seven_bit(stage: Stage, message: Message) -> None:
    """No octet of what DATA carries is 0x80 or more, on either leg of its way."""
    both = legs(stage, message)
    stage.check(
        "7 bits",
        "no octet of 0x80 or more behind DATA, neither to the sender's server nor from there on",
        "; ".join(f"{leg.words}: {leg.high} of {len(leg.content):,}" for leg in both),
        not any(leg.high for leg in both) and all(leg.mail.code == 250 for leg in both),
        [one for leg in both for one in leg.evidence],
    )


def grown(stage: Stage, message: Message, kind: str, before: bytes) -> Growth:
    """Its part of type `kind`, which was `before`, is as large on the wire as can be computed."""
    leg = legs(stage, message)[1]
    found = part(leg.content, kind)
    encoding, after = encoding_of(found), str(found.get_payload()).encode()
    if encoding not in _SIZES:
        raise LabError(f"the {kind} of {message.message_id} is neither base64 nor quoted-printable")
    size, reckoned = _SIZES[encoding](before, after)
    growth = Growth(encoding, len(before), len(after))
    same = decoded(found) == before
    stage.check(
        f"size in {encoding}",
        f"{len(before):,} octets make {reckoned} = {size:,}",
        f"{len(after):,} octets on the wire, {growth.factor} times as many; decoded, they are "
        f"{'the same' if same else 'NOT the same'}",
        size == len(after) and same,
        [
            *leg.call.showing(stage.folder, f"Content-Transfer-Encoding: {encoding}"),
            *leg.evidence,
        ],
    )
    return growth


def eight_bit(stage: Stage, message: Message, *, rewritten: bool) -> None:
    """Its octets of 0x80 and more pass as they are; or, `rewritten`, as far as its own server.

    Which of the two must go with what the receiver's server has offered.
    """
    both = legs(stage, message)
    first, second = both
    offered, offer = second.offers("8BITMIME")
    encoding = encoding_of(part(second.content, "text/plain"))
    if rewritten:
        expected = (
            "8 bits to the sender's server, which rewrites them: the receiver's offers no 8BITMIME"
        )
        ok = not offered and not second.agreed and not second.high and encoding != "8bit"
    else:
        expected = "8 bits on both legs, announced with BODY=8BITMIME, since both servers offer it"
        ok = offered and second.agreed and first.high == second.high and encoding == "8bit"
    stage.check(
        "8 bits, rewritten" if rewritten else "8 bits, agreed",
        expected,
        "; ".join(
            f"{leg.words}: {leg.high} of {len(leg.content):,} octets are 0x80 or more, "
            f"{'BODY=8BITMIME' if leg.agreed else 'no BODY'}"
            for leg in both
        )
        + f"; there its encoding is {encoding}",
        ok and first.agreed and first.high > 0 and all(leg.mail.code == 250 for leg in both),
        [*offer, *(one for leg in both for one in leg.evidence)],
    )


def offered(stage: Stage, message: Message) -> None:
    """Both servers offered 8BITMIME as it passed (BINARYMIME neither), and it made no use of it."""
    both = legs(stage, message)
    found = {
        keyword: [leg.offers(keyword) for leg in both] for keyword in ("8BITMIME", "BINARYMIME")
    }
    stage.check(
        "8BITMIME",
        "both servers offer it in reply to EHLO, though not BINARYMIME; nothing had need of it yet",
        "; ".join(
            f"{leg.words}: {', '.join(k for k in found if found[k][at][0]) or 'neither'} offered, "
            f"{'used' if leg.agreed else 'not used'}"
            for at, leg in enumerate(both)
        ),
        all(there for there, _ in found["8BITMIME"])
        and not any(there for there, _ in found["BINARYMIME"])
        and not any(leg.agreed for leg in both),
        [
            *(one for offers in found.values() for _, where in offers for one in where),
            *(leg.evidence[0] for leg in both),
        ],
    )


def comes_out(stage: Stage, message: Message, by: Person, text: str) -> None:
    """`by` fetches it: decoded, Subject and text are what was written."""
    read = by.fetch(message)
    subject, body = str(read.message["Subject"]), _text(read.message)
    stage.check(
        "decoded",
        f'{by.name} reads "{message.subject}" and the text as they were written',
        f'"{subject}", {counted(len(body.encode()), "octet")} of text, '
        f"{'the same' if body == text else 'NOT the same'}",
        subject == message.subject and body == text,
        list(read.evidence),
    )


def _text(message: EmailMessage) -> str:
    found = message.get_body(("plain",))
    return str(found.get_content()).replace("\r\n", "\n") if found else ""


def _base64(before: bytes, after: bytes) -> tuple[int, str]:
    """RFC 2045 §6.8: 4 letters for 3 octets, lines of 76, each with its end."""
    letters = 4 * -(-len(before) // 3)
    lines = -(-letters // 76)
    return letters + 2 * lines, f"4 × {letters // 4:,} + {lines:,} line ends × 2"


def _quoted_printable(before: bytes, after: bytes) -> tuple[int, str]:
    """RFC 2045 §6.7: 3 for an octet that is no ASCII, or an `=`; and the line ends put between."""
    quoted = high(before) + before.count(b"=")
    soft = after.count(b"=\r\n")
    size = 3 * quoted + (len(before) - quoted) + 3 * soft
    return size, f"3 × {quoted:,} + {len(before) - quoted:,} + {soft} soft line ends × 3"


_SIZES: dict[str, Callable[[bytes, bytes], tuple[int, str]]] = {
    "base64": _base64,
    "quoted-printable": _quoted_printable,
}
