"""What a column of a typed table is, and which values of a record it holds."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from pydantic import Field

from streamd.core.errors import BadData
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

_encode_json = msgspec.json.Encoder().encode
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


def json_text(value: Any) -> str:
    """The value as JSON; bytes become base64. Raises `BadData` where JSON has no word for it."""
    try:
        text = _encode_json(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadData("row:json", f"not expressible as JSON: {error}") from None
    place = _non_finite(value) if "null" in text else None  # the encoder writes null for NaN and infinity
    if place is not None:
        at = f" at {place.removeprefix('.')[:200]}" if place else ""
        raise BadData("row:not_finite", f"NaN or infinity{at}")
    return text


def any_value(value: Any) -> Any:
    """The value as SQLite stores it in an ANY column; lists and dicts as JSON text. Raises `BadData`."""
    if isinstance(value, str | bytes | bool):
        return value
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise BadData("row:range", "an integer beyond 64 bits")
        return value
    if isinstance(value, float):
        if not -_LARGEST <= value <= _LARGEST:
            raise BadData("row:not_finite", "NaN or infinity")
        return value
    if isinstance(value, dict | list | tuple):
        return json_text(value)
    raise BadData("row:type", f"a {type(value).__name__} cannot be stored")


ENCODERS: dict[str, Callable[[Any], Any]] = {"json": json_text, "any": any_value}
"""For the types whose value is not stored as it is."""


def _non_finite(value: Any) -> str | None:
    """Where in the value a NaN or infinity is, like `.a[1]`; empty: it is the value; None: there is none."""
    waiting = [("", value)]
    while waiting:
        place, part = waiting.pop()
        if isinstance(part, float):
            if not -_LARGEST <= part <= _LARGEST:
                return place
        elif isinstance(part, dict):
            waiting += [(f"{place}.{key}", inner) for key, inner in part.items()]
        elif isinstance(part, list | tuple):
            waiting += [(f"{place}[{index}]", inner) for index, inner in enumerate(part)]
        elif isinstance(part, msgspec.Struct):
            waiting += [("", inner) for inner in msgspec.structs.astuple(part)]
    return None


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
