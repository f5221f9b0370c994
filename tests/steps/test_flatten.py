from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [{}]
GPS: dict[str, Any] = {"id": 1, "gps": {"lat": 48.1, "fix": {"kind": "3d"}}, "tags": ["a", {"b": 2}]}
KEYS = st.text(st.sampled_from("abé"), max_size=2)
VALUES = st.none() | st.integers() | st.text(max_size=2)
TREES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def test_nested_objects_become_fields_in_their_order(new_step: NewStep, now: Now) -> None:
    flat = new_step("flatten").process_one({**GPS, "@peer": "p"}, now)
    assert list(flat.items()) == [
        ("id", 1), ("gps.lat", 48.1), ("gps.fix.kind", "3d"), ("tags", ["a", {"b": 2}]), ("@peer", "p"),
    ]  # fmt: skip


def test_elements_of_lists_become_fields_by_their_position(new_step: NewStep, now: Now) -> None:
    flat = new_step("flatten", lists="index", separator="_").process_one(GPS, now)
    assert flat == {"id": 1, "gps_lat": 48.1, "gps_fix_kind": "3d", "tags_0": "a", "tags_1_b": 2}


def test_deeper_levels_stay_nested(new_step: NewStep, now: Now) -> None:
    flat = new_step("flatten", max_depth=1, lists="index").process_one(GPS, now)
    assert flat == {
        "id": 1,
        "gps.lat": 48.1,
        "gps.fix": {"kind": "3d"},
        "tags.0": "a",
        "tags.1": {"b": 2},
    }
    assert new_step("flatten", max_depth=2).process_one(GPS, now)["gps.fix.kind"] == "3d"


def test_only_the_named_fields_are_flattened(new_step: NewStep, now: Now) -> None:
    flat = new_step("flatten", fields=["tags"], lists="index").process_one(GPS, now)
    assert flat == {"id": 1, "gps": GPS["gps"], "tags.0": "a", "tags.1.b": 2}


def test_an_empty_object_or_list_stays(new_step: NewStep, now: Now) -> None:
    record = {"a": {}, "b": [], "c": {"d": {}, "e": []}}
    assert new_step("flatten", lists="index").process_one(record, now) == {
        "a": {},
        "b": [],
        "c.d": {},
        "c.e": [],
    }


@pytest.mark.parametrize(
    "record",
    [
        {"a.b": 1, "a": {"b": 2}},
        {"a": {"b": 2}, "a.b": 1},
        {"a": {"b.c": 1, "b": {"c": 2}}},
    ],
)
def test_two_values_of_one_name(new_step: NewStep, now: Now, record: dict[str, Any]) -> None:
    with pytest.raises(BadData, match=r"flatten:conflict: two values get the name"):
        new_step("flatten").process_one(record, now)
    first, later = (1, 2) if "a.b" in list(record)[:1] or "a.b" not in record else (2, 1)
    assert list(new_step("flatten", on_conflict="keep").process_one(record, now).values()) == [first]
    assert list(new_step("flatten", on_conflict="replace").process_one(record, now).values()) == [later]


def test_metadata_is_never_made_of_a_nested_key(new_step: NewStep, now: Now) -> None:
    step = new_step("flatten", separator="@", on_conflict="replace")
    with pytest.raises(BadData, match="flatten:conflict: only the daemon sets '@peer'"):
        step.process_one({"": {"peer": "forged"}}, now)


def nested(depth: int) -> dict[str, Any]:
    record: dict[str, Any] = {"a": 1}
    for _ in range(depth - 1):
        record = {"a": record}
    return record


def test_size_and_depth_have_bounds(new_step: NewStep, now: Now) -> None:
    step = new_step("flatten", max_fields=3)
    metadata = {"@peer": "p", "@source": "s"}
    exact = {**metadata, "a": {"x": 1, "y": 2}, "b": 3}
    assert len(step.process_one(exact, now)) == 5
    for more in ({"c": 4}, {"c": {"d": 4}}):
        with pytest.raises(BadData, match="flatten:fields: more than 3 fields"):
            step.process_one({**exact, **more}, now)
        with pytest.raises(BadData, match="flatten:fields"):
            step.process_one({**more, **exact}, now)
    with pytest.raises(BadData, match="flatten:name"):
        new_step("flatten").process_one({"k" * 1000: {"l" * 24: 1}}, now)
    assert new_step("flatten").process_one({"k" * 1000: {"l" * 23: 1}}, now)
    assert len(new_step("flatten").process_one(nested(65), now)) == 1
    with pytest.raises(BadData, match="flatten:depth"):
        new_step("flatten").process_one(nested(66), now)
    itself: dict[str, Any] = {}
    itself["me"] = itself
    with pytest.raises(BadData, match="flatten:depth"):
        new_step("flatten").process_one(itself, now)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict) and value:
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list) and value:
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]


@given(record=st.dictionaries(KEYS, TREES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_leaf_is_there_once_in_its_order(new_step: NewStep, now: Now, record: dict[str, Any]) -> None:
    done = new_step("flatten", lists="index", separator="/").process([record], now)
    if done.rejects:  # 'a/' and '' or names of digits may meet
        assert {bad.reason for bad in done.rejects} == {"flatten:conflict"}
    else:
        assert list(done.records[0].values()) == ([leaf for v in record.values() for leaf in leaves(v)])


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ""},
        {"max_depth": 0},
        {"max_depth": 65},
        {"max_fields": 0},
        {"fields": []},
        {"lists": "x"},
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        new_step("flatten", **options)
    assert refused.value.errors()[0]["loc"][0] in options


def test_known_fields_are_checked_and_no_longer_known_afterwards(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match=r"no field 'gsp': did you mean 'gps'\?"):
        new_step("flatten", frozenset({"gps"}), fields=["gsp"])
    assert new_step("flatten", frozenset({"gps"}), fields=["gps"]).fields_after() is None
