from hypothesis import given
from hypothesis import strategies as st

from streamd.bench.latency import latencies_s, quantile


def test_a_record_counts_from_its_sending_to_the_first_look_that_saw_it() -> None:
    sent_at_s = [10.0, 10.1, 10.2]
    looks = [(10.15, 1), (10.5, 3)]
    assert [round(value, 3) for value in latencies_s(sent_at_s, looks)] == [0.15, 0.3, 0.4]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1))
def test_no_record_is_seen_by_a_look_that_came_before_it_was_there(steps: list[tuple[float, int]]) -> None:
    at_s, rows = 0.0, 0
    looks = []
    seen_at_s = []
    for step_s, more in steps:
        at_s += step_s
        rows += more
        looks.append((at_s, rows))
        seen_at_s += [at_s] * more
    assert latencies_s([0.0] * rows, looks) == seen_at_s


def test_quantiles_of_few_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)) == (51.0, 100.0, 100.0)
    assert quantile([7.0], 0.99) == 7.0
