"""The codec `statsd`."""

from collections.abc import Mapping, Sequence
from itertools import chain, count, repeat
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, BadFrame, Codec, Decoded
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from streamd.core.statsd_endings import DictEndings, Endings, StructEndings
from streamd.core.statsd_line import EVENT, bytes_of, is_utf8, line_of, records_of
from streamd.core.typed_records import is_as_brought

_LINE_ENDS = b"\n\r\0 "
_RECORD_BYTES, _TAG_BYTES = 300, 140
"""Memory of a record without tags, and of each tag."""


class Statsd(Codec[Settings]):
    """Decodes metrics of StatsD and DogStatsD: `name:value|type|@rate|#tag:value,tag`, one a line.

    A record has `name`, `type` and `value`, and what else the line says: `sample_rate`, `tags` (an object),
    `timestamp`, `container`. The types are:

    - `counter` (`c`) and `meter` (`m`): a number to be summed;
    - `gauge` (`g`): a number; with a sign it is a `gauge_delta`, a change of the last value;
    - `timer` (`ms`), `histogram` (`h`), `distribution` (`d`): a number; a time is not negative;
    - `set` (`s`): instead of `value` any text as `member`;
    - `event` (`_e{5,4}:title|text`): `name` is the title, `message` the text; `host`, `priority` and others;
    - `service_check` (`_sc|name|0`): `value` is the status from 0 to 3; `message`, `host`.

    Names, tags and values stay as they were sent: the step `statsd_aggregate` applies the sample rate. A tag
    without a value is true; one that occurs again has a list. A datagram or frame has any number of lines,
    and a line any number of values (`a:1:2:3|ms`, `a:1|c:2|c`): each is a record.

    A bad line is rejected alone: `statsd:syntax`, `statsd:value`, `statsd:type`, `statsd:rate`,
    `statsd:section`, `statsd:timestamp`, `statsd:event`, `statsd:check`, `statsd:utf8`. A frame without a
    line is rejected as `empty`. A plus sign is for counters and gauges only. Sections that a later version of
    the protocol may add (`x:…`) are skipped.

    A metric with two tags costs about a quarter more than one without, and as much with the schema that the
    codec brings. Most lines are cheap because what follows their first bar was seen before; others, like
    those of sets and of changed gauges, cost three times as much.
    """

    brings: ClassVar[Mapping[str, str]] = {
        "name": "str", "type": "str", "value": "float", "member": "str", "sample_rate": "float",
        "tags": "json", "timestamp": "timestamp", "container": "str", "host": "str", "message": "str",
    }  # fmt: skip

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        super().__init__(config, schema)
        self._dicts = DictEndings()
        self._structs = None
        if schema is not None and is_as_brought(schema, self.brings):
            self._structs = StructEndings(schema)

    def decode(self, frames: Frames, now: Now) -> Decoded:
        """All records of all frames, in order."""
        lines = _MetricLines.of(frames.payloads)
        if self.schema is not None and self._structs is not None:
            entries = self._structs.look_up(lines.each)
            if entries is not None:
                done = _decoded(frames, lines, entries, self._structs)
                if done.records is entries or _become_structs(done.records, self.schema):
                    if self.typed:
                        done.typed = True
                    else:
                        done.records = list(map(self.schema.to_dict, done.records))
                    return done
        done = _decoded(frames, lines, self._dicts.look_up(lines.each), self._dicts)
        if self.schema is None:
            return done
        records, typed = _of_schema(done.records, self.schema)
        if records is None:
            return self.decode_each(frames, range(len(frames)), now)
        if typed and self.typed:
            done.records, done.typed = records, True
        else:
            done.records = list(map(self.schema.to_dict, records)) if typed else records
        return done

    def decode_one(self, payload: bytes, now: Now) -> list[Record | BadElement]:
        """The records of all lines of one frame. Costs about five times as much as in `decode`."""
        del now
        found: list[Record | BadElement] = []
        for line in line_of(payload.rstrip(_LINE_ENDS)).split("\n"):
            for part in records_of(line):
                if self.schema is not None and isinstance(part, dict):
                    try:
                        found.append(self.schema.check(part))
                    except BadData as bad:
                        found.append(BadElement(bytes_of(line), bad.reason, bad.detail))
                else:
                    found.append(part)
        if not found:
            raise BadData("empty")
        if len(found) == 1 and isinstance(found[0], BadElement):
            raise BadData(found[0].reason, found[0].detail)
        return found


