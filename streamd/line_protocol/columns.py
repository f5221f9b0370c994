"""Makes records of lines that are alike: all values of a column are read at once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Annotated, Any

import msgspec

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.facts import Facts
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.schema import FieldType, Schema
from streamd.core.text_values import of_type
from streamd.line_protocol.grammar import BOOLEANS, value_of
from streamd.line_protocol.names import EXACT, MEASUREMENT, TAKEN, TIMESTAMP, names_of
from streamd.line_protocol.points import stored
from streamd.line_protocol.shapes import Alike, Shapes, mark
from streamd.line_protocol.times import Timestamps

_decode_floats = msgspec.json.Decoder(list[float]).decode
_decode_integers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]]).decode


class PointColumns:
    """Makes the records of most lines of a batch, at 1 to 2 µs a line; the rest is for `Points`."""

    def __init__(self, times: Timestamps, schema: Schema | None, *, nested: bool) -> None:
        self._times = times
        self._schema = schema
        self._nested = nested
        self._kinds = {} if schema is None else {name: field.type for name, field in schema.fields.items()}
        self._shapes = Shapes()

    def read(self, lines: Sequence[bytes], received: Callable[[int], str], *, typed: bool) -> list[Any]:
        """The record of each line; None for a blank line and for one that `Points` has to read.

        `received` gives the canonical time at which the line of an index was received. With `typed`, records
        without an undeclared field are structs.
        """
        records: list[Any] = [None] * len(lines)
        for alike in self._shapes.find(lines):
            try:
                made = self._records(alike, received, typed=typed)
            except BadData:  # for all of them
                continue
            for row in alike.bad:
                made[row] = None
            if len(made) == len(lines):
                return made
            for place, record in zip(alike.places, made, strict=True):
                records[place] = record
        return records

    def _records(self, alike: Alike, received: Callable[[int], str], *, typed: bool) -> list[Any]:
        """A record for each row, also for bad ones. Raises `BadData` if none can be made by columns."""
        count = len(alike.places)
        columns: dict[str, Sequence[Any]] = {}
        exact: dict[int, int] = {}
        if alike.times is None:
            columns[TIMESTAMP] = list(map(received, alike.places))
        else:
            columns[TIMESTAMP], exact = self._times.read_column(alike.times, alike.bad)
        columns[MEASUREMENT] = alike.measurements
        if self._nested:
            fields = {key: values_of(column, alike.bad) for key, column in alike.bare.items()} | alike.strings
            columns |= {"tags": _dicts(alike.tags, count), "fields": _dicts(fields, count)}
        else:
            columns |= self._flat(alike)
        if exact and EXACT in self._kinds:
            columns[EXACT] = [exact.get(row) for row in range(count)]
        if self._schema is not None:
            columns = _checked(columns, self._schema, alike.bad, count)
            if typed and len(columns) == len(self._schema.fields) and (not exact or EXACT in columns):
                return self._schema.of_rows(zip(*columns.values(), strict=True))
        made: list[Any] = _dicts(columns, count)
        if exact and EXACT not in columns:
            for row, ns in exact.items():
                made[row][EXACT] = ns
        return made

    def _flat(self, alike: Alike) -> dict[str, Sequence[Any]]:
        """The columns of tags and fields by their names in the record. Raises `BadData`."""
        tags, fields = [*alike.tags], [*alike.bare, *alike.strings]
        together = {*tags, *fields}
        plain = len(together) == len(tags) + len(fields) and TAKEN.isdisjoint(together)
        names = {} if plain else names_of(tags, fields)
        columns: dict[str, Sequence[Any]] = {}
        for key, texts in alike.tags.items():
            name = names.get((key, True), key)
            kind = self._kinds.get(name, "str")
            columns[name] = texts if kind in ("str", "timestamp") else _typed(texts, kind, alike.bad)
        for key, texts in alike.bare.items():
            name = names.get((key, False), key)
            columns[name] = values_of(texts, alike.bad, self._kinds.get(name))
        return columns | {names.get((key, False), key): texts for key, texts in alike.strings.items()}


def values_of(texts: list[str], bad: set[int], kind: FieldType | None = None) -> list[Any]:
    """The numbers or booleans of a field. Adds to `bad` the rows of others, and gives these any value."""
    last = texts[0][-1:]
    try:
        if last == "i":
            return _integers(texts)
        if last in BOOLEANS or last == "e":
            return [BOOLEANS[text] for text in texts]
        return _floats(texts)
    except (ValueError, KeyError):
        return _each(texts, lambda text: stored(value_of(text, ""), kind), bad)


def _integers(texts: list[str]) -> list[int]:
    """Raises ValueError if one of the texts may be something else."""
    joined = ",".join(texts) + ","
    digits = joined.replace("i,", ",")
    if len(joined) - len(digits) != len(texts):
        raise ValueError
    return _decode_integers(f"[{digits[:-1]}]")


def _floats(texts: list[str]) -> list[float]:
    """Raises ValueError if one of the texts may be something else."""
    return _decode_floats(f"[{','.join(texts)}]")


def _typed(texts: list[str], kind: FieldType, bad: set[int]) -> list[Any]:
    return _each(texts, lambda text: of_type(text, kind), bad)


def _each(texts: list[str], function: Callable[[str], Any], bad: set[int]) -> list[Any]:
    """The function's results; where it raises `BadData`, the row is bad and gets any other result."""
    values: list[Any] = []
    failed: list[int] = []
    for row, text in enumerate(texts):
        try:
            values.append(function(text))
        except BadData:
            failed.append(row)
            values.append(None)
    if failed:
        bad.update(failed)
        good = next((value for value in values if value is not None), None)
        for row in failed:
            values[row] = good
    return values


def _checked(
    columns: dict[str, Sequence[Any]], schema: Schema, bad: set[int], count: int
) -> dict[str, Sequence[Any]]:
    """The columns that `Schema.check` would make: the declared ones first. Raises `BadData`."""
    checked: dict[str, Sequence[Any]] = {}
    for name, field in schema.fields.items():
        column = columns.get(name)
        if column is None:
            if field.required:
                raise BadData("schema:required", f"{name}: missing")
            checked[name] = [None] * count
            continue
        if field.type == "float" and int in set(map(type, column)):
            column = [float(value) if type(value) is int else value for value in column]
        if field.type in ("timestamp", "bytes") and name != TIMESTAMP:
            raise BadData("schema:type", f"{name}: for one line at a time")
        if name != TIMESTAMP and field.type not in ("any", "json") and not schema.fits(name, Facts(column)):
            mark(bad, column, partial(_fits, schema, name))
        checked[name] = column
    return checked | {name: column for name, column in columns.items() if name not in checked}


def _fits(schema: Schema, name: str, value: Any) -> bool:
    return schema.fits(name, Facts([value]))


def _dicts(columns: Mapping[str, Sequence[Any]], count: int) -> list[Record]:
    if not columns:
        return [{} for _ in range(count)]
    return list(map(dict, map(zip, repeat(tuple(columns)), zip(*columns.values(), strict=True))))
