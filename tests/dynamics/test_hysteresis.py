from streamd.dynamics.hysteresis import Hysteresis


def changes(values: list[float]) -> list[int]:
    """The seconds at which the alarm changes, for a value each second."""
    alarm = Hysteresis(0.5, 0.2, 2.0)
    return [second for second, value in enumerate(values) if alarm.observe(value, float(second))]


def test_it_begins_high_and_ends_low_and_each_must_last() -> None:
    assert changes([0.5, 0.9, 0.5, 0.4, 0.3, 0.1, 0.1, 0.1]) == [2, 7]


def test_a_value_that_flutters_changes_nothing() -> None:
    assert changes([0.6, 0.4] * 20) == []
    assert changes([1.0] * 4 + [0.1, 0.3] * 20) == [2]
