"""Schemas: named sets of typed fields that sources, steps and sinks refer to."""

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, starmap
from keyword import iskeyword
from operator import attrgetter
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.facts import Facts
from streamd.core.field_names import field_name_fault
from streamd.core.json_rules import INT_MAX, INT_MIN, NonNullValue
from streamd.core.settings import Settings
from streamd.core.timestamp import all_canonical, canonical

FieldType = Literal["str", "int", "float", "bool", "timestamp", "json", "bytes", "any"]

_FEW = 4
"""Up to this number of values, single checks are faster than one check of all values."""

_INEXACT = 2.0**53
"""From here on a float may represent several integers: 9007199254740993.0 is read as ...992.0."""


class FieldSettings(Settings):
    """One field: a type as a text, or a table with `type` and the keys below."""

    type: FieldType = Field(
        description="str, int (64 bits; 5.0 and 1e3 become 5 and 1000, a text is rejected), float, "
        "bool, timestamp (RFC 3339, ISO 8601 or an epoch number, also as text; stored "
        "as UTC text), bytes (base64 in JSON), json (any value, stored as JSON text) or"
        " any"
    )
    required: bool = Field(True, description="a record without it, or with null in it, is rejected")
    ge: int | float | None = Field(None, description="int and float: the lowest accepted value")
    le: int | float | None = Field(None, description="int and float: the highest accepted value")
    unit: Literal["s", "ms", "us", "ns"] = Field(
        "s", description="timestamp: unit of an epoch number, also if it is a text"
    )
    timezone: str | None = Field(
        None,
        description="timestamp: time zone of a time without an offset, like Asia/Shanghai. Default:"
        " such a time is rejected",
    )

    names: list[str] = Field(
        [],
        description="int: names of the values from 0; a sink sqlite or postgresql makes a view TABLE_named, "
        "which has them in a column FIELD_name",
    )

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> Self:
        for key, types in (
            ("ge", ("int", "float")),
            ("le", ("int", "float")),
            ("names", ("int",)),
            ("unit", ("timestamp",)),
            ("timezone", ("timestamp",)),
        ):
            if key in self.model_fields_set and self.type not in types:
                raise ValueError(f"{key!r} is for {' and '.join(types)}, not for {self.type}")
        for bound in (self.ge, self.le):
            if bound is not None and not math.isfinite(bound):
                raise ValueError("a bound is a finite number")
            if bound is not None and self.type == "int" and not float(bound).is_integer():
                raise ValueError(f"a bound of an int is a whole number, not {bound}")
            if bound is not None and self.type == "int" and not INT_MIN <= bound <= INT_MAX:
                raise ValueError(f"a bound of an int must fit 64 bits, unlike {bound}")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise ValueError(f"ge = {self.ge} and le = {self.le} allow no value")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"there is no timezone {self.timezone!r} on this host") from error
        return self


