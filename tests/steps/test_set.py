from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.core.contracts import Processed, Step
from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]


def test_fields_are_set_in_order_and_then_removed(new_step: NewStep, now: Now) -> None:
    step = new_step(
        "set",
        fields={"fahrenheit": "value * 9 / 5 + 32", "hot": "fahrenheit > 100", "value": "round(value)"},
        remove=["debug", "never there"],
    )
    done = step.process([{"value": 40.4, "debug": 1}], now)
    assert done.records == [{"value": 40, "fahrenheit": pytest.approx(104.72), "hot": True}]


def test_a_record_that_fails_half_way_is_rejected_as_it_came(new_step: NewStep, now: Now) -> None:
    step = new_step("set", fields={"a": "1", "b": "x + 1"}, remove=["x"])
    bad, good = {"a": 0, "x": "text"}, {"x": 1}
    done = step.process([bad, good], now)
    assert done.records == [{"a": 1, "b": 2}]
    (reject,) = done.rejects
    assert reject.record is bad
    assert bad == {"a": 0, "x": "text"}
    assert (reject.reason, reject.detail) == ("expr:type", "b: + does not work on text and int")


def test_a_dot_in_a_name_is_part_of_the_name(new_step: NewStep, now: Now) -> None:
    step = new_step("set", fields={"a.b": "a.b + 1"})
    assert step.process([{"a": {"b": 1}}], now).records == [{"a": {"b": 1}, "a.b": 2}]


def test_metadata_can_be_kept_as_a_field(new_step: NewStep, now: Now) -> None:
    step = new_step("set", fields={"from": "meta('peer')"})
    assert step.process([{"@peer": "10.0.0.7"}], now).records == [{"@peer": "10.0.0.7", "from": "10.0.0.7"}]


@pytest.mark.parametrize(
    ("options", "place", "message"),
    [
        ({}, (), "does nothing"),
        ({"fields": {"@peer": "1"}}, (), "'@peer' is metadata"),
        ({"remove": ["@source"]}, (), "'@source' is metadata"),
        ({"remove": [""]}, (), "the name of a field is empty"),
        ({"fields": {"a": "1"}, "remove": ["a"]}, (), "'a' is both set and removed"),
        ({"fields": {"a": "1", "b": "1 +"}}, ("fields", "b"), "invalid syntax"),
        ({"fields": {"a": 1}}, ("fields", "a"), "valid string"),
    ],
)
def test_a_wrong_configuration_is_refused_where_it_stands(
    new_step: NewStep, options: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        new_step("set", **options)
    (fault,) = refused.value.errors()
    assert fault["loc"] == place
    assert message in fault["msg"]


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    step = new_step(
        "set", frozenset({"value"}), fields={"double": "value * 2", "more": "double * 2"}, remove=["value"]
    )
    assert step.fields_after() == frozenset({"double", "more"})
    with pytest.raises(ConfigError, match=r"fields.a: there is no field 'b'"):
        new_step("set", frozenset({"value"}), fields={"a": "b", "b": "1"})
    assert new_step("set", fields={"a": "b"}).fields_after() is None


@given(
    records=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | st.text(max_size=2), max_size=3)
    )
)
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)  # nothing is kept
def test_no_input_is_changed_and_the_sum_is_exact(
    new_step: NewStep,
    now: Now,
    assert_exact: Callable[[int, Processed], None],
    records: list[dict[str, Any]],
) -> None:
    before = [record.copy() for record in records]
    done = new_step("set", fields={"c": "a + 1", "d": "1 / c"}, remove=["b"]).process(records, now)
    assert_exact(len(records), done)
    assert records == before
    assert all(bad.record in before for bad in done.rejects)
    assert all(record["d"] == 1 / record["c"] and "b" not in record for record in done.records)
