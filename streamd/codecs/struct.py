"""The codec `struct`."""

from typing import Literal

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded
from streamd.core.errors import BadData, ConfigError
from streamd.core.frames import Frames
from streamd.core.listed import listed
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.typed_records import structs_of
from streamd.shaping.binary_layout import BinaryLayout

_DICT_BYTES, _VALUE_BYTES = 200, 50
"""Memory of a record and of each of its values, roughly, without the bytes of texts."""


class Struct(Codec["Struct.Config"]):
    """Decodes binary records of a fixed layout, such as a C struct: `<Q ts, 8s sensor, I seq, f value`.

    The layout begins with the byte order, `<` (little endian) or `>` (big endian), which also stands for no
    alignment; `=` and `@` are the order of this host, `@` with its alignment. Items follow with commas
    between them: a code of Python's module `struct` and the name of the field.

    - `b B`, `h H`, `i I`, `q Q`: integers of 1, 2, 4 and 8 bytes, with a capital without sign; `?`: a boolean
    - `e f d`: floats of 2, 4 and 8 bytes
    - `8s`: a text of 8 bytes, which ends at its first NUL; `p`: a text behind its length; `c`: one character
    - `3f`: a list of 3 values; `2x`: 2 bytes that are skipped

    A frame may hold several records, one after the other. A frame of another size is rejected
    (`struct:size`). A record is rejected alone if a float is NaN or infinite (`struct:nan`), an integer is
    beyond 64 bits with sign (`struct:integer`), or a text is invalid UTF-8 (`struct:utf8`).

    A schema checks and converts the values: a field of type `timestamp` with `unit = "ms"` reads an integer.
    Behind a stream use the framing `length_prefix`, since a line end may be a part of a record.
    """

    reads_text = False

    class Config(Settings):
        """The layout."""

        layout: str = Field(
            min_length=1, description="byte order, codes and names, like `<Q ts, 8s sensor, I seq, f value`"
        )
        strings: Literal["utf-8", "latin-1", "bytes"] = Field(
            "utf-8", description="s, p and c: encoding of the text, or bytes (unchanged, with all NULs)"
        )
        nan: Literal["reject", "null"] = Field(
            "reject", description="a float that is NaN or infinite: reject the record, or null"
        )

    def __init__(self, config: "Struct.Config", schema: Schema | None) -> None:
        """Raises `ConfigError` for a layout with a fault, ValueError if it lacks a field of the schema."""
        super().__init__(config, schema)
        try:
            self._layout = BinaryLayout(config.layout, config.strings, keeps_gaps=config.nan == "null")
        except ValueError as error:
            raise ConfigError(str(error), ("layout",)) from None
        for option, kind, codes in (("strings", "text", "s, p or c"), ("nan", "float", "e, f or d")):
            if option in config.model_fields_set and not self._layout.has(kind):
                raise ConfigError(f"the layout has no {codes}: remove {option}", (option,))
        required = [] if schema is None else [name for name, field in schema.fields.items() if field.required]
        if schema is not None and (missing := [name for name in required if name not in self._layout.names]):
            raise ValueError(f"the schema {schema.name} requires {listed(missing)}: name it in the layout")
        self._record_bytes = _DICT_BYTES + _VALUE_BYTES * self._layout.width + self._layout.size

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order; at once if every record is good."""
        size = self._layout.size
        counts = [len(payload) // size for payload in frames.payloads]
        together = b"".join(frames.payloads)
        if not all(counts) or sum(counts) * size != len(together):
            return self._one_by_one(frames, now)
        try:
            records = self._layout.records(together)
        except BadData:
            return self._one_by_one(frames, now)
        origins = (
            None
            if len(records) == len(counts)
            else [index for index, count in enumerate(counts) for _ in range(count)]
        )
        if self.schema is None:
            return self._sized(Decoded(records, origins))
        structs = structs_of(records, self.schema)
        if structs is None:
            return self._one_by_one(frames, now)
        if self.typed:
            return self._sized(Decoded(structs, origins, typed=True))
        return self._sized(Decoded(list(map(self.schema.to_dict, structs)), origins))

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record of a frame; a list if it holds several."""
        del now
        size = self._layout.size
        if not payload:
            raise BadData("empty")
        if len(payload) % size:
            raise BadData("struct:size", f"{len(payload):,} bytes, no multiple of {size:,}")
        if len(payload) == size:
            return self._record(payload)
        found: list[Record | BadElement] = []
        for at in range(0, len(payload), size):
            part = payload[at : at + size]
            try:
                found.append(self._record(part))
            except BadData as bad:
                found.append(BadElement(part, bad.reason, bad.detail))
        return found

    def _record(self, part: bytes) -> Record:
        (record,) = self._layout.records(part)
        return record if self.schema is None else self.schema.check(record)

    def _one_by_one(self, frames: Frames, now: Now) -> Decoded:
        return self._sized(super().decode(frames, now))

    def _sized(self, decoded: Decoded) -> Decoded:
        decoded.size_bytes = self._record_bytes * len(decoded.records)
        return decoded
