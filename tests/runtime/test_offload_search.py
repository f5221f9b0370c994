"""The search for records at fault, without processes: a part is lost if it holds a bad record."""

from itertools import chain
from math import ceil, log2
from typing import Any

import pytest

from streamd.core.contracts import BadRecord, Processed
from streamd.runtime.offload_errors import Lost
from streamd.runtime.offload_search import TIMEOUTS, Search

TIMEOUT_S = 2.0


def searched(
    size: int, bad: set[int], *, each: bool = False, doubtful: bool = False, lost_s: float = 0.0
) -> tuple[Search, list[list[int]]]:
    """The finished search in a batch of this size, and the parts that were tried."""
    records = [{"n": n} for n in range(size)]
    at_s = 50.0
    search = Search(
        records, Lost("timeout", "first"), each=each, doubtful=doubtful, at_s=at_s, timeout_s=TIMEOUT_S
    )
    tried = []
    while part := search.next(at_s):
        tried.append([record["n"] for record in part])
        if bad.isdisjoint(tried[-1]):
            search.passed(Processed(part[1:], filtered=1, rejects=[]))
        else:
            at_s += lost_s
            search.failed(Lost("worker_died", "again"))
    return search, tried


def numbers(records: list[Any]) -> list[int]:
    return [record["n"] for record in records]


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("size", [2, 3, 5, 16, 100])
def test_each_record_alone_at_fault_is_found_and_all_others_pass_once(size: int, each: bool) -> None:
    for bad in range(size):
        search, tried = searched(size, {bad}, each=each)
        assert [(bad.record, bad.reason, bad.detail) for bad in search.done.rejects] == [
            ({"n": bad}, "worker_died", "again")
        ]
        passed = [part for part in tried if bad not in part]
        assert list(chain.from_iterable(passed)) == [n for n in range(size) if n != bad]
        assert search.done.filtered == len(passed)
        assert search.losses == (2 if each else 1 + len(tried) - len(passed))
        assert search.losses <= 2 + ceil(log2(size))


def test_two_records_at_fault_in_halves_are_both_found() -> None:
    for first, second in [(0, 1023), (511, 512), (3, 4), (100, 700)]:
        search, _ = searched(1024, {first, second})
        assert numbers([bad.record for bad in search.done.rejects]) == [first, second]


@pytest.mark.parametrize("each", [True, False])
def test_where_nothing_passes_the_processes_are_few_and_every_record_is_rejected_in_order(each: bool) -> None:
    search, tried = searched(1000, set(range(1000)), each=each)
    assert search.losses == 2 * ceil(log2(1000)) + 2
    assert len(tried) == search.losses - 1
    assert numbers([bad.record for bad in search.done.rejects]) == list(range(1000))
    last = search.done.rejects[-1]
    assert last.reason == "worker_died"
    assert last.detail.startswith("not tried again, because 22 processes were lost with its batch; the last")
    assert not search.has_passed


@pytest.mark.parametrize("each", [True, False])
def test_a_doubtful_search_tries_one_part(each: bool) -> None:
    search, tried = searched(1000, set(range(1000)), each=each, doubtful=True)
    assert (len(tried), search.losses, len(search.done.rejects)) == (1, 2, 1000)
    search, _ = searched(1000, {999}, each=True, doubtful=True)
    assert (search.has_passed, len(search.done.rejects)) == (True, 1)


def test_after_too_many_losses_the_rest_is_tried_once_as_a_whole() -> None:
    many = set(range(1, 60, 2))
    search, tried = searched(1000, many, each=True)
    assert search.losses == 22 + 1
    assert tried[-1] == list(range(42, 1000))
    assert numbers([bad.record for bad in search.done.rejects]) == [*range(1, 42, 2), *range(42, 1000)]
    search, tried = searched(1000, set(range(1, 42, 2)), each=True)
    assert tried[-1] == list(range(42, 1000))
    assert numbers([bad.record for bad in search.done.rejects]) == list(range(1, 42, 2))


def test_the_search_ends_after_its_time_though_parts_are_left() -> None:
    search, _ = searched(1000, set(range(0, 1000, 7)), lost_s=TIMEOUT_S)
    assert search.losses == TIMEOUTS + 1
    assert len(search.done.records) + search.done.filtered + len(search.done.rejects) == 1000
    search, _ = searched(1024, {700}, lost_s=TIMEOUT_S)
    assert numbers([bad.record for bad in search.done.rejects]) == [700]


def test_giving_up_rejects_what_is_left_with_its_own_reason() -> None:
    records = [{"n": n} for n in range(6)]
    search = Search(
        records, Lost("timeout", "first"), each=False, doubtful=False, at_s=0.0, timeout_s=TIMEOUT_S
    )
    search.passed(Processed(list(search.next(0.0)), emitted=2, absorbed=2, rejects=[BadRecord({}, "r")]))
    assert search.next(0.0) == records[3:]
    error = ValueError("no")
    search.give_up(Lost("worker_died", "cannot start", error, "kind"))
    assert search.next(0.0) == []
    assert search.done.records == records[:3]
    assert (search.done.emitted, search.done.absorbed, search.done.rejects[0].reason) == (2, 2, "r")
    assert [(bad.record, bad.detail, bad.error, bad.kind) for bad in search.done.rejects[1:]] == [
        (record, "cannot start", error, "kind") for record in records[3:]
    ]


@pytest.mark.parametrize("each", [True, False])
def test_giving_up_at_the_first_part_rejects_all(each: bool) -> None:
    records = [{"n": n} for n in range(6)]
    search = Search(
        records, Lost("timeout", "first"), each=each, doubtful=False, at_s=0.0, timeout_s=TIMEOUT_S
    )
    assert search.next(0.0) == records[: 1 if each else 3]
    search.give_up(Lost("worker_died", "cannot start"))
    assert numbers([bad.record for bad in search.done.rejects]) == list(range(6))
    assert search.next(0.0) == []


def test_a_part_that_was_lost_with_a_process_of_age_is_tried_again_as_it_is() -> None:
    records = [{"n": n} for n in range(3)]
    full = Lost("memory", "full", cost_process=True, is_of_age=True)
    search = Search(records[:1], full, each=True, doubtful=False, at_s=0.0, timeout_s=TIMEOUT_S)
    assert search.next(0.0) == records[:1]
    search.passed(Processed(records[:1]))
    assert (search.next(0.0), search.done.rejects) == ([], [])
    search = Search(records, full, each=True, doubtful=False, at_s=0.0, timeout_s=TIMEOUT_S)
    assert search.next(0.0) == records[:1]
    search.failed(full)
    assert search.next(0.0) == records[:1]
    search.failed(Lost("memory", "too large", cost_process=True))
    assert [bad.detail for bad in search.done.rejects] == ["too large"]
    assert search.next(0.0) == records[1:2]
