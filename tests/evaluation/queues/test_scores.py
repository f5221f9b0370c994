"""The figures of the page are right for drives whose result is known."""

from itertools import pairwise
from typing import Any

import pytest

from tests.evaluation.queues.driven import Drive, Seen
from tests.evaluation.queues.scores import Forecast, filling, full_at_s, loss, stall

PER_S, PACE, BOUND = 150, 100, 500


def entry(at_s: float, waits: float, **others: Any) -> dict[str, Any]:
    left_s = (BOUND - waits) / (PER_S - PACE)
    return {
        "records": min(waits, BOUND), "max_records": BOUND, "max_bytes": 10**9, "capacity_per_s": PACE,
        "full_in_s": {"low": left_s - 1, "median": left_s * 1.1, "high": left_s + 1},
        "overflow_expected": at_s > 3, "loop_slack_s": 0.25, "in_per_s": PER_S, "at": at_s,
    } | others  # fmt: skip


@pytest.fixture
def drive() -> Drive:
    """150 records a second where 100 leave: 500 wait after 10 seconds."""
    one = Drive("test", 20, lambda _: PER_S, PACE, BOUND)
    for index in range(41):
        at_s = index / 2
        waits = (PER_S - PACE) * at_s
        dropped = max(0, round(waits - BOUND))
        outlook = {"source": entry(at_s, waits)}
        one.seen.append(Seen(at_s, round(PER_S * at_s), dropped, 7, outlook, round(min(waits, BOUND))))
    return one


def test_forecasts_are_compared_with_the_time_at_which_the_queue_was_full(drive: Drive) -> None:
    assert full_at_s(drive) == 10
    found = filling(drive)
    assert found is not None
    assert (found.withheld, found.expected_s) == (0, 3.5)
    assert [forecast.at_s for forecast in found.forecasts] == [index / 2 for index in range(2, 19)]
    assert all(forecast.covers(10) for forecast in found.forecasts)
    assert [forecast.error(10) for forecast in found.forecasts] == pytest.approx([0.1] * 17)


def test_a_band_covers_the_times_between_its_ends() -> None:
    band = Forecast(2.0, 3.0, 4.0, 5.0)
    assert [band.covers(full_s) for full_s in (4.9, 5.0, 7.0, 7.1)] == [False, True, True, False]
    assert band._replace(high_s=None).covers(1e6)


def test_a_queue_that_was_never_full_has_no_figures(drive: Drive) -> None:
    del drive.seen[20:]
    assert (full_at_s(drive), filling(drive), loss(drive)) == (None, None, None)


def test_the_loss_is_integrated_with_the_inflow_that_came(drive: Drive) -> None:
    found = loss(drive)
    assert found is not None
    assert found.dropped == 500
    assert found.computed == pytest.approx(500)
    drive.ends_s = 15
    cut = loss(drive)
    assert cut is not None
    assert cut.dropped == 225
    assert cut.computed == pytest.approx(225)


def test_an_outlook_older_than_the_counters_does_not_change_the_loss(drive: Drive) -> None:
    drive.seen = [one._replace(outlook=before.outlook) for before, one in pairwise(drive.seen)]
    found = loss(drive)
    assert found is not None
    assert found.dropped == 500
    assert found.computed == pytest.approx(500)


def test_a_stall_loses_what_does_not_fit_into_the_slack(drive: Drive) -> None:
    drive.begins_s = 4
    found = stall(drive)
    assert found.lost == 7
    assert (found.computed(0.2), found.computed(1.25)) == (0, 150)
