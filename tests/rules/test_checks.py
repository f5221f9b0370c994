"""The condition of a check and its `fault` agree: what the fast code passes, the slow code calls good."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.rules.compiled import CompiledRules
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings

RULES: list[dict[str, Any]] = [
    {"check": "not_null"},
    *({"check": "type", "type": name} for name in ("int", "float", "str", "bool", "timestamp")),
    {"check": "range", "ge": -1.5, "le": 3},
    {"check": "range", "ge": 0},
    {"check": "range", "le": 0},
    {"check": "one_of", "values": ["a", 1, 2.5]},
    {"check": "one_of", "values": [True, 0]},
    {"check": "pattern", "pattern": "[a-z]+"},
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-4, 4)
    | st.integers()
    | st.floats()
    | st.sampled_from(["a", "b", "2026-01-31T08:00:00Z", "\ud800", 2.5, 2**63, -(2**63) - 1, 10**400]),
    lambda inner: st.lists(inner, max_size=1) | st.dictionaries(st.just("k"), inner, max_size=1),
    max_leaves=2,
)


def rule_of(options: dict[str, Any]) -> Rule:
    return Rule(RuleSettings(field="v", **options), None, 0)


@pytest.mark.parametrize("options", RULES, ids=str)
@given(record=st.fixed_dictionaries({}, optional={"v": VALUES}))
def test_the_fast_and_the_slow_way_agree_on_values_as_json_gives_them(
    options: dict[str, Any], record: dict[str, Any]
) -> None:
    rule = rule_of(options)
    judged: list[Any] = []
    CompiledRules([rule]).loop([record], judged.append)
    if not judged:
        assert rule.fault(record) is None
    elif not isinstance(record.get("v"), bool):  # of these only the slow way knows which are accepted
        assert rule.fault(record) is not None


@pytest.mark.parametrize(
    ("options", "value", "fault"),
    [
        ({"check": "not_null"}, None, "null"),
        ({"check": "type", "type": "int"}, True, "True is no int"),
        ({"check": "type", "type": "int"}, 2**63, "an integer beyond 64 bits"),
        ({"check": "type", "type": "float"}, float("nan"), "nan is not a finite number"),
        ({"check": "type", "type": "float"}, 3, None),
        ({"check": "type", "type": "bool"}, 1, "1 is no bool"),
        ({"check": "type", "type": "timestamp"}, True, "True is no timestamp"),
        ({"check": "range", "ge": 0, "le": 9}, 10, "10 is above 9"),
        ({"check": "range", "ge": 0, "le": 9}, -0.5, "-0.5 is below 0"),
        ({"check": "range", "ge": 0, "le": 9}, "5", "'5' is no number"),
        ({"check": "range", "ge": 0, "le": 9}, True, "True is no number"),
        ({"check": "range", "ge": 0}, float("nan"), "nan is no number"),
        ({"check": "pattern", "pattern": "[a-z]+[0-9]"}, "ab1", None),
        ({"check": "pattern", "pattern": "[a-z]+[0-9]"}, "ab1 ", "'ab1 ' does not match"),
        ({"check": "pattern", "pattern": "a|ab"}, "ab", None),
        ({"check": "pattern", "pattern": "[a-z]+[0-9]"}, 1, "1 is no text"),
        (
            {"check": "pattern", "pattern": "a+"},
            "a" * 2_000_000,
            "a text of 2000000 characters; this pattern is matched with at most 1048576",
        ),
        ({"check": "one_of", "values": [1, "a"]}, True, "True is not accepted"),
        ({"check": "one_of", "values": [1, "a"]}, 1.0, None),
        ({"check": "one_of", "values": [True]}, 1, "1 is not accepted"),
        ({"check": "one_of", "values": [1]}, [1], "[1] is not accepted"),
    ],
)
def test_a_fault_names_the_value_and_the_bound(
    options: dict[str, Any], value: Any, fault: str | None
) -> None:
    assert rule_of(options).fault({"v": value}) == fault


def test_subclasses_of_numbers_are_judged_by_their_value() -> None:
    class Celsius(float):
        pass

    rule = rule_of({"check": "range", "ge": 0, "le": 9})
    assert rule.fault({"v": Celsius(5)}) is None
    assert rule.fault({"v": Celsius(10)}) == "10.0 is above 9"


def test_an_expression_that_fails_on_a_record_is_a_failed_rule() -> None:
    rule = Rule(RuleSettings(name="e", check="expression", expression="a + 1 < b"), None, 0)
    assert rule.fault({"a": 1, "b": 3}) is None
    assert rule.fault({"a": 1, "b": 2}) == "not true: a + 1 < b"
    assert rule.fault({"a": "x", "b": 2}) == "+ does not work on text and int: a + 1 < b"
