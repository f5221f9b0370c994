"""Against the equations as they are written in books, and river's HoltWinters."""

import random
from array import array
from math import isnan
from statistics import fmean

import pytest

from streamd.forecasts.holt_winters import HoltWinters, HoltWintersModel, Season

near = pytest.approx
ALPHA, BETA, GAMMA, PHI = 0.3, 0.1, 0.4, 0.9


def values(count: int, seed: int = 1) -> list[float]:
    rnd = random.Random(seed)  # noqa: S311 - the same values in every run
    return [0.2 * n + (5.0, -2.0, 7.0, 1.0)[n % 4] + rnd.gauss(0, 1) for n in range(count)]


def learned(method: HoltWinters, series: list[float], start: int = 0) -> HoltWintersModel:
    model = method.new()
    for index, value in enumerate(series, start):
        method.learn(model, index, value)
    return model


def test_level_and_damped_trend_are_those_of_the_equations() -> None:
    series = values(60)
    level, trend = series[0], 0.0
    for y in series[1:]:
        before = level
        level = ALPHA * y + (1 - ALPHA) * (before + PHI * trend)
        trend = BETA * (level - before) + (1 - BETA) * PHI * trend
    method = HoltWinters(ALPHA, BETA, PHI)
    model = learned(method, series)
    assert (model.level, model.trend) == near((level, trend))
    for ahead in (1, 2, 7, 100):
        reach = sum(PHI**n for n in range(1, ahead + 1))
        assert method.predict(model, ahead) == near(level + reach * trend)


def test_season_is_that_of_the_equations() -> None:
    """As in Hyndman and Athanasopoulos, "Forecasting: principles and practice", 8.3, with a damped trend."""
    series = values(80)
    first = fmean(series[:4])
    level, trend = first, 0.0
    season = [y - first for y in series[:4]]
    for n, y in enumerate(series[4:], 4):
        before, old = level, season[n - 4]
        level = ALPHA * (y - old) + (1 - ALPHA) * (before + PHI * trend)
        season.append(GAMMA * (1 - ALPHA) * (y - before - PHI * trend) + (1 - GAMMA * (1 - ALPHA)) * old)
        trend = BETA * (level - before) + (1 - BETA) * PHI * trend
    method = HoltWinters(ALPHA, BETA, PHI, Season(4, 1), GAMMA)
    model = learned(method, series)
    assert (model.level, model.trend) == near((level, trend))
    assert list(model.profile or ()) == near(season[-4:])
    for ahead in (1, 2, 3, 4, 5, 11):
        reach = sum(PHI**n for n in range(1, ahead + 1))
        assert method.predict(model, ahead) == near(level + reach * trend + season[-4:][(ahead - 1) % 4])


def test_without_damping_it_is_that_of_river() -> None:
    series = values(60)
    river = pytest.importorskip("river.time_series").HoltWinters(
        alpha=ALPHA, beta=BETA, gamma=GAMMA * (1 - ALPHA), seasonality=4
    )
    for y in series[:4]:
        river.learn_one(y)
    method = HoltWinters(ALPHA, BETA, 1.0, Season(4, 1), GAMMA)
    model = method.new()
    model.index, model.level, model.trend = 3, river.level[-1], river.trend[-1]
    model.profile = array("d", [*river.season][-4:])
    for index, y in enumerate(series[4:], 4):
        assert [method.predict(model, ahead) for ahead in range(1, 10)] == near(river.forecast(9))
        method.learn(model, index, y)
        river.learn_one(y)


@pytest.mark.parametrize("damping", [PHI, 1.0, 0.0])
def test_an_interval_without_a_value_follows_the_prediction(damping: float) -> None:
    series = values(30)
    season = Season(4, 1)
    method = HoltWinters(ALPHA, BETA, damping, season, GAMMA)
    skipping, filling = learned(method, series), learned(method, series)
    for index in (30, 31, 32):
        method.learn(filling, index, method.predict(filling, 1))
    for model in (skipping, filling):
        method.learn(model, 33, 4.0)
    assert (skipping.level, skipping.trend) == near((filling.level, filling.trend))
    assert list(skipping.profile or ()) == near(list(filling.profile or ()))


def test_a_season_has_buckets_of_several_intervals_that_begin_in_1970() -> None:
    method = HoltWinters(ALPHA, BETA, PHI, Season(2, 3), GAMMA)
    assert [method.bucket(index) for index in range(-1, 8)] == [1, 0, 0, 0, 1, 1, 1, 0, 0]
    model = method.new()
    for index in range(7, 12):
        method.learn(model, index, 10.0 if method.bucket(index) else 4.0)
        assert isnan(method.predict(model, 1))
    method.learn(model, 12, 4.0)
    assert [method.predict(model, ahead) for ahead in (1, 2, 3, 6)] == [4.0, 4.0, 10.0, 4.0]


def test_a_first_season_with_gaps_ends_in_time_and_a_missing_bucket_begins_with_its_first_value() -> None:
    method = HoltWinters(ALPHA, BETA, PHI, Season(4, 1), GAMMA)
    model = method.new()
    method.learn(model, 8, 4.0)
    method.learn(model, 10, 8.0)
    assert isnan(method.predict(model, 2))
    method.learn(model, 13, 5.0)
    assert (model.level, isnan(method.predict(model, 1))) == (6.0, False)
    assert isnan(method.predict(model, 2))
    method.learn(model, 15, 11.0)
    assert method.predict(model, 4) == near(11.0)
    assert (model.level, model.trend) == (6.0, 0.0)


def test_a_gap_of_any_length_costs_as_much_as_a_short_one() -> None:
    for damping in (PHI, 1.0):
        method = HoltWinters(ALPHA, BETA, damping)
        model = learned(method, [1.0, 2.0, 3.0])
        method.learn(model, 10**12, 5.0)
        assert abs(method.predict(model, 1)) < 1e13


@pytest.mark.parametrize("season", [None, Season(4, 1), Season(2, 10)])
def test_a_stored_model_goes_on_as_if_it_had_not_been_stored(season: Season | None) -> None:
    method = HoltWinters(ALPHA, BETA, PHI, season, GAMMA)
    through, stored = method.new(), method.new()
    for index, value in enumerate(values(50)):
        stored = method.of_stored(method.stored(stored))
        for model in (through, stored):
            method.learn(model, index * 2, value)
        found = [method.predict(model, 1) for model in (through, stored)]
        assert found[0] == found[1] or all(map(isnan, found))


def test_a_model_of_another_season_is_refused() -> None:
    for count in (2, 9):
        stored = HoltWinters(ALPHA, BETA, PHI, Season(4, 1), GAMMA)
        state = stored.stored(learned(stored, values(count)))
        with pytest.raises(ValueError, match="another number of buckets"):
            HoltWinters(ALPHA, BETA, PHI, Season(3, 1), GAMMA).of_stored(state)
