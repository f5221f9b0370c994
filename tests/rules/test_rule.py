from typing import Any

import pytest

from streamd.core.errors import ConfigError
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings


def fixed(value: Any, **options: Any) -> Any:
    return Rule(RuleSettings(field="v", on_error="fix", **options), None, 0).fix({"v": value})


@pytest.mark.parametrize(
    ("options", "value", "made"),
    [
        ({"type": "float"}, "12.5", (12.5, "converted from '12.5'")),
        ({"type": "int"}, "abc", None),
        ({"type": "int", "fill": 0}, "abc", (0, "filled, was 'abc'")),
        ({"type": "timestamp"}, "2026-01-31 08:00:00+01:00", None),
    ],
)
def test_a_type_is_fixed_by_reading_the_value(options: dict[str, Any], value: Any, made: Any) -> None:
    found = fixed(value, check="type", **options)
    if options["type"] == "timestamp":
        assert found[0] == {"v": "2026-01-31T07:00:00.000000Z"}
    else:
        assert found == (made and ({"v": made[0]}, made[1]))


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("5", (5, "converted from '5'")),
        (12, (9, "lowered from 12")),
        (-0.1, (0, "raised from -0.1")),
        ("12.5", (9, "lowered from '12.5'")),
        (float("nan"), None),
        (True, None),
        ([], None),
    ],
)
def test_a_range_reads_a_text_and_moves_a_number_to_the_nearest_bound(value: Any, made: Any) -> None:
    assert fixed(value, check="range", ge=0, le=9) == (made and ({"v": made[0]}, made[1]))


def test_a_range_with_fill_does_not_move_a_number() -> None:
    assert fixed(12, check="range", le=9, fill=-1) == ({"v": -1}, "filled, was 12")
    assert fixed("7", check="range", le=9, fill=-1) == ({"v": 7}, "converted from '7'")


def test_the_last_good_value_of_the_same_device_fills() -> None:
    rule = Rule(RuleSettings(field="v", check="not_null", on_error="fix", fill_last=["id"]), None, 0)
    rule.note({"id": "a", "v": 1.5})
    rule.note({"id": "b", "v": False})
    assert rule.fix({"id": "a"}) == ({"v": 1.5}, "filled with the last value, missing")
    assert rule.fix({"id": "b", "v": None}) == ({"v": False}, "filled with the last value, was null")
    assert rule.fix({"id": "c"}) is None
    assert rule.fix({}) is None


@pytest.mark.parametrize(
    ("options", "message", "keys"),
    [
        ({"field": "temq", "check": "not_null"}, "did you mean 'temp'", ("rules", 3, "field")),
        (
            {"name": "e", "check": "expression", "expression": "temq > 1"},
            "did you mean 'temp'",
            ("rules", 3, "expression"),
        ),
        ({"field": "id", "check": "pattern", "pattern": "("}, "no regular", ("rules", 3, "pattern")),
        ({"field": "id", "check": "pattern", "pattern": "(a+)+b"}, "exponential", ("rules", 3, "pattern")),
        (
            {"name": "u", "check": "unique", "within": "1s", "key": ["temp", "nope"]},
            "there is no field 'nope'",
            ("rules", 3, "key", 1),
        ),
        (
            {"field": "temp", "check": "not_null", "on_error": "fix", "fill_last": ["nope"]},
            "there is no field 'nope'",
            ("rules", 3, "fill_last", 0),
        ),
    ],
)
def test_an_unknown_field_is_refused_at_its_option(
    options: dict[str, Any], message: str, keys: tuple[Any, ...]
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        Rule(RuleSettings(**options), frozenset({"temp", "id"}), 3)
    assert refused.value.keys == keys
