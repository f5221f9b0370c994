import pytest

from streamd.dynamics.shared_core import is_overloaded, shared_core_capacity


def test_reading_takes_the_time_of_processing() -> None:
    assert shared_core_capacity(0, 1e-6, 4e-6) == pytest.approx(250_000)
    assert shared_core_capacity(500_000, 1e-6, 4e-6) == pytest.approx(125_000)
    assert shared_core_capacity(2_000_000, 1e-6, 4e-6) == 0
    assert shared_core_capacity(100, 1e-6, 0) == float("inf")


@pytest.mark.parametrize(("inflow", "overloaded"), [(199_999, False), (200_001, True)])
def test_the_queue_grows_when_both_costs_together_need_more_than_the_core(
    inflow: float, overloaded: bool
) -> None:
    assert is_overloaded(inflow, 1e-6, 4e-6) is overloaded
    assert (inflow > shared_core_capacity(inflow, 1e-6, 4e-6)) is overloaded
