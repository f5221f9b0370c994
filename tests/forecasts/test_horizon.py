from math import isnan, nan

import pytest

from streamd.forecasts.horizon import Horizon, Outlook


def test_a_prediction_waits_until_its_interval_is_taken() -> None:
    horizon = Horizon(3, 10)
    for index in range(3):
        assert isnan(horizon.take(index).value)
        horizon.put(index + 3, Outlook(index / 2, 1.0, -index))
    assert horizon.take(4) == (0.5, 1.0, -1.0)
    assert isnan(horizon.take(4).value)
    assert horizon.take(5) == (1.0, 1.0, -2.0)


@pytest.mark.parametrize(("before", "skipped"), [(4, 0), (5, 1), (6, 2), (7, 3), (8, 3), (10**12, 3)])
def test_predictions_for_intervals_in_between_are_forgotten(before: int, skipped: int) -> None:
    horizon = Horizon(3, 10)
    for index in range(1, 4):
        horizon.put(index + 3, Outlook(1.0, nan, nan))
    assert horizon.skip(3, before) == skipped
    left = [index for index in (4, 5, 6) if not isnan(horizon.take(index).value)]
    assert left == [index for index in (4, 5, 6) if index >= before]


def test_the_band_reaches_as_far_as_the_error_whose_rank_is_the_level_of_one_more() -> None:
    horizon = Horizon(1, 100)
    for error in range(18):
        horizon.note(error, float(error))
    assert isnan(horizon.reach(0.95))
    assert horizon.reach(0.9) == 17.0
    horizon.note(0, 50.0)
    assert horizon.reach(0.95) == 50.0
    assert horizon.reach(0.5) == 9.0
    for error in range(100):
        horizon.note(error, error / 10)
    assert horizon.reach(0.95) == pytest.approx(9.5)


def test_of_errors_that_overlap_some_are_remembered() -> None:
    horizon = Horizon(40, 10)
    for index in range(8):
        horizon.note(index, float(index))
    assert horizon.errors.in_order() == [0.0, 4.0]


def test_a_stored_horizon_goes_on() -> None:
    horizon, other = Horizon(2, 5), Horizon(2, 5)
    for index in range(9):
        horizon.take(index)
        horizon.note(index, index * 7 % 5)
        horizon.put(index + 2, Outlook(index, 1.0, 2.0))
    other.restore(horizon.stored())
    assert other.reach(0.8) == horizon.reach(0.8)
    assert [other.take(n) for n in (9, 10)] == [horizon.take(n) for n in (9, 10)]
    for wrong in (Horizon(3, 5), Horizon(2, 4)):
        with pytest.raises(ValueError, match="another horizon"):
            wrong.restore(horizon.stored())
