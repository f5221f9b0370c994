import json
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
    {"number": "n", "key": ["t"], "wait": "1s", "forget_after": "30m", "gaps": True, "place": "p"},
    {"number": "n", "key": ["by"], "window": 2, "max_keys": 1, "wait": "2s", "forget_after": "3s"},
    {"number": "n", "key": ["t"], "wrap": 10, "window": 3, "duplicates": "drop", "forget_after": "30m"},
    {"number": "n", "key": ["t"], "restart_at": 0, "max_jump": 2, "gaps": True, "forget_after": "30m"},
]
REFUSALS: dict[str, Any] = {}
META = {"@source": "lab", "@peer": "10.0.0.7:5", "@received_at": "2026-01-31T08:00:00.000000Z"}


def at(s: float) -> Now:
    return Now(1_700_000_000.0 + s, 50.0 + s)


def step_of(new_step: NewStep, **options: Any) -> Step[Any]:
    return new_step("sequence", **{"number": "n", "key": ["k"]} | options)


def records(*numbers: Any, key: str = "a") -> list[dict[str, Any]]:
    return [{"k": key, "n": number} for number in numbers]


def counted(step: Step[Any]) -> dict[str, Any]:
    return step.context.counters.numbers()


def test_the_place_and_the_skipped_numbers_are_fields(new_step: NewStep) -> None:
    step = step_of(new_step, place="place", skipped="skipped")
    done = step.process(records(1, 2, 5, 4, 4), at(0))
    assert [(r["place"], r["skipped"]) for r in done.records] == [
        ("first", 0), ("next", 0), ("gap", 2), ("late", 0), ("duplicate", 0),
    ]  # fmt: skip
    assert counted(step) == {"late": 1, "duplicates": 1}


def test_without_options_records_pass_unchanged_and_are_only_counted(new_step: NewStep) -> None:
    step = step_of(new_step, window=4)
    given_ = records(1, 2, 3, 9, 9, 10, 11, 12, 13)
    done = step.process([record.copy() for record in given_], at(0))
    assert (done.records, done.emitted, done.filtered) == (given_, 0, 0)
    assert counted(step) == {"missing": 5, "duplicates": 1}


def test_each_key_has_its_own_numbers(new_step: NewStep) -> None:
    step = step_of(new_step, place="place")
    done = step.process([*records(5), *records(90, key="b"), *records(6), *records(91, key="b")], at(0))
    assert [r["place"] for r in done.records] == ["first", "first", "next", "next"]


def test_a_gap_is_a_record_of_its_own_with_the_metadata_of_the_record_that_shows_it(
    new_step: NewStep, assert_exact: Callable[..., None]
) -> None:
    step = step_of(new_step, gaps=True, window=2)
    taken = [record | META for record in records(1, 9)]
    done = step.process([record.copy() for record in taken], at(0))
    assert_exact(2, done)
    assert done.records == [taken[0], {"k": "a", "gap_from": 2, "gap_to": 7, "missing": 6} | META, taken[1]]


def test_a_number_that_does_not_come_in_time_is_reported_by_a_tick(new_step: NewStep) -> None:
    step = step_of(new_step, gaps=True, wait="10s")
    step.process(records(1, 3), at(0))
    step.process(records(6), at(4))
    assert step.next_deadline() == at(10).mono_s
    assert step.tick(at(9)).records == []
    assert step.tick(at(10)).records == [{"k": "a", "gap_from": 2, "gap_to": 2, "missing": 1}]
    assert step.next_deadline() == at(14).mono_s
    assert step.tick(at(14)).records == [{"k": "a", "gap_from": 4, "gap_to": 5, "missing": 2}]
    assert counted(step) == {"missing": 3}


def test_a_number_that_comes_in_time_is_not_missing(new_step: NewStep) -> None:
    step = step_of(new_step, gaps=True, wait="10s")
    step.process(records(1, 3), at(0))
    step.process(records(2), at(5))
    assert step.next_deadline() == at(86400).mono_s
    assert step.tick(at(11)).records == []
    assert counted(step) == {"late": 1}


def test_a_number_that_comes_after_its_report_is_taken_back(new_step: NewStep) -> None:
    step = step_of(new_step, gaps=True, wait="10s")
    step.process(records(1, 5), at(0))
    made = step.tick(at(10)).records + step.process(records(3), at(11)).records[:1]
    assert made[1] == {"k": "a", "gap_from": 3, "gap_to": 3, "missing": -1} | dict.fromkeys(META)
    assert sum(record["missing"] for record in made) == 2
    assert counted(step) == {"missing": 3, "found": 1, "late": 1}


def test_duplicates_are_filtered_out_on_demand(new_step: NewStep) -> None:
    step = step_of(new_step, duplicates="drop")
    done = step.process(records(1, 1, 2), at(0))
    assert (done.records, done.filtered) == (records(1, 2), 1)
    assert step.process_one(records(2)[0], at(0)) is DROP


