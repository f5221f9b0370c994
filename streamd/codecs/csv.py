"""The codec `csv`."""

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple, Self, cast

from pydantic import Field, StringConstraints, model_validator

from streamd.core.ack import Status
from streamd.core.batch import Record
from streamd.core.contracts import AnyCodec, BadElement, Codec, Decoded, Frame
from streamd.core.errors import BadData
from streamd.core.first_frame import FirstFrame, FirstFrameAgain
from streamd.core.frames import Frames
from streamd.core.json_rules import BYTE_ORDER_MARK, RESERVED_KEYS
from streamd.core.listed import listed
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.plural import counted
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.text_columns import all_of_schema
from streamd.core.text_values import by_look, of_schema

csv.field_size_limit(sys.maxsize)  # `max_frame` bounds a value; Python's own limit is 128 KiB

_LINE_ENDS = "\r\n"


class _Row(NamedTuple):
    values: list[str]
    line: str
    fault: str = ""


class _Stream(NamedTuple):
    """The header of one connection or file."""

    peer: Peer
    """Kept because its `id` is the key of the stream: as long as it lives, no other peer has that `id`."""
    names: list[str]
    """Names of the fields; empty if the header was refused."""
    header: Frames | None
    """The header's frame if it held only the header."""


class Csv(Codec["Csv.Config"]):
    """Makes a record of each row of CSV (RFC 4180): `{"sensor": "s-1", "value": "21.5"}`.

    The names of the fields are in `columns` or in a header. The header is the first row of each connection,
    file or datagram. A row that repeats the names is skipped; blanks around a name do not count. The codec
    keeps the header of a connection until the connection ends; meanwhile the books count the header's frame
    as `held`.

    Values are texts. With a schema, an empty value is null, and every other value is read as the type of its
    field: numbers, `true`, `yes`, `on`, `1` and their opposites, times, JSON.

    Rejects keep the original bytes. A row is rejected if it has more or fewer values than there are names
    (`csv:fields`), if a quote is in a wrong place (`csv:syntax`), or if its header was refused or lost, or
    was read before a reload by another codec or with another delimiter or quote (`csv:no_header`). A header
    is rejected if a name in it is empty, repeated or reserved (`csv:header`), a datagram if it holds only a
    header (`csv:no_rows`).

    A value with a line end inside quotes needs a frame that holds the whole row: use the framing `nul`,
    `octet_counting` or `length_prefix`, or datagrams without framing. With `newline` such a row is cut into
    lines, and these are rejected.

    Cost: about 1 µs for a row of seven texts, 6 µs with quotes or `types = "auto"`, half as much again with a
    schema. With a schema a row costs 9 µs if one of its batch has quotes or does not fit.
    """

    weight: ClassVar[int] = 8
    holds_open = False

    class Config(Settings):
        """The format of the rows."""

        header: bool | None = Field(
            None,
            description="whether the first row holds the names of the fields. Default: true without columns",
        )
        columns: list[str] | None = Field(
            None, min_length=1, description="names of the fields, in the order of the values"
        )
        delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = Field(
            ",", description="character between two values"
        )
        quote: Annotated[str, StringConstraints(max_length=1)] = Field(
            '"',
            description="character around a value that holds the delimiter or a line end; it is doubled "
            "inside. Empty: no value is quoted",
        )
        types: Literal["text", "auto"] = Field(
            "text",
            description="values without a schema: text (unchanged) or auto (numbers as in JSON, true and "
            "false; an empty value is null)",
        )

        @model_validator(mode="after")
        def _fields_have_names(self) -> Self:
            if self.columns is None and self.header is False:
                raise ValueError("header = false needs columns, which name the fields")
            if self.columns is not None and self.header:
                raise ValueError(
                    "columns and header = true both name the fields; remove header: a row that repeats the "
                    "columns is skipped"
                )
            if self.columns is not None and (fault := _fault_of(self.columns)):
                raise ValueError(f"columns: {fault}")
            if self.delimiter in "\r\n\0" or (self.quote and self.quote in "\r\n\0"):
                raise ValueError("delimiter and quote cannot be a line end or NUL")
            if self.delimiter == self.quote:
                raise ValueError("delimiter and quote must be different characters")
            return self

    def __init__(self, config: "Csv.Config", schema: Schema | None) -> None:
        """Raises ValueError if the options contradict the schema."""
        super().__init__(config, schema)
        if schema is not None and config.types == "auto":
            raise ValueError('types = "auto" is for values without a schema')
        if schema is not None and config.columns is not None:
            required = [name for name, field in schema.fields.items() if field.required]
            if missing := [name for name in required if name not in config.columns]:
                raise ValueError(f"the schema {schema.name} requires {listed(missing)}: add it to columns")
        self.holds = self.needs_first = config.columns is None
        self._in_each_frame = self.needs_first
        self.streams: dict[int, _Stream] = {}
        """The headers of connections and files, by the `id` of their peer."""

    @property
    def names_streams(self) -> bool:
        """Whether the first frame of each connection or file names the fields of the later ones."""
        return self.needs_first and not self._in_each_frame

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        """Raises ValueError for datagrams that a framing cuts: none of the frames is known as the header."""
        if self.needs_first and cut and not streams:
            raise ValueError("datagrams that a framing cuts have no header: remove framing, or set columns")
        self._in_each_frame = self.needs_first and not streams
        self.alarming = frozenset({"csv:header"}) if streams else frozenset()

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of all rows of all frames. A frame that holds only a header is held."""
        if self._in_each_frame:
            return self.decode_each(frames, range(len(frames)), now)
        firsts: list[int] = []
        if self.needs_first:
            firsts = [n for n, payload in enumerate(frames.payloads) if isinstance(payload, FirstFrame)]
        if not firsts:
            plain = self._plain_records(frames)
            if plain and self.schema is None:
                return Decoded(plain)
            if plain and self.schema is not None:
                made = all_of_schema(plain, self.schema, typed=self.typed)
                if made is not None:
                    return Decoded(made[0], typed=made[1])
            return self.decode_each(frames, range(len(frames)), now)
        before = [self.streams.pop(id(frames.peer(n)), None) for n in firsts]  # a file repeats its header
        released = [stream.header for stream in before if stream is not None and stream.header is not None]
        held = [n for n in firsts if self._begin(frames, n)]
        others = sorted(set(range(len(frames))).difference(held))
        done = self.decode_each(frames, others, now)
        if not held:
            done.frames = Frames.merge([frames, *released])
            return done
        headers, rest = frames.sorted_out([held, others])
        headers.settle(Status.FILTERED)  # a file repeats its header, so its position need not wait for this
        headers.acks = None
        for index, header in zip(held, headers.sorted_out([[n] for n in range(len(held))]), strict=True):
            key = id(frames.peer(index))
            self.streams[key] = self.streams[key]._replace(header=header)
        places = {index: place for place, index in enumerate(others)}
        done.origins = [places[origin] for origin in done.origins or ()]
        for reject in done.rejects:
            reject.index = places[reject.index]
        done.frames = Frames.merge([rest, *released])
        return done

    def _plain_records(self, frames: Frames) -> list[Record]:
        """The records if every frame is one row of texts with the same names and no quote; otherwise none."""
        names = self.config.columns
        if names is None and frames.peers.values is None:
            stream = self.streams.get(id(frames.peers.same))
            names = stream.names if stream is not None else None
        if not names or self.config.types == "auto":
            return []
        try:
            text = b"\n".join(frames.payloads).decode()
        except UnicodeDecodeError:
            return []
        if "\r" in text or "\0" in text or "\ufeff" in text or self._has_quote(text):
            return []
        lines = text.split("\n")
        rows = [line.split(self.config.delimiter) for line in lines]
        alike = len(rows) == len(frames) and set(map(len, rows)) == {len(names)} and all(lines)
        if not alike or (max(names, key=len) in text and any(_repeats(names, row) for row in rows)):
            return []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """The record of a frame with one row; a list if the frame has no row or several."""
        del now
        text = self._text(frame.payload)
        names = self.config.columns or self._names_of_stream(frame, text)
        body = text.rstrip(_LINE_ENDS)
        if not body:
            raise BadData("empty")
        if names and "\n" not in body and "\r" not in body and not self._has_quote(body):
            values = body.split(self.config.delimiter)
            return [] if _repeats(names, values) else self._record(names, values)
        parts = self._parts(frame, names, text)
        if len(parts) == 1 and "\n" not in body:
            (part,) = parts
            if isinstance(part, BadElement):
                raise BadData(part.reason, part.detail)
            return part
        return parts

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        """Release the header of a connection."""
        stream = self.streams.pop(id(peer), None)
        return None if stream is None or stream.header is None else Decoded([], [], frames=stream.header)

    def can_adopt(self, old: AnyCodec) -> bool:
        """Whether `old` reads headers with the same delimiter and quote."""
        return (
            isinstance(old, Csv)
            and (old.config.delimiter, old.config.quote) == (self.config.delimiter, self.config.quote)
            and old.names_streams
            and self.names_streams
        )

    def adopt(self, old: AnyCodec) -> None:
        """Take over the header of each connection."""
        before = cast("Csv", old)
        self.streams, before.streams = before.streams, {}

    def finish(self, now: Now) -> Decoded | None:
        """Release every header."""
        headers = [stream.header for stream in self.streams.values() if stream.header is not None]
        self.streams.clear()
        return Decoded([], [], frames=Frames.merge(headers)) if headers else None

    def _begin(self, frames: Frames, index: int) -> bool:
        """Read the names of a stream from its first frame; returns whether the frame has no new rows."""
        peer = frames.peer(index)
        names: list[str] = []
        alone = False
        try:
            rows = list(self._rows(self._text(frames.payloads[index])))
        except BadData:
            rows = []
        if rows and not _fault_of_header(rows[0]):
            names = _names_of(rows[0])
            alone = len(rows) == 1 or type(frames.payloads[index]) is FirstFrameAgain
        self.streams[id(peer)] = _Stream(peer, names, None)
        return alone

    def _names_of_stream(self, frame: Frame, text: str) -> list[str]:
        """The names from the header of the stream; empty if each frame has a header. Raises `BadData`."""
        if self._in_each_frame:
            return []
        stream = self.streams.get(id(frame.peer))
        if stream is not None and stream.names:
            return stream.names
        if isinstance(frame.payload, FirstFrame):
            raise BadData("csv:header", _fault_of_header(next(self._rows(text), None)))
        raise BadData("csv:no_header")

    def _parts(self, frame: Frame, names: list[str], text: str) -> list[Record | BadElement]:
        """The record or fault of each row of a frame. Raises `BadData`."""
        rows = self._rows(text)
        has_own_header = not names
        if has_own_header:
            names = self._names_within(rows)
        elif isinstance(frame.payload, FirstFrame) and self.needs_first:
            next(rows, None)  # skip the header
        parts = [part for row in rows for part in self._part(names, row)]
        if has_own_header and not parts:
            raise BadData("csv:no_rows", "a header without rows; are its rows in other datagrams?")
        return parts

    def _names_within(self, rows: Iterator[_Row]) -> list[str]:
        """The names from the header of this frame. Raises `BadData`."""
        header = next(rows, None)
        if header is not None and header.line.endswith("\n") and not _fault_of_header(header):
            return _names_of(header)
        if header is not None and not header.line.endswith("\n"):
            raise BadData("csv:no_header", "a single row, and columns are not set")
        raise BadData("csv:header", _fault_of_header(header))

    def _text(self, payload: bytes) -> str:
        end = payload.rstrip(b"\r\n")
        if end[-1:] == b"\0":
            payload = end[:-1]
        try:
            return payload.removeprefix(BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError as error:
            raise BadData("csv:utf8", f"not utf-8 at byte {error.start}") from None

    def _has_quote(self, text: str) -> bool:
        return bool(self.config.quote) and self.config.quote in text

    def _rows(self, text: str) -> Iterator[_Row]:
        """Every row that is not blank. A row with a fault takes all lines that the CSV reader used for it."""
        lines = text.split("\n")
        lines = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        config = self.config
        reader = csv.reader(
            iter(lines),
            delimiter=config.delimiter,
            quotechar=config.quote or None,
            quoting=csv.QUOTE_MINIMAL if config.quote else csv.QUOTE_NONE,
            strict=True,
        )
        start = 0
        while True:
            fault = ""
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                values, fault = [], str(error)
            line = "".join(lines[start : reader.line_num])
            start = reader.line_num
            if values or fault:
                yield _Row(values, line, fault)

    def _part(self, names: list[str], row: _Row) -> Sequence[Record | BadElement]:
        if not row.fault and _repeats(names, row.values):
            return ()
        if row.fault:
            return (BadElement(row.line.encode(), "csv:syntax", row.fault),)
        try:
            return (self._record(names, row.values),)
        except BadData as bad:
            return (BadElement(row.line.encode(), bad.reason, bad.detail),)

    def _record(self, names: list[str], values: list[str]) -> Record:
        if len(values) != len(names):
            raise BadData("csv:fields", f"{counted(len(values), 'value')} for {counted(len(names), 'field')}")
        record: Record = dict(zip(names, values, strict=True))
        if self.schema is not None:
            return of_schema(record, self.schema)
        if self.config.types == "auto":
            return {name: by_look(text) for name, text in record.items()}
        return record


def _names_of(row: _Row) -> list[str]:
    return [name.strip() for name in row.values]


def _repeats(names: list[str], values: list[str]) -> bool:
    """Whether a row is the header again."""
    if values == names:
        return True
    return values[0].strip() == names[0] and [value.strip() for value in values] == names


def _fault_of(names: list[str]) -> str:
    """Why these names cannot be used for fields; empty if they can."""
    if "" in names:
        return f"the name of field {names.index('') + 1} is empty"
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return f"{name[:64]!r} occurs twice"
        seen.add(name)
    if reserved := RESERVED_KEYS.intersection(names):
        return f"only the daemon sets {min(reserved)!r}"
    return ""


def _fault_of_header(row: _Row | None) -> str:
    if row is None:
        return "the header is empty"
    return row.fault or _fault_of(_names_of(row))
