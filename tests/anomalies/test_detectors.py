"""All detectors against their definitions."""

from math import inf, nan, sqrt
from statistics import fmean, median, median_high, pstdev
from typing import Any

import pytest
from hypothesis import example, given
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


def see(detector: Detector[Any], model: Any, value: float, at_s: float) -> Any:
    """The score and band of one value; None if it has none."""
    found = detector.see_all([model], [value], [at_s])
    ((flag, score, low, high),) = zip(found.flags, found.scores, found.lows, found.highs, strict=True)
    if score is None:
        assert (flag, low, high) == (None,) * 3
        return None
    assert flag is not ((low is None or low <= value) and (high is None or value <= high))
    return score, low, high


def seen(detector: Detector[Any], values: list[float], step_s: float = 60.0) -> list[Any]:
    model = detector.new()
    return [see(detector, model, value, number * step_s) for number, value in enumerate(values)]


def learned(value: float, low: float, high: float, learn: Learn) -> list[float]:
    if low <= value <= high or learn == "all":
        return [value]
    return [min(max(value, low), high)] if learn == "clipped" else []


@given(VALUES, LEARN, st.sampled_from([0.0, 0.5]))
@example([0.0, 1.0, 2.0, 3.0, 4.0, 99.0, 2.0], "inside", 0.0)
@example([0.0, 1.0, 2.0, 3.0, 4.0, 99.0, 2.0], "clipped", 0.0)
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


@given(VALUES, LEARN, st.sampled_from([0.0, 0.5]))
@example([0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 2.0], "inside", 0.0)
@example([0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 2.0], "clipped", 0.0)
def test_quantiles_are_a_band_with_an_end_on_each_side_that_has_a_scale(
    values: list[float], learn: Learn, min_width: float
) -> None:
    found = seen(Quantiles(Limits(1.5, min_width, 5, learn), 7, 0.1, 0.8), values)
    known: list[float] = []
    for value, scored in zip(values, found, strict=True):
        last, new = SortedWindow(7, known[-7:]), [value]
        expected = None
        if len(last.values) >= 5:
            middle = last.median()
            below = max(1.5 * (middle - last.quantile(0.1)), min_width)
            above = max(1.5 * (last.quantile(0.8) - middle), min_width)
            has_low, has_high = (reach > abs(middle) * 1e-12 for reach in (below, above))
            is_above = value > middle or (value == middle and not has_low)
            if has_high if is_above else has_low:
                low, high = middle - below, middle + above
                score = (value - middle) / (above if is_above else below) * 1.5
                expected = (score, low if has_low else None, high if has_high else None)
                new = learned(value, -inf if is_above else low, high if is_above else inf, learn)
        assert scored == expected
        known += new


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda n: n / 1e3), min_size=3, max_size=30))
def test_ewma_begins_with_the_mean_and_deviation_of_all_values(values: list[float]) -> None:
    *known, value = values
    *_, scored = seen(Ewma(Limits(2.0, 0.0, len(known), "all"), 1000.0), values)
    mean, reach = fmean(known), 2.0 * pstdev(known)
    if scored is None:
        assert reach <= 1e-6
    else:
        assert scored[1:] == near((mean - reach, mean + reach), rel=1e-6, abs=1e-6)
        assert scored[0] == near((value - mean) / (scored[2] - scored[1]) * 4.0, rel=1e-6, abs=1e-6)


@given(VALUES, st.floats(1.0, 20.0), st.sampled_from([2, 30]))
@example([1.0, 5.0, 2.0, 9.0], 2.5, 2)
@example([1.0, 5.0, 2.0, 9.0], 1.0, 30)
def test_ewma_halves_the_weight_of_a_value_in_its_half_life(
    values: list[float], half_life: float, min_samples: int
) -> None:
    detector = Ewma(Limits(2.0, 0.0, min_samples, "all"), half_life)
    model = detector.new()
    weights: list[float] = []
    least = 1.0 - 0.5 ** (1.0 / half_life)
    for value in values:
        see(detector, model, value, 0.0)
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


def test_a_side_of_equal_values_has_no_end_and_no_score() -> None:
    detector = Quantiles(Limits(1.5, 0.0, 8, "clipped"), 8, 0.1, 0.9)
    values = [0.0] * 6 + [1.0, 2.0]
    (reach,) = {1.5 * SortedWindow(8, values).quantile(0.9)}
    assert seen(detector, [*values, 1.0])[-1] == (1.0 / reach * 1.5, None, reach)
    assert seen(detector, [*values, 0.0])[-1] == (0.0, None, reach)
    assert seen(detector, [*values, 99.0])[-1] == (99.0 / reach * 1.5, None, reach)
    assert seen(detector, [*values, -1.0])[-1] is None
    assert seen(detector, [*[-value for value in values], -1.0])[-1] == (-1.0 / reach * 1.5, -reach, None)


