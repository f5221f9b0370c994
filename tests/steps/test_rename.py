from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [{"fields": {"n": "m"}}]


def test_fields_get_their_new_names_in_their_places(new_step: NewStep, now: Now) -> None:
    step = new_step("rename", fields={"a": "x", "c.d": "y", "@timestamp": "z", "none": "w"})
    done = step.process([{"a": 1, "b": 2, "c.d": 3, "@timestamp": 4, "@peer": "p"}, {}], now)
    assert [list(record.items()) for record in done.records] == [
        [("x", 1), ("b", 2), ("y", 3), ("z", 4), ("@peer", "p")],
        [],
    ]


def test_all_are_renamed_at_once(new_step: NewStep, now: Now) -> None:
    assert new_step("rename", fields={"a": "b", "b": "a"}).process_one({"a": 1, "b": 2}, now) == {
        "b": 1,
        "a": 2,
    }
    chain = new_step("rename", fields={"a": "b", "b": "c"})
    assert chain.process_one({"a": 1, "b": 2}, now) == {"b": 1, "c": 2}
    assert chain.process_one({"a": 1}, now) == {"b": 1}


@pytest.mark.parametrize(("on_conflict", "left"), [("keep", 2), ("replace", 1)])
@pytest.mark.parametrize("record", [{"b": 2, "a": 1}, {"a": 1, "b": 2}])
def test_a_taken_name(
    new_step: NewStep, now: Now, on_conflict: str, left: int, record: dict[str, int]
) -> None:
    step = new_step("rename", fields={"a": "b"}, on_conflict=on_conflict)
    assert step.process_one(record, now) == {"b": left}


@pytest.mark.parametrize("record", [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": None, "b": None}])
def test_a_taken_name_rejects_the_record_as_it_came(
    new_step: NewStep, now: Now, record: dict[str, Any]
) -> None:
    step = new_step("rename", fields={"a": "b"})
    before = dict(record)
    done = step.process([record, {"a": 3}], now)
    assert done.records == [{"b": 3}]
    assert [(bad.record, bad.reason) for bad in done.rejects] == [(before, "rename:conflict")]
    assert "'b'" in done.rejects[0].detail
    with pytest.raises(BadData, match="rename:conflict"):
        step.process_one(record, now)


def test_a_taken_name_of_a_chain(new_step: NewStep, now: Now) -> None:
    record = {"a": 1, "b": 2, "c": 3}
    keep = new_step("rename", fields={"a": "b", "b": "c"}, on_conflict="keep")
    assert keep.process_one(record, now) == {"b": 1, "c": 3}
    replace = new_step("rename", fields={"a": "b", "b": "c"}, on_conflict="replace")
    assert replace.process_one(record, now) == {"b": 1, "c": 2}


@given(
    record=st.dictionaries(st.sampled_from("abcd"), st.integers()),
    fields=st.dictionaries(st.sampled_from("abcd"), st.sampled_from("abcdxy"), min_size=1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_value_is_lost_without_a_conflict_and_none_is_made_up(
    new_step: NewStep, now: Now, record: dict[str, int], fields: dict[str, str]
) -> None:
    if len(set(fields.values())) < len(fields) or any(old == new for old, new in fields.items()):
        return
    done = new_step("rename", fields=fields).process([record], now)
    names = [fields.get(name, name) for name in record]
    assert len(done.rejects) == (len(set(names)) < len(names))
    if done.records:
        assert list(done.records[0].items()) == list(zip(names, record.values(), strict=True))
    replaced = new_step("rename", fields=fields, on_conflict="replace").process_one(record, now)
    kept = new_step("rename", fields=fields, on_conflict="keep").process_one(record, now)
    assert set(replaced) == set(kept) == set(names)
    for name, value in record.items():
        if name in fields:
            assert replaced[fields[name]] == value
        else:
            assert kept[name] == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "does nothing"),
        ({"a": "a"}, "renamed to itself"),
        ({"a": "x", "b": "x"}, "two fields get the name 'x'"),
        ({"a": "@peer"}, "begins with @"),
        ({"a": "@new"}, "begins with @"),
        ({"@peer": "a"}, "metadata"),
        ({"a": ""}, "empty"),
    ],
)
def test_wrong_names_are_refused(new_step: NewStep, fields: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("rename", fields=fields)


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"value", "sensor"})
    step = new_step("rename", known, fields={"value": "temperature"})
    assert step.fields_after() == frozenset({"temperature", "sensor"})
    assert new_step("rename", fields={"value": "v"}).fields_after() is None
    with pytest.raises(ConfigError, match=r"no field 'valu': did you mean 'value'\?"):
        new_step("rename", known, fields={"valu": "v"})
