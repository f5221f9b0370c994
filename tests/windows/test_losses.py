from streamd.core.upstream import Upstream
from streamd.windows.losses import MOST_LOSSES, Losses
from streamd.windows.moments import US


def test_losses_count_from_the_look_before_to_the_look_that_finds_them() -> None:
    lost = [3]
    losses = Losses(Upstream(lost=lambda: lost[0]))
    losses.look(10.0)
    lost[0] = 4
    losses.look(20.0)
    losses.look(30.0)
    seen = losses.seen
    assert seen == 1
    spared = [losses.spare(start * US, (start + 5) * US, seen) for start in (0, 5, 6, 15, 20, 21)]
    assert spared == [True, True, False, False, False, True]
    assert not losses.spare(100 * US, 105 * US, seen - 1)


def test_the_remembered_times_are_bounded_and_forget_nothing() -> None:
    lost = [0]
    losses = Losses(Upstream(lost=lambda: lost[0]))
    for second in range(0, 20 * MOST_LOSSES, 10):
        losses.look(second)
        lost[0] += 1
        losses.look(second + 1)
        losses.look(second + 2)
    assert len(losses._times) == MOST_LOSSES
    for second in range(0, 20 * MOST_LOSSES, 10):
        assert not losses.spare(second * US, (second + 1) * US, losses.seen)


def test_a_wall_clock_that_steps_back_makes_no_empty_time() -> None:
    lost = [0]
    losses = Losses(Upstream(lost=lambda: lost[0]))
    losses.look(100.0)
    lost[0] = 1
    losses.look(50.0)
    assert not losses.spare(50 * US, 51 * US, losses.seen)
    assert losses.spare(200 * US, 201 * US, losses.seen)
