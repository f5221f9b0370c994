"""Against the definitions of both tests."""

import random
from statistics import fmean, pstdev

import pytest

from streamd.drifts.cusum import Cusum
from streamd.drifts.detector import Change

near = pytest.approx


def series(seed: int) -> list[float]:
    rnd = random.Random(seed)  # noqa: S311 - the same values in every run
    return [rnd.gauss(5.0 + level, 2.0) for level in (0, 0, 3, 3, -1) for _ in range(80)]


def defined(
    values: list[float], fewest: int, threshold: float, slack: float, clip: float, *, follows: bool
) -> list[tuple[int, Change]]:
    """The changes by the sums of Hinkley: the last sum is so far from the least or greatest one."""
    changes = []
    start = 0
    while start + fewest < len(values):
        rest = values[start:]
        mean, scale = fmean(rest[:fewest]), pstdev(rest[:fewest])
        clipped = [0.0] * fewest
        sums: dict[int, list[float]] = {1: [0.0], -1: [0.0]}
        for number, value in enumerate(rest[fewest:], fewest):
            step = min(max((value - mean) / scale, -clip), clip)
            clipped.append(step)
            centre = fmean(clipped) if follows else 0.0
            found = None
            for sign, its in sums.items():
                its.append(its[-1] + sign * (step - centre) - slack)
                least = min(its)
                if its[-1] - least > threshold:
                    begin = fewest + max(n for n, one in enumerate(its) if one == least)
                    found = Change(
                        fmean(rest[:begin]), fmean(rest[begin : number + 1]), begin, number + 1 - begin
                    )
            if found is not None:
                changes.append((start + number, found))
                start += number + 1
                break
        else:
            break
    return changes


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("threshold", "slack", "clip"), [(8.0, 0.5, 4.0), (4.0, 0.25, 1.0), (9.0, 1.0, 1e6)])
def test_changes_are_those_of_the_definition(
    seed: int, threshold: float, slack: float, clip: float, *, follows: bool
) -> None:
    values = series(seed)
    detector = Cusum(30, 0.0, threshold, slack, clip, follows=follows)
    model = detector.new()
    seen = [(number, detector.see(model, value)) for number, value in enumerate(values)]
    found = [(number, change) for number, change in seen if change is not None]
    expected = defined(values, 30, threshold, slack, clip, follows=follows)
    assert [number for number, _ in found] == [number for number, _ in expected]
    assert found or threshold == 9.0
    for (_, change), (_, other) in zip(found, expected, strict=True):
        assert change == near(other)


def test_the_centre_that_follows_is_the_mean_of_all_values() -> None:
    detector = Cusum(30, threshold=1e9, clip=1e9, follows=True)
    model = detector.new()
    for value in series(3):
        detector.see(model, value)
    assert model.mean + model.scale * model.centre == near(fmean(series(3)))


def test_an_outlier_is_no_change_and_a_lasting_one_is_reported_with_its_own_level() -> None:
    detector = Cusum(20)
    model = detector.new()
    quiet = [1.0, 0.0] * 10
    changes = [detector.see(model, value) for value in [*quiet, 1e6, *quiet, -1e6, *quiet]]
    assert changes == [None] * 62
    *_, change = [detector.see(model, value) for value in (100.0, 100.0, 100.0)]
    assert change is not None
    assert change.after == near(100.0)
    assert change.values_after == 3


def test_equal_values_are_no_reference_until_one_differs() -> None:
    detector = Cusum(20)
    model = detector.new()
    assert [detector.see(model, 7.3) for _ in range(500)] == [None] * 500
    found = [detector.see(model, 9.0) for _ in range(5)]
    (change,) = filter(None, found)
    assert change.after == near(9.0)
    wide = Cusum(20, min_scale=1.0)
    model = wide.new()
    found = [wide.see(model, value) for value in [7.3] * 20 + [9.0] * 20]
    (change,) = filter(None, found)
    assert (change.before, change.after, change.values_before) == near((7.3, 9.0, 20))


@pytest.mark.parametrize("follows", [False, True])
def test_a_stored_model_goes_on_as_if_it_had_not_been_stored(*, follows: bool) -> None:
    detector = Cusum(30, follows=follows)
    values = series(1)
    through, stored = detector.new(), detector.new()
    for value in values:
        stored = detector.of_stored(detector.stored(stored))
        assert detector.see(through, value) == detector.see(stored, value)
