"""The types of PostgreSQL that hold each field type, and how values become binary COPY."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from streamd.core.errors import BadData
from streamd.core.schema import FieldType

Values = Sequence[Any]
Convert = Callable[[Values], Values]

_UTC_TIME = "timestamp with time zone"
CREATED_AS: dict[FieldType, str] = {
    "str": "text",
    "int": "bigint",
    "float": "double precision",
    "bool": "boolean",
    "timestamp": _UTC_TIME,
    "json": "jsonb",
    "any": "jsonb",
    "bytes": "bytea",
}
"""The type of a column that the sink makes, as PostgreSQL names it."""

TAKEN_BY: dict[FieldType, tuple[str, ...]] = {
    "str": ("text", "character varying"),
    "int": ("bigint", "integer", "smallint"),
    "float": ("double precision", "real"),
    "bool": ("boolean",),
    "timestamp": (_UTC_TIME, "timestamp without time zone"),
    "json": ("jsonb", "json", "text"),
    "any": ("jsonb", "json", "text"),
    "bytes": ("bytea",),
}
"""The types of an existing column that can hold a field."""

FIELD_OF: dict[str, FieldType] = {
    "text": "str",
    "character varying": "str",
    "bigint": "int",
    "integer": "int",
    "smallint": "int",
    "double precision": "float",
    "real": "float",
    "boolean": "bool",
    _UTC_TIME: "timestamp",
    "timestamp without time zone": "timestamp",
    "jsonb": "json",
    "json": "json",
    "bytea": "bytes",
}
"""The field type of a column that no field of the configuration describes (`extra = "add_column"`)."""

_INTS = {"integer": 1 << 31, "smallint": 1 << 15}
_LARGEST_REAL = 3.4028234663852886e38


class ColumnType(NamedTuple):
    """The type of an existing column. `length` is the most characters; None without a limit."""

    name: str
    length: int | None = None

    def __str__(self) -> str:
        return self.name if self.length is None else f"{self.name}({self.length})"


class Encoding(NamedTuple):
    """How the values of one column are written: the driver's name of the type, and a conversion before."""

    copy_type: str
    convert: Convert | None


def encoding_of(column: ColumnType) -> Encoding:
    """The encoding of a column for binary COPY."""
    return _ENCODINGS[column.name]


def check(value: Any, column: ColumnType) -> None:
    """Refuse a value that the column cannot take, as far as that is known here. Raises `BadData`."""
    if isinstance(value, str):
        if "\0" in value:
            raise BadData("row:character", "a text of PostgreSQL has no NUL")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise BadData("row:surrogate", "half of a surrogate pair")
        if column.length is not None and len(value.rstrip(" ")) > column.length:
            raise BadData("row:too_long", f"{len(value)} characters, {column} has {column.length} at most")
    elif column.name in _INTS and isinstance(value, int):
        if not -_INTS[column.name] <= value < _INTS[column.name]:
            raise BadData("row:range", f"{value} is beyond {column}")
    elif column.name == "real" and isinstance(value, float) and abs(value) > _LARGEST_REAL:
        raise BadData("row:range", f"{value} is beyond {column}")


def _times(values: Values) -> Values:
    """Canonical texts as times; 0.1 µs a value."""
    read = datetime.fromisoformat
    if None in values:
        return [None if value is None else read(value) for value in values]
    return list(map(read, values))


def _naive_times(values: Values) -> Values:
    """Canonical texts as times in UTC without their zone."""
    read = datetime.fromisoformat
    return [None if value is None else read(value[:-1]) for value in values]


def _binary_json(values: Values) -> Values:
    """JSON texts as the bytes of `jsonb`, which begin with the version of their format."""
    return [None if value is None else b"\x01" + value.encode() for value in values]


def _floats(values: Values) -> Values:
    """Values that fit `real`; the encoder would make the others infinite. Raises OverflowError."""
    _refuse_beyond((value for value in values if value is not None), _LARGEST_REAL)
    return values


def _ints(bound: int) -> Convert:
    def convert(values: Values) -> Values:
        _refuse_beyond((value for value in values if value is not None), bound - 1, -bound)
        return values

    return convert


def _refuse_beyond(values: Iterable[float], most: float, least: float | None = None) -> None:
    lowest = -most if least is None else least
    for value in values:
        if not lowest <= value <= most:
            raise OverflowError(value)


_ENCODINGS = {
    "text": Encoding("text", None),
    "character varying": Encoding("text", None),
    "bigint": Encoding("int8", None),
    "integer": Encoding("int4", _ints(_INTS["integer"])),
    "smallint": Encoding("int2", _ints(_INTS["smallint"])),
    "double precision": Encoding("float8", None),
    "real": Encoding("float4", _floats),
    "boolean": Encoding("bool", None),
    _UTC_TIME: Encoding("timestamptz", _times),
    "timestamp without time zone": Encoding("timestamp", _naive_times),
    "jsonb": Encoding("bytea", _binary_json),
    "json": Encoding("text", None),
    "bytea": Encoding("bytea", None),
}
