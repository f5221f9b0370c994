from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    create_model,
)

from streamd.rules.model_values import ModelValues


class Color(Enum):
    RED = "red"


class Inner(BaseModel):
    lat: float
    unit: str | None = None


class Custom:
    """A value that nothing can store."""


def changes(model: type[BaseModel], record: dict[str, Any]) -> Any:
    return ModelValues(model).changes(record, model.model_validate(record))


def of(kind: Any, value: Any) -> Any:
    """What a field of this type makes of a value; `...` if it leaves it as it is."""
    found = changes(create_model("M", v=(kind, ...)), {"v": value})
    return ... if found is None else found[0]["v"]


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (float, "12.5", 12.5),
        (float, 5, ...),
        (float, True, 1.0),
        (int, 5.0, 5),
        (int, True, 1),
        (bool, "yes", True),
        (str, "a", ...),
        (float, float("nan"), ...),
        (Decimal, 12.5, ...),
        (SecretStr, "hunter2", ...),
        (SecretBytes, "hunter2", b"hunter2"),
        (Secret[int], "7", 7),
        (list[SecretStr], ["a", "b"], ...),
        (list[SecretStr], ("a", "b"), ["a", "b"]),
        (dict[str, SecretStr | AnyUrl], {"a": "b"}, ...),
        (Decimal, "12.5", 12.5),
        (datetime, "2026-01-31T09:00:00+01:00", ...),
        (datetime, 1769846400, "2026-01-31T08:00:00.000000Z"),
        (datetime, "1769846400000", "2026-01-31T08:00:00.000000Z"),
        (datetime, "2026-01-31T08:00:00", "2026-01-31T08:00:00.000000"),
        (date, "2026-01-31", ...),
        (timedelta, "PT5M", 300.0),
        (Color, "red", ...),
        (AnyUrl, "http://Example.com", "http://example.com/"),
        (list[int], [1, "2"], [1, 2]),
        (list[int], [1, 2], ...),
        (set[int], [1, 1], [1]),
        (dict[str, int], {"a": 1}, ...),
        (dict[int, int], {"1": 2}, ...),
        (Inner, {"lat": 1}, ...),
        (Inner, {"lat": "1", "more": "kept"}, {"lat": 1.0, "more": "kept"}),
        (list[Inner], [{"lat": 1, "x": 1}, {"lat": "2"}], [{"lat": 1, "x": 1}, {"lat": 2.0}]),
        (int | None, None, ...),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_is_as_a_python_step_would_store_it_and_stays_if_it_is_the_same(
    kind: Any, value: Any, made: Any
) -> None:
    found = of(kind, value)
    assert repr(found) == repr(made)


def test_a_missing_field_is_filled_with_a_default_that_is_not_null() -> None:
    model = create_model(
        "M", a=(str, "x"), b=(str | None, None), c=(datetime, datetime(2026, 1, 1, tzinfo=UTC))
    )
    assert changes(model, {}) == ({"a": "x", "c": "2026-01-01T00:00:00.000000Z"}, "a filled; c filled")
    assert ModelValues(model).added == {"a", "b", "c"}


def test_a_field_is_written_to_the_key_from_which_it_was_read() -> None:
    class Aliases(BaseModel):
        temp: float = Field(alias="T")
        unit: float = Field(0, validation_alias=AliasChoices("u", "U", AliasPath("deep", 0)))
        inside: float = Field(0, validation_alias=AliasPath("deep", 1))
        renamed: float = Field(0, validation_alias="from", serialization_alias="to")

    assert changes(Aliases, {"T": "1", "U": "2", "deep": [5, "3"], "from": "4"})[0] == {
        "T": 1.0,
        "U": 2.0,
        "from": 4.0,
    }
    assert ModelValues(Aliases).keys == {"T", "u", "U", "from"}

    class ByName(BaseModel):
        model_config = ConfigDict(validate_by_name=True)
        temp: float = Field(alias="T")

    assert changes(ByName, {"temp": "1"})[0] == {"temp": 1.0}


def test_metadata_and_excluded_and_computed_fields_are_not_written() -> None:
    class Odd(BaseModel):
        peer: str = Field("x", alias="@peer")
        flag: str = Field("x", alias="@other")
        hidden: int = Field(0, exclude=True)

        @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
        @property
        def double(self) -> int:
            return 2

    assert changes(Odd, {"hidden": "5"}) is None
    model = create_model("M", source=(int, Field(alias="@source")))
    assert changes(model, {"@source": "5"}) is None


def test_other_fields_are_converted_if_the_model_types_them() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, float] = Field(init=False)

    assert changes(Open, {"a": "1", "b": 2}) == ({"a": 1.0}, "a converted from '1'")


def test_a_value_without_a_plain_form_is_an_exception_of_the_models_code() -> None:
    class Holder(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        v: Any = Field(default_factory=Custom)

    with pytest.raises(Exception, match="Unable to serialize unknown type"):
        changes(Holder, {})


def test_the_note_is_bounded() -> None:
    model = create_model("M", **{"f" * 500 + str(n): (int, 5) for n in range(20)})  # type: ignore[call-overload]
    _, note = changes(model, {})
    assert note.endswith("; and 15 more")
    assert len(note) < 500