def _field(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


SchemaField = Annotated[
    FieldSettings, BeforeValidator(_field, json_schema_input_type=FieldType | dict[str, Any])
]
"""A field in the configuration: `"int"` or `{ type = "int", required = false }`."""


class Schema:
    """Named, typed fields.

    Every record of a schema has every declared field. A missing optional field is None, so null and missing
    are the same, and a struct and a dict of one frame are equal.

    `struct` is the struct class of the fast lane. The garbage collector does not track it. Its fields are in
    the declared order, so `msgspec.structs.astuple` returns the values in the order of `names`. `attributes`
    are the names of its attributes; they differ from `names` if a field's name is no identifier.
    """

    def __init__(self, name: str, fields: dict[str, FieldSettings]) -> None:
        """Raises ValueError if the name of a field cannot be used."""
        if not fields:
            raise ValueError("a schema needs at least one field")
        for field in fields:
            if fault := field_name_fault(field):
                raise ValueError(f"a field cannot be named {field!r}: {fault}")
        self.name = name
        self.fields = fields
        self.names = tuple(fields)
        self.attributes = tuple(
            # Attributes that begin with _ are made here only, so no two fields share one.
            field
            if field.isascii() and field.isidentifier() and not iskeyword(field) and field[0] != "_"
            else f"_{index}"
            for index, field in enumerate(fields)
        )
        required = [field.required for field in fields.values()]
        self._positional = required == sorted(required, reverse=True)
        self.struct = self._make_struct(forbid_unknown_fields=True)
        self.loose_struct = self._make_struct(forbid_unknown_fields=False)
        """As `struct`, for objects that also have undeclared fields."""
        self.open = any(field.type in ("json", "any") for field in fields.values())
        """Whether a field takes any value; then the values of structs still need checks."""
        self._checks = [(field, settings, _CHECKS[settings.type]) for field, settings in fields.items()]
        self._timestamps = [
            (field, attribute, attrgetter(attribute), settings)
            for (field, settings), attribute in zip(fields.items(), self.attributes, strict=True)
            if settings.type == "timestamp"
        ]
        self.to_dict: Callable[[msgspec.Struct], Record] = (
            msgspec.structs.asdict if self.names == self.attributes else self._to_renamed_dict
        )
        """The dict of a struct with all declared fields in order; 0.17 µs for 7 fields with plain names."""

    def _make_struct(self, *, forbid_unknown_fields: bool) -> type[msgspec.Struct]:
        return msgspec.defstruct(
            "Record",
            [
                (attribute, _annotation(field)) if field.required else (attribute, _annotation(field), None)
                for attribute, field in zip(self.attributes, self.fields.values(), strict=True)
            ],
            rename=dict(zip(self.attributes, self.names, strict=True)),
            gc=False,
            forbid_unknown_fields=forbid_unknown_fields,
            kw_only=not self._positional,  # lets a required field follow an optional one
        )

    def _to_renamed_dict(self, struct: msgspec.Struct) -> Record:
        return dict(zip(self.names, msgspec.structs.astuple(struct), strict=True))

    def of_rows(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """The structs of rows with a checked value for each field, in the order of `names`.

        Costs 0.2 µs for a row of nine fields; twice as much if a required field follows an optional one.
        """
        if self._positional:
            return list(starmap(self.struct, rows))
        make = self.struct
        return [make(**dict(zip(self.attributes, row, strict=True))) for row in rows]

    def flatten(self, structs: Sequence[Any]) -> list[Any]:
        """The values of all structs in the order of `names`, one struct after the other.

        Directly after decoding, while the structs are in the processor's cache, it costs half as much.
        """
        return list(chain.from_iterable(map(msgspec.structs.astuple, structs)))

    def finish(self, structs: Sequence[Any]) -> list[tuple[int, str, str]]:
        """Replace the timestamps of decoded structs by canonical texts, in place.

        Returns one (index, reason, detail) for each struct with an invalid time. Costs about 0.08 µs per
        struct and timestamp field if the texts are already canonical.
        """
        bad: dict[int, tuple[int, str, str]] = {}
        for field, attribute, get, settings in self._timestamps:
            values = list(map(get, structs))
            if len(values) > _FEW and all_canonical(values):
                continue
            for index, value in enumerate(values):
                if value is None:
                    continue
                try:
                    text = canonical(value, settings.unit, settings.timezone)
                except BadData as error:
                    bad.setdefault(index, (index, error.reason, f"{field}: {error.detail}"))
                    continue
                if text is not value:
                    setattr(structs[index], attribute, text)
        return sorted(bad.values())

    def fits(self, field: str, facts: Facts) -> bool:
        """Whether `check` would leave all values of a field as they are; False if it costs more to find out.

        Costs up to 0.05 µs a value.
        """
        settings = self.fields[field]
        values, kinds = facts.some, facts.kinds
        if type(None) in kinds and not settings.required:
            values = [value for value in values if value is not None]
            kinds = kinds - {type(None)}
        if not kinds:
            return True
        match settings.type:
            case "str":
                return kinds == {str} and _is_unicode(values)
            case "bool":
                return kinds == {bool}
            case "float":
                fit = kinds == {float} and (facts.are_finite or all(map(math.isfinite, values)))
                return fit and _are_in_bounds(values, settings)
            case "int":
                fit = kinds == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX
                return fit and _are_in_bounds(values, settings)
        return False

    def check(self, record: Record) -> Record:
        """A validated and normalised copy of a dict: declared fields first, then the others unchanged.

        Raises `BadData` with `schema:required`, `schema:type`, `schema:range` or a reason of
        `core.timestamp`; its detail names the field. Costs about 10 times as much as decoding into `struct`.
        """
        checked: Record = {}
        for name, settings, check in self._checks:
            value = record.get(name)
            if value is None:
                if settings.required:
                    raise BadData("schema:required", f"{name}: {'null' if name in record else 'missing'}")
                checked[name] = None
                continue
            try:
                checked[name] = check(value, settings)
            except BadData as error:
                raise BadData(error.reason, f"{name}: {error.detail}") from None
        return checked | {name: value for name, value in record.items() if name not in checked}


def _is_unicode(texts: Sequence[str]) -> bool:
    """Whether no text has half of a surrogate pair, which UTF-8 cannot express."""
    together = "".join(texts)
    return together.isascii() or not any("\ud800" <= character <= "\udfff" for character in together)


def _are_in_bounds(values: Sequence[float], field: FieldSettings) -> bool:
    return (field.ge is None or min(values) >= field.ge) and (field.le is None or max(values) <= field.le)


def _annotation(field: FieldSettings) -> Any:
    """The type that msgspec enforces while decoding; for an optional field it includes None."""
    annotation: Any
    match field.type:
        case "int":
            ge = INT_MIN if field.ge is None else int(field.ge)
            le = INT_MAX if field.le is None else int(field.le)
            annotation = Annotated[int, msgspec.Meta(ge=ge, le=le)]
        case "float":
            annotation = Annotated[float, msgspec.Meta(ge=field.ge, le=field.le)]
        case "timestamp":
            annotation = str | int | float
        case "json" | "any":
            annotation = NonNullValue
        case _:
            annotation = {"str": str, "bool": bool, "bytes": bytes}[field.type]
    return annotation if field.required else annotation | None


def _wrong_type(value: Any, expected: str) -> BadData:
    return BadData("schema:type", f"expected {expected}, got {type(value).__name__}")


def _in_bounds(value: Any, ge: float | None, le: float | None) -> None:
    if ge is not None and value < ge:
        raise BadData("schema:range", f"{value} is below {ge}")
    if le is not None and value > le:
        raise BadData("schema:range", f"{value} is above {le}")


def _check_int(value: Any, field: FieldSettings) -> int:
    if isinstance(value, float):
        value = _whole(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(value, "int")
    if not INT_MIN <= value <= INT_MAX:
        raise BadData("schema:range", "an integer beyond 64 bits")
    _in_bounds(value, field.ge, field.le)
    return value


def _whole(number: float) -> int:
    """The integer that was written as `5.0` or `1e3`. Raises `BadData`."""
    if not number.is_integer():  # False for NaN and infinity too
        raise BadData("schema:type", f"expected int, got {number}")
    if abs(number) >= _INEXACT:
        raise BadData("schema:range", f"{number} has a point or exponent and is not exact from 2^53 on")
    return int(number)


def _check_float(value: Any, field: FieldSettings) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(value, "float")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadData("schema:range", "not a finite number")
    _in_bounds(number, field.ge, field.le)
    return number


def _check_str(value: Any, field: FieldSettings) -> str:
    del field
    if not isinstance(value, str):
        raise _wrong_type(value, "str")
    return value


def _check_bool(value: Any, field: FieldSettings) -> bool:
    del field
    if not isinstance(value, bool):
        raise _wrong_type(value, "bool")
    return value


def _check_timestamp(value: Any, field: FieldSettings) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong_type(value, "timestamp")
    return canonical(value, field.unit, field.timezone)


def _check_bytes(value: Any, field: FieldSettings) -> bytes:
    del field
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _wrong_type(value, "bytes as base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadData("schema:type", "expected bytes as base64 text") from None


def _check_any(value: Any, field: FieldSettings) -> Any:
    del field
    return value


_CHECKS: dict[FieldType, Callable[[Any, FieldSettings], Any]] = {
    "str": _check_str,
    "int": _check_int,
    "float": _check_float,
    "bool": _check_bool,
    "timestamp": _check_timestamp,
    "bytes": _check_bytes,
    "json": _check_any,
    "any": _check_any,
}
