"""A moment on a command line or in a call: a time, or how long ago."""

import pytest

from streamd.core.moment import moment

NOW_S = 1769846400.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", "2026-01-31T07:50:00.000000Z"),
        ("1.5h", "2026-01-31T06:30:00.000000Z"),
        ("0s", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
        ("1769846400", "2026-01-31T08:00:00.000000Z"),
        ("1769846400.25", "2026-01-31T08:00:00.250000Z"),
    ],
)
def test_a_moment(text: str, expected: str) -> None:
    assert moment(text, NOW_S, "UTC") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10", '\'10\' has no unit: write "10s" or "10m" for how long ago, or a time like 2026'),
        (" 5 ", 'write "5s"'),
        ("-10", 'write "10s"'),
        ("0.5", 'write "0.5s"'),
        ("20260131", "has no unit"),
        ("10 minutes", "a duration like 10m"),
        ("-10m", "a duration like 10m"),
        ("", "a duration like 10m"),
        ("yesterday", "a duration like 10m"),
        ("1769846400000", "milliseconds"),
        ("2026-02-30T00:00:00Z", "no such time"),
        ("9999999999999d", "year"),
    ],
)
def test_what_is_no_moment_is_answered_with_how_one_is_written(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"10m|time|year|unit") as raised:
        moment(text, NOW_S, "UTC")
    assert words in str(raised.value)


def test_a_time_without_a_zone_is_read_in_the_one_that_is_given_or_refused() -> None:
    assert moment("2026-01-31 09:00:00", NOW_S, "Europe/Paris") == "2026-01-31T08:00:00.000000Z"
    with pytest.raises(ValueError, match="needs a timezone"):
        moment("2026-01-31 09:00:00", NOW_S)
