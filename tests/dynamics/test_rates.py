import random

import pytest

from streamd.dynamics.rates import Flow, Rates


def feed(
    rates: Rates, arrivals: list[int], departures: list[int] | None = None, *, backlog: bool = False
) -> None:
    """Observations half a second apart, from time 0 on."""
    arrived = left = 0
    rates.observe(0.0, 0, 0, is_backlogged=False)
    for index, (come, gone) in enumerate(zip(arrivals, departures or arrivals, strict=True), 1):
        arrived, left = arrived + come, left + gone
        rates.observe(index / 2, arrived, left, is_backlogged=backlog)


def test_nothing_was_observed_yet() -> None:
    rates = Rates()
    assert rates.now == rates.over(5.0) == Flow(0, 0, 0)
    assert rates.backlog_out_per_s is None
    assert not rates.is_bursty


def test_the_window_grows_to_20_seconds() -> None:
    rates = Rates()
    windows = []
    for index in range(60):
        rates.observe(index / 2, 50 * index, 40 * index, is_backlogged=False)
        windows.append(rates.now.window_s)
    assert windows[:4] == [0, 0.5, 1, 1.5]
    assert (windows[39], windows[40], windows[59]) == (19.5, 20, 20)
    assert rates.now == Flow(20, 100, 80)


def test_rates_are_known_over_1_5_and_20_seconds() -> None:
    rates = Rates()
    feed(rates, [500] * 60 + [1000] * 2)
    assert [rates.over(seconds).in_per_s for seconds in (1.0, 5.0, 20.0)] == [2000, 1200, 1050]


@pytest.mark.parametrize("new", [1100, 2000, 10])
def test_a_step_of_the_inflow_makes_the_window_begin_anew(new: int) -> None:
    rates = Rates()
    feed(rates, [1000] * 60 + [new] * 12, [1000] * 72)
    assert rates.now.window_s <= 6
    assert rates.now.in_per_s == pytest.approx(2 * new)
    assert rates.now.out_per_s == pytest.approx(2000)


def test_right_after_a_change_the_rate_is_that_of_the_last_interval() -> None:
    rates = Rates()
    feed(rates, [1000] * 60 + [3000])
    assert rates.now == Flow(0.5, 6000, 6000)


def test_the_first_load_after_silence_makes_the_window_begin_anew() -> None:
    rates = Rates()
    feed(rates, [0] * 3 + [1000] * 8)
    assert rates.now.in_per_s == pytest.approx(2000)


def test_a_step_of_the_departures_counts_in_a_backlog_only() -> None:
    for backlog, window_s in ((True, 4.5), (False, 20)):
        rates = Rates()
        feed(rates, [1000] * 70, [1000] * 60 + [10] * 10, backlog=backlog)
        assert rates.now.window_s == window_s


def test_the_begin_and_the_end_of_a_load_are_no_burst() -> None:
    rates = Rates()
    feed(rates, [0] * 21 + [1000] * 30 + [0] * 30)
    assert not rates.is_bursty
    assert rates.now.in_per_s == 0
    assert rates.now.window_s == 14.5


def test_the_noise_of_a_steady_inflow_is_no_step() -> None:
    draw = random.Random(3)  # noqa: S311 - no secret
    rates = Rates()
    short = arrived = 0
    for index in range(1200):
        arrived += round(draw.gauss(1000, 32))
        rates.observe(index / 2, arrived, index * 1000, is_backlogged=False)
        short += index > 60 and rates.now.window_s < 20
    assert short < 200


def test_changes_that_repeat_are_bursts_and_no_steps() -> None:
    rates = Rates()
    feed(rates, ([4000] * 8 + [0] * 8) * 4, [2000] * 64)
    assert rates.is_bursty
    assert rates.in_bursts.window_s == 20
    assert rates.variance_in_bursts_per_s > 4000**2
    assert rates.now.window_s < 4
    for index in range(130):
        rates.observe(32.5 + index / 2, 128_000 + index * 2000, 128_000, is_backlogged=False)
    assert not rates.is_bursty


def test_the_variance_of_bursts_is_that_of_blocks() -> None:
    rates = Rates()
    feed(rates, ([4000] * 2 + [0] * 2) * 20, [2000] * 80)
    assert rates.variance_in_bursts_per_s == pytest.approx(4000**2, rel=0.1)


def test_before_it_is_measured_the_variance_is_that_of_poisson_arrivals_or_the_last_known() -> None:
    rates = Rates()
    feed(rates, [500] * 4)
    assert rates.variance_per_s == pytest.approx(1000)
    draw = random.Random(5)  # noqa: S311 - no secret
    noisy = Rates()
    feed(noisy, [round(draw.gauss(1000, 200)) for _ in range(80)] + [4000] * 3)
    assert noisy.now.window_s < 3
    assert noisy.variance_per_s == pytest.approx(8000 * (2 * 200**2) / 2000, rel=0.5)


def test_departures_add_to_the_variance_only_in_a_backlog() -> None:
    found = []
    for backlog in (False, True):
        rates = Rates()
        feed(rates, [1000] * 40, [1500, 1500, 500, 500] * 10, backlog=backlog)
        found.append(rates.variance_per_s)
    assert found[0] == 2000
    assert found[1] > 900_000


def test_departures_are_the_capacity_in_a_backlog_only() -> None:
    rates = Rates()
    feed(rates, [1000] * 20, [800] * 20, backlog=True)
    assert rates.backlog_out_per_s == 1600
    rates.observe(10.5, 21_000, 16_800, is_backlogged=False)
    assert rates.backlog_out_per_s is None
    rates.observe(11.0, 22_000, 17_600, is_backlogged=True)
    assert rates.backlog_out_per_s is None
    rates.observe(11.5, 23_000, 18_400, is_backlogged=True)
    assert rates.backlog_out_per_s == 1600


def test_counters_that_fall_begin_anew_and_a_clock_that_stands_is_ignored() -> None:
    rates = Rates()
    feed(rates, [100] * 20)
    rates.observe(10.5, 7, 7, is_backlogged=False)
    assert rates.now == Flow(0, 0, 0)
    rates.observe(10.5, 100, 100, is_backlogged=False)
    assert rates.now == Flow(0, 0, 0)
    rates.observe(11.0, 57, 57, is_backlogged=False)
    assert rates.now.in_per_s == 100
