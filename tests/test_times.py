"""Times as people type and read them: what is read, what is refused, and how two fields make a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolvlm_core.times import TimeError, length_text, parse_range, parse_time, time_text, typed_range
from smolvlm_core.video import ClipFacts

HOUR = (0.0, 3600.1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12:30", 750),
        ("750", 750),
        (" 1:02:03.5 ", 3723.5),
        ("75:30", 4530),
        ("0:00,25", 0.25),
        ("7:5", 425),
        ("3.5 s", 3.5),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("half past", "“half past” is not a time"),
        ("12:75", "more than 59 seconds"),
        ("1:60:00", "more than 59 minutes"),
        ("-5", "is not a time"),
        ("1:2:3:4", "is not a time"),
        ("9" * 400, "…” is not a time"),
        ("١٢:٣٠", "is not a time"),
        ("nan", "is not a time"),
    ],
)
def test_what_is_no_time_is_refused(text: str, words: str) -> None:
    with pytest.raises(TimeError, match=words) as raised:
        parse_time(text)
    assert raised.value.hint


@given(st.integers(0, 10**7))
def test_what_is_shown_can_be_typed(hundredths: int) -> None:
    assert parse_time(time_text(hundredths / 100)) == pytest.approx(hundredths / 100, abs=1e-6)


def test_times_are_shown_in_minutes() -> None:
    assert [time_text(t) for t in (0, 3.3333, 59.999, 750, 3600.1)] == ["0:00", "0:03.33", "1:00", "12:30", "60:00.1"]
    assert [time_text(t, 2) for t in (0, 59.999)] == ["0:00.00", "1:00.00"]
    assert [length_text(t) for t in (3.5, 30, 59.97, 90)] == ["3.5 s", "30.0 s", "1:00", "1:30"]
    assert parse_range("12:30 – 13:00") == (750, 780)


@pytest.mark.parametrize(
    ("start", "end", "seconds", "start_error", "end_error"),
    [
        ("0:00", "60:00.1", HOUR, "", ""),
        ("12:30", "13:00", (750, 780), "", ""),
        ("12:30", "soon", (750, HOUR[1]), "", "“soon” is not a time"),
        ("soon", "13:00", (0, 780), "“soon” is not a time", ""),
        ("", "", HOUR, "", ""),
        ("0:00", "70:00", HOUR, "", "The clip ends at 60:00.1"),
        ("13:00", "12:30", HOUR, "after the end", "before the start"),
    ],
)
def test_two_fields_make_a_range(
    start: str, end: str, seconds: tuple[float, float], start_error: str, end_error: str
) -> None:
    typed = typed_range(start, end, HOUR, HOUR[1])
    assert typed.seconds == seconds
    for found, expected in ((typed.start_error, start_error), (typed.end_error, end_error)):
        assert expected in found and bool(found) == bool(expected)


def test_a_field_that_shows_the_range_does_not_round_it() -> None:
    exact = (1.23456, 5.96667)
    assert typed_range("0:01.23", "0:05.97", exact, exact[1]).seconds == exact
    assert typed_range("0:01.23", "0:05.97", (0.0, 5.0), exact[1]).seconds == (1.23, exact[1]), "not after the clip"
    assert "after the end (0:05" in typed_range("0:06", "0:05", (1.0, 5.0), 10.0).start_error


def test_the_facts_of_a_clip_are_one_line() -> None:
    facts = ClipFacts(3600.1, 160, 96, 25.0, 90000, decoder="PyAV", codec="h264", size_bytes=12_345)
    assert facts.describe() == "H.264 · 12 KB · 60:00 · 160 × 96 px · 25 fps"
    assert (
        ClipFacts(3.5, 8, 8, 29.97, 1, codec="xyz", size_bytes=2_340_000)
        .describe()
        .startswith("xyz · 2.3 MB · 0:03.5 ·")
    )
    assert facts.details() == ("90,000 frames", "read with PyAV")
