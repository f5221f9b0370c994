import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import DROP, Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"per": "1s"},
    {"per": "2s", "limit": 2, "key": ["t"], "max_keys": 2},
    {"per": "1s", "limit": 3, "key": ["n", "t"]},
]
REFUSALS: dict[str, Any] = {}


def at(s: float) -> Now:
    return Now(1_700_000_000.0 + s, 50.0 + s)


def passing(step: Step[Any], keys: str, s: float) -> str:
    return "".join(record["k"] for record in step.process([{"k": key} for key in keys], at(s)).records)


def test_the_first_records_of_an_interval_pass_for_each_key(new_step: NewStep) -> None:
    step = new_step("throttle", key=["k"], limit=2, per="10s")
    assert passing(step, "aabaabbb", 0) == "aabb"
    assert passing(step, "ab", 9.75) == ""
    assert passing(step, "aaab", 10) == "aab"
    assert step.context.counters.numbers() == {"throttled": 7}


def test_an_interval_begins_with_a_record_that_passes(new_step: NewStep) -> None:
    step = new_step("throttle", key=["k"], per="10s")
    assert [passing(step, "a", s) for s in (3, 12, 13, 22, 23, 50)] == ["a", "", "a", "", "a", "a"]


def test_without_a_key_all_records_have_one_limit(new_step: NewStep) -> None:
    step = new_step("throttle", limit=3, per="10s")
    assert passing(step, "abcd", 0) == "abc"
    assert step.process([{}], at(1)).filtered == 1


def test_the_limit_goes_on_in_the_older_generation(new_step: NewStep) -> None:
    step = new_step("throttle", key=["k"], limit=2, per="10s", max_keys=4)
    assert passing(step, "ab", 0) == "ab"
    assert passing(step, "caaa", 1) == "ca"
    assert passing(step, "a", 2) == ""


def test_beyond_max_keys_the_intervals_of_the_older_half_end_and_are_counted(new_step: NewStep) -> None:
    step = new_step("throttle", key=["k"], per="10s", max_keys=4)
    assert passing(step, "abcdabcd", 0) == "abcd"
    assert passing(step, "e", 0) == "e"
    assert step.context.counters.numbers()["forgotten"] == 2
    assert passing(step, "cdea", 0) == "a"


@pytest.mark.parametrize("stopped_s", [0.0, 5.0, 6.0])
def test_an_interval_goes_on_while_the_daemon_is_stopped(new_step: NewStep, stopped_s: float) -> None:
    step = new_step("throttle", key=["k"], limit=3, per="10s")
    passing(step, "aa", 0)
    passing(step, "bb", 4)
    again = new_step("throttle", key=["k"], limit=3, per="10s")
    now = Now(at(4).wall_s + stopped_s, 3.0)
    again.restore(step.snapshot() or b"", now)
    done = again.process([{"k": key} for key in "aaabb"], now)
    assert "".join(r["k"] for r in done.records) == ("aaab" if stopped_s >= 6 else "ab")


def test_a_record_without_a_key_is_rejected(new_step: NewStep) -> None:
    step = new_step("throttle", key=["k"], per="10s")
    assert [bad.reason for bad in step.process([{}], at(0)).rejects] == ["key:missing"]
    with pytest.raises(BadData, match="key:missing"):
        step.process_one({}, at(0))
    assert step.process_one({"k": 1}, at(0)) == {"k": 1}
    assert step.process_one({"k": 1}, at(0)) is DROP


def test_names_are_checked_against_the_schema(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match=r"there is no field 'senser'"):
        new_step("throttle", frozenset({"sensor"}), key=["senser"], per="1s")
    assert new_step("throttle", frozenset({"sensor"}), per="1s").fields_after() == frozenset({"sensor"})


@pytest.mark.parametrize(
    "options", [{}, {"per": "0s"}, {"per": "1s", "limit": 0}, {"per": "1s", "max_keys": 1}]
)
def test_a_wrong_configuration_is_refused(new_step: NewStep, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"per|limit|max_keys"):
        new_step("throttle", **options)


@pytest.mark.parametrize(("ids", "most_bytes"), [("{:08d}", 220), ("{:0128d}", 380)])
def test_the_bytes_of_a_key_are_those_that_the_docs_name(
    new_step: NewStep, ids: str, most_bytes: int
) -> None:
    step = new_step("throttle", key=["k"], per="1h", max_keys=16_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(0, 20_000, 500):
        step.process([{"k": ids.format(m)} for m in range(n, n + 500)], at(n / 500))
    per_key = (tracemalloc.get_traced_memory()[0] - before) / 16_000
    tracemalloc.stop()
    assert per_key < most_bytes


@given(
    arrivals=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 3.0, 10.0])), min_size=1, max_size=25
    ),
    limit=st.integers(1, 3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_interval_has_more_than_the_limit_and_none_is_filtered_below_it(
    new_step: NewStep, arrivals: list[tuple[str, float]], limit: int
) -> None:
    step = new_step("throttle", key=["k"], limit=limit, per="10s")
    time_s = 0.0
    intervals: dict[str, list[float]] = {}
    for key, passes_s in arrivals:
        time_s += passes_s
        passed = bool(passing(step, key, time_s))
        interval = intervals.get(key, [])
        if not interval or time_s - interval[0] >= 10.0:
            interval = intervals[key] = []
        assert passed == (len(interval) < limit)
        if passed:
            interval.append(time_s)
