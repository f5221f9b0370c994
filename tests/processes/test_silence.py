"""Which processes have reported nothing for too long."""

from streamd.processes.silence import LOOK_S, Silence


def test_a_silent_process_is_named_once_and_again_after_the_same_time() -> None:
    silence = Silence(3.0)
    named = [silence.over({0: float(second), 1: 0.0}, float(second)) for second in range(8)]
    assert named == [[], [], [], [1], [], [], [1], []]


def test_a_report_begins_the_time_anew() -> None:
    silence = Silence(3.0)
    heard = [0.0, 0.0, 0.0, 2.5, 2.5, 2.5, 2.5]
    assert [silence.over({0: at}, float(second)) for second, at in enumerate(heard)] == [[]] * 6 + [[0]]


def test_a_process_that_replaces_another_one_begins_anew() -> None:
    silence = Silence(3.0)
    for second in range(3):
        assert silence.over({0: 0.0}, float(second)) == []
    assert silence.over({}, 3.0) == []
    assert silence.over({0: 0.0}, 4.0) == []


def test_time_in_which_the_observer_stood_still_does_not_count() -> None:
    silence = Silence(3.0)
    assert silence.over({0: 0.0}, 0.0) == []
    assert silence.over({0: 0.0}, 100.0) == []
    assert silence.over({0: 0.0}, 100.0 + LOOK_S) == [0]
