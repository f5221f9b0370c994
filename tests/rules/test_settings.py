from typing import Any

import pytest
from pydantic import ValidationError

from streamd.rules.settings import RuleSettings, rule_problem


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check": "range", "field": "t"}, "a range needs ge, le or both"),
        ({"check": "range", "field": "t", "ge": 2, "le": 1}, "ge = 2 and le = 1 allow no value"),
        ({"check": "range", "field": "t", "ge": float("nan")}, "a bound is a finite number"),
        ({"check": "range", "field": "t", "le": float("inf")}, "a bound is a finite number"),
        ({"check": "not_null", "field": "t", "ge": 1}, "'ge' is for check = 'range', not for 'not_null'"),
        ({"check": "range", "field": "t", "ge": 1, "within": "1s"}, "'within' is for check = 'unique'"),
        ({"check": "range", "field": "t", "ge": 1, "max_keys": 5}, "'max_keys' is for check = 'unique'"),
        ({"check": "not_null"}, "check = 'not_null' needs 'field'"),
        ({"check": "type", "field": "t"}, "check = 'type' needs 'type'"),
        ({"check": "pattern", "field": "t"}, "check = 'pattern' needs 'pattern'"),
        ({"check": "one_of", "field": "t"}, "check = 'one_of' needs 'values'"),
        ({"check": "one_of", "field": "t", "values": [[1]]}, "an accepted value is a text, a number"),
        ({"check": "unique", "field": "t"}, "check = 'unique' needs 'within'"),
        ({"check": "unique", "within": "1s"}, "unique needs either field or key"),
        ({"check": "unique", "within": "1s", "field": "t", "key": ["t"]}, "unique needs either field or key"),
        ({"check": "unique", "within": "1s", "key": ["a", "b"]}, "this rule needs a name"),
        (
            {"check": "unique", "field": "t", "within": "1s", "on_error": "fix", "fill": 1},
            "nothing makes a repeated value unique",
        ),
        ({"check": "expression", "expression": "t > 1"}, "a rule with an expression needs a name"),
        ({"check": "expression", "name": "e"}, "check = 'expression' needs 'expression'"),
        (
            {"check": "expression", "name": "e", "expression": "t > 1", "field": "t"},
            "'field' of an expression names the field that is fixed",
        ),
        (
            {"check": "expression", "name": "e", "expression": "t > 1", "on_error": "fix", "fill": 1},
            "a fix needs 'field'",
        ),
        (
            {"check": "not_null", "field": "t", "on_error": "fix"},
            "the fix of 'not_null' needs fill or fill_last",
        ),
        (
            {"check": "not_null", "field": "t", "on_error": "fix", "fill": 1, "fill_last": ["a"]},
            "either fill or fill_last",
        ),
        ({"check": "not_null", "field": "t", "fill": 1}, "'fill' has no effect without on_error"),
        ({"check": "not_null", "field": "t", "unfixable": "flag"}, "'unfixable' has no effect"),
        ({"check": "type", "field": "t", "type": "int", "unit": "ms"}, "'unit' is for type"),
        ({"check": "not_null", "field": "größe"}, "this rule needs a name"),
        ({"check": "reference", "field": "t"}, "check = 'reference' needs 'path'"),
        ({"check": "reference", "path": "a.csv"}, "reference needs either field or fields"),
        ({"check": "reference", "path": "a.csv", "fields": ["a", "b"]}, "this rule needs a name"),
        (
            {"check": "reference", "path": "a.csv", "field": "a", "fields": ["b"]},
            "reference needs either field or fields",
        ),
        (
            {"check": "reference", "path": "a.csv", "field": "a", "columns": ["b", "c"]},
            "'columns' names one column for each field",
        ),
        (
            {"check": "reference", "path": "a.db", "table": "t", "field": "a", "delimiter": ";"},
            "'delimiter' is for CSV",
        ),
        ({"check": "reference", "path": "a.csv", "field": "a", "delimiter": '"'}, "delimiter cannot be"),
        (
            {"check": "reference", "path": "a.csv", "field": "a", "on_error": "fix"},
            "the fix of 'reference' needs fill or fill_last",
        ),
        (
            {
                "check": "reference",
                "name": "r",
                "path": "a.csv",
                "fields": ["a", "b"],
                "on_error": "fix",
                "fill": 1,
            },
            "a fix needs 'field'",
        ),
        ({"check": "range", "field": "t", "ge": 1, "path": "a.csv"}, "'path' is for check = 'reference'"),
        ({"check": "model"}, "check = 'model' needs 'model'"),
        ({"check": "model", "model": "models"}, "should match pattern"),
        ({"check": "model", "model": "m.py:R", "field": "t"}, "a model checks the whole record"),
        ({"check": "model", "model": "m.py:Größe"}, "this rule needs a name"),
        ({"check": "model", "model": "m.py:R", "on_error": "fix", "fill": 1}, "takes its values"),
        ({"check": "model", "model": "m.py:R", "on_error": "fix", "fill_last": ["a"]}, "takes its values"),
        ({"check": "model", "model": "m.py:R", "on_error": "fix", "strict": True}, "'strict' has no effect"),
        ({"check": "not_null", "field": "t", "strict": True}, "'strict' is for check = 'model'"),
        ({"check": "not_null", "field": "@peer"}, "is metadata"),
        ({"check": "not_null", "field": "t", "name": "Bad Name"}, "should match pattern"),
        ({"check": "notnull", "field": "t"}, "Input should be"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as refused:
        RuleSettings(**options)
    assert message in refused.value.errors()[0]["msg"]


def test_a_rule_is_named_after_its_field_and_check() -> None:
    rule = RuleSettings(field="Temp_C", check="not_null")
    assert rule.rule_name == "temp_c_not_null"
    assert RuleSettings(check="model", model="m.py:Reading").rule_name == "reading_model"
    assert RuleSettings(name="there", field="Temp_C", check="not_null").rule_name == "there"


def test_two_rules_of_one_name_are_refused() -> None:
    one, other = RuleSettings(field="t", check="not_null"), RuleSettings(field="u", check="not_null")
    assert rule_problem([one, other]) is None
    assert (
        rule_problem([one, other, one]) == "two rules are named 't_not_null': give one of them another name"
    )
