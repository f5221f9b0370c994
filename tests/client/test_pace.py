from hypothesis import given
from hypothesis import strategies as st

from streamd.client.pace import Pace


def test_one_record_is_due_at_once_and_the_next_when_its_time_has_come() -> None:
    pace = Pace(2, now_s=100.0)
    assert pace.due(100.0) == 1
    pace.spend(1)
    assert pace.due(100.4) == 0
    assert abs(pace.delay_s() - 0.1) < 1e-9
    assert pace.due(100.5 + 1e-9) == 1


def test_a_pause_is_not_made_up_for_by_a_flood() -> None:
    pace = Pace(100_000, now_s=0.0)
    assert pace.due(60.0) == 2000


@given(
    rate=st.integers(1, 2_000_000),
    steps_s=st.lists(st.floats(0, 0.015), min_size=20, max_size=200),
)
def test_over_any_time_the_rate_is_neither_exceeded_nor_missed(rate: int, steps_s: list[float]) -> None:
    pace, now_s, sent = Pace(rate, 0.0), 0.0, 0
    for step_s in steps_s:
        now_s += step_s
        due = pace.due(now_s)
        pace.spend(due)
        sent += due
    assert sent <= 1 + rate * now_s * (1 + 1e-9)
    if rate >= 200:  # the bucket holds more than a step's worth: nothing spills
        assert sent >= rate * now_s - 1 - 1e-6
