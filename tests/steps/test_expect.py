import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"key": ["t"], "every": "10m", "forget_after": "40m"},
    {"key": ["n"], "every": "10m", "forget_after": "40m", "max_keys": 2},
    {"key": ["t"], "every": "10m", "keys": ["a", "x"], "learn": False},
    {"key": ["t", "n"], "every": "10m", "keys": [["a", 1]], "learn": True, "forget_after": "40m"},
]
REFUSALS: dict[str, Any] = {}
META = {"@source": "lab", "@peer": "10.0.0.7:5", "@received_at": "2026-01-31T08:00:00.000000Z"}
BEGIN = 1_700_000_000.0


def at(s: float) -> Now:
    return Now(BEGIN + s, 50.0 + s)


def step_of(new_step: NewStep, **options: Any) -> Step[Any]:
    return new_step("expect", **{"key": ["k"], "every": "10s"} | options)


def seen(step: Step[Any], keys: str, s: float) -> list[tuple[str, str, float | None]]:
    """What is reported when records of these keys come."""
    return reports(step.process([{"k": key} for key in keys], at(s)).records)


def reports(records: list[dict[str, Any]]) -> list[tuple[str, str, float | None]]:
    return [(r["k"], r["expect"], r["silent_s"]) for r in records if "expect" in r]


def ticks(step: Step[Any], s: float) -> list[tuple[str, str, float | None]]:
    """What is reported up to a moment by the ticks, at the time of each."""
    made = []
    while (due := step.next_deadline()) is not None and due <= at(s).mono_s:
        made += reports(step.tick(at(max(due - at(0).mono_s, 0.0))).records)
    return made


def test_the_life_of_a_key(new_step: NewStep) -> None:
    step = step_of(new_step, silent_after="25s")
    assert seen(step, "a", 0) == [("a", "new", None)]
    assert seen(step, "a", 6) == []
    assert ticks(step, 15.5) == []
    assert ticks(step, 16) == [("a", "late", 10.0)]
    assert ticks(step, 30.9) == []
    assert ticks(step, 31) == [("a", "silent", 25.0)]
    assert step.next_deadline() is None
    assert seen(step, "aa", 100) == [("a", "back", 94.0)]
    assert ticks(step, 110) == [("a", "late", 10.0)]
    assert seen(step, "a", 111) == [("a", "back", 11.0)]
    assert ticks(step, 121) == [("a", "late", 10.0)]
    assert step.context.counters.numbers() == {"new": 1, "late": 3, "silent": 1, "back": 2}


def test_a_report_comes_before_its_record_and_has_its_metadata(
    new_step: NewStep, assert_exact: Callable[..., None]
) -> None:
    step = step_of(new_step)
    record = {"k": "a", "v": 1} | META
    done = step.process([record], at(0))
    assert_exact(1, done)
    assert done.records == [
        {"k": "a", "expect": "new", "last_seen": None, "silent_s": None} | META, record,
    ]  # fmt: skip
    (late,) = step.tick(at(10)).records
    assert late == {"k": "a", "expect": "late", "last_seen": from_epoch(BEGIN), "silent_s": 10.0}


def test_a_key_of_several_fields_is_reported_with_each(new_step: NewStep) -> None:
    step = step_of(new_step, key=["k", "place.room"])
    step.process([{"k": 7, "place": {"room": "é"}}], at(0))
    (late,) = step.tick(at(10)).records
    assert {name: late[name] for name in ("k", "place.room")} == {"k": 7, "place.room": "é"}


def test_listed_keys_are_expected_from_the_start_without_any_record(new_step: NewStep) -> None:
    step = step_of(new_step, keys=["a", "b"])
    assert step.next_deadline() == 0.0
    assert step.tick(at(0)).records == []
    assert seen(step, "b", 5) == []
    assert ticks(step, 12) == [("a", "late", None)]
    assert ticks(step, 40) == [("b", "late", 10.0), ("a", "silent", None), ("b", "silent", 30.0)]
    assert seen(step, "ac", 41) == [("a", "back", None)]
    assert step.context.counters.numbers()["unexpected"] == 1


