"""The virtual clock moves forward only, and the process sees it only during a test."""

import time

from hypothesis import given
from hypothesis import strategies as st

from streamd.testing.clock import VirtualClock, shown_to_python


@given(st.lists(st.integers(0, 10**15).map(lambda us: 1767225000 + us / 1e6)), st.booleans())
def test_both_clocks_move_alike_and_never_back(moves: list[float], anew: bool) -> None:
    clock = VirtualClock(1767225600.0)
    if anew:
        clock.begin_anew()
    for wall_s in moves:
        before = clock()
        clock.move_to(wall_s)
        after = clock()
        assert after.wall_s == max(before.wall_s, wall_s)
        assert after.mono_s >= before.mono_s
        assert abs((after.mono_s - before.mono_s) - (after.wall_s - before.wall_s)) < 2e-6
        assert abs(clock.wall_at(after.mono_s) - after.wall_s) < 2e-6


def test_the_monotonic_clock_begins_lower_after_a_restart() -> None:
    clock = VirtualClock(1767225600.0)
    before = clock()
    clock.begin_anew()
    assert clock.wall_s == before.wall_s
    assert clock.mono_s < before.mono_s


def test_python_sees_the_virtual_clock_in_the_context_only() -> None:
    clock = VirtualClock(1767225600.25)
    real = time.time, time.monotonic
    with shown_to_python(clock):
        shown_time, shown_mono = time.time, time.monotonic
        assert (time.time(), time.monotonic()) == clock()
        assert time.time_ns() == 1767225600_250_000_000
        clock.move_to(1767225601.25)
        assert (time.time(), time.monotonic()) == clock()
    assert (time.time, time.monotonic) == real
    assert abs(shown_time() - time.time()) < 60, "a function that was imported in the context"
    assert abs(shown_mono() - time.monotonic()) < 60
