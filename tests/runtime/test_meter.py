"""Times of stages, on a clock that the tests turn."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.runtime.meter import Meter, SharedMeter

NS = 1_000_000_000

PASSING_S = st.one_of(st.just(0.0), st.floats(0, 1e4))
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "end_more", "end_none", "hold", "release"]), PASSING_S)
)
"""What happens, and how long after what happened before."""


def spent_ns(meter: Meter, mono_s: float) -> tuple[int, ...]:
    return tuple(round(seconds * NS) for seconds in meter.times(mono_s))


def play(meter: SharedMeter, step: str, mono_s: float) -> None:
    """The step, where it can come: nothing ends that has not begun."""
    match step:
        case "begin":
            meter.begin(mono_s)
        case "hold":
            meter.hold(mono_s)
        case "release" if meter._held:
            meter.release(mono_s)
        case "end" if meter.under_way:
            meter.end(mono_s)
        case "end_more" if meter.under_way:
            meter.end(mono_s, backlog=True)
        case "end_none" if meter.under_way:
            meter.end(mono_s, backlog=False)
        case _:
            pass


@given(STEPS, PASSING_S)
def test_in_any_order_the_three_times_sum_to_the_elapsed_one(
    steps: list[tuple[str, float]], last_s: float
) -> None:
    mono_s = began_mono_s = 10.1
    meter = SharedMeter(mono_s)
    for step, passing_s in steps:
        mono_s += passing_s
        play(meter, step, mono_s)
    elapsed, *states = spent_ns(meter, mono_s + last_s)
    assert sum(states) == elapsed == int((mono_s + last_s) * NS) - int(began_mono_s * NS)


@given(STEPS)
def test_in_any_order_no_time_ever_falls(steps: list[tuple[str, float]]) -> None:
    mono_s = 0.0
    meter = SharedMeter(mono_s)
    before = meter.times(mono_s)
    for step, passing_s in steps:
        mono_s += passing_s
        for _ in range(2):  # a look before the change and one after it
            now = meter.times(mono_s)
            assert all(later >= earlier for later, earlier in zip(now, before, strict=True))
            before = now
            play(meter, step, mono_s)


def test_a_reading_older_than_the_one_before_takes_no_time_away() -> None:
    meter = Meter(0.0)
    meter.to("busy", 2.0)
    meter.to("blocked", 1.0)
    assert meter.times(1.5) == (2.0, 0.0, 0.0, 2.0)
    assert meter.times(3.0) == (3.0, 0.0, 1.0, 2.0)


@given(STEPS)
def test_busy_goes_before_blocked_and_blocked_before_idle(steps: list[tuple[str, float]]) -> None:
    meter = SharedMeter(0.0)
    under_way = held = 0
    backlog = False
    mono_s = 0.0
    for step, passing_s in steps:
        mono_s += passing_s
        match step:
            case "begin":
                under_way += 1
            case "hold":
                held += 1
            case "release":
                held -= held > 0
            case _ if under_way:
                under_way -= 1
                backlog = {"end": backlog, "end_more": True, "end_none": False}[step]
            case _:
                pass
        play(meter, step, mono_s)
        assert meter.state == ("busy" if under_way else "blocked" if held or backlog else "idle")
        assert meter.under_way == under_way


def test_a_look_between_two_changes_includes_the_state_that_lasts() -> None:
    meter = Meter(100.0)
    meter.to("busy", 101.0)
    assert meter.times(103.5) == (3.5, 2.5, 0.0, 1.0)
    assert meter.times(104.0) == (4.0, 3.0, 0.0, 1.0)
    meter.to("blocked", 104.0)
    assert meter.times(110.0) == (10.0, 3.0, 6.0, 1.0)


@pytest.mark.parametrize("backlog", [True, False])
def test_several_batches_at_one_time_are_busy_once(backlog: bool) -> None:
    meter = SharedMeter(0.0)
    meter.begin(0.0)
    meter.begin(1.0)
    meter.end(2.0)
    meter.end(3.0, backlog=backlog)
    assert meter.times(5.0) == ((5.0, 3.0, 2.0, 0.0) if backlog else (5.0, 3.0, 0.0, 2.0))


def test_one_that_is_held_up_shows_only_while_none_is_worked_on() -> None:
    meter = SharedMeter(0.0)
    meter.hold(1.0)
    meter.begin(2.0)
    meter.end(4.0)
    meter.release(7.0)
    assert meter.times(8.0) == (8.0, 2.0, 4.0, 2.0)


def test_a_backlog_blocks_until_one_batch_ends_and_says_that_there_is_none() -> None:
    meter = SharedMeter(0.0)
    meter.begin(0.0)
    meter.end(1.0, backlog=True)
    meter.hold(1.0)
    meter.release(2.0)
    assert meter.state == "blocked"
    meter.begin(2.0)
    meter.end(3.0)
    assert meter.state == "blocked"
    meter.begin(4.0)
    meter.end(5.0, backlog=False)
    assert meter.times(6.0) == (6.0, 3.0, 2.0, 1.0)


def test_a_stage_is_blocked_until_the_last_of_those_that_were_held_up_goes_on() -> None:
    meter = SharedMeter(0.0)
    meter.hold(0.0)
    meter.hold(1.0)
    meter.release(2.0)
    assert meter.state == "blocked"
    meter.release(3.0)
    assert meter.times(4.0) == (4.0, 0.0, 3.0, 1.0)


def test_the_sum_is_exact_after_thousands_of_changes_of_odd_lengths() -> None:
    meter = Meter(86_400.1)
    at = 86_400.1
    states: Any = ("busy", "blocked", "idle")
    for n in range(30_000):
        at += 1e-7 * (n % 13)
        meter.to(states[n % 3], at)
    elapsed, *parts = spent_ns(meter, at)
    assert sum(parts) == elapsed == int(at * NS) - int(86_400.1 * NS)
