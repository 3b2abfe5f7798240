"""An SMTP conversation with everything in it, and the means to put any into packets."""

from __future__ import annotations

from collections.abc import Iterable

from packetbuilder import Talk

MESSAGE = "From: alice@sender.example\r\nMessage-ID: <1@sender.example>\r\n\r\nLunch?\r\n"
# One conversation with everything in it: (who, what), a burst of one side a line.
EVERYTHING = [
    ("S", "220-receiver-mail.receiver.example\r\n220 ready\r\n"),
    ("C", "EHLO sender-mail.sender.example\r\n"),
    ("S", "250-receiver-mail.receiver.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
    ("C", "AUTH LOGIN\r\n"),
    ("S", "334 VXNlcm5hbWU6\r\n"),
    ("C", "YWxpY2U=\r\n"),
    ("S", "334 UGFzc3dvcmQ6\r\n"),
    ("C", "c2VjcmV0\r\n"),
    ("S", "235 2.7.0 welcome\r\n"),
    (
        "C",
        "MAIL FROM:<alice@sender.example> SIZE=99\r\nRCPT TO:<bob@receiver.example>\r\n"
        "RCPT TO:<nobody@receiver.example>\r\nDATA\r\n",
    ),
    ("S", "250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 who?\r\n354 go on\r\n"),
    (
        "C",
        MESSAGE + "..\r\n..dots\r\n.x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@receiver.example>\r\n",
    ),
    ("S", "250 2.0.0 Ok: queued as 4ABC\r\n250 ok\r\n250 ok\r\n"),
    ("C", f"BDAT {len(MESSAGE)}\r\n{MESSAGE}BDAT 5 LAST\r\n.\r\n\r\nQUIT\r\n"),
    ("S", "250 chunk\r\n250 queued as 4DEF\r\n221 bye\r\n"),
]


def play(script: Iterable[tuple[str, str]], talk: Talk | None = None) -> Talk:
    talk = talk or Talk().shake()
    for who, text in script:
        talk.say(who, text)
    return talk
