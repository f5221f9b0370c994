from typing import Any

import pytest

from streamd.windows.moments import NEVER, US, moment, moments_of

WALL_S = 1_700_000_000.5
RECEIVED = "2026-01-31T08:00:00.250000Z"


def at(record: dict[str, Any], time: str | None = "at", max_future_s: float = 300.0) -> int:
    (found,) = moments_of([record], time, round(max_future_s * US), WALL_S)
    return found


def test_without_a_field_the_time_is_that_of_the_receipt_or_now() -> None:
    records: list[dict[str, Any]] = [
        {"@received_at": RECEIVED},
        {"@received_at": RECEIVED},
        {"@received_at": "never"},
        {},
        {"@received_at": RECEIVED, "at": 5},
    ]
    received_us, wall_us = moment(RECEIVED), round(WALL_S * US)
    assert moments_of(records, None, 0, WALL_S) == [received_us, received_us, wall_us, wall_us, received_us]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1_600_000_000, 1_600_000_000 * US),
        ("2020-09-13T12:26:40.5Z", 1_600_000_000 * US + 500_000),
        ("0100-01-01T00:00:00Z", -59_011_459_200 * US),
        ("0099-12-31T23:59:59.999999Z", NEVER),
        ("today", NEVER),
        (None, NEVER),
        (True, NEVER),
        (float("nan"), NEVER),
        (1e300, NEVER),
    ],
)
def test_a_time_that_cannot_be_used_is_never(value: Any, found: int) -> None:
    assert at({"at": value}) == found


def test_a_time_is_not_later_than_the_receipt_by_more_than_it_may_be() -> None:
    assert at({"at": "2026-01-31T08:05:00.250000Z", "@received_at": RECEIVED}) != NEVER
    assert at({"at": "2026-01-31T08:05:00.250001Z", "@received_at": RECEIVED}) == NEVER
    assert at({"at": WALL_S + 300.0}) != NEVER
    assert at({"at": WALL_S + 301.0}) == NEVER