def test_listed_and_learned_keys_together(new_step: NewStep) -> None:
    step = step_of(new_step, keys=["a"], learn=True, forget_after="60s")
    assert seen(step, "ab", 0) == [("b", "new", None)]
    assert [(key, state) for key, state, _ in ticks(step, 60)] == [
        ("a", "late"), ("b", "late"), ("a", "silent"), ("b", "silent"),
    ]  # fmt: skip
    assert step.context.counters.numbers()["forgotten"] == 1
    assert seen(step, "ab", 61) == [("a", "back", 61.0), ("b", "new", None)]


def test_records_of_the_wall_clock_going_back_have_no_negative_silence(new_step: NewStep) -> None:
    step = step_of(new_step)
    step.process([{"k": "a"}], at(0))
    (late,) = step.tick(Now(5.0, at(10).mono_s)).records
    assert (late["last_seen"], late["silent_s"]) == (from_epoch(BEGIN), 0.0)


def test_beyond_max_keys_records_pass_unwatched_and_are_counted(new_step: NewStep) -> None:
    step = step_of(new_step, max_keys=2)
    assert seen(step, "abcc", 0) == [("a", "new", None), ("b", "new", None)]
    assert step.context.counters.numbers() == {"new": 2, "unwatched": 2}
    assert {key for key, *_ in ticks(step, 100)} == {"a", "b"}


def test_after_a_restart_the_waiting_begins_anew_and_nothing_is_reported_twice(new_step: NewStep) -> None:
    step = step_of(new_step)
    seen(step, "ab", 0)
    seen(step, "a", 9)
    assert ticks(step, 10) == [("b", "late", 10.0)]
    again = step_of(new_step)
    again.restore(step.snapshot() or b"", Now(BEGIN + 1000, 3.0))
    assert again.next_deadline() == 13.0
    assert again.tick(Now(BEGIN + 1009, 12.0)).records == []
    assert reports(again.process([{"k": "b"}], Now(BEGIN + 1001, 4.0)).records) == [("b", "back", 1001.0)]
    assert reports(again.tick(Now(BEGIN + 1010, 13.0)).records) == [("a", "late", 1001.0)]


def test_a_silent_key_is_not_reported_again_after_a_restart_but_forgotten_in_time(new_step: NewStep) -> None:
    options = {"forget_after": "60s"}
    step = step_of(new_step, **options)
    seen(step, "a", 0)
    assert [state for _, state, _ in ticks(step, 50)] == ["late", "silent"]
    again = step_of(new_step, **options)
    again.restore(step.snapshot() or b"", Now(BEGIN + 50, 0.0))
    assert again.next_deadline() == 60.0
    assert again.tick(Now(BEGIN + 110, 60.0)).records == []
    assert again.snapshot() is None


def test_a_listed_key_that_the_state_does_not_have_is_expected_after_a_restart(new_step: NewStep) -> None:
    step = step_of(new_step, keys=["a", "b"])
    step.tick(at(0))
    state = step.snapshot()
    assert state is not None
    again = step_of(new_step, keys=["a", "b"])
    again.restore(state, Now(BEGIN, 1.0))
    assert again.next_deadline() == 11.0
    assert len(again.tick(Now(BEGIN, 11.0)).records) == 2


def test_while_frames_wait_in_the_buffers_reports_are_put_off_for_at_most_every(new_step: NewStep) -> None:
    step = step_of(new_step)
    waiting = 1
    step.context.upstream.waiting = lambda: waiting
    seen(step, "ab", 0)
    assert ticks(step, 12) == []
    assert step.next_deadline() == at(12.25).mono_s
    assert seen(step, "a", 13) == []
    waiting = 0
    assert ticks(step, 14) == [("b", "late", 12.25)]
    waiting = 1
    assert ticks(step, 32.75) == []
    assert ticks(step, 33) == [("a", "late", 20.0), ("b", "silent", 33.0)]
    seen(step, "a", 40)
    assert ticks(step, 59.75) == []
    assert ticks(step, 60) == [("a", "late", 20.0)]


def test_many_keys_are_reported_by_several_ticks(new_step: NewStep) -> None:
    step = step_of(new_step)
    step.process([{"k": f"k{n}"} for n in range(2500)], at(0))
    made = []
    for _ in range(3):
        assert step.next_deadline() == at(10).mono_s
        made.append(len(step.tick(at(10)).records))
    assert made == [1000, 1000, 500]


