from hypothesis import example, given
from hypothesis import strategies as st

from streamd.windows.keyed import ranges_of
from streamd.windows.moments import US, moment, text_of

STARTS_US = st.integers(-(2**32), 2**32).map(lambda second: second * US)


@given(
    start_us=STARTS_US | st.integers(-(2**50), 2**50),
    size_us=st.integers(2, 10**10),
    near_us=st.integers(-3, 3),
    from_end=st.booleans(),
    part=st.floats(-0.9, 0.9),
)
@example(start_us=1_700_000_000 * US, size_us=60 * US, near_us=0, from_end=True, part=-0.4)
def test_a_time_in_a_range_is_in_the_window_in_each_form(
    start_us: int, size_us: int, near_us: int, from_end: bool, part: float
) -> None:
    """A number of seconds is rounded to microseconds, so it may be in the window and not in the range."""
    end_us = start_us + size_us
    texts, moments, (low_s, high_s) = ranges_of(start_us, end_us)
    at_us = (end_us if from_end else start_us) + near_us
    inside = start_us <= at_us < end_us
    assert (moments[0] <= at_us < moments[1]) == inside
    assert (texts[0] <= text_of(at_us) < texts[1]) == inside
    seconds = (at_us + part) / US
    assert not low_s <= seconds < high_s or start_us <= moment(seconds) < end_us
