import pytest

from streamd.core.now import Now
from streamd.functions.regular_time import RegularTime


@pytest.mark.parametrize(
    ("every_s", "wall_s", "passes_s"),
    [
        (10.0, 1003.0, 7.0),
        (10.0, 1000.0, 10.0),
        (10.0, 1009.9995, 10.0005),  # the timer was early
        (10.0, 1009.99, 0.01),
        (0.01, 1000.005, 0.005),
        (0.01, 999.9995, 0.0105),
        (86400.0, 86400.0 * 100 + 1, 86399.0),
        (10.0, -3.0, 3.0),
    ],
)
def test_it_is_due_at_the_next_multiple(every_s: float, wall_s: float, passes_s: float) -> None:
    regular = RegularTime(every_s)
    regular.set(Now(wall_s, 50.0))
    assert regular.due_mono_s == pytest.approx(50.0 + passes_s, abs=1e-6)


def test_it_is_due_at_once_until_it_has_been_set() -> None:
    regular = RegularTime(10.0)
    assert (regular.is_set, regular.due_mono_s) == (False, 0.0)
    regular.set(Now(1003.0, 5.0))
    assert regular.is_set


def test_a_jump_of_the_wall_clock_makes_no_burst() -> None:
    regular = RegularTime(10.0)
    regular.set(Now(1003.0, 5.0))
    regular.set(Now(9999.5, 12.0))
    assert regular.due_mono_s == pytest.approx(12.5)
    regular.set(Now(500.0, 13.0))  # back
    assert regular.due_mono_s == pytest.approx(23.0)
