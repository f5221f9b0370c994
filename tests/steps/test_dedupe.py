import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import DROP, Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"within": "1s"},
    {"within": "2s", "key": ["t"], "max_keys": 2},
    {"within": "1s", "key": ["n", "t"]},
]
REFUSALS: dict[str, Any] = {}


def at(s: float, wall_s: float | None = None) -> Now:
    return Now(1_700_000_000.0 + s if wall_s is None else wall_s, 50.0 + s)


def passing(step: Step[Any], records: list[dict[str, Any]], s: float) -> list[dict[str, Any]]:
    return step.process(records, at(s)).records


def test_the_first_of_equal_records_passes_and_the_others_are_filtered_and_counted(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    done = step.process([{"id": 1, "v": 1}, {"id": 2}, {"id": 1, "v": 2}, {"id": 1.0}], at(0))
    assert done.records == [{"id": 1, "v": 1}, {"id": 2}, {"id": 1.0}]
    assert done.filtered == 1
    assert passing(step, [{"id": 2}], 1) == []
    assert step.context.counters.numbers() == {"duplicates": 2}


def test_without_a_key_all_fields_but_not_the_metadata_are_compared(new_step: NewStep) -> None:
    step = new_step("dedupe", within="10s")
    one = {"a": 1, "b": [2], "@source": "s", "@peer": "p", "@received_at": "t1", "@flag": "truncated"}
    same = {"b": [2], "a": 1, "@source": "s2", "@peer": "p2", "@received_at": "t2"}
    other = {"a": 1, "b": [2], "@type": "x"}
    assert passing(step, [one, same, other], 0) == [one, other]


def test_the_time_counts_from_the_record_that_passed_and_ends_exactly(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    seen = [bool(passing(step, [{"id": 1}], s)) for s in (0, 5, 9.75, 10, 19.75, 20, 100)]
    assert seen == [True, False, False, True, False, True, True]


def test_a_wall_clock_that_jumps_changes_nothing(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    assert step.process([{"id": 1}], at(0)).records
    assert not step.process([{"id": 1}], at(5, wall_s=9e9)).records
    assert not step.process([{"id": 1}], at(9, wall_s=1.0)).records


def test_beyond_max_keys_the_older_half_is_forgotten_and_counted(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="1h", max_keys=6)
    passing(step, [{"id": n} for n in range(6)], 0)
    assert passing(step, [{"id": n} for n in range(6)], 0) == []
    assert passing(step, [{"id": 6}], 0) == [{"id": 6}]
    assert step.context.counters.numbers()["forgotten"] == 3
    assert passing(step, [{"id": n} for n in (3, 4, 5, 6)], 0) == []
    assert passing(step, [{"id": 0}], 0) == [{"id": 0}]


def test_keys_whose_time_is_over_are_not_counted_as_forgotten(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s", max_keys=4)
    passing(step, [{"id": 1}, {"id": 2}], 0)
    passing(step, [{"id": 3}], 5)
    passing(step, [{"id": 4}, {"id": 5}], 12)
    assert step.context.counters.numbers() == {}


def test_keys_whose_time_is_over_leave_the_memory(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    passing(step, [{"id": "first"}], 0)
    passing(step, [{"id": "second"}], 10)
    passing(step, [{"id": "third"}], 20)
    state = step.snapshot() or b""
    assert b"first" not in state
    assert b"second" in state


@pytest.mark.parametrize("stopped_s", [0.0, 3.0, 8.0, 3600.0])
def test_ages_go_on_while_the_daemon_is_stopped(new_step: NewStep, stopped_s: float) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    passing(step, [{"id": 1}], 0)
    passing(step, [{"id": 2}], 4)
    state = step.snapshot()
    assert state is not None
    again = new_step("dedupe", key=["id"], within="10s")
    now = Now(at(4).wall_s + stopped_s, 3.0)
    again.restore(state, now)
    assert [r["id"] for r in again.process([{"id": 1}, {"id": 2}, {"id": 3}], now).records] == [
        *([1] if stopped_s >= 6 else []), *([2] if stopped_s >= 10 else []), 3,
    ]  # fmt: skip


def test_a_host_that_starts_with_an_early_wall_clock_forgets_nothing(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    passing(step, [{"id": 1}], 0)
    again = new_step("dedupe", key=["id"], within="10s")
    again.restore(step.snapshot() or b"", Now(0.0, 3.0))
    assert again.process([{"id": 1}], Now(1.0, 4.0)).records == []


def test_a_record_without_a_key_is_rejected(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    done = step.process([{"v": 1}, {"id": None}], at(0))
    assert [(bad.reason, bad.detail) for bad in done.rejects] == [("key:missing", "id")] * 2
    with pytest.raises(BadData, match="key:missing"):
        step.process_one({}, at(0))


def test_one_record_alone(new_step: NewStep) -> None:
    step = new_step("dedupe", key=["id"], within="10s")
    assert step.process_one({"id": 1}, at(0)) == {"id": 1}
    assert step.process_one({"id": 1}, at(0)) is DROP


def test_names_are_checked_against_the_schema(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match=r"there is no field 'senser'"):
        new_step("dedupe", frozenset({"sensor"}), key=["senser"], within="1s")
    assert new_step("dedupe", frozenset({"sensor"}), within="1s").fields_after() == frozenset({"sensor"})


@pytest.mark.parametrize(
    "options", [{}, {"within": "0s"}, {"within": "1s", "max_keys": 1}, {"within": "1s", "key": ["a", "a"]}]
)
def test_a_wrong_configuration_is_refused(new_step: NewStep, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"within|max_keys|twice"):
        new_step("dedupe", **options)


@pytest.mark.parametrize(("ids", "most_bytes"), [("{:08d}", 130), ("{:0128d}", 290), ("é{:0300d}", 150)])
def test_the_bytes_of_a_key_are_those_that_the_docs_name(
    new_step: NewStep, ids: str, most_bytes: int
) -> None:
    step = new_step("dedupe", key=["id"], within="1h", max_keys=16_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(0, 20_000, 500):
        passing(step, [{"id": ids.format(m)} for m in range(n, n + 500)], 0)
    per_key = (tracemalloc.get_traced_memory()[0] - before) / 16_000
    tracemalloc.stop()
    assert per_key < most_bytes


@given(
    cuts=st.lists(st.integers(0, 12), max_size=4),
    ids=st.lists(st.integers(0, 5), max_size=12),
    restarts=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_the_cuts_of_batches_and_restarts_change_nothing(
    new_step: NewStep, cuts: list[int], ids: list[int], restarts: bool
) -> None:
    options = {"key": ["id"], "within": "10s", "max_keys": 4}
    records = [{"id": n} for n in ids]
    whole = passing(new_step("dedupe", **options), records, 0)
    step = new_step("dedupe", **options)
    pieces: list[dict[str, Any]] = []
    edges = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    for start, stop in pairwise(edges):
        pieces += passing(step, records[start:stop], 0)
        if restarts and (state := step.snapshot()) is not None:
            step = new_step("dedupe", **options)
            step.restore(state, at(0))
    assert pieces == whole