def test_a_restart_and_a_stray(new_step: NewStep) -> None:
    step = step_of(new_step, place="place", restart_at=0)
    places = [r["place"] for r in step.process(records(500, 7, 501, 0, 1, 900, 5, 6), at(0)).records]
    assert places == ["first", "far", "next", "restart", "next", "gap", "far", "restart"]
    assert counted(step) == {"far": 2, "restarts": 2, "missing": 898}


def test_beyond_max_keys_records_pass_unchecked_and_are_counted(new_step: NewStep) -> None:
    step = step_of(new_step, max_keys=2, place="place")
    taken = [*records(1), *records(1, key="b"), *records(1, key="c"), *records(2), *records(2, key="c")]
    assert [r["place"] for r in step.process(taken, at(0)).records] == [
        "first", "first", "unchecked", "next", "unchecked",
    ]  # fmt: skip
    assert counted(step) == {"unchecked": 2}


def test_a_key_without_records_is_forgotten_after_once_to_twice_the_time(new_step: NewStep) -> None:
    step = step_of(new_step, forget_after="100s", wait="10s", place="place", gaps=True)
    step.process([*records(1, 3), *records(1, key="b")], at(0))
    assert step.tick(at(10)).records
    assert step.next_deadline() == at(100).mono_s
    step.tick(at(100))
    assert step.next_deadline() is None
    assert step.process(records(4), at(150)).records[0]["place"] == "next"
    step.tick(at(250))
    assert counted(step)["forgotten"] == 1
    assert step.process(records(5), at(251)).records[0]["place"] == "next"
    assert step.process(records(2, key="b"), at(251)).records[0]["place"] == "first"


def test_what_is_missing_when_a_key_is_forgotten_is_reported_before(new_step: NewStep) -> None:
    step = step_of(new_step, forget_after="10s", wait="10s", gaps=True)
    step.process(records(1, 3), at(0))
    assert [record["missing"] for record in step.tick(at(500)).records] == [1]
    step.process(records(1, key="b"), at(501))
    step.tick(at(600))
    assert counted(step) == {"missing": 1, "forgotten": 1}


def test_many_keys_are_reported_by_several_ticks(new_step: NewStep) -> None:
    step = step_of(new_step, gaps=True, wait="10s")
    step.process([one for n in range(2500) for one in records(1, 3, key=f"k{n}")], at(0))
    made = []
    for _ in range(3):
        assert step.next_deadline() == at(10).mono_s
        made.append(len(step.tick(at(10)).records))
    assert made == [1000, 1000, 500]


@pytest.mark.parametrize("value", [None, "7", 7.0, True, [7], 2**63, -(2**63) - 1, 10**999, float("nan")])
def test_what_is_no_number_is_rejected(new_step: NewStep, value: Any) -> None:
    (bad,) = step_of(new_step).process([{"k": "a", "n": value}], at(0)).rejects
    assert bad.reason == ("sequence:range" if type(value) is int else "sequence:type")
    assert len(bad.detail) < 100


def test_with_a_wrap_only_its_numbers_are_accepted(new_step: NewStep) -> None:
    step = step_of(new_step, wrap=256)
    done = step.process(records(-1, 0, 255, 256), at(0))
    assert [bad.reason for bad in done.rejects] == ["sequence:range"] * 2
    assert done.rejects[0].detail == "the number is not between 0 and 255"


def test_a_record_without_a_key_or_with_a_long_one_is_rejected(new_step: NewStep) -> None:
    step = step_of(new_step)
    done = step.process([{"n": 1}, {"n": 1, "k": "x" * 200}], at(0))
    assert [bad.reason for bad in done.rejects] == ["key:missing", "key:long"]
    with pytest.raises(BadData, match="key:missing"):
        step.process_one({"n": 1}, at(0))


@pytest.mark.parametrize(("stopped_s", "due_s"), [(0.0, 8.0), (5.0, 3.0), (6.0, 12.0), (9999.0, 12.0)])
def test_a_timer_goes_on_after_a_restart_or_begins_anew_if_it_ended_meanwhile(
    new_step: NewStep, stopped_s: float, due_s: float
) -> None:
    options: dict[str, Any] = {"gaps": True, "wait": "10s", "key": ["k", "unit"]}
    step = step_of(new_step, **options)
    step.process(records(1, 3), at(0))
    step.process([], at(4))
    again = step_of(new_step, **options)
    again.restore(step.snapshot() or b"", Now(at(4).wall_s + stopped_s, 2.0))
    assert again.next_deadline() == due_s
    assert again.tick(Now(0.0, due_s)).records == [
        {"k": "a", "unit": None, "gap_from": 2, "gap_to": 2, "missing": 1}
    ]


