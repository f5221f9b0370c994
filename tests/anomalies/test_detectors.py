"""All detectors, and what those of `anomalies/windowed.py` share, against their definitions."""

from math import sqrt
from statistics import fmean, median, median_high, pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.anomalies.detector import Detector
from streamd.anomalies.ewma import Ewma
from streamd.anomalies.hampel import NORMAL, Hampel
from streamd.anomalies.limits import Learn, Limits
from streamd.anomalies.quantiles import Quantiles
from streamd.anomalies.seasonal import Seasonal
from streamd.anomalies.sorted_window import SortedWindow

VALUES = st.lists(st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float), max_size=60)
LEARN = st.sampled_from(["all", "clipped", "inside"])
near = pytest.approx


def seen(detector: Detector[Any], values: list[float], step_s: float = 60.0) -> list[Any]:
    model = detector.new()
    return [detector.see(model, value, number * step_s) for number, value in enumerate(values)]


def learned(value: float, low: float, high: float, learn: Learn) -> list[float]:
    if low <= value <= high or learn == "all":
        return [value]
    return [min(max(value, low), high)] if learn == "clipped" else []


@given(VALUES, LEARN, st.sampled_from([0.0, 0.5]))
def test_hampel_is_the_median_and_the_median_absolute_deviation(
    values: list[float], learn: Learn, min_width: float
) -> None:
    found = seen(Hampel(Limits(3.0, min_width, 5, learn), 7), values)
    known: list[float] = []
    for value, scored in zip(values, found, strict=True):
        last = known[-7:]
        new = [value]
        if len(last) >= 5:
            middle = median(last)
            reach = max(3.0 * NORMAL * median_high([abs(one - middle) for one in last]), min_width)
            if reach <= abs(middle) * 1e-12:
                assert scored is None
            else:
                assert scored == near(((value - middle) / reach * 3.0, middle - reach, middle + reach))
                new = learned(value, scored[1], scored[2], learn)
        else:
            assert scored is None
        known += new


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30))
def test_ewma_begins_with_the_mean_and_deviation_of_all_values(values: list[float]) -> None:
    *known, value = values
    *_, scored = seen(Ewma(Limits(2.0, 0.0, len(known), "all"), 1000.0), values)
    mean, reach = fmean(known), 2.0 * pstdev(known)
    if scored is None:
        assert reach <= 1e-6
    else:
        assert scored[1:] == near((mean - reach, mean + reach), rel=1e-6, abs=1e-6)
        assert scored[0] == near((value - mean) / (scored[2] - scored[1]) * 4.0, rel=1e-6, abs=1e-6)


@given(VALUES, st.floats(1.0, 20.0))
def test_ewma_halves_the_weight_of_a_value_in_its_half_life(values: list[float], half_life: float) -> None:
    detector = Ewma(Limits(2.0, 0.0, 2, "all"), half_life)
    model = detector.new()
    weights: list[float] = []
    least = 1.0 - 0.5 ** (1.0 / half_life)
    for value in values:
        detector.see(model, value, 0.0)
        weight = max(least, 1.0 / (len(weights) + 1))
        weights = [one * (1.0 - weight) for one in weights] + [weight]
    if values:
        mean = sum(weight * value for weight, value in zip(weights, values, strict=True))
        variance = sum(w * (value - mean) ** 2 for w, value in zip(weights, values, strict=True))
        assert model.mean == near(mean, rel=1e-6, abs=1e-4)
        assert model.variance == near(variance, rel=1e-4, abs=1e-2)


def test_quantiles_have_a_scale_on_each_side() -> None:
    values = [float(n) ** 2 for n in range(11)]
    detector = Quantiles(Limits(1.5, 0.0, 11, "all"), 11, 0.1, 0.9)
    *_, scored = seen(detector, [*values, 150.0])
    low, middle, high = 25.0 - (25.0 - 1.0) * 1.5, 25.0, 25.0 + (81.0 - 25.0) * 1.5
    assert scored == ((150.0 - middle) / (high - middle) * 1.5, low, high)
    *_, scored = seen(detector, [*values, -50.0])
    assert scored[0] == (-50.0 - middle) / (middle - low) * 1.5


def test_a_season_is_learned_and_then_predicted() -> None:
    detector = Seasonal(Limits(4.0, 1.0, 2, "clipped"), 50.0, 240.0, 4, 3.0)
    profile = [10.0, 20.0, 30.0, 0.0]
    found = seen(detector, profile * 6)
    assert found[:6] == [None] * 6
    assert all(
        scored == near((0.0, value - 1.0, value + 1.0))
        for scored, value in zip(found[6:], (profile * 6)[6:], strict=True)
    )
    *_, odd = seen(detector, [*profile * 6, 20.0])
    assert odd is not None
    assert odd[0] > 4.0


