import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"key": ["t"], "fields": ["n"], "max_age": "2s"},
    {"key": ["by", "t"], "fields": ["n", "m"], "max_age": "1h", "max_keys": 2},
]


def received(s: float) -> str:
    return f"2026-01-31T08:00:{s:09.6f}Z"


def at(s: float, **fields: Any) -> dict[str, Any]:
    return {**fields, "@received_at": received(s)}


def test_a_record_gets_what_the_last_one_of_its_key_had(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["lat", "lon"], max_age="1m")
    records = [
        at(0, id="a", lat=1, lon=2),
        at(1, id="b", v=5),
        at(2, id="a", v=6),
        at(3, id="a", lat=3),
        at(4, id="a", v=7, lon=None),
    ]
    done = step.process(records, now)
    assert [{k: v for k, v in r.items() if k[0] != "@"} for r in done.records] == [
        {"id": "a", "lat": 1, "lon": 2},
        {"id": "b", "v": 5},
        {"id": "a", "v": 6, "lat": 1, "lon": 2},
        {"id": "a", "lat": 3, "lon": 2},
        {"id": "a", "v": 7, "lat": 3, "lon": 2},
    ]
    assert step.context.counters.totals() == {"merged": 5}


def test_a_value_ages_and_a_later_one_is_not_added(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="10s")
    step.process([at(5, id=1, x=1)], now)
    assert step.process_one(at(15, id=1), now)["x"] == 1
    assert "x" not in step.process_one(at(15.000001, id=1), now)
    assert step.process_one(at(5, id=1), now)["x"] == 1
    assert "x" not in step.process_one(at(4.9, id=1), now)  # it comes late, from before that value
    step.process([at(3, id=1, x=0)], now)  # late too: the newer value stays
    assert step.process_one(at(6, id=1), now)["x"] == 1


def test_the_time_may_be_a_field(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="10s", time="ts")
    step.process([{"id": 1, "x": 1, "ts": 100}, {"id": 1, "ts": "1970-01-01T00:01:45Z"}], now)
    assert step.process_one({"id": 1, "ts": 110.0}, now)["x"] == 1
    assert "x" not in step.process_one({"id": 1, "ts": 111}, now)
    rejects = step.process([{"id": 1}, {"id": 1, "ts": "soon"}, {"id": 1, "ts": []}], now).rejects
    assert [bad.reason for bad in rejects] == ["timestamp:type", "timestamp:syntax", "timestamp:type"]


def test_without_a_time_of_receipt_the_clock_counts(new_step: NewStep) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="10s")
    step.process([{"id": 1, "x": 1}], Now(1000.0, 1.0))
    assert step.process_one({"id": 1}, Now(1010.0, 1.0))["x"] == 1
    assert "x" not in step.process_one({"id": 1}, Now(1010.5, 1.0))


def test_a_record_without_a_key_is_rejected(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="10s")
    (bad,) = step.process([{"x": 1}, {"id": None, "x": 1}, {"id": [1], "x": 2}], now).rejects[:1]
    assert bad.reason == "key:missing"
    assert step.process_one({"id": [1]}, now)["x"] == 2


def test_the_key_that_was_updated_longest_ago_is_forgotten(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="1h", max_keys=2)
    step.process([{"id": n, "x": n} for n in (1, 2)], now)
    step.process([{"id": 1, "x": 10}, {"id": 2}, {"id": 3, "x": 3}], now)
    assert [step.process_one({"id": n}, now).get("x") for n in (1, 2, 3)] == [10, None, 3]
    assert step.context.counters.numbers()["forgotten"] == 1
    assert len(step._last) == 2


@pytest.mark.parametrize(
    "value", ["x" * 1025, "é" * 600, "\ud800", 2**64, -(2**63) - 1, ["x" * 1025], [2**70], {"a": object()}]
)
def test_a_value_that_is_too_long_or_cannot_be_stored_is_not_remembered(
    new_step: NewStep, now: Now, value: Any
) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="1h")
    assert step.process([{"id": 1, "x": 5}, {"id": 1, "x": value}, {"id": 1}], now).records[2] == {"id": 1}
    assert step.context.counters.totals() == {"not_remembered": 1}
    assert step.snapshot()


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