def test_no_key_is_forgotten_for_the_time_of_a_stop(new_step: NewStep) -> None:
    step = step_of(new_step, forget_after="100s", place="place")
    step.process(records(1), at(0))
    again = step_of(new_step, forget_after="100s", place="place")
    again.restore(step.snapshot() or b"", Now(at(9999).wall_s, 2.0))
    assert again.next_deadline() == 102.0
    again.tick(Now(0.0, 102.0))
    assert again.process(records(2), Now(0.0, 103.0)).records[0]["place"] == "next"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": []}, "at least 1 item"),
        ({"place": "@peer"}, "'@peer': a step adds no name that begins with @"),
        ({"skipped": ""}, "the name of a field is empty"),
        ({"place": "x", "skipped": "x"}, "both 'x'"),
        ({"forget_after": "5s"}, "forget_after is shorter than wait"),
        ({"wrap": 100}, "window is at most half of wrap: 50"),
        ({"wrap": 256, "max_jump": 128}, "max_jump has no effect"),
        ({"wrap": 256, "restart_at": 256}, "none of the numbers 0 to 255"),
        ({"number": "n +"}, "invalid syntax"),
    ],
)
def test_a_wrong_configuration_is_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_of(new_step, **options)


def test_names_are_checked_against_the_schema(new_step: NewStep) -> None:
    known = frozenset({"k", "n"})
    with pytest.raises(ConfigError, match=r"there is no field 'kk'"):
        step_of(new_step, known=known, key=["kk"])
    with pytest.raises(ConfigError, match=r"number: there is no field 'm'"):
        step_of(new_step, known=known, number="m")
    with pytest.raises(ConfigError, match="'missing' is a field of the records of gaps"):
        step_of(new_step, key=["missing"], gaps=True)
    assert step_of(new_step, known=known, place="p", skipped="s").fields_after() == known | {"p", "s"}
    assert step_of(new_step, known=known, key=["lower(k)"], gaps=True).fields_after() == known | {
        "lower(k)", "gap_from", "gap_to", "missing",
    }  # fmt: skip
    assert step_of(new_step).fields_after() is None


@pytest.mark.parametrize(("ids", "window", "most_bytes"), [("{:08d}", 64, 600), ("{:0128d}", 1024, 950)])
def test_the_bytes_of_a_key_are_those_that_the_docs_name(
    new_step: NewStep, ids: str, window: int, most_bytes: int
) -> None:
    step = step_of(new_step, window=window)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1500):
        step.process(records(n, n + 2, n + 3, key=ids.format(n)), at(0))
    for n in range(1500):
        step.process(records(n + 1, key=ids.format(n)), at(0))
    per_key = (tracemalloc.get_traced_memory()[0] - before) / 1500
    tracemalloc.stop()
    assert per_key < most_bytes


NUMBERS = st.lists(st.integers(0, 40) | st.sampled_from([2**62, 990, 991]), max_size=30)


@given(numbers=NUMBERS, cuts=st.lists(st.integers(0, 30), max_size=4), restarts=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_the_cuts_of_batches_and_restarts_change_nothing(
    new_step: NewStep, numbers: list[int], cuts: list[int], restarts: bool
) -> None:
    options: dict[str, Any] = {"gaps": True, "place": "p", "window": 6, "restart_at": 0, "skipped": "s"}
    step = step_of(new_step, **options)
    whole = step.process(records(*numbers), at(0)).records + step.tick(at(10)).records
    step = step_of(new_step, **options)
    pieces: list[dict[str, Any]] = []
    edges = [0, *sorted(min(cut, len(numbers)) for cut in cuts), len(numbers)]
    for start, stop in pairwise(edges):
        pieces += step.process(records(*numbers[start:stop]), at(0)).records
        if restarts and (state := step.snapshot()) is not None:
            step = step_of(new_step, **options)
            step.restore(state, at(0))
    assert json.dumps(pieces + step.tick(at(10)).records) == json.dumps(whole)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=3),
    lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=2), one, max_size=2),
    max_leaves=4,
)


@given(taken=st.lists(st.dictionaries(st.sampled_from(["k", "n", "x"]), JSON), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_record_makes_it_raise_and_the_sum_is_exact(
    new_step: NewStep, assert_exact: Callable[..., None], taken: list[dict[str, Any]]
) -> None:
    step = step_of(new_step, gaps=True, place="p", duplicates="drop", window=2)
    assert_exact(len(taken), step.process(taken, at(0)))
    step.tick(at(20))
    state = step.snapshot()
    if state is not None:
        step_of(new_step, gaps=True, place="p", duplicates="drop", window=2).restore(state, at(0))


def test_further_keys_are_followed_when_all_others_are_silent(new_step: NewStep) -> None:
    step = step_of(new_step, max_keys=1, wait="1s", forget_after="10s", place="p")
    for s, key, place in (
        (0, "a", "first"),
        (1, "b", "unchecked"),
        (15, "b", "unchecked"),
        (30, "b", "first"),
    ):
        due_s = step.next_deadline()
        if due_s is not None and due_s <= at(s).mono_s:
            step.tick(at(s))
        (record,) = step.process(records(1, key=key), at(s)).records
        assert record["p"] == place