def test_the_profile_follows_the_mean_of_a_visit_and_the_level_each_value() -> None:
    detector = Seasonal(Limits(4.0, 1.0, 2, "all"), 1e9, 120.0, 2, 1.0)
    model = detector.new()
    for number, value in enumerate([0.0, 10.0, 0.0, 10.0]):
        detector.see(model, value, number * 60.0)
    assert list(model.profile) == near([-5.0, 5.0])
    for at_s, value in ((240.0, 4.0), (250.0, 8.0), (300.0, 10.0)):
        detector.see(model, value, at_s)
    assert list(model.profile) == near([-5.0 + 0.5 * 6.0, 5.0])
    assert model.level == near(5.0)


def test_a_bucket_that_the_first_season_has_not_seen_begins_with_its_first_value() -> None:
    detector = Seasonal(Limits(4.0, 1.0, 2, "all"), 50.0, 120.0, 2, 1.0)
    model = detector.new()
    for at_s in (0.0, 120.0, 240.0):
        detector.see(model, 5.0, at_s)
    assert detector.see(model, 9.0, 300.0) is None
    assert detector.see(model, 9.0, 420.0) == near((0.0, 8.0, 10.0))


DETECTORS: list[Detector[Any]] = [
    Ewma(Limits(3.0, 0.0, 4), 10.0),
    Hampel(Limits(3.0, 0.0, 4), 9),
    Quantiles(Limits(1.5, 0.0, 4), 9, 0.1, 0.9),
    Seasonal(Limits(3.0, 0.0, 4), 10.0, 600.0, 5, 2.0),
]


@pytest.mark.parametrize("detector", DETECTORS)
@given(values=VALUES, cut=st.integers(0, 60))
def test_a_stored_model_goes_on_as_if_it_had_not_been_stored(
    detector: Detector[Any], values: list[float], cut: int
) -> None:
    model, other = detector.new(), detector.new()
    for number, value in enumerate(values):
        if number == cut:
            other = detector.of_stored(detector.stored(other))
        assert detector.see(model, value, number * 60.0) == detector.see(other, value, number * 60.0)


@pytest.mark.parametrize("detector", DETECTORS)
def test_equal_values_have_no_scale_and_no_score(detector: Detector[Any]) -> None:
    assert set(seen(detector, [0.1] * 30)) == {None}
    assert set(seen(detector, [0.3, 0.1 + 0.2, 0.1 + 0.2] * 30)) == {None}


@pytest.mark.parametrize("detector", DETECTORS)
@given(values=st.lists(st.floats(-1e150, 1e150), max_size=30))
def test_scores_of_all_accepted_values_are_numbers(detector: Detector[Any], values: list[float]) -> None:
    for scored in seen(detector, values):
        assert scored is None or all(one == one for one in scored)  # noqa: PLR0124 - no NaN


def test_a_clipped_value_moves_the_mean_by_the_reach_of_the_band() -> None:
    limits = Limits(2.0, 0.0, 4, "clipped")
    detector = Ewma(limits, 1.0)
    model = detector.new()
    for value in (1.0, 3.0, 1.0, 3.0):
        detector.see(model, value, 0.0)
    mean, reach = model.mean, 2.0 * sqrt(model.variance)
    detector.see(model, 1e9, 0.0)
    assert model.mean == near(mean + reach / 2)


def test_limits_learn_the_value_the_end_of_the_band_or_nothing() -> None:
    scored = (9.0, 1.0, 2.0)
    assert [Limits(2.0, learn="all").learned(value, scored) for value in (0.0, 1.5, 3.0)] == [0.0, 1.5, 3.0]
    assert [Limits(2.0).learned(value, scored) for value in (0.0, 1.5, 3.0)] == [1.0, 1.5, 2.0]
    assert [Limits(2.0, learn="inside").learned(v, scored) for v in (0.0, 1.0, 2.0, 3.0)] == [
        None,
        1.0,
        2.0,
        None,
    ]


def test_a_model_of_another_shape_is_refused() -> None:
    for detector, stored in (
        (DETECTORS[0], [1, 2]),
        (DETECTORS[1], ["x"]),
        (DETECTORS[3], DETECTORS[0].stored(DETECTORS[0].new())),
    ):
        with pytest.raises((ValueError, TypeError)):
            detector.of_stored(stored)
    other = Seasonal(Limits(3.0), 10.0, 600.0, 6, 2.0)
    with pytest.raises(ValueError, match="buckets"):
        DETECTORS[3].of_stored(other.stored(other.new()))
    assert isinstance(DETECTORS[1].new(), SortedWindow)
