"""The canonical text of moments."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core import timestamp
from streamd.core.errors import BadData
from streamd.core.timestamp import all_canonical, canonical, from_epoch

MOMENTS = st.datetimes(timezones=st.just(UTC))


def written(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31T08:00:00.000000Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31t08:00:00z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00:00.5Z", "2026-01-31T08:00:00.500000Z"),
        ("2026-01-31T08:00:00.123Z", "2026-01-31T08:00:00.123000Z"),
        ("2026-01-31T08:00:00.123456789Z", "2026-01-31T08:00:00.123456Z"),
        ("2026-01-31T08:00:00.9999999Z", "2026-01-31T08:00:00.999999Z"),
        ("2026-01-31T08:00:00." + "1" * 5000 + "Z", "2026-01-31T08:00:00.111111Z"),
        ("2026-01-31T08:00:00.000001+00:00", "2026-01-31T08:00:00.000001Z"),
        ("2026-01-31T08:00:00-00:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T00:30:00+01:00", "2026-01-30T23:30:00.000000Z"),
        ("2026-01-31T08:00:00+05:45", "2026-01-31T02:15:00.000000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_rfc_3339_becomes_utc_microseconds(value: str, expected: str) -> None:
    assert canonical(value) == expected
    assert canonical(value) == expected  # and again, now that its minute is known


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31T08:00:00+0000", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00+0800", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T08:00:00-05", "2026-01-31T13:00:00.000000Z"),
        ("2026-01-31T08:00:00+00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00\u221205:30", "2026-01-31T13:30:00.000000Z"),
        ("2026-01-31T08:00:00-0000", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00:00 +0100", "2026-01-31T07:00:00.000000Z"),
        ("2026-01-31 08:00:00 UTC", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00:00.5utc", "2026-01-31T08:00:00.500000Z"),
        ("2026-01-31 08:00:00 GMT", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00.25+01:00[Europe/Paris]", "2026-01-31T07:00:00.250000Z"),
        ("2026-01-31T08:00Z[UTC]", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00:00,123Z", "2026-01-31T08:00:00.123000Z"),
        ("2026-01-31T08:00:00,1234567891+01:00", "2026-01-31T07:00:00.123456Z"),
        ("2026-01-31T08:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31 08:00z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T08:00+0530", "2026-01-31T02:30:00.000000Z"),
        ("2026-01-31T08Z", "2026-01-31T08:00:00.000000Z"),
        ("20260131T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("20260131t080000z", "2026-01-31T08:00:00.000000Z"),
        ("20260131T080000.5+0100", "2026-01-31T07:00:00.500000Z"),
        ("20260131T0800Z", "2026-01-31T08:00:00.000000Z"),
        ("20260131080000Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("2026-W05-6T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026W056T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("2020-W53-7Z", "2021-01-03T00:00:00.000000Z"),
        ("2026-031T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
        ("2026031T080000Z", "2026-01-31T08:00:00.000000Z"),
        ("2024-366Z", "2024-12-31T00:00:00.000000Z"),
        ("2026-01-31Z", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T24:00:00Z", "2026-02-01T00:00:00.000000Z"),
        ("2024-12-31T24:00:00.000+01:00", "2024-12-31T23:00:00.000000Z"),
        ("20161231T235960Z", "2016-12-31T23:59:59.999999Z"),
        ("  2026-01-31T08:00:00Z\r\n", "2026-01-31T08:00:00.000000Z"),
        ("\t2026-01-31T08:00:00+00:00 ", "2026-01-31T08:00:00.000000Z"),
        ("1769846400", "2026-01-31T08:00:00.000000Z"),
        ("1769846400.25", "2026-01-31T08:00:00.250000Z"),
        (" 1769846400 ", "2026-01-31T08:00:00.000000Z"),
        ("1769846400.123456789", "2026-01-31T08:00:00.123457Z"),
        ("-1.5", "1969-12-31T23:59:58.500000Z"),
        ("0", "1970-01-01T00:00:00.000000Z"),
        ("1.7698464e9", "2026-01-31T08:00:00.000000Z"),
        ("17698464E+2", "2026-01-31T08:00:00.000000Z"),
        ("-20260131", "1969-05-11T12:11:09.000000Z"),
    ],
)
def test_iso_8601_and_epoch_numbers_as_text_are_read_as_they_are_written_in_the_wild(
    value: str, expected: str
) -> None:
    assert canonical(value) == expected
    assert canonical(value) == expected  # and again, now that its minute is known


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31 08:00:00,123", "2026-01-31T00:00:00.123000Z"),
        ("2026-01-31", "2026-01-30T16:00:00.000000Z"),
        ("2026-01-31T08:00", "2026-01-31T00:00:00.000000Z"),
        ("20260131T080000", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T24:00", "2026-01-31T16:00:00.000000Z"),
        ("2026-W05-6", "2026-01-30T16:00:00.000000Z"),
        ("2026-031", "2026-01-30T16:00:00.000000Z"),
    ],
)
def test_iso_8601_without_an_offset_needs_a_timezone(value: str, expected: str) -> None:
    assert canonical(value, timezone="Asia/Shanghai") == expected
    with pytest.raises(BadData) as caught:
        canonical(value)
    assert caught.value.reason == "timestamp:naive"


@pytest.mark.parametrize(
    ("value", "unit"),
    [("1769846400250", "ms"), ("1769846400250000", "us"), ("1769846400250000999", "ns"),
     ("1769846400250.0", "ms"), ("1.76984640025e12", "ms")],
)  # fmt: skip
def test_an_epoch_number_as_text_is_read_in_its_unit(value: str, unit: str) -> None:
    assert canonical(value, unit) == "2026-01-31T08:00:00.250000Z"


@pytest.mark.parametrize("form", [str, float, int])
@pytest.mark.parametrize(
    ("value", "unit", "suggested"),
    [
        (1769846400000, "s", "ms"),
        (1769846400000000, "s", "us"),
        (1769846400000000, "ms", "us"),
        (1769846400000000000, "s", "ns"),
        (1769846400000000000, "ms", "ns"),
        (1769846400000000000, "us", "ns"),
        (-315619200000, "s", "ms"),
    ],
)
def test_a_number_of_a_finer_unit_suggests_it(value: int, unit: str, suggested: str, form: Any) -> None:
    with pytest.raises(BadData) as caught:
        canonical(form(value), unit)
    assert caught.value.reason == "timestamp:range"
    assert f'set unit = "{suggested}" for the field' in caught.value.detail
    canonical(form(value), suggested)


@pytest.mark.parametrize("value", [1e300, 20260131080000, "20260131080000", "9" * 30, 10**30, "1e300"])
def test_a_number_that_is_no_likely_time_in_any_unit_suggests_none(value: Any) -> None:
    with pytest.raises(BadData) as caught:
        canonical(value)
    assert (caught.value.reason, caught.value.detail) == (
        "timestamp:range",
        "outside the years 0001 to 9999",
    )


def test_eight_digits_may_be_a_day_or_a_number_and_are_refused() -> None:
    with pytest.raises(BadData, match="timestamp:syntax") as caught:
        canonical("20260131", timezone="UTC")
    assert "a day or a number" in caught.value.detail


@pytest.mark.parametrize(
    "value", ["1" * 5000, "-" + "9" * 5000, "1e" + "9" * 5000, "1." + "0" * 5000 + "1e99"]
)
def test_a_long_number_as_text_is_out_of_range_and_costs_little(value: str) -> None:
    with pytest.raises(BadData, match="timestamp:range") as caught:
        canonical(value)
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "Z", "now", "08:00:00Z", "2026-01", "26-01-31T08:00:00Z", "2026/01/31 08:00:00Z",
        "2026-01-31T08:00:00.Z", "2026-01-31T08:00:00,Z", "2026-01-31T25:00:00Z", "2026-01-31T08:60:00Z",
        "2026-01-31T08:00:61Z", "2026-01-31T08:00:00+1:00", "2026-01-31T08:00:00+24:00",
        "2026-01-31T08:00:00+08:60", "2026-01-31T08:00:00+080000", "2026-01-31T08:00.5Z",
        "2026-01-31T08:0000Z", "2026-01-31T0800:00Z", "2026-0131T08:00:00Z", "202601-31T08:00:00Z",
        "2026-W056T08:00:00Z", "2026-01-31  08:00:00Z", "2026-01-31_08:00:00Z", "2026-01-31T08:00:00 CET",
        "2026-01-31T08:00:00[Europe/Paris]", "2026-01-31T08:00:00Z[!x=y]", "2026-01-31+08:00",
        "2026-01-31-0800", "12026-01-31T08:00:00Z", "+2026-01-31T08:00:00Z", "20260131T080000ZZ",
        "-026-01-31T08:00:00Z", "\uff12026-01-31T08:00:00.000000Z", "2026-01-31T08:00:00.00000٢Z",
        "2026-01-31T08:00:00.000000Z\0", "2026-01-31T08:00:00.000000Z\u2028", "\xa02026-01-31T08:00:00Z",
        "+1769846400", "1769846400.", ".5", "1,769,846,400", "1769846400s", "0x10", "1_000", "nan",
        "Infinity", "-inf", "1e", "--1", "١٢",
    ],
)  # fmt: skip
def test_a_text_of_another_form_is_refused(value: str) -> None:
    canonical("2026-01-31T08:00:00Z")  # a known minute must not let a bad rest pass
    with pytest.raises(BadData) as caught:
        canonical(value, timezone="UTC")
    assert caught.value.reason == "timestamp:syntax"


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30T08:00:00.000000Z", "2025-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z", "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "20260230T080000Z", "2026-366Z",
        "2026-000Z", "2026-W54-1Z", "2026-W00-1Z", "2026-W05-8Z", "2026-01-31T24:00:01Z",
        "2026-01-31T24:00:00.1Z", "9999-12-31T24:00:00Z", "0000-W01-1Z", "0000-001Z",
    ],
)  # fmt: skip
def test_a_day_that_does_not_exist_is_refused(value: str) -> None:
    with pytest.raises(BadData) as caught:
        canonical(value)
    assert caught.value.reason == "timestamp:range"
    assert not all_canonical([value])


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "s", "1970-01-01T00:00:00.000000Z"),
        (-1, "s", "1969-12-31T23:59:59.000000Z"),
        (-0.000001, "s", "1969-12-31T23:59:59.999999Z"),
        (1706688000.123456, "s", "2024-01-31T08:00:00.123456Z"),
        (1706688000123, "ms", "2024-01-31T08:00:00.123000Z"),
        (1706688000123.4, "ms", "2024-01-31T08:00:00.123400Z"),
        (1706688000123456, "us", "2024-01-31T08:00:00.123456Z"),
        (1706688000123456789, "ns", "2024-01-31T08:00:00.123456Z"),
        (253402300799, "s", "9999-12-31T23:59:59.000000Z"),
        (-62135596800, "s", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_epoch_numbers_are_read_in_their_unit(value: float, unit: str, expected: str) -> None:
    assert canonical(value, unit) == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, -(10**4000)])
def test_numbers_that_are_no_time_are_refused(value: float, unit: str) -> None:
    with pytest.raises(BadData) as caught:
        canonical(value, unit)
    assert caught.value.reason == "timestamp:range"


@pytest.mark.parametrize("second", [253402300800, -62135596801])
def test_the_first_second_outside_the_years_0001_to_9999_is_refused(second: int) -> None:
    with pytest.raises(BadData, match="timestamp:range"):
        canonical(second)


@pytest.mark.parametrize("value", [True, None, [], {}, b"2026-01-31T08:00:00Z"])
def test_values_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(BadData) as caught:
        canonical(value)
    assert caught.value.reason == "timestamp:type"


def test_a_leap_second_is_the_last_microsecond_of_its_minute() -> None:
    assert canonical("2016-12-31T23:59:60Z") == "2016-12-31T23:59:59.999999Z"
    assert canonical("2017-01-01T00:59:60.25+01:00") == "2016-12-31T23:59:59.999999Z"
    with pytest.raises(BadData, match="timestamp:range"):
        canonical("2016-12-31T12:00:60Z")


def test_a_naive_time_needs_a_timezone() -> None:
    with pytest.raises(BadData) as caught:
        canonical("2026-07-31T08:00:00")
    assert caught.value.reason == "timestamp:naive"
    assert canonical("2026-07-31T08:00:00", timezone="Asia/Shanghai") == "2026-07-31T00:00:00.000000Z"


def test_daylight_saving_of_the_timezone_counts_and_the_earlier_of_two_hours_is_taken() -> None:
    assert canonical("2026-01-31T08:00:00", timezone="Europe/Berlin") == "2026-01-31T07:00:00.000000Z"
    assert canonical("2026-07-31T08:00:00", timezone="Europe/Berlin") == "2026-07-31T06:00:00.000000Z"
    assert canonical("2026-10-25T02:30:00", timezone="Europe/Berlin") == "2026-10-25T00:30:00.000000Z"


def test_an_offset_is_stronger_than_the_timezone() -> None:
    assert canonical("2026-01-31T08:00:00Z", timezone="Asia/Shanghai") == "2026-01-31T08:00:00.000000Z"


@given(MOMENTS)
def test_what_python_writes_comes_back_as_the_same_moment(moment: datetime) -> None:
    assert canonical(moment.isoformat()) == written(moment)
    assert canonical(written(moment)) == written(moment)
    assert all_canonical([written(moment)] * 2)


@given(MOMENTS, st.integers(-23 * 60, 23 * 60))
def test_any_offset_names_the_same_moment(moment: datetime, minutes: int) -> None:
    try:
        abroad = moment.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:
        return
    assert canonical(abroad.isoformat()) == written(moment)


@given(st.integers(-62135596800 * 10**6, 253402300800 * 10**6 - 1))
def test_epoch_microseconds_are_exact(epoch_us: int) -> None:
    expected = written(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=epoch_us))
    assert canonical(epoch_us, "us") == expected
    assert canonical(epoch_us * 1000 + 999, "ns") == expected


@given(st.lists(MOMENTS, min_size=2))
def test_text_order_is_time_order(moments: list[datetime]) -> None:
    assert sorted(map(written, moments)) == [written(moment) for moment in sorted(moments)]


@given(
    MOMENTS,
    st.sampled_from(
        ["%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S,%f", "%Y%m%dT%H%M%S.%f", "%Y-%jT%H:%M:%S.%f",
         "%Y%jT%H%M%S,%f", "%G-W%V-%uT%H:%M:%S.%f", "%GW%V%u %H%M%S.%f"],
    ),
    st.sampled_from(["Z", "z", " UTC", "gmt", "+00", "+0000", "-00:00", " +00:00", "+00:00[UTC]"]),
)  # fmt: skip
def test_every_spelling_of_a_moment_is_the_same_moment(moment: datetime, form: str, offset: str) -> None:
    form = form.replace("%Y", f"{moment.year:04d}").replace("%G", f"{moment.isocalendar().year:04d}")
    if moment.isocalendar().year not in range(1, 10_000):
        return
    assert canonical(moment.strftime(form) + offset) == written(moment)


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?\n?"),
        st.from_regex(timestamp._ISO8601, fullmatch=True),
        st.from_regex(timestamp._NUMBER, fullmatch=True),
    )
)
def test_whatever_the_text_it_is_canonical_or_refused(text: str) -> None:
    try:
        result = canonical(text, timezone="Europe/Berlin")
    except BadData:
        return
    assert canonical(result) == result
    assert all_canonical([result])
    datetime.fromisoformat(result)


@given(
    st.lists(
        st.one_of(MOMENTS.map(written), st.text("2026-01T8:0.Z\n", max_size=60), st.none(), st.integers())
    )
)
def test_all_at_once_never_says_canonical_of_what_is_not(values: list[Any]) -> None:
    if all_canonical(values):
        assert [canonical(value) for value in values] == values


@pytest.mark.parametrize("cut", [1, 13, 26])
def test_all_at_once_is_not_fooled_by_values_cut_elsewhere(cut: int) -> None:
    good = "2026-01-31T08:00:00.000000Z"
    assert all_canonical([good, good])
    assert not all_canonical([good + good[:cut], good[cut:]])
    assert not all_canonical([good + "\n" + good, ""])
    assert not all_canonical([good[:cut], good[cut:]])
    assert not all_canonical([])


def test_random_times_cannot_make_the_memory_of_minutes_grow() -> None:
    for minute in range(timestamp._MINUTES_KEPT + 100):
        canonical(from_epoch(minute * 60.0))
    assert len(timestamp._minutes) <= timestamp._MINUTES_KEPT


def test_the_wall_clock_is_rounded_to_microseconds() -> None:
    assert from_epoch(1706688000.1234567) == "2024-01-31T08:00:00.123457Z"
    assert from_epoch(1706688000.9999999) == "2024-01-31T08:00:01.000000Z"
