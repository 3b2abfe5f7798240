"""Korean sentences with words and times put in: the particles, and the units."""

from __future__ import annotations

import pytest

from lab.scenarios.korean import duration, particle, written


@pytest.mark.parametrize(
    ("word", "said"),
    [
        # Hangul
        ("서버", "서버가"),
        ("메일", "메일이"),
        ("밥", "밥이"),
        # Digits, as they are said: 일 이 삼 육 십
        ("587", "587이"),
        ("25", "25가"),
        ("110", "110이"),
        ("4.2.2", "4.2.2가"),
        # What there is in a lab
        ("alice", "alice가"),
        ("bob", "bob이"),
        ("carol", "carol이"),
        ("dave", "dave가"),
        ("sender-mail", "sender-mail이"),
        ("receiver-pc", "receiver-pc가"),
        ("internet", "internet이"),
        ("router", "router가"),
        ("dns", "dns가"),
        ("web", "web이"),
        ("backup", "backup이"),
        ("bob@receiver.example", "bob@receiver.example이"),
        ("phone", "phone이"),
        ("Lunch?", "Lunch?가"),
        ("SMTP", "SMTP가"),
        ("URL", "URL이"),
        ("", "가"),
    ],
)  # fmt: skip
def test_the_particle_is_that_of_the_sound(word: str, said: str) -> None:
    assert word + particle(word, "이/가") == said


def test_each_pair_has_its_own_rule() -> None:
    said = [word + particle(word, "으로/로") for word in ("밥", "메일", "서버", "carol", "bob")]
    assert said == ["밥으로", "메일로", "서버로", "carol로", "bob으로"]
    assert "메일" + particle("메일", "과/와") == "메일과"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2h30m", "2시간 30분"),
        ("30m", "30분"),
        ("1d3h", "1일 3시간"),
        ("2.5s", "2.5초"),
        ("0s", "0초"),
        ("", ""),
        ("2h or more", "2h or more"),
        ("m", "m"),
        ("mail", "mail"),
        ("25", "25"),
    ],
)
def test_a_duration_has_korean_units(text: str, said: str) -> None:
    assert duration(text) == said


def test_a_sentence_takes_both() -> None:
    values = {"node": "sender-mail", "lasts": "30m", "subject": "At noon", "count": 3}
    text = '{node:이/가} {lasts:을/를} 기다려 "{subject:"을/를} {count}번 보낸다 ({count:02})'
    assert written(text, values) == ('sender-mail이 30분을 기다려 "At noon"을 3번 보낸다 (03)')
    with pytest.raises(KeyError):
        written("{nobody:이/가}", values)
