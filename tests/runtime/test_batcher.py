from hypothesis import given
from hypothesis import strategies as st

from streamd.core.settings import BatchSettings
from streamd.runtime.backoff import Backoff
from streamd.runtime.batcher import Batcher


def batcher(max_records: int = 100, max_wait: str = "200ms", buffer: int = 65536) -> Batcher:
    return Batcher(BatchSettings.model_validate({"max_records": max_records, "max_wait": max_wait}), buffer)


def test_the_first_commit_is_at_once() -> None:
    assert batcher().wait_s(1, mono_s=1000.0) == 0


def test_the_next_one_waits_for_company_at_most_max_wait_after_the_start_of_the_last() -> None:
    b = batcher()
    b.started(10.0)
    assert abs(b.wait_s(1, 10.05) - 0.15) < 1e-9
    assert b.wait_s(1, 10.2) == 0
    assert b.wait_s(1, 99.0) == 0


def test_what_commits_take_is_taken_off_the_wait_up_to_half_of_it() -> None:
    b = batcher()
    b.started(10.0)
    b.ended(10.02)
    b.started(10.2)
    assert abs(b.wait_s(1, 10.2) - 0.18) < 1e-9
    b.ended(15.0)
    b.started(15.0)
    assert abs(b.wait_s(1, 15.0) - 0.1) < 1e-9


def test_a_slow_commit_is_forgotten_in_time() -> None:
    b = batcher()
    now = 10.0
    for duration_s in (0.08, *[0.001] * 40):
        b.started(now)
        b.ended(now + duration_s)
        now += 0.2
    b.started(now)
    assert b.wait_s(1, now) > 0.198


def test_enough_records_wait_for_nothing() -> None:
    b = batcher()
    b.started(10.0)
    assert b.wait_s(100, 10.0) == 0


def test_a_small_buffer_is_emptied_before_it_is_full() -> None:
    b = batcher(max_records=4000, buffer=100)
    b.started(10.0)
    assert b.wait_s(50, 10.0) == 0


@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, 99))
def test_no_record_ever_waits_longer_than_max_wait(gaps: list[float], waiting: int) -> None:
    b = batcher()
    now = 5.0
    for gap in gaps:
        now += gap
        assert 0 <= b.wait_s(waiting, now) <= 0.2 + 1e-9
        b.started(now)


def test_backoff_doubles_up_to_its_most_with_a_quarter_of_jitter() -> None:
    b = Backoff(0.1, 5.0, seed=1)
    waits = [b.next_s() for _ in range(10)]
    plain = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
    assert all(p <= w <= p * 1.25 for p, w in zip(plain, waits, strict=True))
    assert len(set(waits)) == len(waits)
    b.reset()
    assert b.next_s() <= 0.125


def test_the_first_commit_is_at_once_on_a_host_that_has_just_started() -> None:
    assert batcher().wait_s(1, mono_s=0.001) == 0


def test_a_buffer_of_few_records_is_enough_with_one() -> None:
    for buffer in (1, 2, 3):
        assert batcher(buffer=buffer).enough == 1
    assert batcher(buffer=4).enough == 2
    assert batcher(max_records=1).enough == 1


def test_one_slow_commit_is_remembered_by_the_next_ones_a_little_less_each_time() -> None:
    b = batcher()
    b.started(10.0)
    b.ended(10.08)
    waits_s = []
    for now in (11.0, 12.0, 13.0):
        b.started(now)
        waits_s.append(b.wait_s(1, now))
        b.ended(now + 0.001)
    expected_s = (0.2 - 0.08, 0.2 - 0.07, 0.2 - 0.06125)
    assert all(abs(wait - right) < 1e-9 for wait, right in zip(waits_s, expected_s, strict=True)), waits_s


def test_a_commit_takes_four_times_enough_where_so_much_waits_and_never_more_than_half_a_buffer() -> None:
    assert (batcher(max_records=100).enough, batcher(max_records=100).most) == (100, 400)
    small = batcher(max_records=100, buffer=500)
    assert (small.enough, small.most) == (100, 250)
    tiny = batcher(max_records=100, buffer=1)
    assert (tiny.enough, tiny.most) == (1, 1)


def test_what_a_commit_usually_takes_is_not_changed_by_two_of_five_that_hang() -> None:
    b = batcher()
    assert b.usual_s == 0
    for began_s, took_s in ((0.0, 0.25), (10.0, 0.5), (20.0, 0.75)):
        b.started(began_s)
        b.ended(began_s + took_s)
    assert b.usual_s == 0.5
    for began_s in (30.0, 100.0):
        b.started(began_s)
        b.ended(began_s + 60.0)
    assert b.usual_s == 0.75
    for began_s in (200.0, 210.0, 220.0):  # the first three are forgotten
        b.started(began_s)
        b.ended(began_s + 0.125)
    assert b.usual_s == 0.125
