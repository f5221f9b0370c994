"""The codec `regex`."""

from typing import ClassVar, Literal

from pydantic import Field

from streamd.codecs.text import read_message
from streamd.core.batch import Record
from streamd.core.contracts import Codec, Decoded
from streamd.core.errors import BadData, ConfigError
from streamd.core.frames import Frames
from streamd.core.listed import listed
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.text_columns import all_of_schema
from streamd.core.text_values import of_schema
from streamd.shaping.pattern import Pattern
from streamd.shaping.text_formats import pattern, value_of


class Regex(Codec["Regex.Config"]):
    """Makes a record of the named groups of a regular expression: `(?P<sensor>[^ ]+) (?P<value>[^ ]+)`.

    The expression is one of Python's module `re`, and matches from the beginning of the frame's text, which
    is read as by the codec `text`. A group that took no part in the match makes no field. A datagram of
    several lines is one text, unless its source has the framing `newline`.

    The work for a text is bounded, because a sender could stop the daemon with a text that takes very long:
    `check` refuses a pattern that may take exponential time, such as `(a+)+b`. If several repetitions can
    match the same characters (`.* .*`), texts are rejected from a length that follows from the pattern
    (`regex:length`; about 2,000 characters for two such repetitions). Write `[^ ]+` or a possessive `.++`
    instead, and the work is linear.

    Values are texts. With a schema, an empty value is null, and every other value is read as the type of its
    field, as with the codec `csv`.

    A text that does not match is rejected (`regex:pattern`), and so is invalid UTF-8 (`text:utf8`).
    """

    weight: ClassVar[int] = 8

    class Config(Settings):
        """The expression and the types of its groups."""

        pattern: str = Field(
            min_length=1, description="a regular expression with named groups, like `(?P<user>[^ ]+) .*`"
        )
        types: Literal["text", "auto"] = Field(
            "text",
            description="values without a schema: text (unchanged) or auto (numbers as in JSON, true and"
            " false; an empty value is null)",
        )

    def __init__(self, config: "Regex.Config", schema: Schema | None) -> None:
        """Raises `ConfigError` for a pattern with a fault or with unbounded work, ValueError for options that
        contradict the schema.
        """
        super().__init__(config, schema)
        if schema is not None and config.types == "auto":
            raise ValueError('types = "auto" is for values without a schema')
        try:
            compiled = Pattern(config.pattern)
        except ValueError as error:
            raise ConfigError(str(error), ("pattern",)) from None
        required = [] if schema is None else [name for name, field in schema.fields.items() if field.required]
        if schema is not None and (missing := [name for name in required if name not in compiled.names]):
            raise ValueError(
                f"the schema {schema.name} requires {listed(missing)}: name a group so, (?P<{missing[0]}>…)"
            )
        self._read = pattern(compiled, value_of(config.types), "regex")

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; at once if every text matches and loses no end."""
        payloads = frames.payloads
        if not all(payloads):
            return super().decode(frames, now)
        try:
            text = b"\n".join(payloads).decode()
        except UnicodeDecodeError:
            return super().decode(frames, now)
        texts = text.split("\n")
        if len(texts) != len(payloads) or "\0" in text or "\r" in text or "\ufeff" in text:
            return super().decode(frames, now)
        try:
            records = list(map(self._read, texts))
        except BadData:
            return super().decode(frames, now)
        if self.schema is None:
            return Decoded(records)
        made = all_of_schema(records, self.schema, typed=self.typed)
        return super().decode(frames, now) if made is None else Decoded(made[0], typed=made[1])

    def decode_one(self, payload: bytes, now: Now) -> Record:
        """The record of one text."""
        del now
        record: Record = self._read(read_message(payload)["message"])
        return record if self.schema is None else of_schema(record, self.schema)
