from streamd.dynamics.sojourn import MinimumSojourn


def test_the_least_wait_of_a_whole_interval_counts() -> None:
    sojourn = MinimumSojourn(0.0)
    for mono_s, wait_s in ((0.25, 3.0), (0.5, 0.5), (0.75, 9.0)):
        sojourn.observe(wait_s, mono_s)
        assert sojourn.last_s is None
    sojourn.observe(2.0, 1.0)
    assert sojourn.last_s == 0.5
    sojourn.observe(4.0, 1.5)
    assert sojourn.last_s == 0.5
    sojourn.observe(5.0, 2.0)
    assert sojourn.last_s == 4.0


def test_an_interval_without_a_record_has_no_wait() -> None:
    sojourn = MinimumSojourn(0.0)
    sojourn.observe(1.0, 1.0)
    sojourn.observe(None, 2.0)
    assert sojourn.last_s is None
    sojourn.observe(0.0, 3.0)
    assert sojourn.last_s == 0.0


def test_while_nothing_is_taken_the_first_record_waits_on() -> None:
    sojourn = MinimumSojourn(0.0)
    sojourn.observe(0.1, 0.5, is_waiting=True)
    sojourn.observe(None, 1.0, is_waiting=True)
    assert sojourn.last_s == 0.1
    sojourn.observe(None, 2.0, is_waiting=True)
    assert sojourn.last_s == 1.5
    sojourn.observe(None, 3.0, is_waiting=True)
    assert sojourn.last_s == 2.5
    sojourn.observe(None, 4.0)
    assert sojourn.last_s is None
