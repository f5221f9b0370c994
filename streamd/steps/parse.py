from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData, ConfigError
from streamd.core.field_names import FieldName, FieldNames, NewFieldName, OnConflict, refuse_unknown
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.shaping import text_formats
from streamd.shaping.pattern import Pattern

_OF_FORMATS = {
    "columns": ("csv",),
    "delimiter": ("csv",),
    "quote": ("csv",),
    "pattern": ("pattern",),
    "types": ("logfmt", "csv", "pattern"),
}
"""The formats for which an option has an effect."""


class Parse(Step["Parse.Config"]):
    """Reads fields from a text in a field, such as JSON in a syslog message.

    - `json`: an object; with `into` any JSON value.
    - `logfmt`: `level=warn msg="disk full" retry`. A word without `=` is true. The last of equal keys counts.
      A text without any `=` is no logfmt.
    - `csv`: one row with the names in `columns`.
    - `pattern`: a regular expression of Python, which matches from the beginning of the text. Its named
      groups `(?P<name>…)` become fields; a group that took no part in the match makes no field.

    A pattern must have bounded work: `check` refuses one that may take exponential time, such as `(a+)+b`. If
    several repetitions can match the same characters (`.* .*`), long texts would take too long, so texts are
    rejected from a length that follows from the pattern (`parse:length`; about 2,000 characters for two such
    repetitions, 150 for three). Such a text takes at most about 0.1 s. Without such repetitions the limit is
    1,048,576 characters.

    A text that cannot be read has the reason `parse:json`, `parse:logfmt`, `parse:csv` or `parse:pattern`; a
    field that is missing or null `parse:missing`, another value `parse:type`, bytes that are no UTF-8
    `parse:utf8`, a name that the record already has `parse:conflict`, a name of metadata `parse:reserved`.

    A text of five fields costs 2 µs (`json`, `pattern`) to 3.5 µs (`logfmt`, `csv`).
    """

    in_each_process = True

    counters: ClassVar[dict[str, str]] = {
        "unparsed": "records that were kept although a text or a time in them was not read"
    }

    class Config(Settings):
        """The field with the text, its format, and where the fields go."""

        field: FieldName = Field(description="name of the field with the text")
        format: Literal["json", "logfmt", "csv", "pattern"] = Field(description="format of the text")
        columns: FieldNames | None = Field(
            None, description="csv: names of the fields, in the order of the values"
        )
        delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = Field(
            ",", description="csv: character between two values"
        )
        quote: Annotated[str, StringConstraints(max_length=1)] = Field(
            '"',
            description="csv: character around a value that holds the delimiter; it is doubled inside. Empty:"
            " no value is quoted",
        )
        pattern: str | None = Field(
            None, description="pattern: a regular expression with named groups, like `(?P<user>[^ ]+) .*`"
        )
        types: Literal["text", "auto"] = Field(
            "text",
            description="values of logfmt, csv and pattern: text (unchanged) or auto (numbers as in JSON,"
            " true and false; an empty value is null)",
        )
        into: NewFieldName | None = Field(
            None,
            description="name of a field that gets all fields as one object. Default: no such field",
        )
        prefix: str = Field("", max_length=64, description="text before the name of each new field")
        remove: bool = Field(False, description="whether the field with the text is removed after reading")
        on_conflict: OnConflict = Field(
            "reject",
            description="if the record already has a field of that name: reject (the record), keep (the"
            " record's field) or replace (it by the new one)",
        )
        on_error: Literal["reject", "keep"] = Field(
            "reject",
            description="a record whose text cannot be read: reject or keep (unchanged, and counted)",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            for key, formats in _OF_FORMATS.items():
                if key in self.model_fields_set and self.format not in formats:
                    raise ValueError(f"{key} is for {' and '.join(formats)}, not for {self.format}")
            if self.format == "csv" and self.columns is None:
                raise ValueError('format = "csv" needs columns, which name the fields')
            if self.format == "pattern" and self.pattern is None:
                raise ValueError('format = "pattern" needs pattern')
            if self.format == "csv" and (self.delimiter == self.quote or self.delimiter in "\r\n\0"):
                raise ValueError("delimiter and quote must be different characters and no line end")
            if self.into is not None and self.prefix:
                raise ValueError("prefix has no effect with into")
            if self.prefix.startswith("@"):
                raise ValueError("prefix: a step adds no name that begins with @ (metadata does)")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown([config.field], context.fields, "field")
        self._names: frozenset[str] | None = None
        """The names of the new fields; None if the text gives them."""
        self._read = self._reader()

    def _reader(self) -> text_formats.Reader:
        config = self.config
        to_value = text_formats.value_of(config.types)
        if config.format == "json":
            return text_formats.json_object if config.into is None else text_formats.json_value
        if config.format == "logfmt":
            return text_formats.logfmt(to_value)
        if config.format == "csv" and config.columns is not None:
            self._names = frozenset(config.columns)
            return text_formats.csv_row(config.columns, config.delimiter, config.quote, to_value)
        try:
            compiled = Pattern(config.pattern or "")
        except ValueError as error:
            raise ConfigError(str(error), ("pattern",)) from None
        self._names = frozenset(compiled.names)
        return text_formats.pattern(compiled, to_value)

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        for record in records:
            try:
                done.records.append(self._parsed(record))
            except BadData as bad:
                if self.config.on_error == "keep":
                    self.context.counters.add("unparsed", 1, bad.reason)
                    done.records.append(record)
                else:
                    done.rejects.append(BadRecord(record, bad.reason, bad.detail))
        return done

    def _parsed(self, record: Record) -> Record:
        """The record with the new fields. Raises `BadData`."""
        config = self.config
        found = self._read(self._text(record.get(config.field)))
        parsed = record.copy()
        if config.remove:
            del parsed[config.field]
        if config.into is not None:
            self._put(parsed, config.into, found)
            return parsed
        for name, value in found.items():
            full = config.prefix + name
            if full in parsed:
                self._put(parsed, full, value)
            elif full in RESERVED_KEYS:
                raise BadData("parse:reserved", f"only the daemon sets {full!r}")
            else:
                parsed[full] = value
        return parsed

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            raise BadData("parse:missing", self.config.field)
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise BadData("parse:utf8", f"not utf-8 at byte {error.start}") from None
        raise BadData("parse:type", f"{self.config.field}: expected a text, got {type(value).__name__}")

    def _put(self, parsed: Record, name: str, value: Any) -> None:
        if name in RESERVED_KEYS:
            raise BadData("parse:reserved", f"only the daemon sets {name!r}")
        if name in parsed and self.config.on_conflict != "replace":
            if self.config.on_conflict == "reject":
                raise BadData("parse:conflict", f"the record already has a field {name!r:.64}")
            return
        parsed[name] = value

    def fields_after(self) -> frozenset[str] | None:
        config, known = self.config, self.context.fields
        if known is None or (self._names is None and config.into is None):
            return None
        if config.remove and config.on_error == "reject":
            known -= {config.field}
        if config.into is not None:
            return known | {config.into}
        return known | {config.prefix + name for name in self._names or ()}
