from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.columns import RecordColumns
from streamd.core.facts import Facts
from streamd.rules.compiled import CompiledRules
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings

CHECKS: list[dict[str, Any]] = [
    {"check": "not_null"},
    {"check": "range", "ge": 1, "le": 3},
    {"check": "range", "le": 3.0},
    {"check": "one_of", "values": ["a", "b"]},
    {"check": "range", "ge": 1.5},
    {"check": "one_of", "values": [1, "a", True]},
    {"check": "type", "type": "float"},
    {"check": "pattern", "pattern": "[ab]"},
]
VALUES: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1, 2, 4, 1.0, 2.0, 5.0, float("nan"), float("inf"), 1e308, 10**400, "", "a", "c",
    [], {},
])  # fmt: skip


def test_names_of_fields_cannot_become_code() -> None:
    hostile = ["'); raise SystemExit  #", "value", "record", "\u2028x", "'", "'''", "{x}", "judge"]
    rules = [
        Rule(RuleSettings(name=f"r{place}", field=name, check="range", ge=place), None, place)
        for place, name in enumerate(hostile)
    ]
    good = {name: place for place, name in enumerate(hostile)}
    bad = {**good, "judge": 0}
    judged: list[Any] = []
    assert CompiledRules(rules).loop([good, bad], judged.append) == [good]
    assert judged == [bad]


def test_each_rule_has_its_own_bounds_and_a_field_is_read_once() -> None:
    rules = [
        Rule(RuleSettings(name="a", field="v", check="range", ge=0, le=9), None, 0),
        Rule(RuleSettings(name="b", field="v", check="range", ge=5, le=20), None, 1),
        Rule(RuleSettings(name="c", field="w", check="one_of", values=[1]), None, 2),
    ]
    loop = CompiledRules(rules).loop
    records = [{"v": v, "w": w} for v in (4, 5, 9, 10) for w in (1, 2)]
    assert [r["v"] for r in loop(records, lambda _: None)] == [5, 9]


def test_the_records_that_fail_are_found_in_columns_too() -> None:
    rules = [
        Rule(RuleSettings(name="a", field="v", check="range", ge=0, le=9), None, 0),
        Rule(RuleSettings(name="b", field="w", check="one_of", values=[1]), None, 1),
    ]
    records = [{"v": v, "w": w} for v in (4, 10) for w in (1, 2)]
    compiled = CompiledRules(rules)
    assert compiled.reads_columns
    assert compiled.failing(RecordColumns(records)) == [1, 2, 3]


COLUMNS = (
    st.lists(st.floats(0, 4) | st.just(float("nan"))) | st.lists(st.sampled_from("abc")) | st.lists(VALUES)
)


@pytest.mark.parametrize("settings", CHECKS)
@given(values=COLUMNS)
def test_a_column_fails_where_its_records_fail(settings: Any, values: list[Any]) -> None:
    rule = Rule(RuleSettings(name="a", field="v", **settings), None, 0)
    records = [{"v": value} for value in values]
    bad = [index for index, record in enumerate(records) if rule.fault(record) is not None]
    failing = CompiledRules([rule]).failing(RecordColumns(records))
    assert [index for index in failing if rule.fault(records[index]) is not None] == bad
    assert not (bad and rule.check.are_all_good(Facts(values)))


@pytest.mark.parametrize("settings", CHECKS[:4])
def test_good_values_are_seen_to_be_good_at_once(settings: Any) -> None:
    check = Rule(RuleSettings(name="a", field="v", **settings), None, 0).check
    assert check.are_all_good(Facts(["a", "b", "a"] if "values" in settings else [1.0, 2.5, 3.0]))


@pytest.mark.parametrize(
    "settings",
    [
        {"check": "unique", "key": ["v"], "within": "5s"},
        {"check": "expression", "expression": "v > 1"},
        {"field": "v", "check": "not_null", "on_error": "fix", "fill_last": ["w"]},
    ],
)
def test_rules_that_look_at_more_than_fields_do_not_read_columns(settings: Any) -> None:
    rule = Rule(RuleSettings(name="a", **settings), None, 0)
    compiled = CompiledRules([rule])
    assert not compiled.reads_columns
