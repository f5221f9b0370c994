"""The codec `logfmt`."""

from typing import ClassVar, Literal

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.line_records import records_of_lines
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.text_columns import all_of_schema
from streamd.core.text_values import of_schema
from streamd.shaping.logfmt import fields_of
from streamd.shaping.text_formats import value_of


class Logfmt(Codec["Logfmt.Config"]):
    """Makes a record of each line of logfmt: `level=warn msg="disk full" retry`.

    A word without `=` is true. A quoted value may hold blanks and the escapes of JSON. A value without quotes
    ends at a blank, and may hold `=`. Blanks and control characters separate the pairs. Of equal keys the
    last one counts.

    Values are texts. With a schema, an empty value is null, and every other value is read as the type of its
    field, as with the codec `csv`.

    A frame may hold several lines; a bad line is rejected alone. The reasons: a text that is no pair, or a
    line without any `=` (`logfmt:syntax`), a key that only the daemon sets (`logfmt:reserved`), invalid UTF-8
    (`logfmt:utf8`).
    """

    weight: ClassVar[int] = 12

    class Config(Settings):
        """The types of the values."""

        types: Literal["text", "auto"] = Field(
            "text",
            description="values without quotes and without a schema: text (unchanged) or auto (numbers as in"
            " JSON, true and false; an empty value is null)",
        )

    def __init__(self, config: "Logfmt.Config", schema: Schema | None) -> None:
        """Raises ValueError if the options contradict the schema."""
        super().__init__(config, schema)
        if schema is not None and config.types == "auto":
            raise ValueError('types = "auto" is for values without a schema')
        self._to_value = value_of(config.types)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; at once if each frame is one good line."""
        try:
            text = b"\n".join(frames.payloads).decode()
        except UnicodeDecodeError:
            return super().decode(frames, now)
        lines = text.split("\n")
        if len(lines) != len(frames) or "@" in text or "\ufeff" in text:
            return super().decode(frames, now)
        to_value = self._to_value
        try:
            records = [fields_of(line, to_value, "") for line in lines]
        except BadData:
            return super().decode(frames, now)
        if self.schema is None:
            return Decoded(records)
        made = all_of_schema(records, self.schema, typed=self.typed)
        return super().decode(frames, now) if made is None else Decoded(made[0], typed=made[1])

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record of one line; a list for several lines."""
        del now
        return records_of_lines(payload, self._record)

    def _record(self, line: bytes) -> Record:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise BadData("logfmt:utf8", f"not utf-8 at byte {error.start}") from None
        record = fields_of(text, self._to_value, "logfmt:syntax")
        if not RESERVED_KEYS.isdisjoint(record):
            raise BadData("logfmt:reserved", f"only the daemon sets {min(RESERVED_KEYS & record.keys())!r}")
        if self.schema is None:
            return record
        for name in self.schema.fields:
            if record.get(name) is True:  # a word without `=`
                record[name] = "true"
        return of_schema(record, self.schema)
