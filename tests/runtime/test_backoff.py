from streamd.runtime.backoff import Backoff


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
