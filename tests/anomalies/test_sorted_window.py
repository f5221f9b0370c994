from statistics import median, median_high

from hypothesis import given
from hypothesis import strategies as st

from streamd.anomalies.hampel import Hampel
from streamd.anomalies.sorted_window import SortedWindow

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)


@given(st.integers(1, 9), st.lists(NUMBERS, min_size=1, max_size=40))
def test_the_last_values_are_those_of_a_list(most: int, values: list[float]) -> None:
    window = SortedWindow(most)
    for count, value in enumerate(values, 1):
        window.add(value)
        last = values[max(0, count - most) : count]
        assert window.in_order() == last
        assert list(window.ordered) == sorted(last)
        middle = window.median()
        assert middle == median(last)
        deviation = median_high([abs(one - middle) for one in last])
        assert Hampel.deviation(window, middle) == deviation
        assert window.quantile(0.0) == min(last)
        assert window.quantile(1.0) == max(last)


def test_quantiles_are_interpolated() -> None:
    window = SortedWindow(9, [4.0, 1.0, 2.0, 3.0, 5.0])
    assert [window.quantile(share) for share in (0.25, 0.5, 0.6, 0.9)] == [2.0, 3.0, 3.4, 4.6]


def test_a_copy_in_the_order_of_arrival_goes_on_in_the_same_way() -> None:
    window = SortedWindow(3)
    for value in (5.0, 1.0, 4.0, 2.0):
        window.add(value)
    copy = SortedWindow(3, window.in_order())
    for value in (9.0, 0.0, 3.0):
        window.add(value)
        copy.add(value)
        assert list(copy.ordered) == list(window.ordered)
        assert copy.in_order() == window.in_order()
