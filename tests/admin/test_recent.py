import pytest

from streamd.admin.recent import Recent
from streamd.admin.view import StageGauge


def gauge(elapsed_s: float, busy_s: float, blocked_s: float = 0.0, name: str = "db") -> StageGauge:
    idle_s = elapsed_s - busy_s - blocked_s
    return StageGauge("sink", name, "idle", 0, 0, elapsed_s, busy_s, blocked_s, idle_s)


def test_shares_are_of_the_last_ten_seconds_however_long_the_stage_runs() -> None:
    recent = Recent()
    for second in range(3600):  # busy in the first half hour only
        recent.observe([gauge(second, min(second, 1800))], 100.0 + second)
    assert recent.shares(gauge(3600.0, 1800.0), 3700.0) == (11.0, 0.0, 0.0, 1.0)
    recent = Recent()
    recent.observe([gauge(90.0, 10.0, 20.0)], 190.0)
    assert recent.shares(gauge(100.0, 11.0, 25.0), 200.0) == (10.0, 0.1, 0.5, 0.4)


def test_a_look_that_comes_too_soon_is_not_remembered() -> None:
    recent = Recent()
    recent.observe([gauge(10.0, 0.0)], 110.0)
    for part in range(1, 10):
        recent.observe([gauge(10 + part / 10, part / 10)], 110 + part / 10)
    assert recent.shares(gauge(11.0, 1.0), 111.0).busy == 1.0
    for second in range(1, 30):
        recent.observe([gauge(10.0 + second, 1.0)], 110.0 + second)
    assert recent.shares(gauge(39.0, 1.0), 139.0).over_s == 10.0


def test_a_stage_that_is_newer_is_seen_since_it_began() -> None:
    recent = Recent()
    assert recent.shares(gauge(2.0, 0.5), 102.0) == (2.0, 0.25, 0.0, 0.75)
    recent.observe([gauge(50.0, 50.0, name="other")], 150.0)
    assert recent.shares(gauge(2.0, 0.5), 152.0) == (2.0, 0.25, 0.0, 0.75)


@pytest.mark.parametrize("elapsed_s", [1.0, 3.0, 8.0])
def test_a_stage_of_the_same_name_that_a_reload_has_made_is_another_one(elapsed_s: float) -> None:
    recent = Recent()
    recent.observe([gauge(3.0, 3.0)], 150.0)
    now = gauge(elapsed_s, elapsed_s / 2)
    assert recent.shares(now, 150.0 + elapsed_s) == (elapsed_s, 0.5, 0.0, 0.5)


def test_a_stage_that_has_just_begun_has_no_shares() -> None:
    assert Recent().shares(gauge(0.0, 0.0), 100.0) == (0.0, 0.0, 0.0, 0.0)
