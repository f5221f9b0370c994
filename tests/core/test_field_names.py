from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from streamd.core.errors import ConfigError
from streamd.core.field_names import FieldName, FieldNames, NewFieldName, refuse_unknown

OLD: TypeAdapter[Any] = TypeAdapter(FieldName)
NEW: TypeAdapter[Any] = TypeAdapter(NewFieldName)
NAMES: TypeAdapter[Any] = TypeAdapter(FieldNames)


@pytest.mark.parametrize("name", ["a", "a.b", "user-agent", "über", " ", "x" * 200])
def test_a_name_is_one_key_of_a_record(name: str) -> None:
    assert OLD.validate_python(name) == NEW.validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "@peer", "@source", "@received_at", "@flag", 'a"', "a\\", "a\n", "\ud800"]
)
def test_a_name_that_no_field_can_have_is_refused(name: str) -> None:
    for names in (OLD, NEW):
        with pytest.raises(ValidationError):
            names.validate_python(name)


def test_a_field_that_a_sender_named_with_an_at_can_be_read_but_not_added() -> None:
    assert OLD.validate_python("@timestamp") == "@timestamp"
    with pytest.raises(ValidationError, match="no name that begins with @"):
        NEW.validate_python("@timestamp")


def test_names_differ() -> None:
    assert NAMES.validate_python(["b", "a"]) == ["b", "a"]
    for names in ([], ["a", "a"]):
        with pytest.raises(ValidationError):
            NAMES.validate_python(names)


def test_a_name_that_no_record_has_is_refused_with_a_suggestion() -> None:
    refuse_unknown(["a", "@timestamp"], {"a"}, "fields")
    refuse_unknown(["anything"], None, "fields")
    with pytest.raises(ConfigError, match=r"no field 'sensr': did you mean 'sensor'\?") as refused:
        refuse_unknown(["value", "sensr"], {"sensor", "value"}, "fields", 1)
    assert refused.value.keys == ("fields", 1)
    with pytest.raises(ConfigError, match="no field 'x': there are sensor, value"):
        refuse_unknown(["x"], {"sensor", "value"})
