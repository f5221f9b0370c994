import pytest

from streamd.core.ack import Ack, Status
from streamd.core.tenure import InputPart, Tenure


def test_statuses_are_in_order_from_best_to_worst() -> None:
    assert sorted(Status) == [
        Status.DELIVERED, Status.FILTERED, Status.REJECTED, Status.DROPPED, Status.FAILED,
    ]  # fmt: skip


def test_one_holder_reports_at_once_and_once() -> None:
    told: list[Status] = []
    ack = Ack(told.append)
    ack.settle(Status.FILTERED)
    assert told == [Status.FILTERED]
    with pytest.raises(RuntimeError, match="more often"):
        ack.settle(Status.DELIVERED)
    assert told == [Status.FILTERED]


@pytest.mark.parametrize(
    "verdicts",
    [
        [Status.REJECTED, Status.DELIVERED, Status.FILTERED],
        [Status.DELIVERED, Status.REJECTED, Status.DELIVERED],
        [Status.DELIVERED, Status.FILTERED, Status.REJECTED],
    ],
)
def test_the_last_of_several_holders_reports_the_worst_verdict(verdicts: list[Status]) -> None:
    told: list[Status] = []
    ack = Ack(told.append)
    ack.fork(2)
    for verdict in verdicts[:-1]:
        ack.settle(verdict)
        assert told == []
    ack.settle(verdicts[-1])
    assert told == [Status.REJECTED]


def test_a_fork_is_the_same_ack_with_one_more_holder() -> None:
    told: list[Status] = []
    ack = Ack(told.append)
    assert ack.fork() is ack
    ack.settle(Status.DELIVERED)
    assert told == []
    ack.settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_a_fork_for_nobody_more_changes_nothing() -> None:
    told: list[Status] = []
    Ack(told.append).fork(0).settle(Status.DELIVERED)
    assert told == [Status.DELIVERED]


def test_a_settled_ack_cannot_be_forked() -> None:
    ack = Ack(lambda _: None)
    ack.settle(Status.DELIVERED)
    with pytest.raises(RuntimeError, match="forked"):
        ack.fork()


def test_merged_acks_each_report_the_verdict_of_the_whole() -> None:
    told: list[tuple[str, Status]] = []
    first, second = (Ack(lambda status, name=name: told.append((name, status))) for name in "ab")  # type: ignore[misc]
    merged = Ack.merge([first, None, second])
    assert merged is not None
    assert merged not in (first, second)
    merged.fork()
    merged.settle(Status.DROPPED)
    assert told == []
    merged.settle(Status.DELIVERED)
    assert told == [("a", Status.DROPPED), ("b", Status.DROPPED)]


def test_a_merged_ack_leaves_the_other_holders_of_its_parts_alone() -> None:
    told: list[Status] = []
    held_twice = Ack(told.append)
    held_twice.fork()
    merged = Ack.merge([held_twice, Ack(lambda _: None)])
    assert merged is not None
    merged.settle(Status.DELIVERED)
    assert told == []
    held_twice.settle(Status.REJECTED)
    assert told == [Status.REJECTED]


def test_nothing_is_merged_where_one_or_none_waits() -> None:
    only = Ack(lambda _: None)
    assert Ack.merge([None, only, None]) is only
    assert Ack.merge([None, None]) is None
    assert Ack.merge([]) is None


def test_acks_that_go_on_as_one_have_the_origin_of_the_last_one() -> None:
    tenure = Tenure("x")
    acks = [Ack(lambda _: None, InputPart(tenure, number)) for number in (3, 4)]
    merged = Ack.merge([acks[0], None, acks[1]])
    assert merged is not None
    assert merged.origin == InputPart(tenure, 4)
    assert Ack(lambda _: None).origin is None
