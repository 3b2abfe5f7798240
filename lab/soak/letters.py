"""The mail of a soak: who writes what to whom, and when. The same seed gives the same letters."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

FORMS = ("plain", "korean", "attachment", "alternative")
DIGEST = "X-Soak-Digest"
_LARGEST = 100_000  # octets of content; sizes are spread evenly over the orders of magnitude
_SMALLEST = 100
_TEXT = "The quick brown fox jumps over the lazy dog. "
_KOREAN = "다람쥐 헌 쳇바퀴에 타고파. "


@dataclass(frozen=True)
class Letter:
    """A message to be sent `at` so many real seconds after the beginning."""

    number: int
    at: float
    sender: str
    recipients: tuple[str, ...]
    form: str
    size: int
    message_id: str

    @property
    def subject(self) -> str:
        """What its subject line says."""
        return f"Letter {self.number}"

    def written(self) -> bytes:
        """The message as it is submitted: 7-bit, lines ended by CRLF (RFC 5321 §2.3.8).

        Its header says what its body is (`digest`), so that one can tell whether that has arrived.
        """
        message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
        message["Date"] = format_datetime(datetime.now(UTC))
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Subject"] = self.subject
        message["Message-ID"] = self.message_id
        octets = random.Random(self.number).randbytes  # noqa: S311  reproducible, not secret
        match self.form:
            case "korean":
                message.set_content(_filled(_KOREAN, self.size // 3))
            case "attachment":
                message.set_content("An image is attached.\n")
                message.add_attachment(octets(self.size), "image", "png", filename="picture.png")
            case "alternative":
                text = _filled(_TEXT, self.size // 2)
                message.set_content(text)
                message.add_alternative(f"<p>{text}</p>\n", subtype="html")
            case _:
                message.set_content(_filled(_TEXT, self.size))
        content = message.as_bytes()
        _, _, body = content.partition(b"\r\n\r\n")
        return f"{DIGEST}: {digest(body)}\r\n".encode() + content


def digest(body: bytes) -> str:
    """A body in short (SHA-256), whatever its lines are ended by."""
    return hashlib.sha256(body.replace(b"\r\n", b"\n").rstrip(b"\n")).hexdigest()


def _filled(text: str, size: int) -> str:
    lines = [text.strip()] * max(1, size // len(text))
    return "\n".join(lines) + "\n"


def letters(people: Sequence[str], *, seed: int, count: int, seconds: float) -> list[Letter]:
    """`count` letters among `people` (addresses), spread over `seconds` of real time."""
    chance = random.Random(f"letters {seed}")  # noqa: S311  reproducible, not secret
    moments = sorted(chance.uniform(0, seconds) for _ in range(count))
    found = []
    for number, at in enumerate(moments, 1):
        sender = chance.choice(people)
        others = [one for one in people if one != sender]
        recipients = chance.sample(others, min(len(others), chance.choice((1, 1, 1, 2, 3))))
        size = round(_SMALLEST * (_LARGEST / _SMALLEST) ** chance.random())
        identity = f"<soak-{seed}-{number}@{sender.partition('@')[2]}>"
        form = chance.choice(FORMS)
        found.append(Letter(number, at, sender, tuple(recipients), form, size, identity))
    return found
