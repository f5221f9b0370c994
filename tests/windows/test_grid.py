from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.windows.grid import DAY_US, DayGrid, FixedGrid, Grid
from streamd.windows.moments import US, moment

HOUR_US = 3600 * US
ZONES = [
    "Europe/Paris", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe",
    "Africa/Casablanca", "UTC",
]  # fmt: skip
MOMENTS = st.integers(moment("1900-01-01T00:00:00Z"), moment("2100-01-01T00:00:00Z"))
DAYS = [(1, 0), (7, 0), (1, 6 * HOUR_US), (2, 2 * HOUR_US + 30 * 60 * US)]
GRIDS: list[Grid] = [FixedGrid(1, 0), FixedGrid(60 * US, 0), FixedGrid(7 * US, 3 * US)]
GRIDS += [DayGrid(days, offset_us, ZoneInfo(zone)) for zone in ZONES for days, offset_us in DAYS]


@settings(max_examples=150, deadline=None)
@given(at=MOMENTS)
def test_each_time_is_in_one_pane_and_panes_follow_each_other(at: int) -> None:
    for grid in GRIDS:
        index = grid.index(at)
        assert grid.start(index) <= at < grid.start(index + 1)
        assert grid.index(grid.start(index)) == index
        assert grid.index(grid.start(index) - 1) == index - 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Paris", "2026-03-29", 23),
        ("Europe/Paris", "2026-10-25", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),  # midnight itself is skipped
        ("America/Sao_Paulo", "2018-02-17", 25),  # 23:00 to midnight occurs twice
        ("Asia/Beirut", "2022-03-27", 23),  # midnight itself is skipped
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/New_York", "2026-06-01", 24),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight(zone: str, day: str, hours: float) -> None:
    grid = DayGrid(1, 0, ZoneInfo(zone))
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    index = grid.index(moment(noon.isoformat()))
    start, end = grid.start(index), grid.start(index + 1)
    assert (end - start) / HOUR_US == hours
    local = datetime.fromtimestamp(start // US, UTC).astimezone(ZoneInfo(zone))
    assert (str(local.date()), local.hour <= 1) == (day, True)


def test_a_day_that_a_zone_skipped_has_no_length_and_no_time() -> None:
    grid = DayGrid(1, 0, ZoneInfo("Pacific/Apia"))  # it had no 30 December 2011
    before = grid.index(moment("2011-12-30T09:59:59.999999Z"))
    after = grid.index(moment("2011-12-30T10:00:00Z"))
    assert after - before == 2
    assert grid.start(before + 1) == grid.start(after)


def test_the_edges_of_the_calendar_raise_what_the_caller_expects() -> None:
    with pytest.raises(OverflowError):
        DayGrid(1, 0, ZoneInfo("UTC")).start(-10_000_000)
    assert FixedGrid(DAY_US, 0).index(-1) == -1
