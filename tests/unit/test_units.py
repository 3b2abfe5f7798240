"""Durations are read and written as people do, and the two clocks agree."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.units import (
    DURATION_PATTERN,
    LabClock,
    format_clock,
    format_duration,
    guess_duration,
    parse_duration,
    write_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("5d", 432000), ("1h30m", 5400), ("0s", 0), ("1d1h1m1s", 90061), ("90s", 90)],
)
def test_parse_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "m", "30 m", "30m ", "30m\n", "-30m", "1.5h", "30m1h", "30M", "٣m", "9" * 5000],
)
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_what_is_written_is_read_back(seconds: int) -> None:
    text = write_duration(seconds)
    assert parse_duration(text) == seconds
    assert re.match(DURATION_PATTERN, text)


@given(st.integers(60, 10**10))
def test_a_formatted_duration_is_cut_after_its_second_unit(seconds: int) -> None:
    text = format_duration(seconds)
    size = {"d": 86400, "h": 3600, "m": 60, "s": 1}[text[-1]]
    assert 0 <= seconds - parse_duration(text) < size
    assert len(re.findall("[dhms]", text)) <= 2


@given(st.floats(0, 59.9))
def test_below_a_minute_a_formatted_duration_keeps_tenths(seconds: float) -> None:
    assert float(format_duration(seconds).removesuffix("s")) == pytest.approx(seconds, abs=0.0501)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-0.01, "0s"), (2.5, "2.5s"), (10, "10s"), (59.96, "1m"), (60, "1m"),
        (1800, "30m"), (5400, "1h30m"), (432000, "5d"), (97925, "1d3h"), (-90, "-1m30s"),
    ],
)  # fmt: skip
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("30 minutes", "30m"), ("5 days", "5d"), ("2 Hrs.", "2h"), ("30M", "30m"),
        ("90 sec", "90s"), ("soon", None), ("1:30", None), ("", None),
    ],
)  # fmt: skip
def test_guess_duration(text: str, guess: str | None) -> None:
    assert guess_duration(text) == guess


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (3661, "01:01:01"), (86399.9, "23:59:59"), (86400, "1d 00:00:00")],
)
def test_format_clock(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text


@given(st.floats(0, 1e9), st.floats(0.01, 1e4))
def test_the_two_clocks_agree(lab_seconds: float, scale: float) -> None:
    clock = LabClock(started=1e9, scale=scale)
    assert clock.lab_time(1e9) == 0
    moment = 1e9 + clock.real(lab_seconds)
    # A moment in epoch seconds is exact to a microsecond at best.
    assert clock.lab_time(moment) == pytest.approx(lab_seconds, rel=1e-6, abs=1e-4 * scale)
