"""Words that others wrote, made fit to be printed: nothing in them acts instead of saying.

A subject, a line of a log, a reply: each may hold what makes a terminal write its title anew, hides
a word, or looks like one more line of ours. A sign stands for all that is not seen by itself.
"""

from __future__ import annotations

import re

# Control characters but tab and line feed; what turns the direction of writing or has no width;
# line separators; halves of a character; and what is no character at all.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_BREAKS = str.maketrans({"\t": "␉", "\n": "␊"})


def visible(text: str) -> str:
    """`text` with a sign for each character that would not be seen, or would do something.

    Tabs and line feeds stay.
    """
    return _UNSEEN.sub(_sign, text)


def in_line(text: str) -> str:
    """`text` as part of a line: visible, and with signs for tabs and line feeds, too."""
    return visible(text).translate(_BREAKS)


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)  # ␛ for escape
    if code == 0x7F:
        return "␡"
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps an octet that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"⟨U+{code:04X}⟩"