@given(value=VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_remembered_value_is_the_same_and_later_changes_do_not_reach_it(
    new_step: NewStep, now: Now, value: Any
) -> None:
    try:
        text = msgspec.msgpack.encode(value)
    except (ValueError, UnicodeEncodeError):
        return
    step = new_step("merge", key=["id"], fields=["x"], max_age="1h")
    step.process([{"id": 1, "x": value}], now)
    other = new_step("merge", key=["id"], fields=["x"], max_age="1h")
    other.restore(step.snapshot(), now)
    for one in (step, other):
        for _ in range(2):
            found = one.process_one({"id": 1}, now)["x"]
            assert (type(found), msgspec.msgpack.encode(found)) == (type(value), text)
            if isinstance(found, list):
                found.append("changed")


RECORDS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("abc"), "ts": st.integers(0, 30)},
        optional={"x": st.none() | st.integers(0, 9), "y": st.lists(st.integers(0, 9), max_size=2)},
    ),
    max_size=12,
)


@given(records=RECORDS, cuts=st.lists(st.integers(0, 12), max_size=4), stop=st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_the_cuts_of_batches_nor_a_restart_change_a_result(
    new_step: NewStep, now: Now, records: list[dict[str, Any]], cuts: list[int], stop: int
) -> None:
    def new() -> Any:
        options = {"key": ["id"], "fields": ["x", "y"], "max_age": "10s", "time": "ts", "max_keys": 2}
        return new_step("merge", **options)

    whole = new().process([dict(record) for record in records], now).records
    step, found, last = new(), [], 0
    for cut in sorted({*cuts, stop, len(records)}):
        found += step.process([dict(record) for record in records[last:cut]], now).records
        last = max(last, cut)
        if cut == stop:
            state = step.snapshot()
            step = new()
            if state is not None:
                step.restore(state, now)
                assert step.snapshot() == state
    assert found == whole


def test_the_state_of_other_fields_is_refused(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["x"], max_age="1h")
    step.process([{"id": 1, "x": 5}], now)
    other = new_step("merge", key=["id"], fields=["x", "y"], max_age="1h")
    with pytest.raises(ValueError, match="not the state"):
        other.restore(step.snapshot(), now)
    for items in ([(1, [1, 2.0])], [("a", [1])]):
        with pytest.raises(ValueError, match="not the state"):
            step.restore(msgspec.msgpack.encode(("merge", 1, items)), now)


def test_the_bytes_of_a_key_are_as_documented(new_step: NewStep, now: Now) -> None:
    step = new_step("merge", key=["id"], fields=["lat", "lon"], max_age="1h")
    count = 20_000
    tracemalloc.start()
    try:
        for n in range(0, count, 1000):
            step.process(
                [{"id": f"sensor-{i}", "lat": i + 0.5, "lon": i + 0.25} for i in range(n, n + 1000)], now
            )
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 150 < size / count < 300
    assert len(step.snapshot()) / count < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": []}, "at least 1 item"),
        ({"fields": []}, "at least 1 item"),
        ({"fields": ["@peer"]}, "metadata"),
        ({"max_age": "0s"}, "greater than 0"),
        ({"max_age": 5}, "a duration is a number with a unit"),
        ({"max_keys": 0}, "greater than or equal to 1"),
        ({"max_age": None}, "a duration"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("merge", **{"key": ["id"], "fields": ["x"], "max_age": "1h"} | options)


def test_names_are_checked(new_step: NewStep) -> None:
    known = frozenset({"id", "x", "ts"})
    options = {"key": ["id"], "fields": ["x"], "max_age": "1h"}
    assert new_step("merge", known, **options).fields_after() == known
    for wrong, keys in (
        ({"key": ["i"]}, ("key", 0)),
        ({"fields": ["y"]}, ("fields",)),
        ({"time": "t"}, ("time",)),
        ({"time": "x"}, ("time",)),
    ):
        with pytest.raises(ConfigError) as refused:
            new_step("merge", known, **{**options, **wrong})
        assert refused.value.keys == keys
