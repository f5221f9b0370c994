import random

import pytest

from streamd.dynamics.skill import FEWEST, MEMORY, Skill


def score(pairs: list[tuple[float, bool]]) -> float | None:
    """Forecasts for the next half second, each with its outcome."""
    skill = Skill(0.5)
    for second, (probability, happens) in enumerate(pairs):
        skill.observe(second, probability, happens=False)
        skill.observe(second + 0.25, None, happens=happens)
    skill.observe(len(pairs), None, happens=False)
    return skill.score


def test_the_base_rate_has_no_skill_and_foresight_is_perfect() -> None:
    outcomes = [index % 4 == 0 for index in range(200)]
    assert score([(0.25, one) for one in outcomes]) == pytest.approx(0)
    assert score([(float(one), one) for one in outcomes]) == 1
    assert score([(1.0 - one, one) for one in outcomes]) == pytest.approx(1 - 1 / (0.25 * 0.75))


def test_chance_is_worse_than_the_base_rate() -> None:
    draw = random.Random(8)  # noqa: S311 - no secret
    found = score([(draw.random(), draw.random() < 0.5) for _ in range(500)])
    assert found is not None
    assert found < -0.1


def test_it_is_not_known_from_few_forecasts_or_without_both_outcomes() -> None:
    assert Skill(1.0).base_rate is None
    assert score([(0.5, index % 2 == 0) for index in range(FEWEST - 1)]) is None
    assert score([(0.5, index % 2 == 0) for index in range(FEWEST)]) == pytest.approx(0)
    assert score([(0.1, False)] * 100) is None
    assert score([(0.9, True)] * 100) is None


def test_an_event_fulfils_the_forecasts_of_its_horizon_only() -> None:
    skill = Skill(10.0)
    for second in range(40):
        skill.observe(float(second), 1.0 if second >= 29 else 0.0, happens=second == 39)
    assert skill.score == 1
    assert skill.base_rate == 10 / 39


def test_a_forecast_whose_horizon_has_passed_is_not_fulfilled_by_a_late_observation() -> None:
    skill = Skill(10.0)
    for second in range(40):
        skill.observe(float(second), 0.0, happens=False)
    skill.observe(100.0, 0.0, happens=True)
    assert skill.base_rate == 0


def test_while_the_event_lasts_there_is_nothing_to_foresee() -> None:
    skill = Skill(10.0)
    for second in range(100):
        skill.observe(float(second), 1.0, happens=second >= 50)
    assert skill.base_rate == 0.2
    assert skill.score == pytest.approx(1 - (40 / 50) / (0.2 * 0.8))


def test_old_forecasts_are_forgotten() -> None:
    pairs = [(0.0, True), (1.0, False)] * 50 + [(1.0, True), (0.0, False)] * (MEMORY // 2)
    assert score(pairs) == 1
