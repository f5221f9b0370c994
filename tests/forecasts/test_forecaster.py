"""The intervals of a series, and what is made when they end."""

import random
from math import isnan, sin, tau
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.forecasts.forecaster import Forecaster, Prediction
from streamd.forecasts.holt_winters import HoltWinters, Season

MINUTE_US = 60_000_000
near = pytest.approx


def forecaster(
    horizons: tuple[int, ...] = (1,),
    delay: float = 0.0,
    season: Season | None = None,
    *,
    level: float = 0.9,
    errors: int = 100,
) -> Forecaster:
    method = HoltWinters(0.3, 0.1, 0.9, season, 0.2)
    buckets = 1 if season is None else season.buckets
    return Forecaster(method, MINUTE_US, round(delay * MINUTE_US), horizons, level, errors, buckets)


def seen(one: Forecaster, records: list[tuple[float, float]]) -> list[list[Prediction] | None]:
    """What is made of values at times in minutes."""
    series = one.new()
    return [one.see(series, round(minute * MINUTE_US), value) for minute, value in records]


def test_an_interval_ends_with_the_first_record_of_a_later_one_and_its_value_is_the_mean() -> None:
    found = seen(forecaster(), [(10.0, 4.0), (10.9, 6.0), (10.5, 8.0), (11.0, 9.0), (12.0, 1.0)])
    assert found[:3] == [[], [], []]
    (first,) = found[3] or []
    assert (first.interval, first.ahead, first.predicted.value, first.predicted.naive) == (11, 1, 6.0, 6.0)
    assert isnan(first.actual)
    assert isnan(first.predicted.reach)
    score, second = found[4] or []
    assert score == Prediction(11, 1, score.predicted, 9.0)
    assert score.predicted[::2] == first.predicted[::2]
    assert (second.interval, second.predicted.naive) == (12, 9.0)


def test_each_horizon_is_predicted_and_scored_by_itself() -> None:
    found = seen(forecaster((1, 3)), [(n, float(n)) for n in range(8)])
    made = [[(one.interval, one.ahead, isnan(one.actual)) for one in some or ()] for some in found]
    assert made[4] == [(3, 1, False), (3, 3, False), (4, 1, True), (6, 3, True)]
    assert made[2] == [(1, 1, False), (2, 1, True), (4, 3, True)]


def test_predictions_for_an_interval_without_a_value_are_counted_and_not_scored() -> None:
    one = forecaster((1, 3))
    series = one.new()
    for minute in (0, 1, 2, 3):
        one.see(series, minute * MINUTE_US, 5.0)
    assert [(p.interval, p.ahead) for p in one.see(series, 5 * MINUTE_US, 5.0) or ()] == [
        (3, 1),
        (3, 3),
        (4, 1),
        (6, 3),
    ]
    made = one.see(series, 6 * MINUTE_US, 5.0) or []
    assert [(p.interval, p.ahead) for p in made if not isnan(p.actual)] == [(5, 3)]
    assert series.unverified == 2
    made = one.see(series, 60 * MINUTE_US, 5.0) or []
    assert [(p.interval, p.ahead) for p in made if not isnan(p.actual)] == [(6, 1), (6, 3)]
    one.see(series, 61 * MINUTE_US, 5.0)
    assert series.unverified == 2 + 3


def test_a_value_for_an_ended_interval_is_late() -> None:
    assert seen(forecaster(), [(1.5, 1.0), (2.0, 1.0), (1.9, 1.0)])[2] is None
    assert seen(forecaster(), [(1.5, 1.0), (1.0, 1.0)])[1] == []
    assert seen(forecaster(), [(5.0, 1.0), (2.0, 1.0)])[1] is None


def test_with_a_delay_an_interval_waits_for_earlier_values() -> None:
    records = [(1.5, 1.0), (2.4, 1.0), (1.9, 3.0), (2.5, 3.0), (1.9, 100.0), (3.6, 5.0)]
    found = seen(forecaster(delay=0.5), records)
    assert found[:3] == [[], [], []]
    (first,) = found[3] or []
    assert (first.interval, first.predicted.naive) == (2, 2.0)
    assert found[4] is None
    score, _ = found[5] or []
    assert score.actual == 2.0


def test_the_latest_record_decides_what_is_late_not_the_last_one() -> None:
    assert seen(forecaster(delay=0.75), [(2.9, 1.0), (2.1, 1.0), (1.9, 1.0)])[2] is None


