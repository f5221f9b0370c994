from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.shaping.time_formats import Ambiguous, to_time

RECEIVED = datetime(2026, 1, 31, 8, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def read(text: str, value: Any, timezone: str | None = None, ambiguous: Ambiguous = "earlier") -> str:
    return to_time(text, timezone, ambiguous)(value, RECEIVED)


@pytest.mark.parametrize(
    ("text", "value", "canonical"),
    [
        ("iso", "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("iso", " 2026-01-31 09:00:00,5+01:00 ", "2026-01-31T08:00:00.500000Z"),
        ("iso", "20260131T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("epoch_s", 1769846400, "2026-01-31T08:00:00.000000Z"),
        ("epoch_s", "1769846400.25", "2026-01-31T08:00:00.250000Z"),
        ("epoch_s", "10000000", "1970-04-26T17:46:40.000000Z"),
        ("epoch_s", -1, "1969-12-31T23:59:59.000000Z"),
        ("epoch_ms", 1769846400250, "2026-01-31T08:00:00.250000Z"),
        ("epoch_us", "1769846400250001", "2026-01-31T08:00:00.250001Z"),
        ("epoch_ns", 1769846400250001999, "2026-01-31T08:00:00.250001Z"),
        ("rfc2822", "Sat, 31 Jan 2026 09:00:00 +0100", "2026-01-31T08:00:00.000000Z"),
        ("rfc2822", "31 jan 26 08:00 GMT", "2026-01-31T08:00:00.000000Z"),
        ("rfc2822", "1 Jan 99 00:00:00 EST", "1999-01-01T05:00:00.000000Z"),
        ("rfc2822", "31 Jan 2026 08:00:00 +0000 (UTC)", "2026-01-31T08:00:00.000000Z"),
        ("%d.%m.%Y %H:%M:%S %z", "31.01.2026 09:00:00 +0100", "2026-01-31T08:00:00.000000Z"),
        ("%d/%b/%Y:%H:%M:%S %z", "31/Jan/2026:09:00:00 +0100", "2026-01-31T08:00:00.000000Z"),
        ("%Y-%j %H:%M:%S.%f%z", "2026-031 08:00:00.25Z", "2026-01-31T08:00:00.250000Z"),
    ],
)
def test_formats_with_a_zone(text: str, value: Any, canonical: str) -> None:
    assert read(text, value) == canonical
    assert read(text, value, BERLIN, "later") == canonical


@pytest.mark.parametrize(
    ("text", "value", "canonical"),
    [
        ("iso", "2026-01-31 09:00", "2026-01-31T08:00:00.000000Z"),
        ("iso", "2026-07-31", "2026-07-30T22:00:00.000000Z"),
        ("rfc2822", "31 Jan 2026 09:00:00", "2026-01-31T08:00:00.000000Z"),
        ("%d.%m.%Y %I:%M %p", "31.01.2026 09:30 PM", "2026-01-31T20:30:00.000000Z"),
        ("%Y%m%d", "20260131", "2026-01-30T23:00:00.000000Z"),
    ],
)
def test_formats_without_a_zone_need_one(text: str, value: str, canonical: str) -> None:
    for ambiguous in ("earlier", "later", "reject"):
        assert read(text, value, BERLIN, ambiguous) == canonical
    with pytest.raises(BadData, match="timestamp:naive"):
        read(text, value)


@pytest.mark.parametrize(
    ("value", "received", "canonical"),
    [
        ("Jan 31 08:00:00", "2026-01-31T08:00:05", "2026-01-31T08:00:00"),
        ("Jan  1 00:00:03", "2025-12-31T23:59:59", "2026-01-01T00:00:03"),
        ("Dec 31 23:59:58", "2026-01-01T00:00:01", "2025-12-31T23:59:58"),
        ("Jun 30 12:00:00", "2026-01-31T08:00:00", "2026-06-30T12:00:00"),
        ("Aug  5 12:00:00", "2026-01-31T08:00:00", "2025-08-05T12:00:00"),
        ("Feb 29 12:00:00", "2028-02-29T12:00:01", "2028-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2029-01-01T12:00:01", "2028-02-29T12:00:00"),
    ],
)
@pytest.mark.parametrize("text", ["rfc3164", "%b %d %H:%M:%S"])
def test_a_time_without_a_year_is_the_nearest_to_the_receipt(
    text: str, value: str, received: str, canonical: str
) -> None:
    at = datetime.fromisoformat(received).replace(tzinfo=UTC)
    assert to_time(text, "UTC", "earlier")(value, at) == f"{canonical}.000000Z"


def test_the_receipt_counts_in_the_zone_of_the_time() -> None:
    at = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert to_time("rfc3164", BERLIN, "earlier")("Jan  1 00:29:00.5", at) == "2025-12-31T23:29:00.500000Z"


@pytest.mark.parametrize("text", ["rfc3164", "%b %d %H:%M:%S"])
def test_a_day_that_no_year_nearby_has(text: str) -> None:
    for value in ("Feb 30 12:00:00", "Feb 29 12:00:00"):
        with pytest.raises(BadData, match="timestamp:syntax: no time: 'Feb"):
            read(text, value, "UTC")


TWICE, NEVER = "2026-10-25 02:30:00", "2026-03-29 02:30:00"


@pytest.mark.parametrize("text", ["iso", "%Y-%m-%d %H:%M:%S"])
def test_the_hours_of_a_change_of_the_clock(text: str) -> None:
    assert read(text, TWICE, BERLIN) == "2026-10-25T00:30:00.000000Z"
    assert read(text, TWICE, BERLIN, "later") == "2026-10-25T01:30:00.000000Z"
    for ambiguous in ("earlier", "later"):  # the offset before the change: an hour forward
        assert read(text, NEVER, BERLIN, ambiguous) == "2026-03-29T01:30:00.000000Z"
    for value in (TWICE, NEVER):
        with pytest.raises(BadData, match="timestamp:ambiguous: in Europe/Berlin"):
            read(text, value, BERLIN, "reject")
    assert read(text, "2026-10-25 03:30:00", BERLIN, "reject") == "2026-10-25T02:30:00.000000Z"


@given(
    st.datetimes(datetime.fromisoformat("1975-01-01"), datetime.fromisoformat("2035-01-01")).map(
        lambda at: at.replace(microsecond=0)
    ),
    st.sampled_from([BERLIN, "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata", "UTC"]),
)
def test_every_time_with_an_offset_is_read_as_pythons_zones_say(at: datetime, zone: str) -> None:
    moment = at.replace(tzinfo=UTC)
    local = moment.astimezone(ZoneInfo(zone))
    canonical = f"{at.isoformat()}.000000Z"
    assert read("iso", local.isoformat()) == canonical
    naive = local.replace(tzinfo=None, fold=0).isoformat()
    found = {read("iso", naive, zone, "earlier"), read("iso", naive, zone, "later")}
    assert canonical in found
    assert max(found) == read("iso", naive, zone, "later")


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("iso", 7, "type"),
        ("iso", "1769846400", "syntax"),
        ("iso", "31.01.2026", "syntax"),
        ("iso", "2026-02-30T00:00:00Z", "range"),
        ("iso", "\ud800", "syntax"),
        ("epoch_s", "2026-01-31", "syntax"),
        ("epoch_s", True, "type"),
        ("epoch_s", [1], "type"),
        ("epoch_s", 10**400, "range"),
        ("epoch_s", "1" * 400, "range"),
        ("epoch_s", "1" * 5000, "syntax"),
        ("epoch_ms", float("nan"), "range"),
        ("rfc2822", "31 Foo 2026 08:00:00 GMT", "syntax"),
        ("rfc2822", "31 Jan 2026 08:00:00 XYZ", "syntax"),
        ("rfc2822", "32 Jan 2026 08:00:00 GMT", "range"),
        ("rfc2822", 7, "type"),
        ("rfc3164", "Jan 31", "syntax"),
        ("rfc3164", "Jan 31 25:00:00", "syntax"),
        ("%d.%m.%Y", "31/01/2026", "syntax"),
        ("%d.%m.%Y", 31012026, "type"),
        ("%d.%m.%Y %z", "01.01.0001 +1400", "range"),
        ("%b %d", "\ud800", "syntax"),
    ],
)
def test_what_is_no_time_of_a_format(text: str, value: Any, reason: str) -> None:
    with pytest.raises(BadData) as bad:
        read(text, value, "Asia/Tokyo", "later")
    assert bad.value.reason == f"timestamp:{reason}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unix", "is no format: write iso, epoch_s"),
        ("", "is no format"),
        ("%Q %d %m %Y", "no format of strptime"),
        ("%H:%M:%S", "names no day"),
        ("%Y", "names no day"),
        ("%Y %d", "names no day"),
        ("%d.%m.%Y %I:%M", "half a day only"),
        ("%d.%m.%Y %H:%M %Z", "%Z knows only UTC"),
        ("100%% %d", "names no day"),
    ],
)
def test_a_format_that_names_no_moment_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_time(text, None, "earlier")


def test_the_memory_of_texts_has_a_bound_and_changes_nothing() -> None:
    of = to_time("%Y-%m-%d %H:%M:%S", "UTC", "earlier")
    first = datetime.fromisoformat("2026-01-01")
    times = [(first + timedelta(minutes=n)).isoformat(" ") for n in range(9000)]
    for _ in range(2):
        assert [of(text, RECEIVED) for text in times] == [f"{t.replace(' ', 'T')}.000000Z" for t in times]
    assert len(of._known) <= 4096  # type: ignore[attr-defined]
