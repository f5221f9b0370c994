"""The codec `influx`."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Decoded, Frame
from streamd.core.contracts.codec import FIELD_BYTES
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.timestamp import from_epoch
from streamd.line_protocol.columns import PointColumns
from streamd.line_protocol.names import EXACT, MEASUREMENT, TIMESTAMP
from streamd.line_protocol.points import Points
from streamd.line_protocol.times import Precision, Timestamps


class Influx(Codec["Influx.Config"]):
    """Makes a record of each line of InfluxDB's line protocol, which Telegraf and many sensors send.

    `weather,site=lab temp=21.5,n=3i 1769846400000000000` becomes `{"timestamp":
    "2026-01-31T08:00:00.000000Z", "measurement": "weather", "site": "lab", "temp": 21.5, "n": 3}`. Tags are
    texts; with a schema they are read as the type of their field. If the digits of nanoseconds matter, the
    record also has `timestamp_ns`, an integer. A line without a timestamp gets the time at which it was
    received.

    If a tag has the key of a field, its name in the record gets `_tag` behind it. So does a tag that is
    named `timestamp`, `timestamp_ns` or `measurement`; such a field gets `_field`. Of a field that occurs
    twice, the last value counts. An unsigned integer from 2^63 on is kept as text, because no database stores
    it as an integer; a float field of a schema takes it.

    A frame may hold many lines. A bad line is rejected alone, with its original bytes: `influx:syntax`,
    `influx:utf8`, `influx:value` (no number, boolean or string in quotes), `influx:range` (a number beyond 64
    bits), `influx:time`, `influx:tag` (one tag twice), `influx:names` or `influx:reserved`. Comments and
    blank lines are skipped. The framing `influx` keeps a string with line ends whole.

    Cost: 1 to 2 µs for a line of one to four fields whose keys are those of others in the batch, about 10 µs
    for another one.
    """

    weight: ClassVar[int] = 10
    counters: ClassVar[Mapping[str, str]] = {
        "comments": "lines of the line protocol that are comments, skipped"
    }
    brings: ClassVar[Mapping[str, Any]] = {TIMESTAMP: "timestamp", MEASUREMENT: "str", EXACT: "int"}

    class Config(Settings):
        """Timestamps and the shape of the record."""

        precision: Precision = Field(
            "ns", description="unit of the timestamps: ns (as InfluxDB's default), us, ms, s, m or h"
        )
        nested: bool = Field(
            False,
            description="whether a record has two objects, `tags` and `fields`, instead of all of them "
            "beside each other",
        )

    def __init__(self, config: "Influx.Config", schema: Schema | None) -> None:
        super().__init__(config, schema)
        times = Timestamps(config.precision)
        self._points = Points(times, schema, nested=config.nested)
        self._columns = PointColumns(times, schema, nested=config.nested)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """The records of all lines of all frames."""
        done = self._decode(frames, now)
        if self.config.nested:
            keys = sum([payload.count(b"=") for payload in frames.payloads])
            done.size_bytes = self.size_bytes_of(frames, done.records) + FIELD_BYTES * keys
        return done

    def _decode(self, frames: Frames, now: Now) -> Decoded:
        """As `decode`, without the memory of the nested objects."""
        payloads = frames.payloads
        if b"\n".join(payloads).count(b"\n") == len(payloads) - 1:
            made = self._columns.read(
                payloads, lambda index: from_epoch(frames.time(index)), typed=self.typed
            )
            if all(made):
                alike, typed = self._alike(made)
                return Decoded(alike, typed=typed)
            found: list[list[Any]] = [[record] for record in made]
        else:
            found = self._in_lines(frames)
        records: list[Any] = []
        origins: list[int] = []
        rejects = []
        for index, of_frame in enumerate(found):
            if of_frame and None not in of_frame:
                records += of_frame
                origins += [index] * len(of_frame)
                continue
            slow = self.decode_each(frames, [index], now)
            records += slow.records
            origins += slow.origins or []
            rejects += slow.rejects
        records, typed = self._alike(records)
        return Decoded(records, origins, rejects, typed=typed)

    def _alike(self, records: list[Any]) -> tuple[list[Any], bool]:
        """All records as structs, and True, if the daemon takes them and all fit; otherwise all as dicts."""
        schema = self.schema
        if schema is None or not self.typed:
            return records, False
        struct, width = schema.struct, len(schema.names)
        if all(type(record) is struct or len(record) == width for record in records):
            rest = [place for place, record in enumerate(records) if type(record) is not struct]
            structs = schema.of_rows([tuple(records[place].values()) for place in rest])
            for place, made in zip(rest, structs, strict=True):
                records[place] = made
            return records, True
        return [schema.to_dict(record) if type(record) is struct else record for record in records], False

    def _in_lines(self, frames: Frames) -> list[list[Any]]:
        """For each frame the records of its lines; with a None if the frame has to be read line by line."""
        lines: list[bytes] = []
        places: list[int] = []
        for index, payload in enumerate(frames.payloads):
            of_frame = [line for line in payload.split(b"\n") if line]
            lines += of_frame
            places += [index] * len(of_frame)
        made = self._columns.read(
            lines, lambda place: from_epoch(frames.time(places[place])), typed=self.typed
        )
        found: list[list[Any]] = [[] for _ in frames.payloads]
        for index, record in zip(places, made, strict=True):
            found[index].append(record)
        return found

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """The record of a frame with one line; a list if it has several, or only comments."""
        del now
        parts, comments = self._points.read(frame.payload, from_epoch(frame.received_at))
        if comments:
            self.count("comments", comments)
        if len(parts) == 1 and not comments and b"\n" not in frame.payload.rstrip(b"\r\n"):
            (part,) = parts
            if isinstance(part, BadElement):
                raise BadData(part.reason, part.detail)
            return part
        if not parts and not comments:
            raise BadData("empty")
        return parts
