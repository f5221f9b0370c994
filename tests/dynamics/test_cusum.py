import random

from streamd.dynamics.cusum import RateCusum


def first(deviations: list[float]) -> int | None:
    cusum = RateCusum()
    return next((index for index, one in enumerate(deviations, 1) if cusum.observe(one)), None)


def test_a_change_is_found_soon_in_both_directions() -> None:
    assert first([2.0] * 10) == 4
    assert first([-2.0] * 10) == 4
    assert first([0.0] * 50 + [20.0]) == 51


def test_a_deviation_within_the_slack_is_never_a_change() -> None:
    assert first([0.5] * 10_000) is None
    assert first([float("nan"), float("inf")] * 10) is None


def test_false_alarms_are_rare() -> None:
    draw = random.Random(1)  # noqa: S311 - no secret
    cusum = RateCusum()
    alarms = sum(cusum.observe(draw.gauss(0, 1)) for _ in range(50_000))
    assert 50_000 / 2000 < alarms < 50_000 / 300


def test_it_begins_anew_after_a_change() -> None:
    cusum = RateCusum()
    assert [cusum.observe(2.0) for _ in range(8)] == [False, False, False, True] * 2
