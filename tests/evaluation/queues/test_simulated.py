"""The model on drives without a machine, whose course can be computed."""

import pytest

from tests.evaluation.queues.drives import bursts, constant
from tests.evaluation.queues.scores import every_band, filling, loss
from tests.evaluation.queues.simulated import simulate


def test_a_constant_load_fills_the_buffer_when_it_has_to() -> None:
    found = filling(simulate(constant(1.5, 5000)))
    assert found is not None
    assert found.full_s == pytest.approx(10.0, abs=0.2)
    assert max(forecast.error(found.full_s) for forecast in found.forecasts) < 0.05


def test_the_loss_in_bursts_is_the_one_computed_and_bands_hold_the_time() -> None:
    held = []
    for seed in (3, 14):
        one = simulate(bursts(1.2, 0.5, 8000, seed, seconds=40.0))
        found, lost = filling(one), loss(one)
        assert found is not None
        assert lost is not None
        assert lost.dropped > 3000
        assert lost.error < 0.03
        held += [band.covers(found.full_s) for band in every_band(one, found.full_s)]
    assert sum(held) / len(held) > 0.7
