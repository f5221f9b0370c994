"""Periods of time, at their boundaries and at the ends of time."""

from datetime import UTC, datetime, timedelta

import pytest

from streamd.postgresql.periods import FIRST, LAST, Period, Periods, earlier, free_around, later

NOW = datetime(2020, 3, 10, 12, 30, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2020, 3, number, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("width_s", "start", "end"),
    [
        (86400, day(10), day(11)),
        (3600, day(10, 12), day(10, 13)),
        (7 * 86400, day(9), day(16)),  # Monday to Monday
    ],
)
def test_periods_begin_at_full_hours_at_midnight_and_on_mondays(
    width_s: float, start: datetime, end: datetime
) -> None:
    periods = Periods(width_s, 1, 1)
    assert periods.of(NOW) == (start, end)
    assert periods.of(start) == (start, end)
    assert periods.of(end - timedelta(microseconds=1)) == (start, end)
    assert periods.of(end).start == end


def test_a_moment_is_accepted_from_the_period_of_the_oldest_one_to_the_latest() -> None:
    periods = Periods(86400, 3 * 86400, 3600)
    assert periods.fault(day(7), NOW) is None
    assert periods.fault(day(7) - timedelta(microseconds=1), NOW) == (
        "row:too_old",
        "2020-03-06T23:59:59Z is before 2020-03-07T00:00:00Z, the oldest partition",
    )
    assert periods.fault(NOW + timedelta(hours=1), NOW) is None
    late = periods.fault(NOW + timedelta(hours=1, seconds=1), NOW)
    assert late is not None
    assert late[0] == "row:too_new"


def test_the_ends_of_time_are_the_ends_of_their_periods() -> None:
    periods = Periods(7 * 86400, 1e12, 1e12)
    assert periods.of(FIRST).start == FIRST
    assert FIRST < periods.of(FIRST).end < FIRST + timedelta(days=8)
    assert periods.of(LAST).end == LAST
    assert earlier(NOW, 1e12) == earlier(FIRST, 1) == FIRST
    assert later(NOW, 1e12) == later(LAST, 1) == LAST
    assert periods.fault(FIRST, NOW) is None
    assert periods.fault(LAST, NOW) is None


def test_what_is_free_around_a_moment_touches_its_neighbours_and_overlaps_none() -> None:
    whole = Period(day(9), day(16))
    taken = [Period(day(8), day(10)), Period(day(11), day(12)), Period(day(14), day(20))]
    assert free_around(day(10, 5), whole, []) == whole
    assert free_around(day(10), whole, taken) == (day(10), day(11))
    assert free_around(day(12), whole, taken) == (day(12), day(14))
    assert free_around(day(13, 23), whole, reversed(taken)) == (day(12), day(14))
    for moment in (day(9), day(11), day(11, 23), day(14)):
        assert free_around(moment, whole, taken) is None
    assert Period(day(1), day(2)).overlaps(Period(day(1, 23), day(3)))
    assert not Period(day(1), day(2)).overlaps(Period(day(2), day(3)))
    assert not Period(day(2), day(3)).overlaps(Period(day(1), day(2)))