def test_a_record_without_a_key_or_with_a_long_one_is_rejected(new_step: NewStep) -> None:
    step = step_of(new_step)
    done = step.process([{}, {"k": "x" * 200}], at(0))
    assert [bad.reason for bad in done.rejects] == ["key:missing", "key:long"]
    with pytest.raises(BadData, match="key:missing"):
        step.process_one({}, at(0))
    made = step.process_one({"k": 1}, at(0))
    assert isinstance(made, list)
    assert len(made) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": []}, "at least 1 item"),
        ({"every": "0s"}, "greater than 0"),
        ({"learn": False}, "nothing to expect"),
        ({"silent_after": "10s"}, "silent_after is not longer than every"),
        ({"forget_after": "30s"}, "forget_after is not longer than silent_after"),
        ({"keys": ["a"], "forget_after": "1h"}, "forget_after has no effect"),
        ({"keys": ["a", "b"], "max_keys": 1}, "2 keys, more than max_keys"),
    ],
)
def test_a_wrong_configuration_is_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_of(new_step, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": [["a", "b"]]}, r"\['a', 'b'\]: a list of 1 value is needed"),
        ({"keys": ["a", ["b"]], "key": ["k", "l"]}, "'a': a list of 2 values is needed"),
        ({"keys": ["a", "x" * 200]}, "key:long"),
        ({"keys": ["a", "b", "a"]}, "'a' is there twice"),
        ({"key": ["last_seen"]}, "'last_seen' is a field of the records that expect makes"),
        ({"key": ["kk"], "known": frozenset({"k"})}, r"there is no field 'kk'"),
    ],
)
def test_keys_that_do_not_fit_are_refused_with_their_place(
    new_step: NewStep, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        step_of(new_step, **options)


def test_a_number_and_a_text_are_different_keys(new_step: NewStep) -> None:
    step = step_of(new_step, keys=[7, "7", True, 7.5])
    step.process([{"k": 7}, {"k": True}, {"k": 7.5}], at(5))
    assert reports(step.tick(at(15)).records) == [
        (7, "late", 10.0), ("7", "late", None), (True, "late", 10.0), (7.5, "late", 10.0),
    ]  # fmt: skip


def test_its_fields_are_known_afterwards(new_step: NewStep) -> None:
    fields = step_of(new_step, known=frozenset({"k"}), key=["lower(k)"]).fields_after()
    assert fields == frozenset({"k", "lower(k)", "expect", "last_seen", "silent_s"})
    assert step_of(new_step).fields_after() is None


@pytest.mark.parametrize(("ids", "most_bytes"), [("{:08d}", 550), ("{:0128d}", 700)])
def test_the_bytes_of_a_key_are_those_that_the_docs_name(
    new_step: NewStep, ids: str, most_bytes: int
) -> None:
    step = step_of(new_step)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(5000):
        step.process([{"k": ids.format(n)}], at(n / 5000))
    per_key = (tracemalloc.get_traced_memory()[0] - before) / 5000
    tracemalloc.stop()
    assert per_key < most_bytes


ACTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 4.0, 9.0, 10.0, 31.0])), max_size=20
)


@given(acts=ACTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_every_silence_is_reported_at_its_time_and_no_other(
    new_step: NewStep, acts: list[tuple[str, float]]
) -> None:
    step = step_of(new_step)
    time_s = 0.0
    last: dict[str, float] = {}
    expected: list[tuple[float, str, str]] = []
    found: list[tuple[float, str, str]] = []

    def tick(until_s: float) -> None:
        while (due := step.next_deadline()) is not None and due <= at(until_s).mono_s:
            s = due - at(0).mono_s
            found.extend((s, key, state) for key, state, _ in reports(step.tick(at(s)).records))

    for key, passes_s in [*acts, ("z", 100.0)]:
        time_s += passes_s
        tick(time_s)
        silent_s = time_s - last[key] if key in last else None
        if silent_s is None or silent_s >= 10:
            expected.append((time_s, key, "new" if silent_s is None else "back"))
        found += [(time_s, *report[:2]) for report in seen(step, key, time_s)]
        last[key] = time_s
    times: dict[str, list[float]] = {}
    time_s = 0.0
    for key, passes_s in [*acts, ("z", 100.0)]:
        time_s += passes_s
        times.setdefault(key, []).append(time_s)
    for key, when in times.items():
        for one, following in zip(when, [*when[1:], time_s], strict=True):
            expected += [(one + 10, key, "late")] * (following - one >= 10)
            expected += [(one + 30, key, "silent")] * (following - one >= 30)
    assert sorted(found) == sorted(expected)
