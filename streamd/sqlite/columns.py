"""The columns of typed tables: their settings, SQL types and checks."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field

from streamd.core.errors import ConfigError
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.schema import FieldSettings, FieldType, Schema
from streamd.core.settings import Settings

SQL_TYPES: dict[FieldType, str] = {
    "str": "TEXT",
    "int": "INTEGER",
    "float": "REAL",
    "bool": "INTEGER",
    "timestamp": "TEXT",
    "json": "TEXT",
    "bytes": "BLOB",
    "any": "ANY",
}
"""The SQL type of a STRICT table's column for each field type."""

FIELD_TYPES: dict[str, FieldType] = {
    "TEXT": "str",
    "INTEGER": "int",
    "REAL": "float",
    "BLOB": "bytes",
    "ANY": "any",
}
"""The field type for each SQL type. No streamd table has columns of other SQL types."""

_WITHOUT_COLUMNS: dict[str, Any] = {"unique": [], "metadata": True}
"""What a sink without typed columns does in any case."""
_LARGEST = 1.7976931348623157e308


class ColumnSettings(FieldSettings):
    """One column, written as a type, or as a table with `type` and the keys below."""

    required: bool = Field(False, description="a record without it, or with null in it, is rejected")
    from_key: str | None = Field(
        None,
        alias="from",
        min_length=1,
        description="the record's key or dotted path, like payload.temp; default: the column's name",
    )


def _column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Column = Annotated[
    ColumnSettings, BeforeValidator(_column, json_schema_input_type=FieldType | dict[str, Any])
]
"""A column in the configuration: `"int"` or `{ type = "int", from = "payload.n" }`."""


def declared_fields(
    schemas: Mapping[str, Schema], schema_name: str | None, columns: Mapping[str, FieldSettings]
) -> dict[str, FieldSettings]:
    """The fields of a sink's schema with its own columns, in order. Raises `ConfigError`."""
    if schema_name is None:
        return dict(columns)
    if schema_name not in schemas:
        raise ConfigError(f"there is no schema {schema_name!r}")
    return {**schemas[schema_name].fields, **columns}


def refuse_options_of_columns(settings: Settings, *names: str) -> None:
    """Refuse options that a sink without typed columns cannot have. Raises `ConfigError`.

    An option may be written out if it says what the sink does anyway.
    """
    for name in names:
        if name in settings.model_fields_set and getattr(settings, name) != _WITHOUT_COLUMNS.get(name):
            raise ConfigError(f"{name!r} needs columns: give the sink a schema or columns", (name,))


def key_of(name: str, settings: FieldSettings) -> str:
    """The key or dotted path in a record from which the column takes its value."""
    return (settings.from_key or name) if isinstance(settings, ColumnSettings) else name


def annotation(field: FieldSettings) -> Any:
    """The type annotation with which `msgspec.convert` checks a value for this column."""
    plain: Any
    match field.type:
        case "int":
            ge = INT_MIN if field.ge is None else int(field.ge)
            le = INT_MAX if field.le is None else int(field.le)
            plain = Annotated[int, msgspec.Meta(ge=ge, le=le)]
        case "float":
            ge_float = -_LARGEST if field.ge is None else field.ge
            le_float = _LARGEST if field.le is None else field.le
            plain = Annotated[float, msgspec.Meta(ge=ge_float, le=le_float)]  # the bounds also refuse NaN
        case "timestamp":
            plain = str | int | float
        case "json" | "any":
            return Any
        case _:
            plain = {"str": str, "bool": bool, "bytes": bytes}[field.type]
    return plain if field.required else plain | None
