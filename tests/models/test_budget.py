from streamd.models.budget import Budget


def test_three_slow_batches_in_a_row_begin_a_pause() -> None:
    budget = Budget(0.05, 10.0)
    for took_s in (0.06, 0.06, 0.05, 0.06, 0.06):
        assert budget.allows(100.0)
        assert not budget.took(took_s, 100.0)
    assert budget.took(0.06, 100.0)
    assert budget.is_pausing
    assert not budget.allows(109.9)
    assert budget.allows(110.0)


def test_one_batch_is_tried_after_a_pause_and_decides() -> None:
    budget = Budget(0.05, 10.0)
    for _ in range(3):
        budget.took(1.0, 100.0)
    assert not budget.took(1.0, 110.0)
    assert not budget.allows(119.9)
    assert budget.took(0.05, 120.0)
    assert not budget.is_pausing
    assert budget.allows(120.0)
    assert not budget.took(1.0, 121.0)
    assert budget.allows(121.0)
