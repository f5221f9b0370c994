from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [
    {"fields": {"n": {"from": "F", "to": "C", "into": "m"}}},
    {"fields": {"t": {"from": "text", "to": "B"}}, "on_error": "null"},
]


def test_each_field_is_converted_in_its_order(new_step: NewStep, now: Now) -> None:
    step = new_step(
        "convert",
        fields={
            "temp": {"from": "F", "to": "C", "digits": 1},
            "disk": {"from": "text", "to": "B", "into": "disk_bytes"},
            "level": {"expression": "(level - 4) / 16 * 100", "digits": 0},
            "disk_bytes": {"from": "B", "to": "KiB", "into": "disk_kib"},
        },
    )
    assert repr(step.process_one({"level": 12}, now)) == "{'level': 50}"
    record = {"temp": 72, "disk": "1.5 KiB", "level": 11.9, "@peer": "p"}
    before = dict(record)
    assert step.process_one(record, now) == {
        "temp": 22.2,
        "disk": "1.5 KiB",
        "level": 49,
        "@peer": "p",
        "disk_bytes": 1536,
        "disk_kib": 1.5,
    }
    assert record == before


def test_a_missing_field_or_null_stays(new_step: NewStep, now: Now) -> None:
    step = new_step("convert", fields={"a": {"from": "F", "to": "C", "into": "b"}})
    assert step.process([{}, {"a": None}], now).records == [{}, {"a": None}]
    assert step.context.counters.totals() == {}


@pytest.mark.parametrize(
    ("conversion", "value", "reason"),
    [
        ({"from": "F", "to": "C"}, "72", "convert:type"),
        ({"from": "text", "to": "C"}, "72", "convert:unit"),
        ({"from": "MPa", "to": "Pa"}, 1e308, "convert:range"),
        ({"expression": "a / 0"}, 1, "expr:zero"),
        ({"expression": "str(a)", "digits": 1}, 1, "convert:type"),
    ],
)
def test_what_cannot_be_converted(
    new_step: NewStep, now: Now, conversion: dict[str, Any], value: Any, reason: str
) -> None:
    record = {"x": 50, "a": value}
    fields = {"x": {"from": "F", "to": "C"}, "a": conversion}
    done = new_step("convert", fields=fields).process([record, {"x": 50}], now)
    assert done.records == [{"x": 10.0}]
    assert [(bad.record, bad.reason) for bad in done.rejects] == [({"x": 50, "a": value}, reason)]
    assert done.rejects[0].detail.startswith("a: ")
    for on_error, left in (("keep", value), ("null", None)):
        step = new_step("convert", fields=fields, on_error=on_error)
        assert step.process_one(record, now) == {"x": 10.0, "a": left}
        assert step.context.counters.numbers() == {"unconverted": {reason: 1}}


@pytest.mark.parametrize(
    ("conversion", "message"),
    [
        ({}, "needs from and to, or an expression"),
        ({"from": "F"}, "needs from and to"),
        ({"to": "F"}, "needs from and to"),
        ({"from": "F", "to": "F"}, "are both 'F'"),
        ({"from": "F", "to": "C", "expression": "a"}, "no effect with an expression"),
        ({"expression": "a +"}, "invalid syntax"),
        ({"from": "F", "to": "C", "into": "@x"}, "begins with @"),
        ({"from": "F", "to": "C", "digits": -1}, "greater than or equal to 0"),
        ({"from": "F", "to": "C", "unit": "x"}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(new_step: NewStep, conversion: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("convert", fields={"a": conversion})


def test_a_step_without_fields_is_refused(new_step: NewStep) -> None:
    with pytest.raises(ValidationError, match="does nothing"):
        new_step("convert", fields={})


@pytest.mark.parametrize(
    ("conversion", "message"),
    [
        ({"from": "Fahrenheit", "to": "C"}, "there is no unit 'Fahrenheit'"),
        ({"from": "F", "to": "°C"}, "did you mean 'C'"),
        ({"from": "f", "to": "C"}, "did you mean 'F'"),
        ({"from": "KWH", "to": "J"}, "did you mean 'kWh'"),
        ({"from": "psi", "to": "C"}, "psi measures pressure and C temperature"),
    ],
)
def test_wrong_units_are_refused_at_their_field(
    new_step: NewStep, conversion: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        new_step("convert", fields={"a": conversion})
    assert refused.value.keys == ("fields", "a")


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"temp"})
    fields = {
        "temp": {"from": "F", "to": "C", "into": "celsius"},
        "celsius": {"expression": "celsius + temp"},
    }
    assert new_step("convert", known, fields=fields).fields_after() == frozenset({"temp", "celsius"})
    assert new_step("convert", fields=fields).fields_after() is None
    with pytest.raises(ConfigError, match="no field 'tmp': did you mean 'temp'"):
        new_step("convert", known, fields={"tmp": {"from": "F", "to": "C"}})
    with pytest.raises(ConfigError, match="no field 'tmp'") as refused:
        new_step("convert", known, fields={"temp": {"expression": "tmp * 2"}})
    assert refused.value.keys == ("fields", "temp")
