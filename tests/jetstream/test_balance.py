import pytest

from streamd.jetstream.balance import LOOKS, Balance


def decide(balance: Balance, owned: int, *waiting: int) -> list[bool]:
    return [balance.look(owned, others) for others in waiting]


def test_one_of_two_workers_gives_away_what_is_more_than_half() -> None:
    assert decide(Balance(8), 8, 1, 1, 1) == [False] * (LOOKS - 1) + [True]
    assert decide(Balance(8), 5, 1, 1, 1)[-1]
    assert not decide(Balance(8), 4, 1, 1, 1)[-1]


@pytest.mark.parametrize(("owned", "gives"), [(2, False), (3, False), (4, True)])
def test_uneven_shares_stay_as_they_are(owned: int, gives: bool) -> None:
    assert decide(Balance(8), owned, 2, 2, 2)[-1] is gives


def test_a_worker_that_is_seen_only_sometimes_gets_nothing() -> None:
    assert not any(decide(Balance(8), 8, 1, 0, 1, 1, 0, 1, 1))
    assert decide(Balance(8), 8, 1, 0, 1, 1, 1)[-1]


def test_after_a_partition_is_given_away_the_looks_begin_anew() -> None:
    balance = Balance(4)
    assert decide(balance, 4, 1, 1, 1)[-1]
    balance.forget()
    assert decide(balance, 3, 1, 1, 1) == [False, False, True]


def test_a_worker_alone_keeps_everything() -> None:
    assert not any(decide(Balance(4), 4, 0, 0, 0, 0))
