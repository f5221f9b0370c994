import random

import pytest

from streamd.dynamics.waiting import fair_wait_s, kingman_wait_s, little_error, wait_s


def test_records_wait_for_those_before_them() -> None:
    assert wait_s(500, 100) == 5
    assert wait_s(0, 0) == 0
    assert wait_s(1, 0) is None
    assert fair_wait_s(10, 4, 100) == 0.4


def simulated(arrival: str, seed: int) -> tuple[float, float, float]:
    """Mean wait, mean queue and arrivals a second of one server with exponential service of mean 1."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    free = now = waits = 0.0
    count = 200_000
    for _ in range(count):
        now += draw.expovariate(0.8) if arrival == "poisson" else 1.25
        begin = max(now, free)
        waits += begin - now
        free = begin + draw.expovariate(1.0)
    return waits / count, waits / now, count / now


def test_kingman_is_the_wait_of_a_simulated_queue() -> None:
    assert kingman_wait_s(0.8, 1, 1, 1.0) == pytest.approx(4)
    assert simulated("poisson", 5)[0] == pytest.approx(4, rel=0.1)
    assert simulated("regular", 5)[0] == pytest.approx(kingman_wait_s(0.8, 0, 1, 1.0), rel=0.25)
    assert kingman_wait_s(1.0, 1, 1, 1) is None


def test_littles_law_holds_for_it_and_shows_a_wrong_instrument() -> None:
    wait, queue, per_s = simulated("poisson", 6)
    assert little_error(queue, per_s, wait) == pytest.approx(0, abs=1e-9)
    assert little_error(queue, per_s, wait / 2) == pytest.approx(0.5)
    assert little_error(queue / 2, per_s, wait) == pytest.approx(-0.5)
    assert little_error(0, 5, 0) is None
