from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Any]
OPTIONS: list[dict[str, Any]] = [{"fields": ["t"]}]


def test_the_named_fields_are_removed_and_a_missing_one_is_ignored(new_step: NewStep, now: Now) -> None:
    step = new_step("drop", fields=["a", "x.y", "@timestamp"])
    records: list[dict[str, Any]] = [
        {"a": 1, "b": {"y": 2}, "x": {"y": 3}, "x.y": 4, "@peer": "p", "@timestamp": 5},
        {"b": None},
        {},
    ]
    done = step.process(records, now)
    assert done.records == [{"b": {"y": 2}, "x": {"y": 3}, "@peer": "p"}, {"b": None}, {}]
    assert (done.filtered, done.rejects, done.emitted) == (0, [], 0)
    assert step.process_one({"a": 1}, now) == {}


@pytest.mark.parametrize("name", ["@source", "@peer", "@received_at", "@flag"])
def test_metadata_cannot_be_removed(new_step: NewStep, name: str) -> None:
    with pytest.raises(ValidationError, match="metadata, which no step changes"):
        new_step("drop", fields=["a", name])


def test_with_known_fields_names_are_checked_and_handed_on(new_step: NewStep) -> None:
    known = frozenset({"value", "sensor"})
    assert new_step("drop", known, fields=["value"]).fields_after() == frozenset({"sensor"})
    assert new_step("drop", fields=["value"]).fields_after() is None
    with pytest.raises(ConfigError, match=r"no field 'x': there are sensor, value"):
        new_step("drop", known, fields=["x"])
