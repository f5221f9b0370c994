"""Makes rows for a typed table, with each value checked before it is bound."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import msgspec

from streamd.core.batch import FLAG, METADATA_KEYS, Batch, Record
from streamd.core.errors import BadData, ConfigError
from streamd.core.field_names import field_name_fault
from streamd.core.schema import FieldSettings, Schema
from streamd.encoding.metadata import metadata
from streamd.encoding.paths import Paths
from streamd.encoding.values import ENCODERS, json_text
from streamd.sqlite.columns import FIELD_TYPES, SQL_TYPES, annotation, key_of
from streamd.sqlite.rows import (
    METADATA_COLUMNS,
    BadRow,
    Row,
    Rows,
    encode_columns,
    with_metadata,
)
from streamd.sqlite.table import MOST_COLUMNS, column_fault

Extra = Literal["json", "add_column", "reject", "drop"]
Encoders = list[tuple[int, str, Callable[[Any], Any]]]
"""Place, name and encoder of each column whose values must be encoded before they are bound."""
_EXTRA = "extra"
JSON_COLUMN = {_EXTRA: "TEXT"}
"""The column for all fields without a column of their own, as one JSON object."""
_TOO_MANY = f"the table has {MOST_COLUMNS} columns at most"
_METADATA = frozenset(METADATA_KEYS)
_FAULTS = (msgspec.MsgspecError, TypeError, ValueError, ArithmeticError, RecursionError)
_astuple = msgspec.structs.astuple


class TypedRows:
    """Makes rows from records for a fixed set of columns; `with_columns` makes a new one with more.

    `columns` maps the table's columns, in order, to their SQL types: fields, then metadata, then `extra`.
    Dicts and structs with the same data give the same rows. Raises `ConfigError`.

    With `extra = "add_column"`, a field that cannot have a column (`ID` beside `id`, `source` beside the
    metadata, an invalid name) is kept as JSON in the column `extra`. `json_column` tells whether the table
    has it. If the column `extra` belongs to a field, the record is rejected (`row:column_name`). `computed`
    names the table's generated columns in lower case; no field can become one. `name_fault` says why the
    database cannot have a column of that name; None if it can.
    """

    def __init__(
        self,
        fields: Mapping[str, FieldSettings],
        *,
        metadata: bool,
        extra: Extra,
        json_column: bool = False,
        computed: frozenset[str] = frozenset(),
        name_fault: Callable[[str], str | None] = column_fault,
    ) -> None:
        try:
            self._schema = Schema("columns", dict(fields))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.fields = dict(fields)
        self.extra: Extra = extra
        self.metadata = metadata
        self.json_column = json_column or extra == "json"
        more = (METADATA_COLUMNS if metadata else {}) | (JSON_COLUMN if self.json_column else {})
        for column in more:
            taken = next((name for name in fields if name.lower() == column), None)
            if taken is not None:
                option = "metadata = true" if column in METADATA_COLUMNS else f'extra = "{extra}"'
                raise ConfigError(f"{option} adds a column {column!r}, and {taken!r} is a field already")
        self.columns = {name: SQL_TYPES[settings.type] for name, settings in fields.items()} | more
        self._columns = tuple(self.columns)
        self.bools = [name for name, settings in fields.items() if settings.type == "bool"]
        self._computed = computed
        self._name_fault = name_fault
        self._lower = frozenset(column.lower() for column in self.columns) | computed
        self._paths = Paths({name: key_of(name, settings) for name, settings in fields.items()})
        self._known = self._paths.known
        self._no_columns: set[str] = set()
        """A bounded cache of names that cannot be columns, so that each is checked once."""
        self._known_lifted = self._known | _METADATA
        self._encoders = _encoders(fields)
        self._struct, self._structs = self._make_struct()
        self._flat: dict[tuple[str, ...], tuple[tuple[str, ...], Encoders]] = {}

    def with_columns(self, there: Mapping[str, str]) -> "TypedRows":
        """A maker that also has the table's other columns, given with their types ("" for computed ones)."""
        json_column = self.json_column or (there.get(_EXTRA) == JSON_COLUMN[_EXTRA] and self._can_have_json)
        added = {
            column: FieldSettings(type=FIELD_TYPES[kind], required=False)
            for column, kind in there.items()
            if column.lower() not in self._lower and kind in FIELD_TYPES
        }
        if json_column:
            added.pop(_EXTRA, None)
        computed = frozenset(column.lower() for column, kind in there.items() if not kind)
        return self.with_fields(added, json_column=json_column, computed=computed)

    def with_fields(
        self, fields: Mapping[str, FieldSettings], *, json_column: bool, computed: frozenset[str]
    ) -> "TypedRows":
        """A maker with more fields, and with more of what the constructor has."""
        more = TypedRows(
            self.fields | dict(fields),
            metadata=self.metadata,
            extra=self.extra,
            json_column=self.json_column or json_column,
            computed=self._computed | computed,
            name_fault=self._name_fault,
        )
        more._flat = self._flat  # flat records have no fields that these columns could take
        return more

    def accepts_typed(self, schema: Schema) -> bool:
        """Whether structs of `schema` can be rows: each field has its column, and no other is required."""
        for name, settings in schema.fields.items():
            column = self.fields.get(name)
            if column is None or key_of(name, column) != name or not _same_values(settings, column):
                return False
        if any(
            name not in schema.fields and (column.required or key_of(name, column) in self._paths_of(schema))
            for name, column in self.fields.items()
        ):
            return False
        columns = schema.names + (tuple(METADATA_COLUMNS) if self.metadata else ())
        self._flat[schema.names] = (columns, _encoders(schema.fields))
        return True

    def stream(self, batch: Batch) -> tuple[tuple[str, ...], Iterable[Any]] | None:
        """Columns, and the values of all rows in one sequence; None if a record may have to be rejected."""
        if batch.fields is None:
            return None
        columns, encoders = self._flat[batch.fields]
        if encoders:
            return None
        if not self.metadata:
            return columns, batch.records
        metadata_rows = zip(*metadata(batch), strict=False)
        return columns, chain.from_iterable(
            chain.from_iterable(zip(_rows(batch), metadata_rows, strict=True))
        )

    def of(self, batch: Batch) -> Rows:
        """The rows of a batch. Records are not changed."""
        return self._of_dicts(batch) if batch.fields is None else self._of_flat(batch, batch.fields)

    def _of_flat(self, batch: Batch, fields: tuple[str, ...]) -> Rows:
        columns, encoders = self._flat[fields]
        rows = Rows(columns, indexes=range(len(batch)))
        values = _rows(batch)
        if encoders:
            values = encode_columns(values, encoders, rows)
        rows.rows = with_metadata(values, batch, rows.indexes) if self.metadata else list(values)
        return rows

    def _of_dicts(self, batch: Batch) -> Rows:
        rows = Rows(self._columns, indexes=range(len(batch)))
        rests = self._rests(batch)
        if rests is not None and self.extra in ("reject", "add_column"):
            self._check_extra(rests, rows)
            if rows.new_columns:
                return rows
        structs = self._convert(batch.records, rows)
        self._finish(structs, rows)
        values: Any = map(_astuple, structs)
        if self._encoders:
            values = encode_columns(values, self._encoders, rows)
        if self.metadata:
            values = with_metadata(values, batch, rows.indexes)
        if rests is None:
            if self.json_column:
                rows.columns = self._columns[:-1]  # the column `extra` is the last one, and NULL by default
        elif self.json_column:
            values = self._with_extra(list(values), rests, rows)
            if self.extra == "add_column":
                rows.fields_as_json = sum(len(rests[index]) for index in rows.indexes)
        else:  # extra = "drop"; with the other settings no record has a rest here
            rows.dropped_fields = sum(len(rests[index]) for index in rows.indexes)
        rows.rows = list(values)
        return rows

    def _rests(self, batch: Batch) -> list[Record] | None:
        """The fields of each record that have no column; None if all records have only known fields."""
        known = self._known_lifted if batch.lifted else self._known
        if all(map(known.issuperset, batch.records)):
            return None
        rests = [{} if known.issuperset(record) else self._rest(record, batch) for record in batch.records]
        return rests if any(rests) else None

    def _rest(self, record: Record, batch: Batch) -> Record:
        rest = self._paths.rest(record)
        if batch.lifted:
            rest = {key: value for key, value in rest.items() if key not in _METADATA}
        if self.extra in ("reject", "add_column"):
            rest.pop(FLAG, None)  # a flag set by the daemon is no reason to refuse a record
        return rest

    def _check_extra(self, rests: Sequence[Record], rows: Rows) -> None:
        new: dict[str, None] = {}
        indexes = []
        for index, rest in enumerate(rests):
            try:
                self._add_new_columns(rest, new)
            except BadData as bad:
                rows.rejects.append(BadRow(index, bad.reason, bad.detail))
            else:
                indexes.append(index)
        rows.indexes, rows.new_columns = indexes, tuple(new)

    def _add_new_columns(self, rest: Record, new: dict[str, None]) -> None:
        """Add to `new` the columns that a record needs. Raises `BadData`; adds none then.

        The number of names is checked first, which bounds the cost of a record with many names.
        """
        if rest and self.extra == "reject":
            raise BadData("row:extra", f"{next(iter(rest))!r:.200} has no column")
        wanted = [name for name in rest if name not in new and name not in self._no_columns]
        if not wanted:
            return
        if len(wanted) > MOST_COLUMNS:
            raise BadData("row:too_many_columns", _TOO_MANY)
        taken = {*self._lower, *map(str.lower, new), *JSON_COLUMN}
        more: dict[str, None] = {}
        for name in wanted:
            fault = self._column_name_fault(name, taken)
            if fault is None:
                taken.add(name.lower())
                more[name] = None
            elif self.json_column:
                if not new and not more and len(self._no_columns) < MOST_COLUMNS:
                    self._no_columns.add(name)
            elif self._can_have_json:
                more[_EXTRA] = None
            else:
                detail = f"{name!r:.200}: {fault}, and the column extra belongs to a field"
                raise BadData("row:column_name", detail)
        if more and len(self.columns) + len(new) + len(more) > MOST_COLUMNS:
            raise BadData("row:too_many_columns", _TOO_MANY)
        new.update(more)

    def _column_name_fault(self, name: Any, taken: set[str]) -> str | None:
        """Why a record's key cannot become a column beside `taken` (in lower case); None if it can."""
        if not isinstance(name, str):
            return "a name is a text"
        if name.lower() in taken:
            return "the table has a column of that name"
        return field_name_fault(name) or self._name_fault(name)

    @property
    def _can_have_json(self) -> bool:
        """Whether the table has, or can get, the column `extra` for JSON: no field has that name."""
        return self.json_column or _EXTRA not in self._lower

    def _convert(self, records: Sequence[Record], rows: Rows) -> list[Any]:
        """A struct for each record at `rows.indexes` that fits the columns. The others are rejected."""
        if len(rows.indexes) != len(records):
            records = [records[index] for index in rows.indexes]
        if self._struct is not None:
            try:
                return list(msgspec.convert(records, self._structs))
            except _FAULTS:
                pass
        structs, indexes = [], []
        for index, record in zip(rows.indexes, records, strict=True):
            try:
                structs.append(self._convert_one(record))
            except BadData as bad:
                rows.rejects.append(BadRow(index, bad.reason, bad.detail))
            else:
                indexes.append(index)
        rows.indexes = indexes
        return structs

    def _convert_one(self, record: Record) -> Any:
        """The struct of one record. Raises `BadData`."""
        if self._struct is not None:
            try:
                return msgspec.convert(record, self._struct)
            except _FAULTS:
                pass
        checked = self._schema.check(self._paths.find(record))
        return self._schema.struct(**dict(zip(self._schema.attributes, checked.values(), strict=True)))

    def _finish(self, structs: list[Any], rows: Rows) -> None:
        bad = self._schema.finish(structs)
        if not bad:
            return
        places = {place for place, _, _ in bad}
        indexes = list(rows.indexes)
        rows.rejects += [BadRow(indexes[place], reason, detail) for place, reason, detail in bad]
        rows.indexes = [index for place, index in enumerate(indexes) if place not in places]
        structs[:] = [struct for place, struct in enumerate(structs) if place not in places]

    def _with_extra(self, values: list[Row], rests: list[Record], rows: Rows) -> list[Row]:
        done, indexes = [], []
        for index, row in zip(rows.indexes, values, strict=True):
            try:
                done.append((*row, json_text(rests[index]) if rests[index] else None))
            except BadData as bad:
                rows.rejects.append(BadRow(index, bad.reason, f"extra: {bad.detail}"))
            else:
                indexes.append(index)
        rows.indexes = indexes
        return done

    def _make_struct(self) -> tuple[type[msgspec.Struct] | None, Any]:
        """A class that checks a whole batch at once; None if a dotted path or an invalid name prevents it."""
        schema = self._schema
        keys = [self._paths.keys[name] for name in schema.names]
        if self._paths.dotted:
            return None, None
        try:
            struct = msgspec.defstruct(
                "Row",
                [
                    (attribute, annotation(settings))
                    if settings.required
                    else (attribute, annotation(settings), None)
                    for attribute, settings in zip(schema.attributes, self.fields.values(), strict=True)
                ],
                rename=dict(zip(schema.attributes, keys, strict=True)),
                gc=False,
                kw_only=True,
            )
        except ValueError:  # two columns from one key, or a key with a quote in it
            return None, None
        return struct, list[struct]  # type: ignore[valid-type]  # it is made at run time

    def _paths_of(self, schema: Schema) -> frozenset[str]:
        """Record keys that a struct of `schema` covers. A column that reads one of them needs a dict."""
        return frozenset(schema.fields) | {
            key for key in self._paths.dotted if key.split(".", 1)[0] in schema.fields
        }


def _rows(batch: Batch) -> Iterable[Row]:
    """The rows of a batch whose records are one flat list of values."""
    values = iter(batch.records)
    return zip(*[values] * len(batch.fields or ()), strict=True)


def _same_values(source: FieldSettings, column: FieldSettings) -> bool:
    """Whether a value that passed the schema's check of a field needs no further check for the column."""
    return (
        source.type == column.type
        and column.ge in (None, source.ge)
        and column.le in (None, source.le)
        and (source.required or not column.required)
    )


def _encoders(fields: Mapping[str, FieldSettings]) -> Encoders:
    return [
        (place, name, ENCODERS[settings.type])
        for place, (name, settings) in enumerate(fields.items())
        if settings.type in ENCODERS
    ]
