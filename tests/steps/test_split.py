from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import Processed
from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [{"field": "t", "separator": "a", "on_empty": "keep"}]
Exact = Callable[[int, Processed], None]

ONLY = "on_conflict has an effect only with"


def test_a_record_of_each_element(new_step: NewStep, now: Now, assert_exact: Exact) -> None:
    step = new_step("split", field="v")
    done = step.process([{"v": [1, None, {"x": 2}], "h": "a", "@peer": "p"}, {"v": [3], "h": "b"}], now)
    assert done.records == [
        {"h": "a", "@peer": "p", "v": 1},
        {"h": "a", "@peer": "p", "v": None},
        {"h": "a", "@peer": "p", "v": {"x": 2}},
        {"h": "b", "v": 3},
    ]
    assert (done.emitted, done.filtered) == (2, 0)
    assert_exact(2, done)


def test_the_element_gets_a_name_and_its_position(new_step: NewStep, now: Now) -> None:
    step = new_step("split", field="v", into="one", position="n", parent="drop")
    assert step.process_one({"v": ["x", "y"], "h": "a", "@source": "s"}, now) == [
        {"@source": "s", "one": "x", "n": 0},
        {"@source": "s", "one": "y", "n": 1},
    ]


def test_a_text_is_cut_at_its_separator(new_step: NewStep, now: Now) -> None:
    step = new_step("split", field="m", separator=";")
    assert [r["m"] for r in step.process_one({"m": "a; b=1 ;;\tc\r\n; "}, now)] == ["a", "b=1", "c"]
    lines = new_step("split", field="m", separator="\n")
    assert [r["m"] for r in lines.process_one({"m": "one\r\ntwo\n"}, now)] == ["one", "two"]


def test_the_fields_of_the_elements_become_fields(new_step: NewStep, now: Now) -> None:
    step = new_step("split", field="r", elements="fields", position="n")
    record = {"dev": "d", "r": [{"t": 1, "v": 2}, {"t": 3}, {"r": 4}]}
    assert step.process_one(record, now) == [
        {"dev": "d", "t": 1, "v": 2, "n": 0},
        {"dev": "d", "t": 3, "n": 1},
        {"dev": "d", "r": 4, "n": 2},
    ]


def test_a_taken_name_of_an_element(new_step: NewStep, now: Now) -> None:
    record = {"dev": "d", "r": [{"t": 1}, {"dev": "e"}]}
    (bad,) = new_step("split", field="r", elements="fields").process([record], now).rejects
    assert (bad.record, bad.reason, bad.detail) == (
        {"dev": "d", "r": [{"t": 1}, {"dev": "e"}]},
        "split:conflict",
        "element 1: the record has 'dev' too",
    )
    for on_conflict, left in (("keep", "d"), ("replace", "e")):
        step = new_step("split", field="r", elements="fields", on_conflict=on_conflict)
        assert [r["dev"] for r in step.process_one(record, now)] == ["d", left]


@pytest.mark.parametrize("element", [{"@peer": "forged"}, 1, None, [1]])
def test_an_element_that_cannot_become_fields_rejects_the_whole_record(
    new_step: NewStep, now: Now, element: Any, assert_exact: Exact
) -> None:
    step = new_step("split", field="r", elements="fields", on_conflict="replace")
    done = step.process([{"r": [{"a": 1}, element], "@peer": "p"}], now)
    assert done.records == []
    assert [(bad.reason, bad.detail[:9]) for bad in done.rejects] == [("split:element", "element 1")]
    assert_exact(1, done)


@pytest.mark.parametrize(
    ("options", "empty"),
    [
        ({}, [{}, {"v": None}, {"v": []}]),
        ({"separator": ","}, [{}, {"v": None}, {"v": ""}, {"v": " , ,"}]),
    ],
)
def test_records_without_an_element(
    new_step: NewStep,
    now: Now,
    assert_exact: Exact,
    options: dict[str, Any],
    empty: list[dict[str, Any]],
) -> None:
    records = [{"h": n} | record for n, record in enumerate(empty)]
    step = new_step("split", field="v", **options)
    done = step.process(records, now)
    assert (done.records, done.filtered) == ([], len(empty))
    assert step.context.counters.totals() == {"empty": len(empty)}
    assert_exact(len(empty), done)
    kept = new_step("split", field="v", on_empty="keep", **options)
    assert kept.process(records, now).records == [{"h": n} for n in range(len(empty))]
    assert kept.context.counters.totals() == {}
    rejects = new_step("split", field="v", on_empty="reject", **options).process(records, now).rejects
    assert [(bad.record, bad.reason) for bad in rejects] == [(record, "split:empty") for record in records]


@pytest.mark.parametrize(
    ("options", "value"),
    [({}, "a,b"), ({}, 7), ({}, {"a": 1}), ({"separator": ","}, ["a"]), ({"separator": ","}, 7)],
)
def test_a_value_of_another_kind_is_rejected(
    new_step: NewStep, now: Now, options: dict[str, Any], value: Any
) -> None:
    (bad,) = new_step("split", field="v", **options).process([{"v": value}], now).rejects
    assert bad.reason == "split:type"
    assert type(value).__name__ in bad.detail


def test_the_number_of_records_has_a_bound(new_step: NewStep, now: Now) -> None:
    step = new_step("split", field="v", max_records=3)
    assert len(step.process_one({"v": [1, 2, 3]}, now)) == 3
    (bad,) = step.process([{"v": [1, 2, 3, 4]}], now).rejects
    assert (bad.reason, bad.detail) == ("split:too_many", "4 elements, more than 3")
    (bad,) = new_step("split", field="v").process([{"v": [0] * 1001}], now).rejects
    assert bad.reason == "split:too_many"


def test_no_two_records_share_a_nested_value(new_step: NewStep, now: Now) -> None:
    one, two = new_step("split", field="v").process_one({"v": [1, 2], "tags": [{"a": 1}]}, now)
    one["tags"][0]["a"] = 2
    assert two["tags"] == [{"a": 1}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"field": ""}, "empty"),
        ({"field": "@peer"}, "metadata"),
        ({"field": "v", "into": "@x"}, "begins with @"),
        ({"field": "v", "separator": ""}, "at least 1 character"),
        ({"field": "v", "max_records": 0}, "greater than or equal to 1"),
        ({"field": "v", "elements": "fields", "separator": ","}, "list of objects, not for a text"),
        ({"field": "v", "elements": "fields", "into": "x"}, "into has no effect"),
        ({"field": "v", "on_conflict": "keep"}, ONLY),
        (
            {"field": "v", "on_conflict": "keep", "elements": "fields", "parent": "drop"},
            ONLY,
        ),
        ({"field": "v", "position": "v"}, "both have the name 'v'"),
        ({"field": "v", "into": "x", "position": "x"}, "both have the name 'x'"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("split", **options)


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"v", "h"})
    assert new_step("split", known, field="v").fields_after() == frozenset({"v", "h"})
    step = new_step("split", known, field="v", into="one", position="n")
    assert step.fields_after() == frozenset({"one", "n", "h"})
    dropping = new_step("split", field="v", into="one", parent="drop")
    assert dropping.fields_after() == frozenset({"one"})
    assert new_step("split", known, field="v", elements="fields").fields_after() is None
    assert new_step("split", field="v").fields_after() is None
    with pytest.raises(ConfigError, match=r"no field 'w'") as refused:
        new_step("split", known, field="w")
    assert refused.value.keys == ("field",)
