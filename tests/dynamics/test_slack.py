from streamd.dynamics.slack import slack_s


def test_the_loop_may_stand_still_until_the_kernel_s_queue_is_full() -> None:
    assert slack_s(4_200_000, 10_000, 1000) == 0.42
    assert slack_s(-5, 10, 10) == 0
    assert slack_s(100, 0, 10) is None
