"""Korean sentences in which a word or a time is put: the particle after it, and its units.

In a text, `{node:이/가}` is the word with the particle that fits its sound, and `"{subject:"을/를}`
one in quotation marks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from lab.units import DURATION_PATTERN

_UNITS = {"d": "일", "h": "시간", "m": "분", "s": "초"}
_DURATION = re.compile(DURATION_PATTERN)
_DECIMAL = re.compile(r"\d+\.\d+s")

_PARTICLE = re.compile(r"(\W*)([가-힣]+/[가-힣]+)")

_FIRST_SYLLABLE, _LAST_SYLLABLE = "가", "힣"
_FINALS = 28  # of which the first is none, and the ninth ㄹ
_RIEUL = 8
# How the last sound of a digit is written: 영 일 이 삼 사 오 육 칠 팔 구.
_DIGITS = "ㅇㄹ-ㅁ--ㄱㄹㄹ-"
# And of a word in Latin letters, as Koreans say it: 메일, 캐럴, 인터넷, 밥, 라인; 앨리스, 라우터.
_LIQUID = re.compile(r"(?i)(l|[aeiouy]le|[^aeiouylr]le)$")
_CLOSED = re.compile(r"(?i)([mn]|ng|[aeiou][mn]e|[aeiou][bpt]|[aeio]ck)$")
# Without a vowel it is spelled: 엘, 알; 엠, 엔; all others end in a vowel (피시).
_SPELLED = re.compile(r"(?i)[^aeiou\W\d_]+$")


def written(text: str, values: Mapping[str, object]) -> str:
    """`text` with `values` in its places, as str.format does it.

    Raises what str.format raises: KeyError for a name that is not in `values`, ValueError.
    """
    return _Sentence().vformat(text, (), values)


def duration(text: str) -> str:
    """`2h30m` as `2시간 30분`; what is no duration stays as it is."""
    if not (_DURATION.fullmatch(text) or _DECIMAL.fullmatch(text)):
        return text
    return re.sub(r"([\d.]+)([dhms])(?=(.)?)", _unit, text)


def _unit(found: re.Match[str]) -> str:
    return found[1] + _UNITS[found[2]] + (" " if found[3] else "")


def particle(word: str, pair: str) -> str:
    """That of `이/가`, `을/를`, `은/는`, `과/와`, `으로/로` … which follows `word`.

    The first one follows a consonant, the second a vowel; `으로` does not follow ㄹ. How a word in
    Latin letters sounds is a guess by its spelling.
    """
    after_consonant, after_vowel = pair.split("/")
    final = _final(re.sub(r"\W+$", "", word))
    if final == "ㄹ" and after_consonant.startswith("으"):
        return after_vowel
    return after_consonant if final else after_vowel


def _final(word: str) -> str:
    """The consonant that `word` ends in: ㄹ, any other (ㅇ), or none."""
    last = word[-1:]
    if _FIRST_SYLLABLE <= last <= _LAST_SYLLABLE:
        place = (ord(last) - ord(_FIRST_SYLLABLE)) % _FINALS
        return "ㄹ" if place == _RIEUL else "ㅇ" if place else ""
    if last.isdecimal() and last.isascii():
        return _DIGITS[int(last)].strip("-")
    said = re.split(r"[\W\d_]+", word)[-1]
    if _SPELLED.fullmatch(said):
        return {"l": "ㄹ", "r": "ㄹ", "m": "ㅁ", "n": "ㄴ"}.get(said[-1].lower(), "")
    return "ㄹ" if _LIQUID.search(said) else "ㅇ" if _CLOSED.search(said) else ""


class _Sentence(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        asked = _PARTICLE.fullmatch(format_spec)
        word = duration(super().format_field(value, "" if asked else format_spec))
        return word + asked[1] + particle(word, asked[2]) if asked else word
