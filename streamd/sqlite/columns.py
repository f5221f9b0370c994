"""What a column of a typed table is, and which values of a record it holds."""

from typing import Annotated, Any

import msgspec
from pydantic import Field

from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.schema import FieldSettings, FieldType

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
"""The type of a STRICT table's column for each type of field."""

FIELD_TYPES: dict[str, FieldType] = {
    "TEXT": "str",
    "INTEGER": "int",
    "REAL": "float",
    "BLOB": "bytes",
    "ANY": "any",
}
"""The type of field that any value in a column of this SQL type has; what is not here is not ours."""

_LARGEST = 1.7976931348623157e308


class ColumnSettings(FieldSettings):
    """One column: a type as a text, or a table with `type` and the keys below."""

    required: bool = Field(False, description="a record without it, or with null in it, is rejected")
    from_key: str | None = Field(
        None,
        alias="from",
        min_length=1,
        description="the record's key or dotted path, like payload.temp; default: the column's name",
    )


def key_of(name: str, settings: FieldSettings) -> str:
    """The key or dotted path of a record at which this column finds its value."""
    return (settings.from_key or name) if isinstance(settings, ColumnSettings) else name


def annotation(field: FieldSettings) -> Any:
    """The type by which `msgspec.convert` checks a value for this column."""
    plain: Any
    match field.type:
        case "int":
            ge = INT_MIN if field.ge is None else int(field.ge)
            le = INT_MAX if field.le is None else int(field.le)
            plain = Annotated[int, msgspec.Meta(ge=ge, le=le)]
        case "float":
            ge_float = -_LARGEST if field.ge is None else field.ge
            le_float = _LARGEST if field.le is None else field.le
            plain = Annotated[float, msgspec.Meta(ge=ge_float, le=le_float)]  # between which NaN is not
        case "timestamp":
            plain = str | int | float
        case "json" | "any":
            return Any
        case _:
            plain = {"str": str, "bool": bool, "bytes": bytes}[field.type]
    return plain if field.required else plain | None
