from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [{"fields": ["n", "t"]}]


def test_the_named_fields_and_the_metadata_stay(new_step: NewStep, now: Now) -> None:
    record = {"b": 2, "a": {"x": 1}, "c": 3, "a.x": 4, "@source": "lab", "@peer": "p", "@received_at": "t"}
    step = new_step("select", fields=["a", "b", "never there"])
    kept = {"b": 2, "a": {"x": 1}, "@source": "lab", "@peer": "p", "@received_at": "t"}
    assert step.process([{**record, "@flag": "truncated"}, {}], now).records == [
        kept | {"@flag": "truncated"},
        {},
    ]
    assert step.process_one(record, now) == kept


def test_the_order_of_the_names_has_no_effect(new_step: NewStep, now: Now) -> None:
    record = {"c": 3, "b": 2, "a": 1}
    one, other = (new_step("select", fields=names) for names in (["a", "b"], ["b", "a"]))
    assert list(one.process_one(record, now)) == list(other.process_one(record, now)) == ["b", "a"]


def test_a_field_that_begins_with_an_at_is_an_ordinary_field(new_step: NewStep, now: Now) -> None:
    step = new_step("select", frozenset({"a"}), fields=["a", "@timestamp"])
    assert step.process_one({"a": 1, "@timestamp": 2, "@version": 3}, now) == {"a": 1, "@timestamp": 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "at least 1 item"),
        ([""], "the name of a field is empty"),
        (["a", "b", "a"], "'a' occurs twice"),
        (["@peer"], "'@peer' is metadata"),
        (['say "a"'], "quote"),
        ("a", "valid list"),
    ],
)
def test_wrong_names_are_refused(new_step: NewStep, fields: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        new_step("select", fields=fields)
    assert refused.value.errors()[0]["loc"][0] == "fields"


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"value", "sensor"})
    assert new_step("select", known, fields=["value"]).fields_after() == frozenset({"value"})
    assert new_step("select", fields=["value"]).fields_after() == frozenset({"value"})
    with pytest.raises(ConfigError, match=r"no field 'valu': did you mean 'value'\?") as refused:
        new_step("select", known, fields=["valu"])
    assert refused.value.keys == ("fields",)