def test_a_first_value_of_a_wrong_time_does_not_end_or_keep_the_first_season() -> None:
    values = [(900.0 * n, [10.0, 20.0, 30.0, 0.0][n % 4]) for n in range(16)]
    for wrong_s in (-1e9, 1e9):
        detector = Seasonal(Limits(4.0, 1.0, 2, "clipped"), 50.0, 3600.0, 4, 3.0)
        model = detector.new()
        found = [see(detector, model, value, at_s) for at_s, value in [(wrong_s, 7.0), *values]]
        scored = [one is not None for one in found]
        assert scored == [False] * 8 + [True] * 9
        assert all(one == near((0.0, one[1], one[2])) for one in found if one is not None)


def test_a_value_of_a_wrong_time_amid_the_first_season_is_left_out() -> None:
    values = [(900.0 * n, [10.0, 20.0, 30.0, 0.0][n % 4]) for n in range(16)]
    detector = Seasonal(Limits(4.0, 1.0, 2, "clipped"), 50.0, 3600.0, 4, 3.0)
    model = detector.new()
    found = [see(detector, model, *one) for one in [(10.0, 0.0), (7e9, -1e9), (20.0, 900.0)]]
    found = [see(detector, model, value, at_s) for at_s, value in values[2:]]
    assert [one is not None for one in found] == [False] * 4 + [True] * 10


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
        see(detector, model, value, number * 60.0)
    assert list(model.profile) == near([-5.0, 5.0])
    for at_s, value in ((240.0, 4.0), (250.0, 8.0), (300.0, 10.0)):
        see(detector, model, value, at_s)
    assert list(model.profile) == near([-5.0 + 0.5 * 6.0, 5.0])
    assert model.level == near(5.0)


def test_a_bucket_that_the_first_season_has_not_seen_begins_with_its_first_value() -> None:
    detector = Seasonal(Limits(4.0, 1.0, 2, "all"), 50.0, 120.0, 2, 1.0)
    model = detector.new()
    for at_s in (0.0, 120.0, 240.0):
        see(detector, model, 5.0, at_s)
    assert see(detector, model, 9.0, 300.0) is None
    assert see(detector, model, 9.0, 420.0) == near((0.0, 8.0, 10.0))


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
        assert see(detector, model, value, number * 60.0) == see(detector, other, value, number * 60.0)


@pytest.mark.parametrize("detector", DETECTORS)
def test_values_without_a_scale_are_counted(detector: Detector[Any]) -> None:
    model, values = detector.new(), [5.0] * 40
    found = detector.see_all([model] * 40, values, [60.0 * number for number in range(40)])
    assert found.flat > 5
    assert found.scores == [None] * 40


@pytest.mark.parametrize("detector", DETECTORS)
def test_equal_values_have_no_scale_and_no_score(detector: Detector[Any]) -> None:
    assert set(seen(detector, [0.1] * 30)) == {None}
    assert set(seen(detector, [0.3, 0.1 + 0.2, 0.1 + 0.2] * 30)) == {None}


@pytest.mark.parametrize("detector", DETECTORS)
@given(values=st.lists(st.floats(-1e150, 1e150), max_size=30))
def test_scores_of_all_accepted_values_are_numbers(detector: Detector[Any], values: list[float]) -> None:
    for scored in seen(detector, values):
        assert scored is None or all(one == one for one in scored)  # noqa: PLR0124 - no NaN


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_value_that_is_no_usual_number_or_has_no_model_is_counted_and_not_learned(
    detector: Detector[Any],
) -> None:
    model = detector.new()
    for number in range(40):
        see(detector, model, float(number % 7), number * 60.0)
    before = detector.stored(model)
    odd = [nan, inf, -inf, 1e151, -1e151]
    found = detector.see_all([*[model] * 5, None], [*odd, 1.0], [2400.0] * 6)
    assert (found.unusable, found.flat) == (6, 0)
    assert found.flags == found.scores == found.lows == found.highs == [None] * 6
    assert detector.stored(model) == before


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clipped_value_moves_the_mean_by_the_reach_of_the_band(sign: int) -> None:
    limits = Limits(2.0, 0.0, 4, "clipped")
    detector = Ewma(limits, 1.0)
    model = detector.new()
    for value in (1.0, 3.0, 1.0, 3.0):
        see(detector, model, value, 0.0)
    mean, reach = model.mean, 2.0 * sqrt(model.variance)
    see(detector, model, sign * 1e9, 0.0)
    assert model.mean == near(mean + sign * reach / 2)


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