@given(
    st.lists(st.tuples(st.integers(0, 240).map(lambda n: n / 8), st.floats(-9, 9)), max_size=60),
    st.sampled_from([0.0, 0.75, 5.0]),
)
def test_every_value_is_in_the_mean_of_its_interval_or_late(
    records: list[tuple[float, float]], delay: float
) -> None:
    one = forecaster((1,), delay)
    found = seen(one, [*records, (1000.0, 0.0), (1001.0 + delay, 0.0)])
    intervals: dict[int, list[float]] = {}
    newest = -1e9
    for (minute, value), made in zip(records, found, strict=False):
        newest = max(newest, minute)
        late = int(minute) + 1 <= newest - delay
        assert (made is None) == late
        if not late:
            intervals.setdefault(int(minute), []).append(value)
    ended = [p for made in found for p in made or () if isnan(p.actual)]
    ended = [p for p in ended if p.interval < 1000]
    assert [p.interval - 1 for p in ended] == sorted(intervals)
    for p in ended:
        assert p.predicted.naive == near(fmean(intervals[p.interval - 1]))


def shape(kind: str, count: int) -> list[float]:
    rnd = random.Random(kind)  # noqa: S311 - the same values in every run
    walk, found = 0.0, []
    for n in range(count):
        walk += rnd.gauss(0, 0.3)
        found.append(
            {
                "noise": rnd.gauss(0, 1),
                "skewed": rnd.expovariate(1.0) ** 2,
                "walk": walk + rnd.gauss(0, 0.3),
                "trend": n / 50 + rnd.gauss(0, 1),
                "day": 5 * sin(tau * n / 48) + walk / 3 + rnd.gauss(0, 0.5),
            }[kind]
        )
    return found


@pytest.mark.parametrize("kind", ["noise", "skewed", "walk", "trend", "day"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_band_includes_as_many_values_as_it_says(kind: str, level: float) -> None:
    season = Season(48, 1) if kind == "day" else None
    one = forecaster((1, 48), 0.0, season, level=level)
    found = seen(one, [(float(n), value) for n, value in enumerate(shape(kind, 3000))])
    for ahead, tolerance in ((1, 0.025), (48, 0.09)):
        scores = [p for made in found for p in made or () if p.ahead == ahead and not isnan(p.actual)]
        scores = [p for p in scores if not isnan(p.predicted.reach)]
        inside = [abs(p.actual - p.predicted.value) <= p.predicted.reach for p in scores]
        assert len(inside) > 2000
        assert fmean(inside) == pytest.approx(level, abs=tolerance)


def test_a_season_beats_repeating_the_last_one() -> None:
    one = forecaster((1, 12), 0.0, Season(48, 1))
    found = seen(one, [(float(n), value) for n, value in enumerate(shape("day", 2000))])
    for ahead in (1, 12):
        scores = [p for made in found for p in made or () if p.ahead == ahead and not isnan(p.actual)]
        error = fmean(abs(p.actual - p.predicted.value) for p in scores)
        assert error < 0.9 * fmean(abs(p.actual - p.predicted.naive) for p in scores)


def test_the_naive_prediction_of_a_season_is_the_last_value_of_the_bucket() -> None:
    one = forecaster((1,), 0.0, Season(3, 1))
    found = seen(one, [(float(n), float(n)) for n in range(8)])
    naive = [p.predicted.naive for made in found for p in made or () if isnan(p.actual)]
    assert naive == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("season", [None, Season(3, 1)])
@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_a_stored_series_goes_on_as_if_it_had_not_been_stored(season: Season | None, delay: float) -> None:
    rnd = random.Random(5)  # noqa: S311
    one = forecaster((1, 4), delay, season, errors=12)
    through, stored = one.new(), one.new()
    made = 0
    for n in range(300):
        moment_us = round((n / 3 + rnd.random() * 4) * MINUTE_US)
        stored = one.of_stored(one.stored(stored))
        value = rnd.gauss(0, 1)
        found: list[Any] = [one.see(series, moment_us, value) for series in (through, stored)]
        assert repr(found[0]) == repr(found[1])
        assert through.unverified == stored.unverified
        made += len(found[0] or ())
    assert made > 200


def test_a_series_of_other_horizons_or_seasons_is_refused() -> None:
    one = forecaster((1, 2), 0.0, Season(3, 1))
    series = one.new()
    for other in (
        forecaster((1,), 0.0, Season(3, 1)),
        forecaster((1, 2)),
        forecaster((1, 3), 0.0, Season(3, 1)),
    ):
        with pytest.raises(ValueError, match=r"another|other"):
            other.of_stored(one.stored(series))