class _MetricLines(NamedTuple):
    """The lines of all frames, without the ends of the frames."""

    each: list[str]
    of_frames: list[int] | None
    """The number of lines of each frame; None if each has one."""
    special: bool
    """Whether one may be an event, or no UTF-8."""

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> Self:
        together = b"\n".join(payloads)
        each = line_of(together).split("\n")
        if "" in each or b" " in together or b"\r" in together or b"\0" in together:
            payloads = [payload.rstrip(_LINE_ENDS) for payload in payloads]
            together = b"\n".join(payloads)
            each = line_of(together).split("\n")
        of_frames = None
        if len(each) != len(payloads):
            of_frames = [payload.count(b"\n") + 1 for payload in payloads]
        special = EVENT.encode() in together or not (together.isascii() or is_utf8(line_of(together)))
        return cls(each, of_frames, special)


def _decoded(frames: Frames, lines: _MetricLines, entries: list[Any], endings: Endings[Any]) -> Decoded:
    """The result, from what `endings` made of each line."""
    if lines.special:
        for place, line in enumerate(lines.each):
            if line.startswith(EVENT) or not is_utf8(line):
                entries[place] = line
    if str not in map(type, entries) and len(frames):
        origins = lines.of_frames and [*chain.from_iterable(map(repeat, count(), lines.of_frames))]
        return Decoded(entries, origins, size_bytes=_size_bytes(entries, frames))
    done = Decoded([], [])
    place = 0
    for index, of_frame in enumerate(lines.of_frames or repeat(1, len(frames))):
        _add_frame(done, index, entries[place : place + of_frame], frames.payloads[index], endings)
        place += of_frame
    done.size_bytes = _size_bytes(done.records, frames)
    return done


def _add_frame(done: Decoded, index: int, entries: list[Any], payload: bytes, endings: Endings[Any]) -> None:
    """Add what a frame holds to the result."""
    records, bad = done.records, list[BadElement]()
    before = len(records)
    for entry in entries:
        if type(entry) is not str:
            records.append(entry)
            continue
        for part in endings.parse(entry):
            if isinstance(part, BadElement):
                bad.append(part)
            else:
                records.append(part)
    found = len(records) - before
    done.origins += [index] * found  # type: ignore[operator]  # a list
    if not found and not bad:
        done.rejects.append(BadFrame(index, payload, "empty"))
    elif not found and len(bad) == 1:
        done.rejects.append(BadFrame(index, payload, bad[0].reason, bad[0].detail))
    else:
        done.rejects += [BadFrame(index, it.payload, it.reason, it.detail, element=True) for it in bad]


def _size_bytes(records: list[Any], frames: Frames) -> int:
    """Memory of the records. Tags are counted in one of 32."""
    some = records[::32]
    tags = [record.get("tags") if type(record) is dict else record.tags for record in some]
    counted = sum([len(of_record) for of_record in tags if of_record])
    tag_bytes = _TAG_BYTES * counted * len(records) // max(len(some), 1)
    return 2 * frames.size_bytes + _RECORD_BYTES * len(records) + tag_bytes


def _become_structs(records: list[Any], schema: Schema) -> bool:
    """Replace dicts in the list by structs; False if one has a field that the schema has not."""
    for place, record in enumerate(records):
        if type(record) is dict:
            if not record.keys() <= schema.fields.keys():
                return False
            records[place] = schema.struct(**record)
    return True


def _of_schema(records: list[Record], schema: Schema) -> tuple[list[Any] | None, bool]:
    """The records as structs of the schema, and True; dicts if some have other fields; None if one is bad."""
    for struct in (schema.struct, schema.loose_struct):
        try:
            structs: list[Any] = msgspec.convert(records, list[struct])  # type: ignore[valid-type]
        except msgspec.ValidationError:
            continue
        if schema.finish(structs):
            return None, False
        if struct is schema.struct:
            return structs, True
        for record, one in zip(records, structs, strict=True):
            record.update(schema.to_dict(one))
        return records, False
    return None, False
