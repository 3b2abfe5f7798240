"""The guises in which a password is looked for in what was sent."""

from __future__ import annotations

import base64

import pytest

from lab.scenarios.mailprogram import guises

SECRET = "builder"


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
def test_a_password_is_found_wherever_it_stands_in_base64(before: int, after: int) -> None:
    sent = base64.b64encode(b"n" * before + SECRET.encode() + b"\n" * after)
    seen = [name for name, guise in guises(SECRET).items() if guise in sent]
    assert seen == [f"in base64 ({before % 3})"]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"PASS builder\r\n", "as it is"),
        (b"PASS 6275696c646572\r\n", "hexadecimal"),
        (b"PASS 6275696C646572\r\n", "HEXADECIMAL"),
        (b"P\0b\0u\0i\0l\0d\0e\0r\0\r\0", "in UTF-16"),
    ],
)
def test_a_password_is_found_in_other_guises(sent: bytes, name: str) -> None:
    assert [one for one, guise in guises(SECRET).items() if guise in sent] == [name]


def test_another_password_is_not_found() -> None:
    sent = b"PASS bilder\r\n" + base64.b64encode(b"\0bob\0bilder")
    assert not [one for one, guise in guises(SECRET).items() if guise in sent]
