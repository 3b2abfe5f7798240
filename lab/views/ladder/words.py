"""Short labels for what was said. The whole of it is never far: items carry both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PATH = re.compile(r"^((?:MAIL FROM|RCPT TO):\s*<[^>]*>)", re.IGNORECASE)
_AUTH = re.compile(r"^((?:\S+ )?AUTH(?:ENTICATE)?(?: \S+)?) \S+$", re.IGNORECASE)
_TO_WHOM = re.compile(r"^connect to [^:]*\]:\d+: ")
_SAID = re.compile(r"^host \S+ said: ")
_LONGEST = 56  # letters of a label
_SUSPENDED = "delivery temporarily suspended: "


def turn(summary: str, data: Mapping[str, Any], *, dotted: bool = False) -> str:
    """The label of something said."""
    if data["what"] == "content":
        noun = {"http": "body", "imap": "literal"}.get(data["protocol"], "message")
        cut = "" if data["complete"] else ", cut off"
        dot = ", then “.”" if dotted and data["complete"] else ""
        return f"{noun}, {data['size']} octets{cut}{dot}"
    if data["what"] == "auth":
        return "(AUTH: …)"
    if found := _PATH.match(summary) or _AUTH.match(summary):
        return f"{found[1]} …" if found.re is _AUTH else str(found[1])
    return summary if len(summary) <= _LONGEST else f"{summary[: _LONGEST - 1].rstrip()}…"


def answer(summary: str, data: Mapping[str, Any]) -> str:
    """The label of an answer of the DNS: its first record, without the name that was asked for."""
    records = [str(record) for record in data["answers"] if not record.startswith("(")]
    if not records:
        return summary
    first = records[0].removeprefix(f"{data['name']} ")
    return first + (f" (+{len(records) - 1})" if len(records) > 1 else "")


def reason(text: str) -> str:
    """Why an attempt was in vain, without whom it was about."""
    if text.startswith(_SUSPENDED):
        return "not tried, others just failed"
    return _SAID.sub("", _TO_WHOM.sub("", text))
