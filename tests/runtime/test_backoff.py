import itertools

import pytest

from streamd.runtime.backoff import Backoff, latest_notice_s, noticed_s


def test_waits_double_up_to_the_longest_with_a_quarter_of_jitter_at_most() -> None:
    backoff = Backoff(0.1, 5.0, seed=1)
    waits_s = [backoff.next_s() for _ in range(12)]
    expected_s = [min(0.1 * 2**n, 5.0) for n in range(12)]
    assert all(low <= wait < low * 1.25 for wait, low in zip(waits_s, expected_s, strict=True))
    assert waits_s != expected_s


def test_two_that_fail_together_do_not_retry_together() -> None:
    first, second = Backoff(), Backoff()
    assert [first.next_s() for _ in range(8)] != [second.next_s() for _ in range(8)]


def test_after_a_success_waits_begin_anew() -> None:
    backoff = Backoff(0.1, 5.0, seed=1)
    for _ in range(8):
        backoff.next_s()
    backoff.reset()
    assert 0.1 <= backoff.next_s() < 0.125
    assert 0.2 <= backoff.next_s() < 0.25


@pytest.mark.parametrize(
    ("stalled_s", "attempt_s", "noticed"),
    [
        (1.0, 0.0, 1.6875),  # the pauses are 0.1, 0.2, 0.4 and 0.8 s, and an eighth longer in the mean
        (1.6875, 0.0, 1.6875),
        (0.05, 0.0, 0.1125),
        (0.5, 1.0, 0.5),  # the first attempt still waits for the output
        (12.0, 1.0, 13.0875),  # six attempts of 1 s and pauses up to 3.2 s
        (9.0, 1.0, 9.0),
    ],
)
def test_the_end_of_a_fault_is_noticed_by_the_next_attempt(
    stalled_s: float, attempt_s: float, noticed: float
) -> None:
    assert noticed_s(stalled_s, attempt_s) == pytest.approx(noticed)


@pytest.mark.parametrize("attempt_s", [0.0, 0.3, 1.0, 7.0])
def test_a_long_fault_is_noticed_as_if_each_attempt_was_made(attempt_s: float) -> None:
    for tenth in range(1, 1000, 7):
        stalled_s, at_s, pause_s = tenth / 10 + 0.05, 0.0, 0.1
        while at_s + attempt_s < stalled_s:
            at_s += attempt_s + pause_s * 1.125
            pause_s = min(5.0, pause_s * 2)
        assert noticed_s(stalled_s, attempt_s) == pytest.approx(max(at_s, stalled_s))
    assert 86_400 <= noticed_s(86_400, attempt_s) < 86_406


def test_no_pause_ends_later_than_the_latest_notice() -> None:
    for seed in range(50):
        pauses, ends_s = Backoff(seed=seed), [0.0]
        for _ in range(20):
            ends_s.append(ends_s[-1] + pauses.next_s())
        for begin_s, end_s in itertools.pairwise(ends_s):
            assert end_s <= latest_notice_s(begin_s) + 1e-9
    assert latest_notice_s(60) == 66.25
