from typing import Any

import pytest

from streamd.core.columns import RecordColumns
from streamd.rules.compiled import CompiledRules
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings


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
    with pytest.raises(RuntimeError):
        compiled.failing(RecordColumns([{"v": 1}]))
