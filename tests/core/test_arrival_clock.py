from streamd.core.arrival_clock import ArrivalClock
from streamd.core.now import Now


def test_it_follows_the_monotonic_clock_whatever_the_wall_clock_does() -> None:
    clock = ArrivalClock()
    begin = clock.read(Now(1000.0, 5.0))
    assert clock.read(Now(10.0, 7.5)) - begin == 2.5
    assert clock.read(Now(99999.0, 7.0)) - begin == 2.5
    assert clock.mono_s(clock.at_s) == 7.5


def test_after_a_restart_the_time_of_the_stop_has_passed() -> None:
    clock = ArrivalClock()
    assert clock.restore(1000.0, Now(1060.0, 5.0)) == 60.0
    assert (clock.at_s, clock.wall_s) == (0.0, 1000.0)
    assert clock.read(Now(1060.0, 5.0)) == 60.0
    assert clock.read(Now(1061.0, 6.0)) == 61.0


def test_a_wall_clock_that_went_back_during_the_stop_counts_as_no_time() -> None:
    clock = ArrivalClock()
    assert clock.restore(1000.0, Now(3.0, 5.0)) == 0.0
    assert clock.read(Now(3.0, 5.0)) == 0.0
